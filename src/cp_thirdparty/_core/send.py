"""One call: from a request to what became of it, and what both clients do before and after."""

from __future__ import annotations

import inspect
import time
import traceback
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, cast

import attrs
from botocore import xform_name
from botocore.client import BaseClient

from cp_thirdparty import _limits
from cp_thirdparty._core import redaction
from cp_thirdparty._core.call import CURRENT, Call
from cp_thirdparty._core.errors import error_of, struck_out
from cp_thirdparty._core.guard import DOCUMENT
from cp_thirdparty._core.operations import Request
from cp_thirdparty.exceptions import CodePipelineJobError, InvalidRequestError, ResponseDecodeError
from cp_thirdparty.secrets import SecretStr
from cp_thirdparty.telemetry import CallRecord, is_wanted, tell

_T = TypeVar("_T")


@attrs.frozen
class Answered(Generic[_T]):
    """
    What became of a call: a value, or the error to raise.

    Attributes:
        value: The model; ``None`` where there is an error, and for a result.

        error: What to raise, in a frame that never held a secret.

        status_code: HTTP status of the answer; ``None`` where an error tells it, or where none came.

        request_id: What AWS Support asks for, likewise.
    """

    value: _T | None
    error: BaseException | None
    status_code: int | None = None
    request_id: str | None = None


def answered(client: BaseClient, request: Request[_T], call: Call) -> Answered[_T]:
    """Send the request.  It returns every error, so that its frame and those below are gone when one is raised."""
    current = CURRENT.set(call)
    try:
        return read(request, method(client, request)(**plain_parameters(request)))
    except BaseException as failure:  # noqa: BLE001 - Ctrl-C too is raised again by the caller
        return failed(request, call, failure)
    finally:
        CURRENT.reset(current)


def method(client: BaseClient, request: Request[Any]) -> Callable[..., Any]:
    """Get the method of botocore's client that sends the request."""
    sending: Callable[..., Any] = getattr(client, xform_name(request.operation_name))
    return sending


def plain_parameters(request: Request[Any]) -> dict[str, Any]:
    """Take the secrets out of their wrapping, for botocore to send."""
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in request.parameters.items()
    }


def read(request: Request[_T], answer: Mapping[str, Any]) -> Answered[_T]:
    """Make the model, or the error, of botocore's answer."""
    # A stubbed client brings what botocore would have parsed.
    value, error = request.decode(answer.get(DOCUMENT, answer) or {})
    metadata: Mapping[str, Any] = answer.get("ResponseMetadata", {})
    # The header is the peer's: it may say a secret back.
    request_id = struck_out(metadata.get("RequestId", ""), _secrets(request)) or None
    return Answered(value, error, metadata.get("HTTPStatusCode"), request_id)


def failed(request: Request[_T], call: Call, failure: BaseException) -> Answered[_T]:
    """Make our error of what was raised, and let go of all that it leads to."""
    error = failure
    if isinstance(failure, Exception):
        error = error_of(
            failure,
            operation_name=request.operation_name,
            secrets=_secrets(request),
            is_repeatable=request.is_repeatable,
            call=call,
        )
    forget(failure)
    return Answered(None, error)


def _secrets(request: Request[Any]) -> list[SecretStr]:
    return [value for value in request.parameters.values() if isinstance(value, SecretStr)]


def forget(failure: BaseException | None) -> None:
    """Clear the frames that an error and its causes lead to: they hold secrets, and sockets that wait to be closed."""
    while failure is not None:
        traceback.clear_frames(failure.__traceback__)
        cause = failure.__cause__ or failure.__context__
        failure.__traceback__ = failure.__cause__ = failure.__context__ = None
        failure = cause


class JobClientBase:
    """What the two clients share: the settings of calls, and what is done around each of them."""

    def __init__(
        self, *, deadline: float | None, wire_logs: bool, on_call: Callable[[CallRecord], object] | None
    ) -> None:
        rule = _limits.seconds(deadline)
        if rule is not None:
            raise InvalidRequestError("deadline", rule)
        self._deadline = deadline
        self._wire_logs = wire_logs
        self._on_call = on_call

    @abstractmethod
    def _opened(self) -> BaseClient:
        """Give the client of botocore, if it may be used here and now."""

    @property
    def region_name(self) -> str:
        """
        The AWS region that it calls.

        .. versionadded:: 0.1.0
        """
        region_name: str = self._opened().meta.region_name
        return region_name

    def __getstate__(self) -> None:
        raise TypeError(
            f"{type(self).__name__} cannot be pickled, because it holds connections and credentials; "
            "make one in each process"
        )

    def _begun(self, request: Request[Any]) -> Call:
        """Refuse what must not be sent, else begin a call."""
        if request.refused is not None:
            raise request.refused
        redaction.install()
        call = Call(ends_at=None, wire_logs=self._wire_logs)
        if self._deadline is not None:
            call.ends_at = call.began_at + self._deadline
        return call

    def _ended(self, request: Request[_T], call: Call, answered: Answered[_T]) -> _T:
        """Tell of a call, and return its value or raise its error."""
        error = answered.error
        if is_wanted(self._on_call):
            record = CallRecord(
                operation_name=request.operation_name,
                job_id=request.job_id,
                status_code=getattr(error, "status_code", None) or answered.status_code,
                request_id=getattr(error, "request_id", None) or answered.request_id,
                attempts=call.attempts,
                seconds=time.monotonic() - call.began_at,
                error=None if error is None else type(error).__name__,
            )
            tell(record, self._on_call)
        if isinstance(error, CodePipelineJobError):
            _add_facts(error, request, call, answered)
        if error is not None:
            # Outside of any `except`, so that no cause and no context leads to a frame or an error that holds a secret.
            raise error
        return cast("_T", answered.value)


def _add_facts(error: CodePipelineJobError, request: Request[Any], call: Call, answered: Answered[Any]) -> None:
    """Add to an error what its maker does not know of the call."""
    error.job_id = request.job_id
    if isinstance(error, ResponseDecodeError):
        error.operation_name = request.operation_name
        error.status_code, error.request_id = answered.status_code, answered.request_id
        error.attempts = call.attempts
        error.is_retry_safe = request.is_repeatable or None


def is_codepipeline(client: object, *, is_async: bool) -> bool:
    """Tell whether it is a CodePipeline client of botocore, or of aiobotocore."""
    if not isinstance(client, BaseClient) or client.meta.service_model.service_name != "codepipeline":
        return False
    return inspect.iscoroutinefunction(getattr(client, "_make_api_call", None)) is is_async
