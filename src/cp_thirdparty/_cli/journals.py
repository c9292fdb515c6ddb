"""The commands that read a worker's journal, or end a job in it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import click

from cp_thirdparty._base.text import escape
from cp_thirdparty._cli.click_parts import single
from cp_thirdparty._cli.journal_sources import open_journal
from cp_thirdparty._cli.options import Settings, pick_options, token_options
from cp_thirdparty._cli.output import confirm, write
from cp_thirdparty._cli.printer import Printer

if TYPE_CHECKING:
    from cp_thirdparty.worker.journal import JournalEntry, SetAside

__all__ = ["jobs", "journal", "resolve"]


_OPTIONS = (
    click.Option(["--unfinished"], is_flag=True, help="Leave out finished jobs."),
    click.Option(
        ["--pipelines"],
        is_flag=True,
        help="Show the pipeline, stage and action of each unfinished job, which is read from CodePipeline. "
        "Third-party jobs need --client-tokens.",
    ),
    *token_options()[:1],
    *pick_options(
        *("--output", "--query", "--color", "--no-cli-pager", "--region", "--profile", "--debug", "--endpoint-url"),
        *("--no-verify-ssl", "--no-sign-request", "--ca-bundle", "--cli-read-timeout", "--cli-connect-timeout"),
    ),
)


def _show(file: str, *, unfinished: bool, pipelines: bool, **options: Any) -> None:
    settings = Settings(**options)
    printer = Printer(settings, "table")
    source = open_journal(file, region=settings.region, profile=settings.profile)
    source.observe_owners()
    found = [(each, _show_job(each)) for each in source.read(unfinished_only=unfinished)]
    if pipelines:
        _add_pipelines(found, settings)
    shown = sorted((job for _, job in found), key=lambda job: str(job.get("since", "")))
    printer.print({"jobs": shown}, "Jobs")


def _add_pipelines(found: list[tuple[JournalEntry | SetAside, dict[str, Any]]], settings: Settings) -> None:
    from cp_thirdparty._cli.pipelines import Pipelines  # noqa: PLC0415 - it loads the clients
    from cp_thirdparty.worker.journal import JournalEntry, JournalState  # noqa: PLC0415 - it loads the worker

    with Pipelines.open(settings) as opened:
        for entry, job in found:
            if isinstance(entry, JournalEntry) and entry.state is not JournalState.DONE:
                job.update(opened.find(entry))


jobs = click.Command(
    "jobs",
    callback=_show,
    params=[click.Argument(["file"], metavar="JOURNAL"), *_OPTIONS],
    help="Show the jobs in a JOURNAL.  It is the journal of a worker: a SQLite file, dynamodb://TABLE, or the ARN of "
    "a DynamoDB table.  Each job has its state, result, failure, owner, and since when.  The journal is only read.",
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
@click.option("--region", metavar="NAME", help="AWS region of a DynamoDB table.", **single())
@click.option("--profile", metavar="NAME", help="Profile of the AWS configuration, for a DynamoDB table.", **single())
def resolve(file: str, job_id: str, *, yes: bool, region: str | None, profile: str | None) -> None:
    """
    End a job in a JOURNAL.

    The journal of a worker is a SQLite file, dynamodb://TABLE, or the ARN of a DynamoDB table.  The job is UNCERTAIN,
    cannot be read, or no worker has it any more.

    CodePipeline gets no result: look at the pipeline first, and report with `cp-thirdparty fail` or `succeed`.
    A job that a running worker has is refused, unless it is UNCERTAIN.
    """
    opened = open_journal(file, region=region, profile=profile)
    confirm(f"End job {escape(job_id)} in the journal? No worker continues it then.", yes=yes)
    opened.observe_owners()
    opened.end(job_id)
    write(f"{escape(job_id)}: ended in the journal\n")


def _show_job(found: JournalEntry | SetAside) -> dict[str, Any]:
    from cp_thirdparty.converter import unstructure  # noqa: PLC0415 - few commands need it
    from cp_thirdparty.models import FailureDetails  # noqa: PLC0415 - few calls use it
    from cp_thirdparty.worker.journal import JournalEntry  # noqa: PLC0415 - it loads the worker

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
