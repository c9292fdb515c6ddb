"""
Event handlers for botocore: observe each attempt of a call, check its response, and decide whether to retry.

Unless a call of this library runs, the handlers do nothing, so direct calls of a wrapped client behave as before.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from botocore.client import BaseClient

from cp_thirdparty._core import connection, guard
from cp_thirdparty._core.backoff import LONGEST_BOTOCORE_PAUSE, LONGEST_REQUESTED_PAUSE
from cp_thirdparty._core.call import (
    CURRENT,
    MAX_HEADER_BYTES,
    PREPARING,
    RESPONDED,
    SENDING,
    SENT,
    UNSENT,
    Call,
    current_call,
)
from cp_thirdparty._core.deadline import WATCHDOG
from cp_thirdparty._core.facts import Failure
from cp_thirdparty._core.parsed import Filter, find_filter
from cp_thirdparty._core.responses import classify_error
from cp_thirdparty._core.secret_removal import TooManyEscapesError, remove_secrets, remove_secrets_from_bytes
from cp_thirdparty.secrets import SecretStr

_BAD_GATEWAY: Final = 502
_BAD_REQUEST: Final = 400
_MASK: Final = str(SecretStr(""))


def install(client: BaseClient, operation_names: Iterable[str]) -> None:
    """Register the event handlers for operations of a client.  Idempotent."""
    events = client.meta.events
    for name in operation_names:
        for event, handler in _HANDLERS.items():
            events.register_first(f"{event}.codepipeline.{name}", handler, unique_id=f"{_OWNER}.{event}.{name}")
        filter_members = find_filter(client.meta.service_model.operation_model(name))
        if filter_members is not None:
            events.register_last(
                f"before-parse.codepipeline.{name}",
                functools.partial(_skip_parsing, filter_members),
                unique_id=f"{_OWNER}.skip-parsing.{name}",
            )
    _prevent_retry_after_last_attempt(client._endpoint)  # type: ignore[attr-defined] # noqa: SLF001 - no public way
    # This handler must run last: requests that handlers of the caller send before it are not the request of the call.
    events.register_last("before-send", _start_sending, unique_id=f"{_OWNER}.before-send")


def _note_context(model: Any, context: object, **_: object) -> None:
    """Store botocore's context of the call's request, to distinguish it from requests of event handlers."""
    call = current_call()
    if call is not None and call.context is None and _is_operation_of(call, model):
        call.context = context


def _is_operation_of(call: Call, model: Any) -> bool:
    return call.request is not None and call.request.operation_name == model.name


def _call_of(context: object) -> Call | None:
    """Return the call to which a request with this context belongs, or ``None``."""
    call = CURRENT.get()
    return None if call is None or call.is_finished or call.context is not context else call


def _start_attempt(request: Any, **_: object) -> None:
    call = _call_of(request.context)
    if call is not None:
        call.start_attempt()


def _start_sending(event_name: str, request: Any, **_: object) -> None:
    call = current_call()
    if call is None or call.request is None or call.step is PREPARING:
        return
    if event_name == f"before-send.codepipeline.{call.request.operation_name}":
        call.step = SENDING
        call.target, call.connection = connection.target_of(request.url), None
        call.obstacle = call.proxy_status = None  # discard those of other requests, for example to STS
        call.is_watched = True
        call.check_deadline()
        call.is_watched = False


def _check_response(operation_model: Any, response_dict: dict[str, Any], **_: object) -> None:
    """Check a response before botocore parses it."""
    call = current_call()
    if call is None or call.target is None or not _is_operation_of(call, operation_model):
        return
    status: int = response_dict["status_code"]
    is_cbor = "cbor" in str(getattr(operation_model.service_model, "resolved_protocol", ""))
    result = guard.check_response(response_dict, is_cbor=is_cbor, has_output=operation_model.output_shape is not None)
    if not (result.is_truncated and call.step is SENT):
        call.note_response()
    call.status_code = status
    call.request_id = None if result.request_id is None else _clean_request_id(result.request_id, call)
    fault = result.fault
    if fault is not None or result.is_error:
        # Tracers and handlers of the caller get the headers and the parsed response.
        _clean_headers(response_dict["headers"], call)
        if fault is None:
            fault = _store_body(response_dict["body"], call, is_cbor=is_cbor)
    if fault is not None:
        call.fault = fault, status
        # Botocore treats the status 502 as an error that may be retried.
        response_dict["body"] = b""
        if status < guard.FIRST_ERROR_STATUS:
            response_dict["status_code"] = _BAD_GATEWAY
    elif result.is_error:
        response_dict["body"] = call.error_body
        if status < guard.FIRST_ERROR_STATUS:
            response_dict["status_code"] = _BAD_REQUEST
    else:
        call.has_success, call.document = True, result.document


def _skip_parsing(filter_members: Filter, response_dict: dict[str, Any], **_: object) -> None:
    """Pass an empty body to botocore's parser; `_finish_attempt` adds the values that the parser would return."""
    call = current_call()
    if call is None or call.target is None or call.document is None or call.wire_logs:  # the parser logs the response
        return
    call.parsed = filter_members(call.document)
    response_dict["body"] = b""


def _clean_request_id(request_id: str, call: Call) -> str:
    secrets = call.secrets
    return remove_secrets(request_id, secrets) if _may_repeat(request_id, secrets) else request_id


def _may_repeat(text: str, secrets: Iterable[SecretStr]) -> bool:
    """Return whether a string may contain a secret.  A string of letters, digits and hyphens has no escapes."""
    for secret in secrets:
        value = secret.get_secret_value()
        if value in text or not f"{text}{value}".replace("-", "").isalnum():
            return True
    return False


