"""Read the pipelines of jobs from CodePipeline, because a journal does not contain them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import TypeAlias

import attrs

from cp_thirdparty._cli.commands import create_client, protect_logs
from cp_thirdparty._cli.errors import CommandError, describe_error
from cp_thirdparty._cli.options import Settings
from cp_thirdparty._cli.parameters import find_token
from cp_thirdparty.exceptions import CodePipelineJobError
from cp_thirdparty.worker._kinds import AnyClient, JobKind, kind_of
from cp_thirdparty.worker.journal import JournalEntry, JournalState, SetAside

_Connect: TypeAlias = Callable[[str | None, JobKind], AnyClient]


def read_pipelines(entries: Iterable[JournalEntry | SetAside], settings: Settings) -> list[dict[str, str]]:
    """Return a row for each entry of a journal: its pipeline, or the problem; empty if the job has ended."""
    clients: dict[tuple[str | None, str], AnyClient] = {}  # one for each region and kind of job
    with protect_logs(debug=settings.debug), ExitStack() as stack:

        def connect(region: str | None, kind: JobKind) -> AnyClient:
            key = region, kind.name
            if key not in clients:
                clients[key] = create_client(attrs.evolve(settings, region=region), kind.client_class)
                stack.callback(clients[key].close)
            return clients[key]

        return [_show_pipeline(entry, settings, connect) for entry in entries]


def _show_pipeline(entry: JournalEntry | SetAside, settings: Settings, connect: _Connect) -> dict[str, str]:
    if not isinstance(entry, JournalEntry) or entry.state is JournalState.DONE:
        return {}
    try:
        return {"pipeline": _read(entry, settings, connect)}
    except (CommandError, CodePipelineJobError) as error:
        return {"pipeline": "", "problem": describe_error(error)[1]}


def _read(entry: JournalEntry, settings: Settings, connect: _Connect) -> str:
    kind, token = kind_of(entry.job), None
    if kind.has_client_token:
        if settings.client_tokens is None:
            raise CommandError("--client-tokens: is required to read third-party jobs")
        token = find_token(settings.client_tokens, entry.job.client_id, is_token_given=False)
    # The endpoint in the journal is not used: a journal of unknown origin must not decide where tokens are sent.
    region = settings.region if entry.scope is None else entry.scope.region_name
    context = kind.read(connect(region, kind), entry.job.job_id, token).data.pipeline_context
    return "" if context is None else context.path
