"""Strict checks of what a person types: every mistake is refused before anything is sent, in every form."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support.command_line import run_command
from support.typed_inputs import ACCEPTED, REFUSED, TYPE, Accepted, Refused, fail, poll, succeed

from cp_thirdparty.__main__ import main
from cp_thirdparty._cli.shorthand import parse_shorthand
from cp_thirdparty._structuring.strict_input import InputError
from cp_thirdparty.testing import LocalCodePipeline


@pytest.fixture(scope="module")
def service() -> Iterator[LocalCodePipeline]:
    """Serve a local CodePipeline without jobs, and point the environment at it."""
    with LocalCodePipeline() as service, pytest.MonkeyPatch.context() as patch:
        patch.delenv("AWS_PROFILE", raising=False)
        for name, value in service.environment().items():
            patch.setenv(name, value)
        yield service


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: " ".join(row.arguments[:1] + row.arguments[-1:])[:120])
def test_a_mistake_is_refused_before_anything_is_sent(
    row: Refused, service: LocalCodePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line names the option and the member, holds no value, and nothing is sent."""
    before = len(service.requests)
    shown = run_command(capsys, *row.arguments)
    assert (shown.code, shown.out, shown.err.count("\n")) == (252, "", 1)
    assert shown.err.startswith(f"cp-thirdparty: error: {row.error}")
    assert "MARK" not in shown.err
    assert len(service.requests) == before


@pytest.mark.parametrize("row", ACCEPTED, ids=lambda row: " ".join(row.arguments[:1] + row.arguments[-1:])[:120])
def test_correct_input_is_sent(row: Accepted, service: LocalCodePipeline, capsys: pytest.CaptureFixture[str]) -> None:
    """The request has exactly the members that were typed."""
    run_command(capsys, *row.arguments)
    parameters = service.requests[-1].parameters
    assert parameters is not None
    assert {name: value for name, value in parameters.items() if name not in ("jobId", "clientToken")} == row.sent


def test_the_time_of_a_long_shorthand_is_linear() -> None:
    """A name with 100,000 spaces and no value took 8 s."""
    began = time.thread_time()
    with pytest.raises(InputError):
        parse_shorthand("a" + " " * 100_000, str)
    assert time.thread_time() - began < 1.0


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("a @ = x", {"a": "<x>"}),
        ("a@@=x", {"a@": "<x>"}),
        ("@=x", {"@": "x"}),
        (" @=x", {"": "<x>"}),
        (" a =x", {" a": "x"}),
    ],
)
def test_an_at_sign_at_the_end_of_a_name_names_a_file(text: str, members: dict[str, str]) -> None:
    """Spaces may follow the name and the at sign; a name that is only an at sign is a name."""
    assert parse_shorthand(text, lambda path: f"<{path}>") == members