def _clean_headers(headers: Any, call: Call) -> None:
    """Remove the secrets of a call from the headers; mask all headers if they have too many escapes."""
    values = "\n".join(headers.values())
    if len(values) > MAX_HEADER_BYTES:  # aiohttp has no limit, and handlers of the caller may add headers
        call.count_bytes(call.bytes_left + 1)  # this is more than the limit, so it ends the call
    data = values.encode("utf-8", "surrogatepass")
    try:
        is_clean = remove_secrets_from_bytes(data, call.secrets) == data
    except TooManyEscapesError:
        for name in list(headers):  # searching each header alone would take too long, too
            headers[name] = _MASK
        return
    if not is_clean:
        for name, value in list(headers.items()):
            headers[name] = remove_secrets(value, call.secrets)


def _store_body(body: bytes, call: Call, *, is_cbor: bool) -> str | None:
    """Store the body without secrets in the call; return why the response is not trusted, or ``None``."""
    try:
        call.error_body = remove_secrets_from_bytes(body, call.secrets, keep_length=is_cbor)
    except TooManyEscapesError:
        return "the error has too many escapes"
    return None


def _finish_attempt(
    context: object,
    exception: Exception | None,
    response_dict: dict[str, Any] | None,
    parsed_response: dict[str, Any] | None = None,
    **_: object,
) -> None:
    """Complete the parsed response, and stop watching the connection, which may be in the pool again."""
    call = _call_of(context)
    if call is not None:
        if call.parsed is not None and parsed_response is not None:
            parsed_response.update(call.parsed)
        WATCHDOG.release(call)
        call.note_failure(is_unsent=exception is not None and connection.is_unsent(exception))
        call.target = None
        if response_dict is not None and not call.has_success:
            response_dict["body"] = call.error_body  # only handlers of the caller read it


def _decide_on_retry(
    response: tuple[Any, dict[str, Any]] | None,
    attempts: int,
    caught_exception: Exception | None,
    request_dict: Mapping[str, Any],
    **_: object,
) -> bool | None:
    """
    Prevent a retry if the request must not be resent, or if there is no time for another attempt.

    This function does not raise an error of the service.  Botocore raises it, as for any other call, so tools get the
    usual events, exception class and number of attempts.

    Returns:
        ``False`` to end the call; ``None`` to let botocore decide.
    """
    call = _call_of(request_dict["context"])
    if call is None:
        return None
    has_requested_pause = False
    if response is not None:
        http_response, parsed = response
        http_response.status_code = status = parsed["ResponseMetadata"]["HTTPStatusCode"]
        if status < guard.FIRST_ERROR_STATUS:
            return None
        call.error_response = parsed
        # The body of a response that a stub has created may have any type.
        if isinstance(getattr(http_response, "_content", None), bytes):
            http_response._content = call.error_body  # noqa: SLF001 - no public way
        has_requested_pause = "x-amz-retry-after" in http_response.headers
    if _may_be_resent(call) and _has_time(call, attempts, LONGEST_REQUESTED_PAUSE if has_requested_pause else 0.0):
        return None
    if caught_exception is not None:
        raise caught_exception
    call.is_last_attempt = True
    return False


def _prevent_retry_after_last_attempt(endpoint: Any) -> None:
    """
    Prevent a retry after the last attempt, whatever event handlers return.  Idempotent.

    This is necessary because older versions of botocore treat ``False`` of a handler as a retry after 0 seconds, and a
    handler of the caller may run before `_decide_on_retry`.
    """
    decide: Callable[..., Any] = endpoint._needs_retry  # noqa: SLF001 - no public way
    if getattr(decide, "cp_thirdparty_owner", None) == _OWNER:
        return

    def needs_retry(attempts: int, operation: object, request_dict: Mapping[str, Any], *outcome: Any) -> Any:
        decision = decide(attempts, operation, request_dict, *outcome)
        context = request_dict["context"]
        return _is_retried(decision, context) if isinstance(decision, bool) else _await_decision(decision, context)

    needs_retry.cp_thirdparty_owner = _OWNER  # type: ignore[attr-defined]
    endpoint._needs_retry = needs_retry  # noqa: SLF001 - no public way


async def _await_decision(decision: Awaitable[bool], context: object) -> bool:
    return _is_retried(await decision, context)


def _is_retried(is_wanted: bool, context: object) -> bool:  # noqa: FBT001 - the decision of botocore
    call = _call_of(context)
    return is_wanted and (call is None or not call.is_last_attempt)


def _may_be_resent(call: Call) -> bool:
    request = call.request
    if request is None or call.bytes_left < 0:
        return False
    if call.step is UNSENT:
        return call.obstacle is not None and call.obstacle.is_temporary
    if call.step is RESPONDED and call.fault is None and classify_error(call.error_response or {}) is Failure.THROTTLED:
        return True
    return request.is_repeatable and call.step in (SENT, RESPONDED)


def _has_time(call: Call, attempts: int, requested_pause: float) -> bool:
    left = call.seconds_left()
    return left is None or left > min(2.0 ** (attempts - 1), LONGEST_BOTOCORE_PAUSE) + requested_pause


_OWNER: Final = f"cp_thirdparty.{id(install)}"  # another copy of the library registers its own handlers
_HANDLERS: Final[Mapping[str, Callable[..., Any]]] = {
    "provide-client-params": _note_context,
    "request-created": _start_attempt,
    "before-parse": _check_response,
    "response-received": _finish_attempt,
    "needs-retry": _decide_on_retry,
}
