"""Look up client tokens by client id."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

from cp_thirdparty._base.frames import hide_arguments
from cp_thirdparty.secrets import SecretStr
from cp_thirdparty.worker._isolation import Raised, call_partner
from cp_thirdparty.worker.token_sources import EnvironmentTokens

__all__ = ["ClientTokens", "NoTokenError", "RefreshingTokens", "TokenLookup"]

ClientTokens: TypeAlias = Mapping[str, str | SecretStr] | Callable[[str], str | SecretStr | None]
"""A mapping from client id to client token, or a callable that takes a client id and returns the client token."""


MAX_SECONDS: Final = 20.0
"""
Seconds that a look-up may take.  If it takes longer, a job that is not claimed yet is given up.

After about 30 seconds, CodePipeline offers a job that is not acknowledged to other workers.
"""

# Seconds after which a client token is looked up again, even if an earlier look-up has not returned.
_RETRY_SECONDS: Final = 300.0


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


class TokenLookup:
    """
    Looks up client tokens and returns them as secret strings.  Thread-safe if the given callable is.

    If a look-up for a client has not returned within 20 seconds, other look-ups for this client fail at once.  After
    five minutes, another look-up is tried, because perhaps only the first one hangs.

    Args:
        tokens: A mapping, or a callable that returns a token or ``None``.

    Raises:
        TypeError: ``tokens`` is neither a mapping nor a callable, or a token is not a string.
    """

    @hide_arguments
    def __init__(self, tokens: ClientTokens) -> None:
        self._look_up: Callable[[str], str | SecretStr | None]
        self._is_mapping = isinstance(tokens, Mapping)
        self._running: dict[str, float] = {}  # client id -> when the last look-up began that has not returned yet
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

    def find(self, client_id: str) -> SecretStr | NoTokenError:
        """Return the client token of a client, or an error that has the reason.  This method does not raise."""
        began_at = time.monotonic()
        if MAX_SECONDS <= began_at - self._running.get(client_id, began_at) < _RETRY_SECONDS:
            return NoTokenError("the look-up of its client token does not return", TimeoutError.__name__)
        self._running[client_id] = began_at
        token = call_partner(self, client_id)
        self._running.pop(client_id, None)
        if isinstance(token, Raised):
            return NoTokenError("its client token could not be looked up", token.name)
        return NoTokenError("no client token") if token is None else token

    def refresh(self, client_id: str) -> NoTokenError | None:
        """Call ``refresh`` of the callable, if it has this method; return an error if the method raised."""
        if isinstance(self._look_up, RefreshingTokens):
            refreshed = call_partner(self._look_up.refresh, client_id)
            if isinstance(refreshed, Raised):
                return NoTokenError(f"refresh of the client token raised {refreshed.name}", refreshed.name)
        return None

    def read_environment(self, client_id: str) -> dict[str, str]:
        """Return the environment variable with the token of a client; nothing if another source has the tokens."""
        if not isinstance(self._look_up, EnvironmentTokens):
            return {}
        name = self._look_up.variable(client_id)
        return {name: os.environ.get(name, "")}  # an empty variable is not a token

    def __getstate__(self) -> dict[str, Any]:
        if self._is_mapping:
            raise TypeError("client tokens in a mapping cannot be pickled, because they are secret")
        return {**self.__dict__, "_running": {}}
