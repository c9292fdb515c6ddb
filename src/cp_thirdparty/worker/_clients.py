"""A worker's two clients: how they are created, and calls whose outcome is known although a hook raises in one."""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final, TypeVar, cast

from cp_thirdparty._core.call import now
from cp_thirdparty._core.send import CALLS_END_AT, HIDDEN_RESULTS, Result
from cp_thirdparty.enums import Delivery
from cp_thirdparty.exceptions import CallFacts, ThirdPartyError, TransportError
from cp_thirdparty.worker._emit import Emitter
from cp_thirdparty.worker._isolation import Raised, call_for, call_partner, end_copy, is_ctrl_c
from cp_thirdparty.worker._kinds import THIRD_PARTY, AnyClient, JobKind, create_client

_T = TypeVar("_T")

# Seconds to close the clients.
_CLOSE_SECONDS: Final = 2.0


class Clients:
    """
    One client that polls and reads, and one that acknowledges and reports.  Thread-safe.

    They are two, because the attempts of one client share a quota of retries: failing polls must delay no result.

    Args:
        connect: Creates a client.
        emitter: Writes the log.
        kind: The kind of jobs that they are for.

    Raises:
        TypeError: A client is one of the other kind of jobs.
    """

    def __init__(self, connect: Callable[[], AnyClient], emitter: Emitter, kind: JobKind = THIRD_PARTY) -> None:
        self._connect = functools.partial(create_client, kind, connect)
        self._emitter = emitter
        self._lock = threading.Lock()
        self._pair = (self._connect(), self._connect())
        self._before: tuple[AnyClient, ...] = ()
        self._is_connecting = False
        self._is_closed = False

    @property
    def reader(self) -> AnyClient:
        """The client that polls and reads."""
        return self._pair[0]

    @property
    def reporter(self) -> AnyClient:
        """The client that acknowledges and reports."""
        return self._pair[1]

    def reconnect(self, refused: AnyClient) -> None:
        """Create both again, which loads the AWS credentials again, unless that was done since this one was used."""
        with self._lock:
            if refused not in self._pair or self._is_connecting:
                return
            self._is_connecting = True
        try:
            pair = call_partner(lambda: (self._connect(), self._connect()))  # without the lock: it may hang
        finally:
            self._is_connecting = False
        with self._lock:
            if isinstance(pair, Raised):  # the next attempt tries it again
                self._emitter.log(logging.WARNING, "connect raised %s", pair.name)
            elif self._is_closed:
                _close(pair)
            else:
                # Other threads may be in the middle of a call with the present ones: these are closed the next time.
                _close(self._before)
                self._before, self._pair = self._pair, pair

    def close(self) -> None:
        """Close all of them; leave one that hangs."""
        with self._lock:
            self._is_closed = True
            clients = (*self._before, *self._pair)
        call_for(_CLOSE_SECONDS, _close, clients)

    def call(self, method: Callable[..., _T], *args: Any, **parameters: Any) -> _T | ThirdPartyError:
        """
        Call a method of a client; return its result or the error of the call.

        If a hook of the partner raises, what CodePipeline did still counts.  Where that is not known, the request may
        have been accepted.
        """
        hidden: list[tuple[BaseException, Result[Any]]] = []
        token = HIDDEN_RESULTS.set(hidden)
        process_id = os.getpid()
        try:
            return method(*args, **parameters)
        except BaseException as failure:
            if is_ctrl_c(failure):
                raise
            # An error of this library may come out of a hook too, from another client.  It does not describe this call.
            result = next((result for raised, result in hidden if raised is failure), None)
            if result is None and isinstance(failure, ThirdPartyError):
                return failure.with_traceback(None)
            self._log_hook(failure)
            return _outcome(failure, result)
        finally:
            end_copy(process_id)
            HIDDEN_RESULTS.reset(token)

    def _log_hook(self, failure: BaseException) -> None:
        where = traceback.extract_tb(failure.__traceback__)[-1]
        # Without its message, which may hold anything.
        arguments = (type(failure).__name__, where.name, where.lineno or 0)
        self._emitter.log(logging.ERROR, "a hook raised %s at %s:%d", *arguments)


@contextmanager
def limit_calls(ends_at: float | None) -> Generator[None, None, None]:
    """End the calls of clients that start in this context at a time of `time.monotonic`; ``None`` for no limit."""
    token = CALLS_END_AT.set(None if ends_at is None else now() + ends_at - time.monotonic())
    try:
        yield
    finally:
        CALLS_END_AT.reset(token)


def _close(clients: tuple[AnyClient, ...]) -> None:
    for client in clients:
        call_partner(client.close)


def _outcome(failure: BaseException, result: Result[_T] | None) -> _T | ThirdPartyError:
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
