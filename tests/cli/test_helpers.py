"""The commands `policy`, `local`, `sweep` and `completion`, and the formats of documents that no operation returns."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete
from support.command_line import run_command, run_program
from support.journals import SCOPE, OldJournal, run_process

from cp_thirdparty import ActionTypeId, Succeeded, ThirdPartyJob
from cp_thirdparty._cli.errors import describe_error
from cp_thirdparty._cli.formats import format_document
from cp_thirdparty._cli.main import Program
from cp_thirdparty.artifacts._temporary import PrivateDirectory
from cp_thirdparty.enums import Delivery
from cp_thirdparty.exceptions import (
    CredentialsError,
    InvalidRequestError,
    ServiceError,
    ThirdPartyError,
    TransportError,
)
from cp_thirdparty.worker import SqliteJournal, worker_policy

_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")
_PLACE = ("--region", "us-east-1", "--account", "123456789012")


def test_policy_prints_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    """The policy of the library is printed as JSON."""
    shown = run_command(
        capsys, "policy", "--action-type-id", "category=Test,owner=ThirdParty,provider=ExampleScan,version=1", *_PLACE
    )
    assert json.loads(shown.out) == worker_policy(_TYPE, region="us-east-1", account="123456789012")
    assert run_command(capsys, "policy", "--action-type-id", "category=Test", *_PLACE).code == 252
    assert run_command(capsys, "policy", *_PLACE).err == "cp-thirdparty: error: --action-type-id: is required\n"


@pytest.mark.parametrize("output", ["json", "table", "text", "yaml"])
@pytest.mark.parametrize(
    ("options", "note"), [((), "the journal has no jobs"), (("--unfinished",), "the journal has no unfinished jobs")]
)
def test_a_journal_without_jobs_is_noted(
    output: str, options: tuple[str, ...], note: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The note is on standard error, so that standard output has the format as always."""
    path = tmp_path / "jobs.db"
    SqliteJournal(path).close()
    shown = run_command(capsys, "jobs", str(path), *options, "--output", output)
    assert (shown.code, shown.err) == (0, f"cp-thirdparty: {note}\n")
    assert output != "json" or json.loads(shown.out) == {"jobs": []}


def test_journal_shows_each_job(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The state of each job is there, in every format, or of the unfinished ones only."""
    path = tmp_path / "jobs.db"
    journal = SqliteJournal(path, clock=lambda: 0.0)
    for name in ("done", "running"):
        journal.claim(ThirdPartyJob(client_id="c", job_id=name), SCOPE)
        journal.running(name)
    journal.result("done", Succeeded())
    journal.finish("done", "reported")
    shown = run_command(capsys, "jobs", str(path), "--output", "json")
    jobs = {job.pop("jobId"): job for job in json.loads(shown.out)["jobs"]}
    same = {
        "clientId": "c",
        "crashes": 0,
        "isSuspect": False,
        "claimedAt": "1970-01-01T00:00:00+00:00",
        "since": "1970-01-01T00:00:00+00:00",
        "actionType": "Test ThirdParty ExampleScan 1",
        "region": "us-east-1",
    }
    assert jobs == {
        "done": {"state": "DONE", "outcome": "reported", "result": "Succeeded", "owner": "", **same},
        "running": {"state": "RUNNING", "outcome": "", "result": "", "owner": "alive", **same},
    }
    left = run_command(capsys, "jobs", str(path), "--unfinished").out
    assert "running" in left
    assert "done" not in left
    journal.close()


def test_journal_shows_what_is_set_aside(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """An unfinished job that cannot be read is there with the problem, and names are shown without controls."""
    path = tmp_path / "jobs.db"
    run_process(
        path, "[journal.claim(ThirdPartyJob(client_id='c', job_id=each), SCOPE) for each in ('bad', 'a\x1b[2J')]"
    )
    with closing(SqliteJournal(path)) as journal:
        journal.claim(ThirdPartyJob(client_id="c", job_id="finished"), SCOPE)
        journal.finish("finished", "reported")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE entries SET state = 'PAUSED' WHERE job_id = 'bad'")
        connection.execute("UPDATE entries SET result = 'nonsense' WHERE job_id = 'finished'")
    connection.close()
    bad, good = json.loads(run_command(capsys, "jobs", str(path), "--output", "json").out)["jobs"]
    assert bad == {"jobId": "bad", "state": "SET_ASIDE", "problem": "its state is unknown"}
    assert (good["jobId"], good["owner"], good["claimedAt"]) == ("a\x1b[2J", "dead", "")
    assert "\x1b" not in run_command(capsys, "jobs", str(path), "--color", "off").out


def test_journal_only_reads(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Nothing is created beside a journal, and a database of another kind stays as it is."""
    path = tmp_path / "jobs.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE customers (name TEXT)")
    connection.close()
    before = path.read_bytes()
    shown = run_command(capsys, "jobs", str(path))
    assert (shown.code, shown.out) == (255, "")
    assert shown.err == (
        "cp-thirdparty: error: the journal cannot be opened: the file is a database, but not a journal\n"
    )
    assert path.read_bytes() == before
    path.unlink()
    SqliteJournal(path).close()
    before = path.read_bytes()
    path.chmod(0o400)
    assert run_command(capsys, "jobs", str(path), "--output", "json").out == '{\n    "jobs": []\n}\n'
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["jobs.db"]


