"""What must not be shown, and what must not be changed: `SecretStr` and `FrozenMapping`."""

from __future__ import annotations

import copy
import hashlib
import hmac
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FrozenMapping", "SecretStr"]

_MASK = "**********"

# Hashes of secrets are keyed with it, so that they say nothing outside this process.
_HASH_KEY = os.urandom(16)

_K = TypeVar("_K")
_V_co = TypeVar("_V_co", covariant=True)


@final
class SecretStr:
    """
    A text that shows itself only by `get_secret_value()`.

    ``repr``, ``str``, ``format`` and f-strings give a fixed mask that tells neither the length nor a part of the value.
    It is not a ``str``: joining, adding, writing or putting it into an environment is a ``TypeError``, so a secret
    cannot slip into a text unnoticed.  It equals only another `SecretStr` of the same value.

    Immutable, hashable and safe to share between threads.  It refuses to be pickled: a pickle is a copy in clear.

    It guards against accidents.  It does not guard against code in the same process that wants the value.

    Args:
        value: The text to hide.

    Raises:
        TypeError: The value is not a ``str``.  The message names its type only.

    .. versionadded:: 0.1.0
    """

    # Holds the bound method ``value.__str__``: neither vars(), inspect.getmembers() nor rich.inspect(private=True) look
    # behind it, and at 88 bytes for both objects it takes a third of a closure (sys.getsizeof on CPython 3.11).
    __slots__ = ("_reveal",)
    _reveal: Callable[[], str]

    def __new__(cls, value: str) -> SecretStr:  # noqa: D102 - the class's docstring describes it
        # Not __init__, which anyone could call a second time.
        if isinstance(value, str):
            self = object.__new__(cls)
            # str.__str__ makes a plain str of a subclass, whose own __str__ could give another text.
            object.__setattr__(self, "_reveal", str.__str__(value).__str__)
            return self
        kind = type(value).__name__
        del value  # it may be the secret in another type, and this frame is in the traceback
        raise TypeError(f"SecretStr takes a str, not {kind}")

    @classmethod
    def wrap(cls, value: str | SecretStr) -> SecretStr:
        """
        Return the value itself when it is a `SecretStr` already, else wrap it.

        Args:
            value: The text to hide, or a text hidden already.

        Raises:
            TypeError: The value is neither.  The message names its type only.

        .. versionadded:: 0.1.0
        """
        if isinstance(value, SecretStr):
            return value
        if isinstance(value, str):
            return cls(value)
        kind = type(value).__name__
        del value
        raise TypeError(f"SecretStr takes a str, not {kind}")

    def get_secret_value(self) -> str:
        """
        Return the text in clear.

        .. versionadded:: 0.1.0
        """
        return self._reveal()

    def __repr__(self) -> str:
        return _MASK

    __str__ = __repr__

    def __format__(self, format_spec: str) -> str:
        return _MASK  # whatever the width asked for: padding must not depend on anything

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretStr):
            return NotImplemented
        return hmac.compare_digest(_encoded(self), _encoded(other))

    def __hash__(self) -> int:
        return int.from_bytes(hashlib.blake2b(_encoded(self), key=_HASH_KEY, digest_size=8).digest(), "big")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("SecretStr is immutable")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("SecretStr is immutable")

    def __init_subclass__(cls) -> NoReturn:
        raise TypeError("SecretStr cannot be subclassed")

    def __copy__(self) -> SecretStr:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> SecretStr:
        return self

    def __getstate__(self) -> NoReturn:
        raise TypeError(_NO_PICKLE)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(_NO_PICKLE)


_NO_PICKLE = (
    "SecretStr cannot be pickled, because a pickle holds its value in clear; "
    "send the ThirdPartyJob, which holds no secret, and read the job's details on the other side"
)


def _encoded(secret: SecretStr) -> bytes:
    # surrogatepass: an encoding error would carry the value.
    return secret.get_secret_value().encode("utf-8", "surrogatepass")


class FrozenMapping(Mapping[_K, _V_co]):
    """
    A mapping that cannot be changed: hashable, copyable, and as picklable as what it holds.

    Keeps the order of its entries; equals any mapping with the same ones.  Safe to share between threads.

    Args:
        entries: Copied at construction.

    .. versionadded:: 0.1.0
    """

    __slots__ = ("_entries",)
    _entries: dict[_K, _V_co]

    def __new__(cls, entries: Mapping[_K, _V_co]) -> FrozenMapping[_K, _V_co]:  # noqa: D102 - as above
        self = super().__new__(cls)
        object.__setattr__(self, "_entries", dict(entries))
        return self

    def __getitem__(self, key: _K) -> _V_co:
        return self._entries[key]

    def __iter__(self) -> Iterator[_K]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._entries!r})"

    def __hash__(self) -> int:
        return hash(frozenset(self._entries.items()))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("FrozenMapping is immutable")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("FrozenMapping is immutable")

    def __copy__(self) -> FrozenMapping[_K, _V_co]:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenMapping[_K, _V_co]:
        return FrozenMapping(copy.deepcopy(self._entries, memo))

    def __reduce__(self) -> tuple[type[FrozenMapping[_K, _V_co]], tuple[dict[_K, _V_co]]]:
        return FrozenMapping, (self._entries,)
