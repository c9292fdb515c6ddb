"""Read a document into a class, or return every problem as a path of the service's member names, never a value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from cattrs.errors import ClassValidationError, IterableValidationError

from cp_thirdparty._hooks import MismatchError, make_converter, member_name
from cp_thirdparty.exceptions import InvalidRequestError

_T = TypeVar("_T")


def read(data: Any, model: type[_T], path: str = "") -> tuple[_T | None, tuple[str, ...]]:
    """
    Return the model and no problems, or ``None`` and the problems, whose paths start with ``path``.

    It raises nothing: the frames, arguments and notes of what it catches hold the data.
    """
    try:
        return make_converter(detailed=False).structure(data, model), ()
    except Exception:  # noqa: BLE001, S110 - the second reading collects each problem with its path
        pass
    try:
        return make_converter(detailed=True).structure(data, model), ()
    except Exception as error:  # noqa: BLE001 - returned as problems
        return None, tuple(_problems(error, path))


def _problems(error: BaseException, path: str) -> Iterator[str]:
    """Yield cattrs' nested errors as lines that hold only names and rules of this library."""
    if isinstance(error, ClassValidationError):
        with_field, others = error.group_exceptions()
        for inner, field in with_field:
            yield from _problems(inner, _join(path, field.name))
        for inner in others:
            yield from _problems(inner, path)
    elif isinstance(error, IterableValidationError):
        for inner, item in error.group_exceptions()[0]:
            yield from _problems(inner, f"{path}[{item.index}]")
    elif isinstance(error, KeyError):
        yield f"required field missing: {path}"
    elif isinstance(error, InvalidRequestError):
        yield f"{_join(path, error.parameter)}: {error.rule}"
    elif isinstance(error, MismatchError):
        yield f"{path or 'the document'}: {error.rule}"
    else:
        yield f"{path or 'the document'}: cannot be read ({type(error).__name__})"


def _join(path: str, field: str) -> str:
    return f"{path}.{member_name(field)}" if path else member_name(field)