def test_journal_shows_a_file_of_version_0_1(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """It is read before any worker of this version has converted it."""
    path = tmp_path / "jobs.db"
    with closing(OldJournal(path)) as old:
        old.claim("job-1")
    (job,) = json.loads(run_command(capsys, "jobs", str(path), "--output", "json").out)["jobs"]
    assert (job["jobId"], job["state"], "region" in job) == ("job-1", "CLAIMING", False)


def test_journal_shows_a_copy_that_nobody_can_write(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Of a journal in use, with its write-ahead log, in a directory that nobody can write."""
    path = tmp_path / "jobs.db"
    (tmp_path / "copy").mkdir()
    with closing(SqliteJournal(path)) as journal:
        journal.claim(ThirdPartyJob(client_id="c", job_id="job-1"), SCOPE)
        for name in ("jobs.db", "jobs.db-wal"):
            shutil.copy(tmp_path / name, tmp_path / "copy" / name)
    for folder in (tmp_path, *tmp_path.parents):
        if os.geteuid() == 0:
            folder.chmod(folder.stat().st_mode | 0o011)
    for name in ("jobs.db", "jobs.db-wal"):
        (tmp_path / "copy" / name).chmod(0o444)
    (tmp_path / "copy").chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may write anywhere
    try:
        shown = run_command(capsys, "jobs", str(tmp_path / "copy" / "jobs.db"), "--output", "json")
    finally:
        os.seteuid(user)
    assert (shown.code, shown.err) == (0, "")
    assert [job["jobId"] for job in json.loads(shown.out)["jobs"]] == ["job-1"]
    assert sorted(each.name for each in (tmp_path / "copy").iterdir()) == ["jobs.db", "jobs.db-wal"]
    (tmp_path / "copy").chmod(0o755)


def test_journal_ends_a_job(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A job that nobody has, or whose ownership is unknown, is finished; one that a running worker has is not."""
    path = tmp_path / "jobs.db"
    run_process(path, "journal.claim(job, SCOPE); journal.uncertain('job-1')")
    shown = run_command(capsys, "resolve", str(path), "job-1", "--yes")
    assert (shown.code, shown.out, shown.err) == (0, "job-1: ended in the journal\n", "")
    (job,) = json.loads(run_command(capsys, "jobs", str(path), "--output", "json").out)["jobs"]
    assert (job["state"], job["outcome"]) == ("DONE", "ended by an operator")
    shown = run_command(capsys, "resolve", str(path), "MARK", "--yes")
    assert shown.code == 255
    assert shown.err.endswith("there is no unfinished job with this id\n")
    journal = SqliteJournal(path)
    journal.claim(ThirdPartyJob(client_id="c", job_id="job-2"), SCOPE)
    shown = run_command(capsys, "resolve", str(path), "job-2", "--yes")
    journal.uncertain("job-2")
    assert run_command(capsys, "resolve", str(path), "job-2", "--yes").code == 0  # its worker only asks about it
    journal.close()
    assert (shown.code, shown.err) == (
        255,
        "cp-thirdparty: error: a running worker has the job; stop the worker, then end the job\n",
    )


def test_a_file_that_is_not_a_journal_is_an_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A missing file is not created, and a file of another kind is an error."""
    path = tmp_path / "jobs.db"
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    for name, *arguments in (("jobs",), ("resolve", "job-1", "--yes")):
        for missing in (path, loop):
            shown = run_command(capsys, name, str(missing), *arguments)
            assert (shown.code, shown.err) == (255, f"cp-thirdparty: error: {missing}: there is no such file\n")
        assert not path.exists()
        shown = run_command(capsys, name, str(tmp_path), *arguments)
        assert (shown.code, "is a directory; name the file" in shown.err) == (255, True)
    path.write_text("no journal", encoding="utf-8")
    assert run_command(capsys, "jobs", str(path)).code == 255
    assert run_command(capsys, "jobs").code == 252
    assert "The command 'journal' is deprecated" in run_command(capsys, "journal", str(path)).err


def test_sweep_removes_what_dead_processes_have_left(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default in the directory for temporary files; what is in use is kept and named."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with PrivateDirectory(tmp_path) as private:
        (tmp_path / "cp-thirdparty-tmp-1-dead" / "workspace").mkdir(parents=True)
        (tmp_path / "cp-thirdparty-tmp-1-dead" / ".cp-thirdparty-tmp").touch()
        (tmp_path / ".cp-thirdparty-tmp-1-\x1b[2J").touch()
        shown = run_command(capsys, "sweep")
        kept = f"kept {private.path.name}: its process is alive\n"
    assert (shown.code, shown.err) == (0, "")
    assert sorted(shown.out.splitlines(keepends=True)) == [
        "kept .cp-thirdparty-tmp-1-\\x1b[2J: Not a directory\n",
        kept,
        "removed cp-thirdparty-tmp-1-dead\n",
    ]
    assert run_command(capsys, "sweep", str(tmp_path / "other")).err == (
        "cp-thirdparty: error: DIRECTORY: No such file or directory\n"
    )


def test_a_taken_port_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """`local` prints that it cannot listen."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        shown = run_command(capsys, "local", "--port", str(taken.getsockname()[1]))
    assert (shown.code, shown.err) == (255, "cp-thirdparty: error: --port: cannot listen: Address already in use\n")
    shown = run_command(capsys, "local", "--scenario", "nothing.json")
    problem = "--scenario: nothing.json: cannot be read: No such file or directory"
    assert (shown.code, shown.err) == (252, f"cp-thirdparty: error: {problem}\n")
    assert run_command(capsys, "local", "--port", "65536").err.endswith("--port: must be an integer from 0 to 65535\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_completion(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The script calls the program."""
    assert "_CP_THIRDPARTY_COMPLETE=" in run_command(capsys, "completion", shell).out
    assert run_command(capsys, "completion", "other").code == 252


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("cp-thirdparty get-t", "get-third-party-job-details"),
        ("cp-thirdparty get-j", "get-job-details"),
        ("cp-thirdparty policy --acc", "--account"),
        ("cp-thirdparty nothing get-t", "get-third-party-job-details"),
    ],
)
def test_completion_knows_commands_and_options(words: str, expected: str) -> None:
    """The beginning of a word is completed."""
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")), "_CP_THIRDPARTY_COMPLETE": "bash_complete"}
    done = subprocess.run(
        [sys.executable, "-m", "cp_thirdparty"], env={**os.environ, **asked}, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"plain,{expected}\n"


def test_completion_before_the_command_in_zsh() -> None:
    """Zsh gets the kind, the value and the help of each."""
    asked = {"COMP_WORDS": "cp-thirdparty --output y", "COMP_CWORD": "2", "_CP_THIRDPARTY_COMPLETE": "zsh_complete"}
    assert run_program(env=asked).out == "plain\nyaml\n_\nplain\nyaml-stream\n_\n"


@pytest.mark.parametrize(
    ("words", "incomplete", "expected"),
    [
        ([], "--reg", ["--region"]),
        ([], "--cli-inp", ["--cli-input-json", "--cli-input-yaml"]),
        (["--output"], "yaml-", ["yaml-stream"]),
        (["--debug", "--color"], "o", ["on", "off"]),
        (["--region", "us-east-1"], "put-t", [f"put-third-party-job-{end}-result" for end in ("failure", "success")]),
        (["--region=us-east-1", "--debug"], "--prof", ["--profile"]),
        (["--region"], "", []),
        (["--region", "us-east-1", "poll-for-jobs"], "--max", ["--max-batch-size"]),
        (["--output", "json", "--generate-cli-skeleton", "output", "poll-for-jobs", "--color"], "a", ["auto"]),
        (["fail", "--type"], "Config", ["ConfigurationError"]),
        (["local", "--output"], "", ["env", "json"]),
        (["artifact"], "g", ["get"]),
        (["completion"], "z", ["zsh"]),
    ],
)
def test_completion_knows_options_before_the_command_and_their_values(
    words: list[str], incomplete: str, expected: list[str]
) -> None:
    """Options of all operations stand before the command too; values of an enumeration are completed."""
    made = ShellComplete(Program(), {}, "cp-thirdparty", "_CP_THIRDPARTY_COMPLETE")
    assert [item.value for item in made.get_completions(words, incomplete)] == expected


@pytest.mark.parametrize(
    ("document", "output", "expected"),
    [
        ({}, "json", ""),
        ({}, "yaml", ""),
        ({}, "text", ""),
        ({}, "table", ""),
        (None, "json", "null\n"),
        (None, "text", "None\n"),
        (None, "table", ""),
        ("a", "yaml", "a\n"),
        (["a", ["b", ["c"]]], "text", "a\nb\nc\n"),
        ([["a"], ["b"]], "text", "a\nb\n"),
        ("a", "table", "| Get |\n"),
        ({"a": {"b": ["c", "d"]}}, "text", "B\tc\nB\td\n"),
        ({"a": [{"b": 1}, {"c": 2}]}, "text", "A\t1\t\nA\t\t2\n"),
        ([{"b": 1}, "x"], "text", "1\nx\n"),
    ],
)
def test_formats_of_odd_documents(document: object, output: str, expected: str) -> None:
    """Each kind of result of a query is written as the AWS CLI writes it."""
    assert format_document(document, output, title="Get") == expected


def test_a_table_keeps_what_the_aws_cli_drops() -> None:
    """Lists of lists of structures have a section for each list; the AWS CLI fails or shows their names only."""
    shown = format_document([[{"a": 1}], "x", [{"b": [2, {"c": 3}]}]], "table", title="Get")
    assert [word for word in ("Get", "x", "a", "1", "b", "2", "c", "3") if word not in shown] == []


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (click.BadParameter("xMARK"), (252, "a parameter: must be of another form; see --help")),
        (click.BadParameter("x", param=click.Option(["--a"])), (252, "--a: must be of another form; see --help")),
        (click.NoSuchOption("--xMARK"), (252, "there is no such option; see cp-thirdparty --help")),
        (OSError("xMARK"), (255, "unexpected error (OSError)")),
        (KeyboardInterrupt(), (130, "interrupted")),
    ],
)
def test_errors_hold_no_value(error: BaseException, expected: tuple[int, str]) -> None:
    """Messages of click and Python lose their values."""
    assert describe_error(error) == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ("policy", "--region", "a", "--region", "b"),
        ("policy", "--account", "1", "--account", "2"),
        ("policy", "--action-type-id", "a=b", "--action-type-id", "c=d"),
        ("jobs", "jobs.db", "--query", "a", "--query", "b"),
        ("jobs", "jobs.db", "--output", "json", "--output", "text"),
        ("jobs", "jobs.db", "--color", "on", "--color", "off"),
        ("local", "--port", "1", "--port", "2"),
        *(
            ("poll-for-third-party-jobs", option, value, option, value)
            for option, value in (
                ("--region", "us-east-1"),
                ("--output", "json"),
                ("--query", "jobs"),
                ("--profile", "p"),
                ("--endpoint-url", "http://127.0.0.1:9"),
                ("--color", "on"),
                ("--ca-bundle", "f"),
                ("--cli-read-timeout", "1"),
                ("--cli-connect-timeout", "1"),
                ("--cli-binary-format", "base64"),
                ("--generate-cli-skeleton", "input"),
            )
        ),
    ],
    ids=lambda arguments: f"{arguments[0]} {arguments[-2]}",
)
def test_an_option_may_be_given_once(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """A second value of an option is refused, because the first one would have no effect."""
    shown = run_command(capsys, *arguments)
    assert (shown.code, shown.out) == (252, "")
    assert shown.err == f"cp-thirdparty: error: {arguments[-2]}: is given more than once\n"


_POLICY_TYPE = "category=Test,owner=ThirdParty,provider=P,version=1"
_POLL = ("poll-for-third-party-jobs", "--action-type-id", _POLICY_TYPE)


@pytest.mark.parametrize(
    ("arguments", "code", "name"),
    [
        (("policy", "--action-type-id", _POLICY_TYPE, "--region", "us-east-1", "--account", "MARK"), 252, "--account"),
        (("policy", "--action-type-id", _POLICY_TYPE, "--region", "MARK!", "--account", "1" * 12), 252, "--region"),
        (
            ("policy", "--action-type-id", _POLICY_TYPE.replace("=P", "=P P"), *_PLACE),
            252,
            "--action-type-id: provider",
        ),
        ((*_POLL, "--region", "us-east-1", "--endpoint-url", "MARK"), 252, "--endpoint-url"),
        ((*_POLL, "--region", "us-east-1", "--ca-bundle", "MARK"), 252, "--ca-bundle"),
        ((*_POLL, "--region", "us-east-1", "--profile", "MARK"), 253, "--profile"),
        ((*_POLL, "--region", "MARK!"), 253, "--region"),
        (("completion", "MARK"), 252, "SHELL"),
        (("completion",), 252, "SHELL"),
        (("jobs",), 252, "JOURNAL"),
    ],
    ids=str,
)
def test_an_error_names_what_the_user_typed(
    arguments: tuple[str, ...], code: int, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error names the option or the argument as the user knows it, and shows no value."""
    shown = run_command(capsys, *arguments)
    assert shown.err.startswith(f"cp-thirdparty: error: {name}: ")
    assert (shown.code, shown.out) == (code, "")
    assert "MARK" not in shown.err


_PUT: Any = {"operation_name": "PutThirdPartyJobSuccessResult", "job_id": "job-1"}
_AGAIN = "; CodePipeline may have accepted it; run the command again"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TransportError("cut", delivery=Delivery.SENT, is_retry_safe=None, **_PUT), (255, _AGAIN)),
        (TransportError("cut", delivery=Delivery.RESPONDED, is_retry_safe=None, **_PUT), (255, _AGAIN)),
        (
            ServiceError("", code="InternalFailure", delivery=Delivery.RESPONDED, is_retry_safe=None, **_PUT),
            (254, _AGAIN),
        ),
        (TransportError("cut", delivery=Delivery.SENT, is_retry_safe=True, **_PUT), (255, "")),
        (TransportError("cut", delivery=Delivery.NOT_SENT, is_retry_safe=True, **_PUT), (255, "; nothing was sent")),
        (
            CredentialsError("none", delivery=Delivery.NOT_SENT, is_retry_safe=False, **_PUT),
            (253, "; nothing was sent"),
        ),
        (InvalidRequestError("job_id", "is long", delivery=Delivery.NOT_SENT, is_retry_safe=False), (252, "")),
        (TransportError("outside of a call"), (255, "")),
    ],
)
def test_an_error_shows_whether_the_request_may_have_been_accepted(
    error: ThirdPartyError, expected: tuple[int, str]
) -> None:
    """A user must know whether to run the command again."""
    code, hint = expected
    assert describe_error(error) == (code, f"{error}{hint}")
