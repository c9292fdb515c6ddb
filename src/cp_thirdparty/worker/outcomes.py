"""What became of a job in this worker: one class for each end that it can take."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from cp_thirdparty.models import ThirdPartyJob
from cp_thirdparty.worker.results import Result

__all__ = ["Gone", "HandedBack", "LostRace", "Outcome", "Rejected", "Released", "Reported", "Uncertain", "Unsent"]


@attrs.frozen(kw_only=True)
class Reported:
    """
    The service has the result.

    Attributes:
        job: The job.

        result: What was reported.

        is_confirmed: ``False`` when an answer got lost and the service then said that the job has a result: it is most
            probably this one.
    """

    job: ThirdPartyJob
    result: Result
    is_confirmed: bool = True


@attrs.frozen(kw_only=True)
class LostRace:
    """
    Another worker has the job.  Nothing was reported.

    Attributes:
        job: The job.
    """

    job: ThirdPartyJob


@attrs.frozen(kw_only=True)
class Gone:
    """
    The service takes no result for the job any more: it has timed out, was stopped, or is not known.

    Attributes:
        job: The job.

        error: Name of the error that the service gave, or the status of the job.
    """

    job: ThirdPartyJob
    error: str


@attrs.frozen(kw_only=True)
class Rejected:
    """
    The job was not claimed here, so the service offers it again.

    Attributes:
        job: The job.

        reason: What is wrong, such as ``"no client token"``.  It holds no value.

        error: Name of the error behind it, or ``None``.
    """

    job: ThirdPartyJob
    reason: str
    error: str | None = None


@attrs.frozen(kw_only=True)
class Uncertain:
    """
    The job was claimed, but whether by this worker is not known.  Nothing was run or reported.

    If it was this worker, the job waits for its time-out; look at it in the journal and in the customer's pipeline.

    Attributes:
        job: The job.
    """

    job: ThirdPartyJob


@attrs.frozen(kw_only=True)
class HandedBack:
    """
    The worker stopped before it claimed the job, so the service offers it again.

    Attributes:
        job: The job.
    """

    job: ThirdPartyJob


@attrs.frozen(kw_only=True)
class Released:
    """
    The job is claimed and has no result.  The journal keeps it for another worker, or for a later start.

    Attributes:
        job: The job.

        error: Name of the last error, or why this worker does not go on.

    .. versionadded:: 0.2.0
    """

    job: ThirdPartyJob
    error: str


@attrs.frozen(kw_only=True)
class Unsent:
    """
    There is a result that the service could not be given in time.  A journal keeps it; a later start puts it again.

    Attributes:
        job: The job.

        result: What is to be reported.

        error: Name of the last error.
    """

    job: ThirdPartyJob
    result: Result
    error: str


Outcome: TypeAlias = Reported | LostRace | Gone | Rejected | Uncertain | HandedBack | Released | Unsent
"""Every end that a job can take in this worker."""
