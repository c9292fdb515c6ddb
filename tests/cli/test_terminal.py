"""The command line in a terminal: prompts without echo, colours, the pager, Ctrl-C, a closed pipe."""

from __future__ import annotations

import os
import pty
import select
import shlex
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import pytest
from support.command_line import DETAILS

from cp_thirdparty import ActionTypeId
from cp_thirdparty.testing import LocalCodePipeline

_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")
_CLIENT_ID = "00000000-0000-4000-8000-000000000001"
_TOKEN = "xMARKtoken"
_BOUND = 60.0  # seconds that nothing here comes near


class Terminal:
    """A program whose standard streams are a terminal of a width."""

    def __init__(self, env: Mapping[str, str], *arguments: str, columns: int = 80) -> None:
        self._leader, follower = pty.openpty()
        ioctl(follower, TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        # Who runs the tests may have set COLUMNS, which overrides the size of a terminal.
        sizeless = {name: value for name, value in env.items() if name not in ("COLUMNS", "LINES")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cp_thirdparty", *arguments],
            env={**sizeless, "TERM": "xterm"},
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
            # The terminal controls the program, so that /dev/tty and Ctrl-C lead to it.
            preexec_fn=_control,  # noqa: PLW1509 - it does nothing that threads could disturb
        )
        os.close(follower)
        self.shown = ""

    def wait_for(self, text: str) -> None:
        """Read until a string was shown."""
        end = time.monotonic() + _BOUND
        while text not in self.shown:
            assert time.monotonic() < end, self.shown
            assert self._read(), self.shown

    def type(self, text: str) -> None:
        """Type."""
        os.write(self._leader, text.encode())

    def end(self) -> int:
        """Read all that is left, and return the exit code."""
        while self._read():
            pass
        code = self._process.wait(_BOUND)
        os.close(self._leader)
        return code

    def _read(self) -> bool:
        assert select.select([self._leader], [], [], _BOUND)[0], self.shown
        try:
            piece = os.read(self._leader, 65536)
        except OSError:  # the program has ended
            return False
        self.shown += piece.decode()
        return bool(piece)


def _control() -> None:
    from termios import TIOCSCTTY  # noqa: PLC0415 - in the child

    ioctl(0, TIOCSCTTY, 0)


@pytest.fixture(scope="module")
def service() -> Iterator[tuple[dict[str, str], str]]:
    """Serve a job, and give the environment to call it with and its id."""
    with LocalCodePipeline() as service:
        service.register_client(_CLIENT_ID, _TOKEN)
        action = service.start_action(_TYPE, client_id=_CLIENT_ID, configuration={"ApiKey": "xMARKconfiguration"})
        env = {**os.environ, **service.environment()}
        for name in ("AWS_PROFILE", "PAGER", "AWS_PAGER", "LESS", "NO_COLOR", "CP_THIRDPARTY_CLIENT_TOKEN"):
            env.pop(name, None)
        yield env, action.jobs[0].id


def test_the_token_is_asked_for_without_echo(service: tuple[dict[str, str], str]) -> None:
    """A terminal is asked for the token, and what is typed does not show."""
    env, job_id = service
    terminal = Terminal(env, DETAILS, "--job-id", job_id, "--no-cli-pager")
    terminal.wait_for("--client-token: ")
    terminal.type(f"{_TOKEN}\n")
    assert terminal.end() == 0
    assert '"nonce": "1"' in terminal.shown
    assert "MARK" not in terminal.shown


def test_missing_parameters_are_asked_for(service: tuple[dict[str, str], str]) -> None:
    """With --cli-auto-prompt each missing parameter is asked for."""
    env, job_id = service
    terminal = Terminal(env, DETAILS, "--cli-auto-prompt", "--no-cli-pager", "--query", "jobDetails.nonce")
    terminal.wait_for("--job-id: ")
    terminal.type(f"{job_id}\n")
    terminal.wait_for("--client-token: ")
    terminal.type(f"{_TOKEN}\n")
    assert terminal.end() == 0
    assert '"1"' in terminal.shown


def test_ctrl_c_at_a_prompt(service: tuple[dict[str, str], str]) -> None:
    """Ctrl-C ends the program with the code of an interruption and one line."""
    env, job_id = service
    terminal = Terminal(env, DETAILS, "--job-id", job_id)
    terminal.wait_for("--client-token: ")
    terminal.type("\x03")
    assert terminal.end() == 130
    assert terminal.shown.rstrip().endswith("cp-thirdparty: error: interrupted")
    assert "Traceback" not in terminal.shown


@pytest.mark.slow
def test_tables_have_colours_and_fit_the_terminal(service: tuple[dict[str, str], str]) -> None:
    """A wide terminal has a row for each structure, a narrow one a line for each member; both have colours."""
    env, job_id = service
    env = {**env, "CP_THIRDPARTY_CLIENT_TOKEN": _TOKEN}
    options = ("--job-id", job_id, "--output", "table", "--no-cli-pager", "--query", "jobDetails.data.actionTypeId")
    wide, narrow = (Terminal(env, DETAILS, *options, columns=columns) for columns in (200, 40))
    assert (wide.end(), narrow.end()) == (0, 0)
    assert "\x1b[" in wide.shown
    assert len(wide.shown.splitlines()) == 6
    assert len(narrow.shown.splitlines()) == 7
    plain = Terminal({**env, "NO_COLOR": "1"}, DETAILS, *options)
    assert plain.end() == 0
    assert "\x1b[" not in plain.shown


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["AWS_PAGER", "PAGER"])
def test_a_terminal_has_a_pager(variable: str, service: tuple[dict[str, str], str], tmp_path: Path) -> None:
    """The pager of the environment gets the output, unless it is turned off."""
    env, job_id = service
    pager = tmp_path / "pager"
    pager.write_text("#!/bin/sh\nsed 's/^/paged /'\n", encoding="utf-8")
    pager.chmod(0o755)
    env = {**env, "CP_THIRDPARTY_CLIENT_TOKEN": _TOKEN, variable: str(pager)}
    options = ("--job-id", job_id, "--query", "jobDetails.nonce")
    paged, plain = Terminal(env, DETAILS, *options), Terminal(env, DETAILS, *options, "--no-cli-pager")
    none = Terminal({**env, "AWS_PAGER": ""}, DETAILS, *options)
    assert (paged.end(), plain.end(), none.end()) == (0, 0, 0)
    assert 'paged "1"' in paged.shown
    assert plain.shown == none.shown == '"1"\r\n'


