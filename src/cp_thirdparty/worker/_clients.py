"""
The two clients of a worker: how they are created, and how their methods are called.

If a hook of the partner raises an exception during a call, the outcome of the call is still known.
"""

from __future__ import annotations

import functools
import logging
import math
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
from cp_thirdparty.worker._bounded_calls import BoundedCalls, NotReturned
from cp_thirdparty.worker._emit import Emitter
from cp_thirdparty.worker._isolation import ExitInFork, Raised, call_partner, call_with_timeout, is_ctrl_c
from cp_thirdparty.worker._kinds import THIRD_PARTY, AnyClient, JobKind, create_client

_T = TypeVar("_T")

# Seconds to wait until the clients are closed.
_CLOSE_SECONDS: Final = 2.0

NOT_RETURNED: Final = "connect has not returned in time"

# The name of the threads that call ``connect`` with a limit.
_THREAD: Final = "cp-thirdparty-connect"


class Connector:
    """
    Creates clients within a limited time, although ``connect`` may hang.  Thread-safe.

    Only one thread creates clients at a time.  If ``connect`` has not returned in time, the next caller calls it again.
    Otherwise one call that never returns would make the process useless, for example the environment of a Lambda
    function, whose threads stand still between two events.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = BoundedCalls(_THREAD)

    def call(self, seconds: float, create: Callable[[], object], is_needed: Callable[[], bool]) -> bool:
        """
        Create clients in another thread; return ``False`` if ``connect`` has not returned in time.

        Args:
            seconds: How long to wait; infinity to call `create` in this thread, without a limit.
            create: Calls ``connect`` and stores the clients, even after the time has passed.
            is_needed: Returns whether clients must be created.  Another thread may have created them.

        Raises:
            Exception: The error of ``connect``.
        """
        longest = min(seconds, threading.TIMEOUT_MAX)
        ends_at = time.monotonic() + longest
        if not self._lock.acquire(timeout=longest):
            return not is_needed()
        try:
            if not is_needed():
                return True
            if math.isinf(seconds):
                with ExitInFork():
                    create()
                return True
            if self._calls.is_hanging:
                self._calls = BoundedCalls(_THREAD)
            returned = self._calls.call_or_raise(max(0.0, ends_at - time.monotonic()), create)
            # An earlier call may have returned meanwhile.
            return not isinstance(returned, NotReturned) or not is_needed()
        finally:
            self._lock.release()

    def call_or_raise(self, seconds: float, create: Callable[[], object], is_needed: Callable[[], bool]) -> None:
        """
        Create clients like `call`.

        Raises:
            TransportError: ``connect`` has not returned in time.
            Exception: The error of ``connect``.
        """
        if not self.call(seconds, create, is_needed):
            raise TransportError(NOT_RETURNED, delivery=Delivery.NOT_SENT, is_retry_safe=True)


class Clients:
    """
    One client that polls and reads details, and one client that acknowledges and reports jobs.  Thread-safe.

    All calls of a client share one quota of retries.  There are two clients, so that polls that fail do not use up the
    retries of reports.

    Args:
        connect: Creates a client.
        emitter: Writes log records.
        kind: The kind of jobs for which the clients are used.

    Raises:
        TypeError: `connect` returned a client for the other kind of job.
    """

    def __init__(self, connect: Callable[[], AnyClient], emitter: Emitter, kind: JobKind = THIRD_PARTY) -> None:
        self._connect = functools.partial(create_client, kind, connect)
        self._emitter = emitter
        self._lock = threading.Lock()
        self._pair = (self._connect(), self._connect())
        self._before: tuple[AnyClient, ...] = ()
        self._outdated: AnyClient | None = None
        self._is_connecting = False
        self._is_closed = False

    @property
    def is_outdated(self) -> bool:
        """Whether the next job needs new clients."""
        return self._outdated is not None

    @property
    def reader(self) -> AnyClient:
        """The client that polls and reads."""
        return self._pair[0]

    @property
    def reporter(self) -> AnyClient:
        """The client that acknowledges and reports."""
        return self._pair[1]

    def note_outdated(self, refused: AnyClient) -> None:
        """
        Note that the next job needs new clients; `refresh` creates them.

        Args:
            refused: The client whose call failed.
        """
        self._outdated = refused

    def refresh(self) -> None:
        """Create both clients again if `note_outdated` was called for one of them."""
        refused = self._outdated
        if refused is not None:
            self.reconnect(refused)
            if self._outdated is refused:  # cleared here, so that `is_outdated` is true while `connect` hangs
                self._outdated = None

    def reconnect(self, refused: AnyClient) -> None:
        """
        Create both clients again, which reloads the AWS credentials.

        Args:
            refused: The client whose call failed.  If it was already replaced, nothing is done.
        """
        with self._lock:
            if refused not in self._pair or self._is_connecting:
                return
            self._is_connecting = True
        try:
            # The lock is not held, because `connect` may hang.
            pair = call_partner(lambda: (self._connect(), self._connect()))
        finally:
            self._is_connecting = False
        with self._lock:
            if isinstance(pair, Raised):  # the next call that fails tries to reconnect again
                self._emitter.log(logging.WARNING, "connect raised %s", pair.name)
            elif self._is_closed:
                _close(pair)
            else:
                # Other threads may be in a call of the current clients, so these are closed at the next reconnect.
                _close(self._before)
                self._before, self._pair = self._pair, pair

    def close(self) -> None:
        """Close all clients; wait at most 2 seconds, because closing may hang."""
        with self._lock:
            self._is_closed = True
            clients = (*self._before, *self._pair)
        call_with_timeout(_CLOSE_SECONDS, _close, clients)

    def call(self, method: Callable[..., _T], *args: Any, **parameters: Any) -> _T | ThirdPartyError:
        """
        Call a method of a client; return its result or the error of the call.

        If a hook of the partner raises an exception, the response of CodePipeline is still returned.  If there is no
        response, the error shows whether the request was sent, so that CodePipeline may have accepted it.
        """
        hidden: list[tuple[BaseException, Result[Any]]] = []
        token = HIDDEN_RESULTS.set(hidden)
        try:
            with ExitInFork():
                return method(*args, **parameters)
        except BaseException as failure:
            if is_ctrl_c(failure):
                raise
            # A hook may use another client and raise the error of that client.  Such an error does not describe this
            # call.
            result = next((result for raised, result in hidden if raised is failure), None)
            if result is None and isinstance(failure, ThirdPartyError):
                return failure.with_traceback(None)
            self._log_hook(failure)
            return _outcome(failure, result)
        finally:
            HIDDEN_RESULTS.reset(token)

    def _log_hook(self, failure: BaseException) -> None:
        where = traceback.extract_tb(failure.__traceback__)[-1]
        # The message of the exception is not logged, because it may contain secrets.
        arguments = (type(failure).__name__, where.name, where.lineno or 0)
        self._emitter.log(logging.ERROR, "a hook or a log handler raised %s at %s:%d", *arguments)


@contextmanager
def limit_calls(ends_at: float) -> Generator[None, None, None]:
    """
    Limit the time of all calls of clients that start in this context.

    Args:
        ends_at: The time by `time.monotonic` at which the calls end; infinity for no limit.
    """
    token = CALLS_END_AT.set(None if math.isinf(ends_at) else now() + ends_at - time.monotonic())
    try:
        yield
    finally:
        CALLS_END_AT.reset(token)


def find_limit() -> float:
    """Return the time by `time.monotonic` at which the calls of this context end; infinity for no limit."""
    ends_at = CALLS_END_AT.get()
    return math.inf if ends_at is None else ends_at - now() + time.monotonic()


def _close(clients: tuple[AnyClient, ...]) -> None:
    for client in clients:
        call_partner(client.close)


def _outcome(failure: BaseException, result: Result[_T] | None) -> _T | ThirdPartyError:
    if result is not None and result.error is None:
        return cast("_T", result.value)
    error = None if result is None else cast("ThirdPartyError", result.error)
    if error is not None and error.delivery is not Delivery.NOT_SENT:
        return error
    # The worker retries in both cases, also if nothing was sent, because the hook may not raise at the next attempt.
    facts: CallFacts = {"delivery": Delivery.SENT, "is_retry_safe": None}
    if error is not None:
        facts = {"delivery": Delivery.NOT_SENT, "is_retry_safe": True}
    return TransportError(f"a hook or a log handler raised {type(failure).__name__}", **facts)
