"""The possible outcomes of a job in this worker.  Each outcome is a class."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from cp_thirdparty.models import AnyJob
from cp_thirdparty.worker.results import Result

__all__ = ["Gone", "HandedBack", "LostRace", "Outcome", "Rejected", "Released", "Reported", "Uncertain", "Unsent"]


@attrs.frozen(kw_only=True)
class Reported:
    """
    CodePipeline has the result.

    Attributes:
        job: The job.
        result: The reported result.
        is_confirmed: ``False`` if the response to a report was lost, and the response to the retry was that the job
            already has a result.  The accepted result is most probably this one.
    """

    job: AnyJob
    result: Result
    is_confirmed: bool = True


@attrs.frozen(kw_only=True)
class LostRace:
    """
    Another worker has the job, or the job has another action type.

    CodePipeline has not confirmed a result from this worker.

    Attributes:
        job: The job.
    """

    job: AnyJob


@attrs.frozen(kw_only=True)
class Gone:
    """
    CodePipeline accepts no result for the job any more: the job timed out, was stopped, or does not exist.

    Attributes:
        job: The job.
        error: Name of the last error, the status of the job in CodePipeline, or why the job ended.
    """

    job: AnyJob
    error: str


@attrs.frozen(kw_only=True)
class Rejected:
    """
    This worker did not claim the job, so CodePipeline offers it again.

    Attributes:
        job: The job.
        reason: The reason, such as ``"no client token"``.  It contains no secret.  If the journal failed, the reason is
            the shortened message of its error.
        error: Name of the error that is the cause, or ``None``.
    """

    job: AnyJob
    reason: str
    error: str | None = None


@attrs.frozen(kw_only=True)
class Uncertain:
    """
    The job may have been claimed by this worker or by another one.  Nothing was run or reported.

    If this worker has claimed it, the job times out in CodePipeline.  Check the journal and the customer's pipeline.

    Attributes:
        job: The job.
    """

    job: AnyJob


@attrs.frozen(kw_only=True)
class HandedBack:
    """
    This worker did not start to claim the job, because it stops, has too little time left, or cannot start the job.

    CodePipeline offers the job again.

    Attributes:
        job: The job.
    """

    job: AnyJob


@attrs.frozen(kw_only=True)
class Released:
    """
    The job is claimed, or may have been claimed before this worker started, and has no result.

    The journal keeps it for another worker, or for this worker after a restart.

    A `JobProcessor` has no journal, so its caller must keep the job.  Without a result, the job times out in
    CodePipeline.

    Attributes:
        job: The job.
        error: Name of the last error, or why this worker does not continue.

    .. versionadded:: 0.2.0
    """

    job: AnyJob
    error: str


@attrs.frozen(kw_only=True)
class Unsent:
    """
    The job has a result, and this worker has no confirmation that CodePipeline accepted it.

    CodePipeline may have accepted it if a response was lost.  The journal keeps the result, and another worker or this
    worker after a restart reports it.  A `JobProcessor` has no journal, so its caller must keep ``job`` and ``result``,
    and report the result again before the job times out.

    Attributes:
        job: The job.
        result: The result to report.
        error: Name of the last error.
    """

    job: AnyJob
    result: Result
    error: str


Outcome: TypeAlias = Reported | LostRace | Gone | Rejected | Uncertain | HandedBack | Released | Unsent
"""Every outcome of a job in this worker."""