def test_a_pager_gets_no_token(service: tuple[dict[str, str], str], tmp_path: Path) -> None:
    """Neither its environment nor its arguments have the client token."""
    env, job_id = service
    pager = tmp_path / "pager"
    pager.write_text('#!/bin/sh\necho "$0 $*"; env; sed "s/^/paged /"\n', encoding="utf-8")
    pager.chmod(0o755)
    env = {**env, "CP_THIRDPARTY_CLIENT_TOKEN": _TOKEN, "PAGER": str(pager)}
    paged = Terminal(env, DETAILS, "--job-id", job_id, "--query", "jobDetails.nonce")
    assert paged.end() == 0
    assert 'paged "1"' in paged.shown
    assert "AWS_ACCESS_KEY_ID=" in paged.shown  # it has the rest of the environment
    assert _TOKEN not in paged.shown


def test_a_reader_that_closes_the_pipe_is_not_an_error(service: tuple[dict[str, str], str]) -> None:
    """Output into a closed pipe ends without an error."""
    env, job_id = service
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "cp_thirdparty", DETAILS, "--job-id", job_id],
        env={**env, "CP_THIRDPARTY_CLIENT_TOKEN": _TOKEN},
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=_BOUND,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


_needs_full_disk = pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is Linux's /dev/full")