def test_every_structure_is_checked_in_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A file that an option names is checked in the same way."""
    path = tmp_path / "details"
    path.write_text("sumary=x", encoding="utf-8")
    shown = run_command(capsys, *succeed("--execution-details", f"file://{path}"))
    assert shown.err == "cp-thirdparty: error: --execution-details: unknown member 'sumary'; did you mean 'summary'?\n"


def test_the_policy_command_is_strict(capsys: pytest.CaptureFixture[str]) -> None:
    """The action type of the other command that takes one is checked in the same way."""
    options = ("--region", "us-east-1", "--account", "123456789012", "--action-type-id")
    shown = run_command(capsys, "policy", *options, "category=Test,owner=ThirdParty,providr=P,version=1")
    assert (shown.code, shown.out) == (252, "")
    assert "--action-type-id: unknown member 'providr'; did you mean 'provider'?" in shown.err


def test_many_mistakes_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """The line stays short."""
    text = json.dumps(dict.fromkeys("abcdefg", 1))
    assert run_command(capsys, *succeed("--execution-details", text)).err.endswith("percentComplete; and 2 more\n")


# --- any misspelt member of any structure in any form ----------------------------------------------------------------

# The command, the member of an input document, and a correct value of each structure that the command line takes.
_STRUCTURES: tuple[tuple[tuple[str, ...], str, dict[str, Any]], ...] = (
    (poll(), "actionTypeId", TYPE),
    (succeed(), "executionDetails", {"summary": "xMARK", "externalExecutionId": "xMARK", "percentComplete": 5}),
    (
        succeed(),
        "currentRevision",
        {
            "revision": "xMARK",
            "changeIdentifier": "xMARK",
            "created": "2026-01-02T03:04:05+00:00",
            "revisionSummary": "xMARK",
        },
    ),
    (fail(), "failureDetails", {"type": "JobFailed", "message": "xMARK", "externalExecutionId": "xMARK"}),
)
_FORMS = ("shorthand", "JSON", "JSON document", "YAML document", "member of a JSON document")
_OPTIONS = {
    "actionTypeId": "--action-type-id",
    "executionDetails": "--execution-details",
    "currentRevision": "--current-revision",
    "failureDetails": "--failure-details",
}


def _write_option(form: str, member: str, structure: dict[str, Any]) -> list[str]:
    if form == "shorthand":
        return [_OPTIONS[member], ",".join(f"{name}={value}" for name, value in structure.items())]
    if form == "JSON":
        return [_OPTIONS[member], json.dumps(structure)]
    if form == "YAML document":
        return ["--cli-input-yaml", yaml.safe_dump({member: structure})]
    return ["--cli-input-json", json.dumps({member: structure})]


@st.composite
def _misspelt(draw: st.DrawFn, name: str) -> str:
    """Draw a name with one mistake of a kind that people make."""
    place = draw(st.integers(0, len(name) - 1))
    letter = draw(st.sampled_from("aeistBX_- 1é"))
    head, at, tail = name[:place], name[place], name[place + 1 :]
    return draw(
        st.sampled_from(
            (
                head + tail,
                head + at + at + tail,
                head + letter + tail,
                head + letter + at + tail,
                head + at.swapcase() + tail,
                head + tail[:1] + at + tail[1:],
                name.upper(),
                name + "s",
            )
        )
    )


@st.composite
def _commands(draw: st.DrawFn) -> tuple[list[str], bool]:
    """Draw a command with one misspelt member, or with none when the mistake happens to make a correct name."""
    arguments, member, structure = draw(st.sampled_from(_STRUCTURES))
    form = draw(st.sampled_from(_FORMS))
    if form == "member of a JSON document":
        name = draw(_misspelt(member))
        return [*arguments, "--cli-input-json", json.dumps({name: structure})], name == member
    old = draw(st.sampled_from(sorted(structure)))
    new = draw(_misspelt(old))
    changed = {new if name == old else name: value for name, value in structure.items()}
    return [*arguments, *_write_option(form, member, changed)], changed == structure


@settings(max_examples=150, deadline=None)
@given(drawn=_commands())
def test_any_misspelt_member_is_refused(drawn: tuple[list[str], bool], service: LocalCodePipeline) -> None:
    """No form of any structure drops a member: the command is refused, or the member was correct and is sent."""
    arguments, is_correct = drawn
    before = len(service.requests)
    with contextlib.redirect_stderr(io.StringIO()) as errors, contextlib.redirect_stdout(io.StringIO()):
        code = main(arguments)
    assert (code != 252, len(service.requests) > before) == (is_correct, is_correct), shlex.join(arguments)
    assert "MARK" not in errors.getvalue()


@pytest.mark.parametrize(("arguments", "member", "structure"), _STRUCTURES, ids=_OPTIONS)
@pytest.mark.parametrize("form", _FORMS)
def test_the_structures_of_the_property_are_correct(
    arguments: tuple[str, ...],
    member: str,
    structure: dict[str, Any],
    form: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without a mistake each structure is accepted in each form, so a refusal above comes from the mistake."""
    check_only = ("--generate-cli-skeleton", "output")
    assert run_command(capsys, *arguments, *_write_option(form, member, structure), *check_only).code == 0


def test_every_structured_option_is_in_the_property() -> None:
    """A structure that the command line learns later must be added above."""
    from cp_thirdparty._cli.operations import OPERATIONS  # noqa: PLC0415 - only this test needs it

    kinds = {each.member: each.kind for operation in OPERATIONS.values() for each in operation.parameters}
    assert {member for member, kind in kinds.items() if kind not in (str, int, dict)} == set(_OPTIONS)
