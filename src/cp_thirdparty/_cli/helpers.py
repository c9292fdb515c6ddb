"""The commands beside the operations: IAM policy, local service, journal, leftovers, shell completion."""

from __future__ import annotations

import gc
import json
import math
import signal
import tempfile
import threading
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from cp_thirdparty._cli.errors import OTHER, CommandError
from cp_thirdparty._cli.formats import FORMATS, format_document
from cp_thirdparty._cli.output import is_colored, terminal_width, write
from cp_thirdparty._cli.single import single
from cp_thirdparty._text import escape
from cp_thirdparty.exceptions import InvalidRequestError
from cp_thirdparty.models import ActionTypeId

if TYPE_CHECKING:
    from cp_thirdparty.worker.journal import JournalEntry, SetAside

__all__ = ["completion", "journal", "local", "policy", "sweep"]

_LAST_PORT = 65535
_SHELLS: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command(
    epilog="Example: cp-thirdparty policy --action-type-id category=Test,owner=ThirdParty,provider=ExampleScan,"
    "version=1 --region us-east-1 --account 123456789012"
)
@click.option(
    "--action-type-id",
    required=True,
    metavar="TEXT",
    help="The action type, as JSON or NAME=VALUE,...",
    **single(),
)
@click.option(
    "--region", required=True, metavar="NAME", help="AWS region of the action type, such as us-east-1.", **single()
)
@click.option(
    "--account", required=True, metavar="DIGITS", help="AWS account of the action type, 12 digits.", **single()
)
def policy(action_type_id: str, region: str, account: str) -> None:
    """Print the least IAM policy that a worker of an action type needs."""
    from cp_thirdparty._cli.documents import read_text  # noqa: PLC0415 - see below
    from cp_thirdparty._cli.parameters import read_model  # noqa: PLC0415 - see below
    from cp_thirdparty.worker.policy import worker_policy  # noqa: PLC0415 - it brings the worker

    option = "--action-type-id"
    model = read_model(ActionTypeId, read_text(action_type_id, option), option)
    try:
        document = worker_policy(model, region=region, account=account)
    except InvalidRequestError as error:
        argument, _, member = error.parameter.partition(".")
        name = f"--{argument.replace('_', '-')}: {member}".removesuffix(": ")
        raise CommandError(f"{name}: {error.rule}") from None
    write(json.dumps(document, indent=4) + "\n")


@click.command(epilog="Example: cp-thirdparty local --port 8000")
@click.option(
    "--port", type=click.IntRange(0, _LAST_PORT), show_default=True, help="Port of 127.0.0.1; 0: any.", **single(0)
)
def local(port: int) -> None:
    """
    Serve a local CodePipeline with a demo action until Ctrl-C or SIGTERM.

    It prints what another shell needs to call it, with made-up secrets.
    """
    from cp_thirdparty._cli.demo import demo  # noqa: PLC0415 - it brings the local service

    gc.enable()  # which a program of one call does without
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with demo(port) as lines:
        write("".join(f"{line}\n" for line in lines))
        while not ended.wait(0.2):  # in short waits, which a signal ends on every platform
            pass


@click.command(epilog="Example: cp-thirdparty journal jobs.db --unfinished")
@click.argument("file", type=click.Path())
@click.option("--unfinished", is_flag=True, help="Leave out finished jobs.")
@click.option(
    "--end", metavar="JOB_ID", help="Mark an unfinished job as finished that no running worker has.", **single()
)
@click.option(
    "--output", type=click.Choice(FORMATS), show_default=True, help="Format of the output.", **single("table")
)
@click.option("--color", type=click.Choice(("on", "off", "auto")), show_default=True, help="Colours.", **single("auto"))
@click.option("--no-cli-pager", is_flag=True, help="Write to the terminal without a pager.")
def journal(file: str, *, unfinished: bool, end: str | None, output: str, color: str, no_cli_pager: bool) -> None:
    """
    Show the state of each job in a worker's journal FILE, or end a job.

    Without --end, the file is only read.  A job that a running worker has cannot be ended.
    """
    from cp_thirdparty.worker._sqlite_rows import read_journal  # noqa: PLC0415 - it brings the worker
    from cp_thirdparty.worker.sqlite_journal import SqliteJournal  # noqa: PLC0415 - it brings the worker

    path = Path(file).resolve()
    if not path.is_file():
        raise CommandError("FILE: there is no such file", OTHER)  # the journal would be created
    if end is not None:
        with closing(SqliteJournal(path)) as opened:
            opened.end(end)
        return
    jobs = [_show_job(found) for found in read_journal(path, unfinished_only=unfinished)]
    document = {"jobs": sorted(jobs, key=lambda job: str(job.get("changedAt", "")))}
    text = format_document(document, output, title="Journal", color=is_colored(color), width=terminal_width())
    write(text, pager=not no_cli_pager)


def _show_job(found: JournalEntry | SetAside) -> dict[str, Any]:
    from cp_thirdparty.converter import unstructure  # noqa: PLC0415 - few commands need it
    from cp_thirdparty.worker.journal import JournalEntry  # noqa: PLC0415 - it brings the worker

    if not isinstance(found, JournalEntry):
        return {"jobId": found.job_id, "state": "SET_ASIDE", "problem": found.problem}
    job = {
        "jobId": found.job.job_id,
        "clientId": found.job.client_id,
        "state": found.state.value,
        "outcome": found.outcome or "",
        "owner": {True: "alive", False: "dead", None: ""}[found.is_owner_alive],
        "crashes": found.crashes,
        "isSuspect": found.is_suspect,
        "claimedAt": _show_time(found.claimed_at),
        "changedAt": _show_time(found.changed_at),
    }
    if found.scope is not None:
        job["actionType"] = " ".join(unstructure(found.scope.action_type_id).values())
        job["region"] = found.scope.region_name
    return job


def _show_time(time: float | None) -> str:
    return "" if time is None else datetime.fromtimestamp(time, timezone.utc).isoformat(timespec="seconds")


@click.command(epilog="Example: cp-thirdparty sweep /data/builds")
@click.argument("directory", type=click.Path(), required=False)
def sweep(directory: str | None) -> None:
    """
    Remove temporary directories that killed processes of yours have left in DIRECTORY.

    The default is the directory for temporary files, where workers have the workspaces of jobs.  Partial downloads,
    extractions and archives are beside the path that was written.
    """
    from cp_thirdparty._temporary import sweep as remove_leftovers  # noqa: PLC0415 - few calls need it

    try:
        swept = remove_leftovers(Path(tempfile.gettempdir() if directory is None else directory), seconds=math.inf)
    except OSError as failure:
        problem = failure.strerror or type(failure).__name__
    else:
        write("".join(f"removed {escape(name)}\n" for name in swept.removed))
        write("".join(f"kept {escape(name)}: {reason}\n" for name, reason in swept.kept))
        return
    raise CommandError(f"DIRECTORY: {problem}", OTHER)


@click.command(epilog='Example: eval "$(cp-thirdparty completion bash)"')
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands and options in SHELL."""
    write(_SHELLS[shell](ctx.find_root().command, {}, "cp-thirdparty", "_CP_THIRDPARTY_COMPLETE").source() + "\n")
