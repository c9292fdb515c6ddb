"""The commands that show the jobs in a worker's journal, or end a job in it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import click

from cp_thirdparty._base.text import escape
from cp_thirdparty._cli.click_parts import command, flag, option
from cp_thirdparty._cli.formats import Printer
from cp_thirdparty._cli.journal_sources import open_journal
from cp_thirdparty._cli.options import Settings, connection_options, output_options, token_options
from cp_thirdparty._cli.output import confirm, warn, write
from cp_thirdparty.converter import unstructure
from cp_thirdparty.models import FailureDetails
from cp_thirdparty.worker.journal import JournalEntry, SetAside

_JOURNAL = click.Argument(["file"], metavar="JOURNAL")


def _show(file: str, *, unfinished: bool, pipelines: bool, **options: Any) -> None:
    """
    Show the jobs in a JOURNAL.

    JOURNAL is the journal of a worker: a SQLite file, dynamodb://TABLE, or the ARN of a DynamoDB table.  The output has
    the state of each job, the time of its last change, its result, its failure, and whether its worker is running.
    The journal is not changed.
    """
    settings = Settings(**options)
    printer = Printer(settings, "table")
    source = open_journal(file, region=settings.region, profile=settings.profile)
    source.observe_owners()
    entries = list(source.read(unfinished_only=unfinished))
    shown = [_show_job(entry) for entry in entries]
    if pipelines:
        from cp_thirdparty._cli.pipelines import read_pipelines  # noqa: PLC0415 - few calls need it

        shown = [{**job, **found} for job, found in zip(shown, read_pipelines(entries, settings), strict=True)]
    if not shown:  # standard output keeps its format, which programs read
        warn("the journal has no unfinished jobs" if unfinished else "the journal has no jobs")
    printer.print({"jobs": sorted(shown, key=lambda job: str(job.get("since", "")))}, "Jobs")


_OPTIONS = (
    flag("--unfinished", "Leave out finished jobs."),
    flag(
        "--pipelines",
        "Show the pipeline, stage and action of each unfinished job, which is read from CodePipeline. Third-party jobs "
        "need --client-tokens.",
    ),
    token_options()[0],
    *connection_options(),
    *output_options(),
)
_QUERY = "--output json --query \"jobs[?owner=='dead'].jobId\""

jobs = command("jobs", _JOURNAL, *_OPTIONS, example=f"cp-thirdparty jobs jobs.db --unfinished {_QUERY}")(_show)
journal = command(
    "journal",
    _JOURNAL,
    *_OPTIONS,
    help="The old name of jobs.",
    example="cp-thirdparty jobs jobs.db --unfinished",
    deprecated=True,
)(_show)


@command(
    "resolve",
    _JOURNAL,
    click.Argument(["job_id"], metavar="JOB_ID"),
    flag("--yes", "Do not ask for confirmation."),
    option("--region", "AWS region of a DynamoDB table.", "NAME"),
    option("--profile", "Profile of the AWS configuration, for a DynamoDB table.", "NAME"),
    example="cp-thirdparty resolve jobs.db 11111111-2222-4333-8444-555555555555",
)
def resolve(file: str, job_id: str, *, yes: bool, region: str | None, profile: str | None) -> None:
    """
    End a job in a JOURNAL.

    JOURNAL is the journal of a worker: a SQLite file, dynamodb://TABLE, or the ARN of a DynamoDB table.  End a job if
    it is UNCERTAIN, if its record cannot be read, or if its worker does not run any more.

    No result is sent to CodePipeline: look at the pipeline first, and report a result with `cp-thirdparty fail` or
    `cp-thirdparty succeed`.  If a running worker has the job, it can be ended only if it is UNCERTAIN.
    """
    opened = open_journal(file, region=region, profile=profile)
    confirm(f"End job {escape(job_id)} in the journal? No worker continues it then.", yes=yes)
    opened.observe_owners()
    opened.end(job_id)
    write(f"{escape(job_id)}: ended in the journal\n", done="; the job is ended in the journal")


def _show_job(found: JournalEntry | SetAside) -> dict[str, Any]:
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
