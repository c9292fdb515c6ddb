"""Strings that must not be shown: `SecretStr`, and `SecretMapping`, whose values are `SecretStr`."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn, final

from cp_thirdparty._base.text import show_repr

__all__ = ["SecretMapping", "SecretStr"]

_MASK = "**********"

# The random key for hashes of secrets, so that a hash outside of this process does not help to find the secret.
_HASH_KEY = os.urandom(16)

_NO_PICKLE = (
    "a secret cannot be pickled, because a pickle holds its value in plain text; "
    "send the ThirdPartyJob, which holds no secret, and read the job's details in the process that receives it"
)


class _SecretBase:
    """The base of both classes: objects are immutable, cannot be pickled, and a copy is the same object."""

    __slots__ = ()

    if not TYPE_CHECKING:  # pragma: no branch - type checkers would allow assignment otherwise

        def __setattr__(self, name: str, value: object) -> NoReturn:
            raise AttributeError(f"{type(self).__name__} is immutable")

        def __delattr__(self, name: str) -> NoReturn:
            raise AttributeError(f"{type(self).__name__} is immutable")

    def __init_subclass__(cls) -> None:
        if cls.__module__ != __name__:
            raise TypeError(f"{cls.__bases__[0].__name__} cannot be subclassed")

    def __copy__(self) -> _SecretBase:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> _SecretBase:
        return self

    def __getstate__(self) -> NoReturn:
        raise TypeError(_NO_PICKLE)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(_NO_PICKLE)


@final
class SecretStr(_SecretBase):
    """
    A string whose value is available only through `get_secret_value()`.

    ``repr``, ``str``, ``format`` and f-strings return a fixed mask, which hides the value and its length.
    It is not a ``str``: ``"".join``, ``+``, ``file.write`` and assignment to ``os.environ`` raise ``TypeError``, so a
    secret does not become a part of a string by accident.  It equals only another `SecretStr` of the same value.

    Immutable, hashable and safe to share between threads.  It cannot be pickled, because a pickle holds its value in
    plain text.

    It protects a secret from accidents, and not from code in the same process that reads the value on purpose.

    Args:
        value: The string to hide.

    Raises:
        TypeError: The value is not a ``str``.  The message names its type only.
    """

    # The bound method ``value.__str__``.  Neither vars(), inspect.getmembers() nor rich.inspect(private=True) show its
    # object.  A `SecretStr` and its bound method together use 88 bytes, a third of what they use with a closure
    # (sys.getsizeof on CPython 3.11).
    __slots__ = ("_reveal",)
    _reveal: Callable[[], str]

    def __new__(cls, value: str) -> SecretStr:  # noqa: D102 - the class's docstring describes it
        # This is not __init__, because other code could call __init__ again.
        if isinstance(value, str):
            # A subclass of str may have its own __str__, which could return another string.
            return cls._of_plain(str.__str__(value))
        kind = type(value).__name__
        del value  # `value` may be the secret in another type, and this frame is in the traceback
        raise TypeError(f"SecretStr takes a str, not {kind}")

    @classmethod
    def _of_plain(cls, value: str) -> SecretStr:
        """Create a `SecretStr` from an exact ``str``; do not check it."""
        self = _new_object(cls)
        _set_reveal(self, value.__str__)
        return self

    @classmethod
    def wrap(cls, value: str | SecretStr) -> SecretStr:
        """
        Return ``value`` if it is already a `SecretStr`; otherwise return a new `SecretStr` of it.

        Args:
            value: The string to hide, or a `SecretStr`.

        Raises:
            TypeError: The value is neither.  The message names its type only.
        """
        if isinstance(value, (str, SecretStr)):
            return value if isinstance(value, SecretStr) else cls(value)
        kind = type(value).__name__
        del value
        raise TypeError(f"SecretStr takes a str, not {kind}")

    def get_secret_value(self) -> str:
        """Return the value as a plain ``str``."""
        return self._reveal()

    def __repr__(self) -> str:
        return _MASK

    __str__ = __repr__

    def __format__(self, format_spec: str) -> str:
        return _MASK  # without padding, so the width is ignored

    def __hash__(self) -> int:
        return int.from_bytes(hashlib.blake2b(_encode(self), key=_HASH_KEY, digest_size=8).digest(), "big")

    # Hide `__eq__` from type checkers, so that they report a comparison with a `str`, which is always false.
    if not TYPE_CHECKING:  # pragma: no branch

        def __eq__(self, other: object) -> bool:
            if not isinstance(other, SecretStr):
                return NotImplemented
            return hmac.compare_digest(_encode(self), _encode(other))

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: object) -> Any:
        # A field of a pydantic model can have this type.  A JSON dump contains the mask.
        core_schema: Any = import_module("pydantic_core.core_schema")
        strings = core_schema.union_schema([core_schema.is_instance_schema(cls), core_schema.str_schema()])
        return core_schema.no_info_after_validator_function(
            cls.wrap, strings, serialization=core_schema.to_string_ser_schema(when_used="json")
        )


# These functions bypass the __setattr__ that raises.  They are looked up once, because one response creates a dozen
# secrets.
_new_object = object.__new__
_set_reveal: Callable[[SecretStr, Callable[[], str]], None] = SecretStr.__dict__["_reveal"].__set__


def _encode(secret: SecretStr) -> bytes:
    # An encoding error would contain the value; "surrogatepass" prevents it.
    return secret.get_secret_value().encode("utf-8", "surrogatepass")


@final
class SecretMapping(_SecretBase, Mapping[str, SecretStr]):
    """
    An immutable mapping whose values are secret: each value is returned as a `SecretStr`.

    The mapping keeps the order of its entries.  It equals a mapping with the same keys whose values are equal
    `SecretStr` objects.  It is hashable, safe to share between threads, and cannot be pickled.

    Args:
        entries: The keys and values; they are copied.

    Raises:
        TypeError: A key is not a ``str``, or a value is neither ``str`` nor `SecretStr`.  The message names types only.
    """

    # The bound __getitem__ of a dict of plain strings, which hides the dict as in SecretStr.  A SecretStr is created
    # when a value is read.  If it were created before, it would need time and 88 bytes for each value of each job.
    __slots__ = ("_reveal",)
    _reveal: Callable[[str], str]

    def __new__(cls, entries: Mapping[str, str | SecretStr]) -> SecretMapping:  # noqa: D102 - the class describes it
        plain, wrong_type = _plain_strings(entries)
        if wrong_type is not None:
            del entries, plain
            raise TypeError(f"SecretMapping takes a mapping of str to str or SecretStr, not {wrong_type}")
        return cls._of_plain(plain)

    @classmethod
    def _of_plain(cls, plain: dict[str, str]) -> SecretMapping:
        """Store the dictionary itself; do not copy or check it.  No other code may refer to it."""
        self = _new_object(cls)
        _set_mapping_reveal(self, plain.__getitem__)
        return self

    def __getitem__(self, key: str) -> SecretStr:
        return SecretStr(self._reveal(key))

    def __iter__(self) -> Iterator[str]:
        return iter(_entries(self))

    def __len__(self) -> int:
        return len(_entries(self))

    def __contains__(self, key: object) -> bool:
        return key in _entries(self)

    def __repr__(self) -> str:
        shown = ", ".join(f"{show_repr(key)}: {_MASK}" for key in self)
        return f"SecretMapping({{{shown}}})"

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    def __hash__(self) -> int:
        return hash(frozenset(self.items()))


_set_mapping_reveal: Callable[[SecretMapping, Callable[[str], str]], None] = SecretMapping.__dict__["_reveal"].__set__


def _entries(mapping: SecretMapping) -> dict[str, str]:
    entries: dict[str, str] = mapping._reveal.__self__  # type: ignore[attr-defined] # noqa: SLF001 - a bound method
    return entries


def _plain_strings(entries: Mapping[str, str | SecretStr]) -> tuple[dict[str, str], str | None]:
    """Return plain strings, and the name of the first wrong type.  The caller deletes the strings and raises."""
    plain: dict[str, str] = {}
    if not isinstance(entries, Mapping):
        return plain, type(entries).__name__
    for key, value in entries.items():
        if not isinstance(key, str):
            return plain, type(key).__name__
        if not isinstance(value, (str, SecretStr)):
            return plain, type(value).__name__
        plain[key] = SecretStr.wrap(value).get_secret_value()
    return plain, None
