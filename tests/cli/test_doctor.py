"""`cp-thirdparty doctor`: each line with a failing scenario, its remedy, and the same line passing after it."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
from support.command_line import run_command

from cp_thirdparty import ActionTypeId
from cp_thirdparty.testing import LocalCodePipeline
from cp_thirdparty.testing._wire import Response, error_response
from cp_thirdparty.worker import SqliteJournal

_SHORTHAND = "category=Test,owner=ThirdParty,provider=ExampleScan,version=1"
_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")
_CLIENT_ID = "00000000-0000-4000-8000-000000000001"


class _Denied:
    def play(self, serve: Callable[[], Response]) -> Response:
        del serve
        return error_response(
            "AccessDeniedException", "User is not authorized to perform: codepipeline:PollForThirdPartyJobs"
        )


@attrs.define
class _Machine:
    """A machine of a worker, and its service."""

    service: LocalCodePipeline
    patch: pytest.MonkeyPatch


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[_Machine]:
    """Set up all that a worker needs."""
    (tmp_path / "made_for_doctor.py").write_text(f"tokens = {{{_CLIENT_ID!r}: 'xMARKtoken'}}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "made_for_doctor", raising=False)
    SqliteJournal(tmp_path / "jobs.db").close()
    with LocalCodePipeline(action_types=[_TYPE, attrs.evolve(_TYPE, owner="Custom")]) as service:
        for name, value in service.environment().items():
            monkeypatch.setenv(name, value)
        for name in ("AWS_PROFILE", "CP_THIRDPARTY_CLIENT_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        yield _Machine(service, monkeypatch)


_OPTIONS = {
    "--action-type-id": _SHORTHAND,
    "--client-tokens": "made_for_doctor:tokens",
    "--client-id": _CLIENT_ID,
    "--journal": "jobs.db",
}


def _examine(capsys: pytest.CaptureFixture[str], options: dict[str, str]) -> tuple[int, dict[str, tuple[str, str]]]:
    shown = run_command(capsys, "doctor", *(word for option in options.items() for word in option))
    assert "MARK" not in shown.out + shown.err
    assert shown.err == ""
    lines = [re.split(r"  +", line, maxsplit=2) for line in shown.out.splitlines()]
    return shown.code, {line[1].strip(): (line[0], line[2] if len(line) > 2 else "") for line in lines}


_NAMES = ["region", "endpoint", "clock", "credentials", "iam", "action type", "token store", "journal"]


def test_all_is_well(machine: _Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """Each line passes, and the exit code is 0."""
    assert machine.service.requests == ()
    code, lines = _examine(capsys, _OPTIONS)
    assert list(lines) == _NAMES
    assert ({status for status, _ in lines.values()}, code) == ({"ok"}, 0)
    assert lines["journal"][1] == "0 unfinished jobs, 0 of them to resolve by hand"


_CUSTOM = {"--action-type-id": _SHORTHAND.replace("ThirdParty", "Custom"), "--journal": "jobs.db"}


def test_a_worker_of_custom_jobs_is_checked(machine: _Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """The owner of the action type decides what is called; custom jobs have no client token."""
    code, lines = _examine(capsys, _CUSTOM)
    assert (code, machine.service.requests[-1].operation_name) == (0, "PollForJobs")
    assert [(name, text) for name, (status, text) in lines.items() if status == "skip"] == [
        ("token store", "custom jobs have no client token")
    ]
    code, lines = _examine(capsys, {"--kind": "custom"})
    assert (code, machine.service.requests[-1].operation_name) == (0, "GetJobDetails")
    assert lines["iam"][0] == "ok"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({**_CUSTOM, "--kind": "third-party"}, "--kind: must be custom with this --action-type-id"),
        ({**_CUSTOM, "--client-id": "c"}, "--client-tokens, --client-id: custom jobs have no client token"),
    ],
)
def test_options_of_another_kind_are_refused(
    options: dict[str, str], message: str, machine: _Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is sent."""
    shown = run_command(capsys, "doctor", *(word for option in options.items() for word in option))
    assert (shown.code, shown.err) == (252, f"cp-thirdparty: error: {message}\n")
    assert machine.service.requests == ()