def _run_in_shell(env: Mapping[str, str], redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program with standard streams that a shell has redirected or closed."""
    program = shlex.join([sys.executable, "-m", "cp_thirdparty", *arguments])
    return subprocess.run(
        ["sh", "-c", f"{program} {redirection}"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=_BOUND,
    )


@_needs_full_disk
def test_a_full_disk_is_an_error(service: tuple[dict[str, str], str]) -> None:
    """Output that could not be written is an error."""
    env, job_id = service
    done = _run_in_shell({**env, "CP_THIRDPARTY_CLIENT_TOKEN": _TOKEN}, ">/dev/full", DETAILS, "--job-id", job_id)
    problem = "standard output cannot be written: No space left on device; CodePipeline has accepted the call"
    assert (done.returncode, done.stderr) == (255, f"cp-thirdparty: error: {problem}\n")


@_needs_full_disk
def test_a_result_by_hand_on_a_full_disk() -> None:
    """The error states that CodePipeline has the result, so that nobody reports another one."""
    with LocalCodePipeline() as service:
        service.register_client(_CLIENT_ID, _TOKEN)
        action = service.start_action(_TYPE, client_id=_CLIENT_ID)
        env = {**os.environ, **service.environment(), "CP_THIRDPARTY_CLIENT_TOKEN": _TOKEN}
        job = ("--job-id", action.jobs[0].id, "--acknowledge", "--yes")
        done = _run_in_shell(env, ">/dev/full", "fail", *job, "--message", "The scanner was down.")
        assert action.status == "Failed"
    problem = "standard output cannot be written: No space left on device; CodePipeline has accepted the result"
    assert (done.returncode, done.stderr) == (255, f"cp-thirdparty: error: {problem}\n")


@pytest.mark.parametrize("redirection", ["2>&-", pytest.param("2>/dev/full", marks=_needs_full_disk)])
def test_an_error_that_cannot_be_written_keeps_its_exit_code(redirection: str) -> None:
    """A script can distinguish a mistake from a failure."""
    done = _run_in_shell(os.environ, redirection, "jobs", "nothing.db")
    assert (done.returncode, done.stdout, done.stderr) == (255, "", "")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((DETAILS, "--job-id", "x"), "--client-token: is required, and there is no terminal to ask"),
        ((DETAILS, "--job-id", "x", "--client-token", "-"), "--client-token: standard input is closed"),
        (("resolve", __file__, "x"), "--yes: is required, because there is no terminal to ask"),
    ],
)
def test_a_closed_standard_input(arguments: tuple[str, ...], problem: str, service: tuple[dict[str, str], str]) -> None:
    """It is not a terminal, and nothing can be read from it."""
    done = _run_in_shell(service[0], "<&-", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (252, "", f"cp-thirdparty: error: {problem}\n")


def test_characters_that_the_terminal_cannot_encode_are_escaped(service: tuple[dict[str, str], str]) -> None:
    """An encoding that lacks a character does not end the program."""
    env, job_id = service
    done = subprocess.run(
        [sys.executable, "-m", "cp_thirdparty", DETAILS, "--job-id", job_id, "--query", "'\u2713'"],
        env={**env, "CP_THIRDPARTY_CLIENT_TOKEN": _TOKEN, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
        timeout=_BOUND,
    )
    assert (done.returncode, done.stdout) == (0, b'"\\u2713"\n')


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_local_service_ends_cleanly(number: signal.Signals) -> None:
    """`local` prints how to call it, responds, and ends with 0 at SIGTERM and Ctrl-C."""
    with subprocess.Popen(
        [sys.executable, "-m", "cp_thirdparty", "local"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as served:
        assert served.stdout is not None
        lines = iter(served.stdout.readline, "")
        script = []
        for line in lines:
            script.append(line)
            if DETAILS in line:
                break
        program = "".join(script[:-1]) + script[-1].replace("# cp-thirdparty", f"{sys.executable} -m cp_thirdparty")
        done = subprocess.run(["sh", "-c", program], capture_output=True, text=True, check=False, timeout=_BOUND)
        served.send_signal(number)
        _, errors = served.communicate(timeout=_BOUND)
    assert (done.returncode, '"ProjectName": "**********"' in done.stdout) == (0, True)
    assert (served.returncode, errors) == (0, "")


@pytest.mark.parametrize(
    ("module", "prefix"),
    [("cp_thirdparty", "cp-thirdparty: error"), ("cp_thirdparty.testing", "cp_thirdparty.testing")],
)
@_needs_full_disk
def test_a_local_service_on_a_full_disk(module: str, prefix: str) -> None:
    """The error names standard output, and not the port."""
    local = ["local"] if module == "cp_thirdparty" else []
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", module, *local],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=_BOUND,
        )
    assert done.stderr == f"{prefix}: standard output cannot be written: No space left on device\n"
    assert done.returncode == (255 if local else 1)


@_needs_full_disk
def test_a_help_page_on_a_full_disk_is_an_error() -> None:
    """If output is lost at the end of the program, it is an error."""
    assert _run_in_shell(os.environ, ">/dev/full", "--version").returncode == 255
