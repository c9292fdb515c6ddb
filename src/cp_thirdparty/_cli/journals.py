"""The commands that read a worker's journal, or end a job in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cp_thirdparty._base.text import escape
from cp_thirdparty._cli.aws_settings import AwsSettings
from cp_thirdparty._cli.errors import OTHER, CommandError
from cp_thirdparty._cli.formats import compile_query, format_document
from cp_thirdparty._cli.options import pick_options
from cp_thirdparty._cli.output import confirm, is_colored, terminal_width, write

if TYPE_CHECKING:
    from cp_thirdparty.worker.journal import JournalEntry, SetAside

__all__ = ["JournalSource", "jobs", "journal", "open_journal", "resolve"]


class JournalSource:
    """A journal in a SQLite file: what the commands need of it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, *, unfinished_only: bool) -> Iterator[JournalEntry | SetAside]:
        """Yield the jobs without a change of the journal."""
        from cp_thirdparty.worker._sqlite_rows import read_journal  # noqa: PLC0415 - it brings the worker

        yield from read_journal(self._path, unfinished_only=unfinished_only)

    def end(self, job_id: str) -> None:
        """Mark an unfinished job as finished that no running worker has, or whose ownership is unknown."""
        from cp_thirdparty.worker.sqlite_journal import SqliteJournal  # noqa: PLC0415 - it brings the worker

        with closing(SqliteJournal(self._path)) as opened:
            opened.end(job_id)


def open_journal(name: str) -> JournalSource:
    """Return the journal that the user names.  Another kind of journal is added here."""
    path = Path(name).resolve()
    if not path.is_file():
        raise CommandError(f"{escape(name)}: there is no such file", OTHER)  # SQLite would create it
    return JournalSource(path)


_OPTIONS = (
    click.Option(["--unfinished"], is_flag=True, help="Leave out finished jobs."),
    *pick_options("--output", "--query", "--color", "--no-cli-pager"),
)


def _show(
    file: str, *, unfinished: bool, output: str | None, query: str | None, color: str, no_cli_pager: bool
) -> None:
    aws, select = AwsSettings(), compile_query(query)
    found = [_show_job(each) for each in open_journal(file).read(unfinished_only=unfinished)]
    document = {"jobs": sorted(found, key=lambda job: str(job.get("since", "")))}
    form, width = aws.output(output, "table"), terminal_width()
    text = format_document(select(document), form, title="Jobs", color=is_colored(color), width=width)
    write(text, pager="" if no_cli_pager else aws.pager())


jobs = click.Command(
    "jobs",
    callback=_show,
    params=[click.Argument(["file"], metavar="JOURNAL"), *_OPTIONS],
    help="Show the jobs in a worker's JOURNAL.  Each has its state, result, failure, owner, and since when.  The "
    "journal is only read.",
    epilog="Example: cp-thirdparty jobs jobs.db --unfinished --output json --query \"jobs[?owner=='dead'].jobId\"",
)


journal = click.Command(
    "journal",
    callback=_show,
    params=jobs.params,
    help="The old name of jobs.",
    epilog="Example: cp-thirdparty jobs jobs.db --unfinished",
    deprecated=True,
)


@click.command(epilog="Example: cp-thirdparty resolve jobs.db 11111111-2222-4333-8444-555555555555")
@click.argument("file", metavar="JOURNAL")
@click.argument("job_id", metavar="JOB_ID")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def resolve(file: str, job_id: str, *, yes: bool) -> None:
    """
    End a job in a worker's JOURNAL.

    The job is UNCERTAIN, cannot be read, or no worker has it any more.

    CodePipeline gets no result: look at the pipeline first, and report with `cp-thirdparty fail` or `succeed`.
    A job that a running worker has is refused, unless it is UNCERTAIN.
    """
    opened = open_journal(file)
    confirm(f"End job {escape(job_id)} in the journal? No worker continues it then.", yes=yes)
    opened.end(job_id)
    write(f"{escape(job_id)}: ended in the journal\n")


def _show_job(found: JournalEntry | SetAside) -> dict[str, Any]:
    from cp_thirdparty.converter import unstructure  # noqa: PLC0415 - few commands need it
    from cp_thirdparty.models import FailureDetails  # noqa: PLC0415 - few calls use it
    from cp_thirdparty.worker.journal import JournalEntry  # noqa: PLC0415 - it brings the worker

    if not isinstance(found, JournalEntry):
        return {"jobId": found.job_id, "state": "SET_ASIDE", "problem": found.problem}
    job: dict[str, Any] = {
        "jobId": found.job.job_id,
        "clientId": found.job.client_id,
        "state": found.state.value,
        "outcome": found.outcome or "",
        "result": "" if found.result is None else _RESULTS.get(type(found.result).__name__, ""),
        "owner": {True: "alive", False: "dead", None: ""}[found.is_owner_alive],
        "crashes": found.crashes,
        "isSuspect": found.is_suspect,
        "claimedAt": _show_time(found.claimed_at),
        "since": _show_time(found.changed_at),
    }
    if isinstance(found.result, FailureDetails):
        job["failureType"], job["message"] = str(found.result.type), found.result.message
    if found.scope is not None:
        job["actionType"] = " ".join(unstructure(found.scope.action_type_id).values())
        job["region"] = found.scope.region_name
    return job


_RESULTS = {"Succeeded": "Succeeded", "Continued": "Continued", "FailureDetails": "Failed"}


def _show_time(time: float | None) -> str:
    return "" if time is None else datetime.fromtimestamp(time, timezone.utc).isoformat(timespec="seconds")
