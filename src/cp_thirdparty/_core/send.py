"""Send one request and return a model or an error; the base class of all clients."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, Final, Generic, TypeVar, cast

import attrs
from botocore import xform_name
from botocore.client import BaseClient

from cp_thirdparty._base.durations import seconds_rule, to_seconds
from cp_thirdparty._core import connection, redaction
from cp_thirdparty._core.call import Call, CallStoppedError, Step, now
from cp_thirdparty._core.caller_code import (
    causes,
    clear_frames,
    find_caller_code,
    hide_library_frames,
    is_parser_error,
    write_log,
)
from cp_thirdparty._core.deadline import WATCHDOG
from cp_thirdparty._core.errors import error_of, note_stub_response, stopped_error, unchecked_error
from cp_thirdparty._core.facts import Failure, add_facts, facts_of, unsent_facts
from cp_thirdparty._core.operations import Request
from cp_thirdparty.exceptions import InvalidRequestError
from cp_thirdparty.secrets import SecretStr
from cp_thirdparty.telemetry import CallRecord

_T = TypeVar("_T")

_log = logging.getLogger("cp_thirdparty")


@attrs.define(eq=False)
class Result(Generic[_T]):
    """
    The result of a call: a value, or the error to raise.

    Attributes:
        value: The model; ``None`` if there is an error, or if the operation has no output.
        error: The error to raise, or ``None``.  It must be raised in a frame that never had a secret.
        status_code: HTTP status of the response; ``None`` if there was no response, or if the error has the status.
        request_id: Request id of the response; ``None`` in the same cases.
    """

    value: _T | None
    error: BaseException | None
    status_code: int | None = None
    request_id: str | None = None


# A worker sets this to a list.  If a hook of the caller raises an exception during a call, the exception is appended to
# the list, together with the result that the call would have had without the exception.
HIDDEN_RESULTS: Final[ContextVar[list[tuple[BaseException, Result[Any]]] | None]] = ContextVar(
    "cp_thirdparty_hidden_results", default=None
)


# The time of `now` at which calls of this context must end, because the process ends then; ``None`` for no limit.
CALLS_END_AT: Final[ContextVar[float | None]] = ContextVar("cp_thirdparty_calls_end_at", default=None)


def send_request(client: BaseClient, request: Request[_T], call: Call) -> Result[_T]:
    """
    Send the request, and return its value or its error.

    The caller raises the error, so that the error's traceback has no frame of this function or below, with secrets.
    """
    with call:
        WATCHDOG.start(call)
        try:
            return decode_response(request, call, find_method(client, request)(**plain_parameters(request)))
        except BaseException as failure:  # noqa: BLE001 - the caller raises it again, even a KeyboardInterrupt
            return result_of_failure(request, call, failure)
        finally:
            WATCHDOG.release(call)
            call.discard_response()


def find_method(client: BaseClient, request: Request[Any]) -> Callable[..., Any]:
    """Return the method of botocore's client that sends the request."""
    method: Callable[..., Any] = getattr(client, xform_name(request.operation_name))
    return method


def plain_parameters(request: Request[Any]) -> dict[str, Any]:
    """Return the parameters for botocore, with the secrets as plain strings."""
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in request.parameters.items()
    }


def decode_response(request: Request[_T], call: Call, parsed: Mapping[str, Any]) -> Result[_T]:
    """Return the model, or the error, of a successful response."""
    if not call.has_success:
        if call.context is None or call.step is not Step.PREPARING:
            return Result(None, unchecked_error(call))
        note_stub_response(call, parsed.get("ResponseMetadata", {}))
    # The document is preferred, because botocore's parser hides wrong types: it reads an object as an empty list and a
    # number as a string.  For a stub, and for CBOR, there is only the parsed response.
    value, error = request.decode(parsed if call.document is None else call.document)
    if error is not None:
        add_facts(error, facts_of(call, Failure.UNREADABLE))
    return Result(value, error, call.status_code, call.request_id)


def result_of_failure(request: Request[_T], call: Call, failure: BaseException) -> Result[_T]:
    """Return the error to raise, and clear the frames and causes of the failure."""
    caller_entry = find_caller_code(failure, request.operation_name)
    # Older versions of botocore raise another error whose cause is the `CallStoppedError`.
    if caller_entry is not None and any(isinstance(each, CallStoppedError) for each in causes(failure)):
        clear_frames(failure)
        return Result(None, stopped_error(call))
    if caller_entry is not None:
        hidden = HIDDEN_RESULTS.get()
        if hidden is not None:
            hidden.append((failure, _result_without_hook(request, call, failure)))
        hide_library_frames(failure, caller_entry, request.operation_name)
        return Result(None, failure)
    if call.has_success and is_parser_error(failure):
        clear_frames(failure)
        return decode_response(request, call, {})
    if not isinstance(failure, Exception):
        error: BaseException = failure
    else:
        error = unchecked_error(call) if call.context is None else error_of(failure, call)
    clear_frames(failure)
    return Result(None, error)


