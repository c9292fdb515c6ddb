"""The events of a worker's jobs, for metrics."""

from __future__ import annotations

from collections.abc import Callable

import attrs

__all__ = ["EventHook", "JobEvent"]


@attrs.frozen(kw_only=True)
class JobEvent:
    """
    Something that happened to a job.  It holds no secret.

    =====================  =======  ================================================================
    name                   level    what happened
    =====================  =======  ================================================================
    ``claimed``            INFO     the job is this worker's, and its handler begins
    ``reported``           INFO     the service has the result
    ``handed_back``        INFO     the worker stops; the service offers the job again
    ``lost_race``          DEBUG    another worker has the job
    ``gone``               WARNING  the service takes no result for the job any more
    ``rejected``           WARNING  the job was not claimed: no client token, details that cannot be read, ...
    ``call_failed``        WARNING  an acknowledgement or a result is sent again
    ``recovered``          WARNING  the journal had the job from an earlier worker
    ``handler_failed``     ERROR    the handler raised, or gave no result; the failure is reported
    ``timed_out``          ERROR    the handler was given up; a failure is reported
    ``executor_failed``    ERROR    the process in which the handler ran has died
    ``journal_failed``     ERROR    the journal could not be written; the job goes on
    ``uncertain``          ERROR    nobody knows whose the job is; an operator should look at it
    ``unsent``             ERROR    a result could not be sent; the journal keeps it
    ``released``           ERROR    a claimed job cannot go on here; the journal keeps it
    =====================  =======  ================================================================

    Attributes:
        name: What happened, as in the table.

        job_id: The id of the job.

        client_id: The customer whose job it is.

        detail: What more there is to say, such as the name of an error's class; maybe empty.

        seconds: For ``"reported"``: how long the job took here, from its offer to its accepted result.
    """

    name: str
    job_id: str
    client_id: str
    detail: str = ""
    seconds: float | None = None


EventHook = Callable[[JobEvent], object]
"""Called with each event of a job, in the thread in which it happens.  What it raises is logged and dropped."""
