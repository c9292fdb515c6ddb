"""The events of a worker's jobs, for metrics."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias

import attrs

from cp_thirdparty._base.text import show, show_message, show_optional
from cp_thirdparty.enums import FailureType
from cp_thirdparty.models import ActionTypeId
from cp_thirdparty.worker.health import WorkerHealth
from cp_thirdparty.worker.journal import Journal

__all__ = ["EventHook", "JobEvent", "JobEventName", "WorkerMetrics"]

JobEventName: TypeAlias = Literal[
    "claimed",
    "reported",
    "handed_back",
    "lost_race",
    "gone",
    "rejected",
    "call_failed",
    "recovered",
    "handler_failed",
    "timed_out",
    "executor_failed",
    "journal_failed",
    "uncertain",
    "unsent",
    "released",
]
"""The names of events.  A later version may add some."""


@attrs.frozen(kw_only=True)
class JobEvent:
    """
    An event of a job.  It holds no secret.

    Strings that come from CodePipeline or a customer are escaped and truncated to 1,000 characters, so that they can be
    used as labels of a metric.

    Each event is also a log record on the logger ``cp_thirdparty.worker``, with the level of this table.

    =====================  =======  ===========================  =======================================================
    name                   level    fields                       what happened
    =====================  =======  ===========================  =======================================================
    ``claimed``            INFO                                  CodePipeline accepted the claim; the handler may start
    ``reported``           INFO     ``seconds, failure_type``    CodePipeline has the result
    ``handed_back``        INFO                                  the job is not claimed; CodePipeline offers it again
    ``lost_race``          DEBUG                                 another worker has the job, or its action type differs
    ``gone``               WARNING                               CodePipeline accepts no result for the job any more
    ``rejected``           WARNING                               the job was not claimed: no client token, details that
                                                                 cannot be read, ...
    ``call_failed``        WARNING                               a request about the job failed, and is usually retried
    ``recovered``          WARNING                               the journal had the job from an earlier worker
    ``handler_failed``     ERROR    ``failure_type, where``      the handler raised or returned no result, or the
                                                                 configuration does not fit; a failure is reported
    ``timed_out``          ERROR    ``failure_type``             the job took too long or the worker stops; a failure is
                                                                 reported
    ``executor_failed``    ERROR                                 the process of the handler crashed or could not start
    ``journal_failed``     ERROR                                 the journal could not be written; the job continues
    ``uncertain``          ERROR                                 the ownership of the job is unknown; an operator should
                                                                 look at it
    ``unsent``             ERROR    ``failure_type``             CodePipeline has not confirmed a result; the journal
                                                                 keeps it
    ``released``           ERROR                                 this worker cannot continue a claimed job; the journal
                                                                 keeps it
    =====================  =======  ===========================  =======================================================

    The column "fields" lists the fields that only this event has.  Every event has all other fields; ``pipeline`` and
    ``action_execution_id`` are ``None`` until the details of the job were read.

    Attributes:
        name: The name of the event, as in the table.
        job_id: The id of the job.
        client_id: The client id of the customer.
        detail: More about the event, such as the name of an error's class; may be empty.  For ``"handler_failed"``: the
            class of the exception that decides the failure type, and its message if this library wrote it, on one line.
        seconds: For ``"reported"``: seconds from the offer of the job to its accepted result, in this worker.
        emitted_at: When the event was emitted, in seconds since 1970 (``time.time``).

            .. versionadded:: 0.2.0

        pipeline: The name of the pipeline, or ``None``.

            .. versionadded:: 0.2.0

        action_execution_id: The id of this run of the action, or ``None``.

            .. versionadded:: 0.2.0

        failure_type: The type of the failure that is reported; ``None`` for a success, and for other events.

            .. versionadded:: 0.2.0

        where: For ``"handler_failed"``: the places in the code that led to the exception, outermost first; empty
            for other events, and for an exception that no code of yours led to.

            .. versionadded:: 0.2.0
        party: Who can fix the cause of a failure: ``"customer"``, ``"partner"``, ``"service"`` (CodePipeline or the
            network), ``"job"`` if the work itself has failed, or ``"unknown"``; ``None`` if nothing failed.

            .. versionadded:: 0.2.0
    """

    name: JobEventName
    job_id: str = attrs.field(converter=show)
    client_id: str = attrs.field(converter=show)
    detail: str = attrs.field(default="", converter=show_message)
    seconds: float | None = None
    emitted_at: float = attrs.field(factory=time.time)
    pipeline: str | None = attrs.field(default=None, converter=show_optional)
    action_execution_id: str | None = attrs.field(default=None, converter=show_optional)
    failure_type: FailureType | None = None
    where: str = attrs.field(default="", converter=show_message)
    party: str | None = None


EventHook = Callable[[JobEvent], object]
"""
Called with one event of a job after another, in a separate thread of the worker or processor.

It runs with the context variables of the code that emitted the event.  Its exceptions are logged and ignored.  If it
blocks, the jobs continue, and up to 3,000 events and log records wait.  More events and log records are dropped, and
counted in `WorkerHealth.dropped_events`.  `JobWorker.run`, `JobWorker.run_once` and `JobProcessor.process` wait at most
2 seconds for it before they return.
"""


class WorkerMetrics(Protocol):
    """
    Records the metrics of a worker, a processor or a Lambda function.

    `cp_thirdparty.observability.PrometheusMetrics` implements this protocol.

    Exceptions of the methods are logged and ignored.

    .. versionadded:: 0.2.0
    """

    def record(self, event: JobEvent, action_type_id: ActionTypeId | None) -> object:
        """
        Count an event.

        A worker and a processor call it for one event after another in a separate thread, which is not the thread of
        `EventHook`, with the context variables of the code that emitted the event.  If it blocks, the jobs continue,
        and up to 3,000 events wait.  More events are not counted; `WorkerHealth.dropped_events` has their number.  The
        worker and the processor wait for it as for `EventHook` before they return.

        A `cp_thirdparty.LambdaHandler` waits for it in the thread of the job, at most 1 second for all events of an
        invocation.

        Args:
            event: The event.
            action_type_id: The action type of the worker.  A `cp_thirdparty.worker.JobProcessor` reads the action type
                from the details of the job; it is ``None`` before the details were read.  A
                `cp_thirdparty.LambdaHandler` passes the ``Invoke`` action type of AWS for an invoke action.
        """
        ...

    def watch(self, action_type_id: ActionTypeId, health: Callable[[], WorkerHealth], journal: Journal) -> object:
        """
        Store the arguments, to read the state of a worker later.

        A `cp_thirdparty.JobWorker` calls this once, when it is created.
        """
        ...