def test_what_is_not_given_is_skipped(machine: _Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """Without options, one reading of a job that does not exist shows what it can."""
    code, lines = _examine(capsys, {})
    assert [name for name, (status, _) in lines.items() if status == "skip"] == _NAMES[5:]
    assert (code, machine.service.requests[-1].operation_name) == (0, "GetThirdPartyJobDetails")


# The name of the line, variables and options that break it, and a part of the remedy.
_BROKEN: list[tuple[str, dict[str, str | None], dict[str, str], str]] = [
    ("region", {"AWS_REGION": None, "AWS_DEFAULT_REGION": None}, {}, "set AWS_DEFAULT_REGION"),
    ("region", {"AWS_REGION": "x MARK"}, {}, "set AWS_DEFAULT_REGION"),
    ("endpoint", {"AWS_ENDPOINT_URL_CODEPIPELINE": "http://127.0.0.1:9"}, {}, "AWS_ENDPOINT_URL_CODEPIPELINE"),
    ("endpoint", {}, {"--endpoint-url": "ftp://x"}, "--endpoint-url"),
    ("endpoint", {}, {"--ca-bundle": "nothing.pem"}, "--ca-bundle"),
    ("credentials", {}, {"--profile": "MARK"}, "set AWS_PROFILE"),
    ("credentials", {"AWS_PROFILE": "MARK"}, {}, "set AWS_PROFILE"),
    ("credentials", {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, {}, "valid AWS credentials"),
    ("credentials", {"AWS_SECRET_ACCESS_KEY": "xMARK"}, {}, "valid AWS credentials"),
    ("action type", {}, {"--action-type-id": _SHORTHAND.replace("=1", "=2")}, "correct --action-type-id"),
    ("token store", {}, {"--client-id": "other"}, "correct --client-tokens and --client-id"),
    ("journal", {}, {"--journal": "nothing.db"}, "correct --journal"),
]


@pytest.mark.parametrize(("name", "variables", "options", "remedy"), _BROKEN)
def test_a_line_fails_until_its_remedy_is_carried_out(  # noqa: PLR0917 - fixtures
    name: str,
    variables: dict[str, str | None],
    options: dict[str, str],
    remedy: str,
    machine: _Machine,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line fails and has the remedy; without the broken variable or option it passes."""
    with machine.patch.context() as patch:
        for variable, value in variables.items():
            if value is None:
                patch.delenv(variable)
            else:
                patch.setenv(variable, value)
        code, lines = _examine(capsys, {**_OPTIONS, **options})
        assert [each for each, (status, _) in lines.items() if status == "FAIL"] == [name]
        assert (code, remedy in lines[name][1].partition("Remedy: ")[2]) == (255, True)
    assert _examine(capsys, _OPTIONS)[1][name][0] == "ok"


def test_iam_fails_until_the_policy_is_attached(machine: _Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """An AccessDeniedException is a matter of IAM; the lines before it pass."""
    machine.service.faults.add("PollForThirdPartyJobs", _Denied())
    code, lines = _examine(capsys, _OPTIONS)
    assert [status for status, _ in lines.values()] == ["ok"] * 4 + ["FAIL", "skip", "ok", "ok"]
    assert (code, "attach the policy that `cp-thirdparty policy` prints" in lines["iam"][1]) == (255, True)
    assert _examine(capsys, _OPTIONS)[0] == 0


def test_the_clock_fails_until_it_is_set(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A clock that is an hour off is named as such."""
    offset = 3600.0
    with LocalCodePipeline(wall_clock=lambda: time.time() + offset) as service:
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        for name, value in service.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        code, lines = _examine(capsys, {})
        assert (code, lines["clock"][0], "synchronise the clock" in lines["clock"][1]) == (255, "FAIL", True)
        offset = 0.0
        assert _examine(capsys, {})[1]["clock"][0] == "ok"
