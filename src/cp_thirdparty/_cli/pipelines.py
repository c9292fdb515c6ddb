"""Read the pipelines of jobs in a journal from CodePipeline, because the journal does not have them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager

import attrs

from cp_thirdparty._cli.commands import create_client, protect_logs
from cp_thirdparty._cli.errors import CommandError, describe_error
from cp_thirdparty._cli.options import Settings
from cp_thirdparty._cli.parameters import find_token
from cp_thirdparty.exceptions import CodePipelineJobError
from cp_thirdparty.worker._kinds import AnyClient, JobKind, kind_of
from cp_thirdparty.worker.journal import JournalEntry

__all__ = ["Pipelines"]


@attrs.frozen
class Pipelines:
    """Reads the pipeline of each job with one client for each region and kind of job."""

    _settings: Settings
    _clients: dict[tuple[str | None, str], AnyClient]
    _stack: ExitStack

    @classmethod
    @contextmanager
    def open(cls, settings: Settings) -> Generator[Pipelines, None, None]:
        """Open each client at its first use, and close them at the end."""
        with protect_logs(debug=settings.debug), ExitStack() as stack:
            yield cls(settings, {}, stack)

    def find(self, entry: JournalEntry) -> dict[str, str]:
        """Return the pipeline of an unfinished job, or the reason why it cannot be read."""
        try:
            return {"pipeline": self._read(entry)}
        except (CommandError, CodePipelineJobError) as error:
            return {"pipeline": "", "problem": describe_error(error)[1]}

    def _read(self, entry: JournalEntry) -> str:
        kind, token = kind_of(entry.job), None
        if kind.has_client_token:
            if self._settings.client_tokens is None:
                raise CommandError("--client-tokens: is required to read third-party jobs")
            token = find_token(self._settings.client_tokens, entry.job.client_id, is_given=False)
        # Not the endpoint of the scope: a journal of unknown origin must not decide where tokens are sent.
        region = self._settings.region if entry.scope is None else entry.scope.region_name
        details = kind.read(self._find_client(kind, region), entry.job.job_id, token)
        context = details.data.pipeline_context
        return "" if context is None else context.path

    def _find_client(self, kind: JobKind, region: str | None) -> AnyClient:
        key = (region, kind.name)
        if key not in self._clients:
            settings = attrs.evolve(self._settings, region=region)
            self._clients[key] = create_client(settings, kind.client_class)
            self._stack.callback(self._clients[key].close)
        return self._clients[key]
