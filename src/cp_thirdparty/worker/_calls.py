"""The calls of a worker, whose outcome stays known although a hook of the partner raises inside of one."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any, TypeVar, cast

from cp_thirdparty._core.send import HIDDEN_RESULTS, Result
from cp_thirdparty.enums import Delivery
from cp_thirdparty.exceptions import CallFacts, ThirdPartyError, TransportError

_T = TypeVar("_T")

_log = logging.getLogger("cp_thirdparty.worker")


def call_client(method: Callable[..., _T], *args: Any, **parameters: Any) -> _T | ThirdPartyError:
    """
    Call a method of a client; return its result or the error of the call.

    If a hook of the partner raises, what CodePipeline did still counts.  Where that is not known, the request may have
    been accepted.
    """
    hidden: list[tuple[Exception, Result[Any]]] = []
    token = HIDDEN_RESULTS.set(hidden)
    try:
        return method(*args, **parameters)
    except Exception as failure:  # noqa: BLE001 - the partner's hook may raise anything
        # An error of this library may come out of a hook too, from another client.  It does not describe this call.
        result = next((result for raised, result in hidden if raised is failure), None)
        if result is None and isinstance(failure, ThirdPartyError):
            return failure.with_traceback(None)
        _log_hook(failure)
        return _outcome(failure, result)
    finally:
        HIDDEN_RESULTS.reset(token)


def _outcome(failure: Exception, result: Result[_T] | None) -> _T | ThirdPartyError:
    if result is not None and result.error is None:
        return cast("_T", result.value)
    error = None if result is None else cast("ThirdPartyError", result.error)
    if error is not None and error.delivery is not Delivery.NOT_SENT:
        return error
    # A hook may raise once only, so the worker tries again, also where nothing was sent.
    facts: CallFacts = {"delivery": Delivery.SENT, "is_retry_safe": None}
    if error is not None:
        facts = {"delivery": Delivery.NOT_SENT, "is_retry_safe": True}
    return TransportError(f"a hook raised {type(failure).__name__}", **facts)


def _log_hook(failure: Exception) -> None:
    where = traceback.extract_tb(failure.__traceback__)[-1]
    # Without its message, which may hold anything.
    _log.error("a hook raised %s at %s:%d", type(failure).__name__, where.name, where.lineno or 0)
