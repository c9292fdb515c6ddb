"""The events of a worker's jobs, for metrics."""

from __future__ import annotations

from collections.abc import Callable

import attrs

__all__ = ["EventHook", "JobEvent"]


@attrs.frozen(kw_only=True)
class JobEvent:
    """
    An event of a job.  It holds no secret.

    =====================  =======  ================================================================
    name                   level    what happened
    =====================  =======  ================================================================
    ``claimed``            INFO     CodePipeline accepted the claim; the handler may start
    ``reported``           INFO     CodePipeline has the result
    ``handed_back``        INFO     the worker stops; CodePipeline offers the job again
    ``lost_race``          DEBUG    another worker has the job
    ``gone``               WARNING  CodePipeline accepts no result for the job any more
    ``rejected``           WARNING  the job was not claimed: no client token, details that cannot be read, ...
    ``call_failed``        WARNING  a request about the job failed, and is usually retried
    ``recovered``          WARNING  the journal had the job from an earlier worker
    ``handler_failed``     ERROR    the handler raised, or returned no result; a failure is reported
    ``timed_out``          ERROR    the job took too long or the worker stops; a failure is reported
    ``executor_failed``    ERROR    the process of the handler died, or could not start it
    ``journal_failed``     ERROR    the journal could not be written; the job goes on
    ``uncertain``          ERROR    the ownership of the job is unknown; an operator should look at it
    ``unsent``             ERROR    CodePipeline did not accept a result yet; the journal keeps it
    ``released``           ERROR    a claimed job cannot go on here; the journal keeps it
    =====================  =======  ================================================================

    Attributes:
        name: What happened, as in the table.

        job_id: The id of the job.

        client_id: The client id of the customer.

        detail: More about the event, such as the name of an error's class; may be empty.

        seconds: For ``"reported"``: seconds from the offer of the job to its accepted result, in this worker.
    """

    name: str
    job_id: str
    client_id: str
    detail: str = ""
    seconds: float | None = None


EventHook = Callable[[JobEvent], object]
"""Called with each event of a job, in the thread in which it happens.  Its exceptions are logged and ignored."""
