"""Look up client tokens by client id."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, Protocol, TypeAlias, TypeVar, runtime_checkable

from cp_thirdparty._base.frames import hide_arguments
from cp_thirdparty.secrets import SecretStr
from cp_thirdparty.worker._bounded_calls import BoundedCalls, NotReturned
from cp_thirdparty.worker._isolation import Raised, call_partner
from cp_thirdparty.worker.token_sources import EnvironmentTokens

__all__ = ["ClientTokens", "NoTokenError", "RefreshingTokens", "TokenLookup"]

_T = TypeVar("_T")

ClientTokens: TypeAlias = Mapping[str, str | SecretStr] | Callable[[str], str | SecretStr | None]
"""A mapping from client id to client token, or a callable that takes a client id and returns the client token."""


MAX_SECONDS: Final = 20.0
"""
Maximum number of seconds of a look-up.  If it takes longer, a job that is not claimed yet is given up.

After about 30 seconds, CodePipeline offers a job that is not acknowledged to other workers.
"""

# Seconds after which a client token is looked up again, even if the first look-up has not returned.
_RETRY_SECONDS: Final = 300.0

TOOK_TOO_LONG: Final = "the look-up of its client token took too long"

_DOES_NOT_RETURN: Final = "the look-up of its client token does not return"


class NoTokenError(LookupError):
    """
    There is no client token for a client.

    Attributes:
        error: Name of the class of the exception that the look-up raised; ``None`` if the look-up found no token.

    Args:
        reason: The reason.  It contains no value.

    .. versionadded:: 0.2.0
    """

    def __init__(self, reason: str, error: str | None = None) -> None:
        super().__init__(reason)
        self.error = error


@runtime_checkable
class RefreshingTokens(Protocol):
    """
    A callable that caches tokens and can fetch a token again.

    `refresh` is called for a job whose token CodePipeline refuses; the token is then looked up again.
    """

    def __call__(self, client_id: str) -> str | SecretStr | None:
        """Return the client token of a client, or ``None`` if the client has no token."""
        ...

    def refresh(self, client_id: str) -> None:
        """Remove the token of this client from the cache."""
        ...


class _ClientCalls:
    """
    The calls of a token store for one client.

    Attributes:
        latest: Makes the calls; an earlier one may still have a call that hangs.
    """

    def __init__(self) -> None:
        self.latest = BoundedCalls("cp-thirdparty-tokens")
        self._hangs_since: float | None = None
        self._retries = 0

    def find(self) -> BoundedCalls:
        """Return what makes the next call; if an earlier call has hung for a long time, it is a new one."""
        if not self.latest.is_hanging:
            self._hangs_since = None
            return self.latest
        now = time.monotonic()
        since = self._hangs_since = now if self._hangs_since is None else self._hangs_since
        if now - since >= _RETRY_SECONDS * 2**self._retries:
            self._hangs_since = None
            self._retries += 1
            self.latest = BoundedCalls("cp-thirdparty-tokens")
        return self.latest


class LookUpCalls:
    """
    Calls a token store, which may hang, in other threads with a timeout.  Thread-safe.

    While a call for a client hangs, no other call for this client is made.  After five minutes, another call is tried,
    because perhaps only the first one hangs.  If this call hangs too, the next one is tried after ten minutes, and so
    on, because each call that hangs keeps its thread.
    """

    def __init__(self) -> None:
        self._clients: dict[str, _ClientCalls] = {}  # the clients for which a call runs or hangs

    @contextmanager
    def open(self, client_id: str) -> Generator[BoundedCalls, None, None]:
        """Yield what makes the calls for a client; nothing is kept for the client if no call runs or hangs then."""
        calls = self._clients.setdefault(client_id, _ClientCalls())
        try:
            yield calls.find()
        finally:
            if not calls.latest.is_busy:
                if self._clients.get(client_id) is calls:
                    self._clients.pop(client_id, None)
                calls.latest.close()


class TokenLookup:
    """
    Looks up client tokens and returns them as secret strings.  Thread-safe if the given callable is.

    Attributes:
        calls: Calls the token store.

    Args:
        tokens: A mapping, or a callable that returns a token or ``None``.

    Raises:
        TypeError: ``tokens`` is neither a mapping nor a callable, or a token is not a string.
    """

    @hide_arguments
    def __init__(self, tokens: ClientTokens) -> None:
        self._look_up: Callable[[str], str | SecretStr | None]
        self._is_mapping = isinstance(tokens, Mapping)
        self._may_hang = type(tokens) not in (dict, EnvironmentTokens)
        self.calls: LookUpCalls = LookUpCalls()
        if isinstance(tokens, Mapping):
            for token in tokens.values():
                SecretStr.wrap(token)
            self._look_up = tokens.get  # reads the mapping at each look-up, because its tokens may change
        elif callable(tokens):
            self._look_up = tokens
        else:
            raise TypeError("client_tokens: must be a mapping or a callable from client id to client token")

    def __call__(self, client_id: str) -> SecretStr | None:
        """
        Return the client token of a client, or ``None`` if the client has no token.

        Raises:
            TypeError: The callable returned a value that is neither a string nor ``None``.
        """
        token = self._look_up(client_id)
        return None if token is None else SecretStr.wrap(token)

    def look_up(self, client_id: str) -> SecretStr | None:
        """
        Return the client token of a client, or ``None`` if the client has no token.

        Raises:
            TimeoutError: The look-up has not returned in time, or an earlier one hangs.
            BaseException: The callable raised it.
        """
        if not self._may_hang:
            return self(client_id)
        with self.calls.open(client_id) as calls:
            token = calls.call_or_raise(MAX_SECONDS, partial(self, client_id))
        if isinstance(token, NotReturned):
            raise TimeoutError
        return token

    def find(self, client_id: str, seconds: float = math.inf) -> SecretStr | NoTokenError:
        """
        Return the client token of a client, or an error that has the reason.  This method does not raise.

        Args:
            client_id: The client id.
            seconds: The timeout, if it is shorter than `MAX_SECONDS`.
        """
        token = self._call(client_id, partial(self, client_id), seconds)
        if isinstance(token, Raised):
            return NoTokenError("its client token could not be looked up", token.name)
        return NoTokenError("no client token") if token is None else token

    def refresh(self, client_id: str, seconds: float = math.inf) -> NoTokenError | None:
        """Call ``refresh`` of the callable, if it has this method; return an error if the method raised or hangs."""
        if not isinstance(self._look_up, RefreshingTokens):
            return None
        refreshed = self._call(client_id, partial(self._look_up.refresh, client_id), seconds)
        if isinstance(refreshed, Raised):
            return NoTokenError(f"refresh of the client token raised {refreshed.name}", refreshed.name)
        return refreshed

    def _call(self, client_id: str, function: Callable[[], _T], seconds: float) -> _T | Raised | NoTokenError:
        if not self._may_hang:
            return call_partner(function)
        with self.calls.open(client_id) as calls:
            reason = _DOES_NOT_RETURN if calls.is_hanging else TOOK_TOO_LONG
            returned = calls.call(max(0.0, min(seconds, MAX_SECONDS)), function)
        return NoTokenError(reason, TimeoutError.__name__) if isinstance(returned, NotReturned) else returned

    def read_environment(self, client_id: str) -> dict[str, str]:
        """Return the environment variable with the token of a client; nothing if another source has the tokens."""
        if not isinstance(self._look_up, EnvironmentTokens):
            return {}
        name = self._look_up.variable(client_id)
        return {name: os.environ.get(name, "")}  # an empty variable is not a token

    def __getstate__(self) -> dict[str, Any]:
        if self._is_mapping:
            raise TypeError("client tokens in a mapping cannot be pickled, because they are secret")
        return {name: value for name, value in self.__dict__.items() if name != "calls"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, calls=LookUpCalls())