def _result_without_hook(request: Request[_T], call: Call, failure: BaseException) -> Result[_T]:
    """Return the result of a call, as far as it was observed before a hook raised."""
    if call.has_success:
        return decode_response(request, call, {})
    # `SystemExit` and similar exceptions do not describe the call, so another exception takes their place.
    return Result(None, error_of(failure if isinstance(failure, Exception) else RuntimeError(), call))


class JobClientBase:
    """The base class of all clients: it stores the settings of calls, and starts and finishes each call."""

    def __init__(
        self, *, deadline: float | timedelta | None, wire_logs: bool, on_call: Callable[[CallRecord], object] | None
    ) -> None:
        self._deadline = to_seconds(deadline)
        rule = seconds_rule(self._deadline)
        if rule is not None:
            raise InvalidRequestError("deadline", rule)
        self._wire_logs = wire_logs
        self._on_call = on_call

    @abstractmethod
    def _open_client(self) -> BaseClient:
        """Return the client of botocore; raise `InvalidRequestError` if it must not be used in this context."""

    @property
    def region_name(self) -> str:
        """The AWS region that the client calls."""
        region_name: str = self._open_client().meta.region_name
        return region_name

    @property
    def endpoint_url(self) -> str:
        """The URL of the endpoint that the client calls."""
        endpoint_url: str = self._open_client().meta.endpoint_url
        return endpoint_url

    def __getstate__(self) -> None:
        raise TypeError(
            f"{type(self).__name__} cannot be pickled, because it holds connections and credentials; "
            "create a client in each process"
        )

    def _start_call(self, request: Request[Any]) -> Call:
        """Return a new call; raise `InvalidRequestError` if the request must not be sent."""
        if request.refused is not None:
            add_facts(request.refused, unsent_facts(request.operation_name, request.job_id))
            raise request.refused
        redaction.install()
        connection.install()
        call = Call(request=request, wire_logs=self._wire_logs)
        ends_at = CALLS_END_AT.get()
        if self._deadline is not None:
            deadline = call.began_at + self._deadline
            ends_at = deadline if ends_at is None else min(ends_at, deadline)
        call.ends_at = ends_at
        return call

    def _finish_call(self, request: Request[_T], call: Call, result: Result[_T]) -> _T:
        """Log a call, and return its value or raise its error."""
        error = result.error
        if self._on_call is not None or _log.isEnabledFor(logging.DEBUG):
            record = CallRecord(
                operation_name=request.operation_name,
                job_id=request.job_id,
                status_code=getattr(error, "status_code", None) or result.status_code,
                request_id=getattr(error, "request_id", None) or result.request_id,
                attempts=call.attempts,
                seconds=now() - call.began_at,
                error=None if error is None else type(error).__name__,
            )
            _emit(record, self._on_call)
        if error is not None:
            # This code is not in an `except` block, so the error gets no context that refers to frames with secrets.
            raise error
        return cast("_T", result.value)


def is_codepipeline(client: object, *, is_async: bool) -> bool:
    """Return whether an object is a CodePipeline client of botocore; with ``is_async``, of aiobotocore."""
    if not isinstance(client, BaseClient) or client.meta.service_model.service_name != "codepipeline":
        return False
    # The class decides, not whether methods are asynchronous, because a tracer may have replaced any method.
    kinds = {(kind.__module__, kind.__name__) for kind in type(client).__mro__}
    return (("aiobotocore.client", "AioBaseClient") in kinds) is is_async


def _emit(record: CallRecord, on_call: Callable[[CallRecord], object] | None) -> None:
    """Write the DEBUG record and call the hook.  If the hook raises, log a warning and ignore the exception."""
    write_log(
        *(logging.DEBUG, "%s job=%s status=%s request=%s attempts=%d %.0f ms"),
        *(record.operation_name, record.job_id, record.status_code, record.request_id, record.attempts),
        record.seconds * 1000,
    )
    if on_call is None:
        return
    try:
        on_call(record)
    except Exception as failure:  # noqa: BLE001 - no exception of the hook may prevent the result
        write_log(logging.WARNING, "on_call raised %s", type(failure).__name__)
