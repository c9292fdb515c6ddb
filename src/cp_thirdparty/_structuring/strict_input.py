"""Read input that a person wrote, such as options and scenario files, strictly: unknown members are errors."""

from __future__ import annotations

import difflib
import json
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

import attrs

from cp_thirdparty._structuring.converter import member_name, read

# Names of members have letters, hyphens and underscores.  Another string may be a secret in the wrong place, so errors
# do not show it.
_NAME = re.compile(r"[A-Za-z][A-Za-z_-]{0,39}")


class InputError(ValueError):
    """Input of a person is not valid.  The error contains the problem and never the value."""

    def __init__(self, problem: str) -> None:
        super().__init__()
        self.problem = problem


def check_unique(names: Iterable[str]) -> None:
    """Raise `InputError` for the first name that occurs twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"the member{_show(name)} is given more than once")
        seen.add(name)


def parse_json(text: str | bytes) -> tuple[Any, str | None]:
    """Return the document and no problem, or ``None`` and the problem."""
    try:
        return json.loads(text, object_pairs_hook=_unique_members), None
    except InputError as error:
        return None, error.problem
    except (ValueError, RecursionError):
        return None, "must be valid JSON"


def read_input(data: Any, kind: Any, path: str = "", *, allow_null: bool = False) -> tuple[Any, tuple[str, ...]]:
    """
    Return the value and no problems, or ``None`` and the problems.

    `read` ignores unknown members and keeps unknown enum values, because newer versions of the service may send them.
    In the input of a person they are mistakes, and so are strings that are too long, which would be truncated.

    Args:
        data: Plain values, as `json.loads` returns them.
        kind: The class or type to read.
        path: The path of the data in the document, which the problems show.
        allow_null: Whether members may be null, which means absent, and whether objects may be empty.
    """
    mistakes = tuple(_mistakes(data, kind, path, allow_null=allow_null))
    if mistakes:
        return None, mistakes
    value, problems = read(data, kind, path)
    problems = problems or tuple(_broken_limits(value, path))
    return (None, problems) if problems else (value, ())


def unknown_member(name: object, known: Sequence[str]) -> str:
    """Return the message for an unknown name of a member."""
    near = near_miss(name, known) if isinstance(name, str) else None
    if near is not None:
        return f"unknown member {name!a}; did you mean {near!r}?"
    return f"unknown member{_show(name)}; must be one of {', '.join(known)}"


def near_miss(word: str, known: Iterable[str]) -> str | None:
    """Return the most similar known word, or ``None``.  Case, hyphens and underscores are ignored."""
    by_letters = {_letters(each): each for each in known}
    near = difflib.get_close_matches(_letters(word), by_letters, n=1, cutoff=0.7)
    return by_letters[near[0]] if near else None


def _letters(word: str) -> str:
    return word.lower().replace("-", "").replace("_", "")


def _show(name: object) -> str:
    return f" {name!r}" if isinstance(name, str) and _NAME.fullmatch(name) else ""


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    check_unique(name for name, _ in pairs)
    return dict(pairs)


def _mistakes(value: Any, kind: Any, path: str, *, allow_null: bool) -> Iterator[str]:
    """Yield the mistakes that `read` would accept."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if value is None or (value == {} and attrs.has(kind)):
        if not allow_null:
            yield _at(path, f"must not be {'null' if value is None else 'empty'}")
    elif origin in (types.UnionType, typing.Union):
        yield from _mistakes(value, arguments[0], path, allow_null=allow_null)
    elif origin is tuple and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _mistakes(item, arguments[0], f"{path}[{index}]", allow_null=allow_null)
    elif isinstance(kind, type) and issubclass(kind, Enum):
        yield from _unknown_value(value, [str(member.value) for member in kind], path)
    elif attrs.has(kind) and isinstance(value, dict):
        yield from _member_mistakes(value, kind, path, allow_null=allow_null)


def _member_mistakes(members: Mapping[Any, Any], kind: Any, path: str, *, allow_null: bool) -> Iterator[str]:
    known = {member_name(field.name): field.type for field in attrs.fields(attrs.resolve_types(kind))}
    for name, value in members.items():
        if name in known:
            yield from _mistakes(value, known[name], f"{path}.{name}" if path else name, allow_null=allow_null)
        else:
            yield _at(path, unknown_member(name, list(known)))


def _broken_limits(value: Any, path: str) -> Iterator[str]:
    for field in attrs.fields(type(value)) if attrs.has(type(value)) else ():
        part = getattr(value, field.name)
        check = field.metadata.get("limit")
        rule = None if check is None or part is None else check(part)
        if rule is not None:
            member = member_name(field.name)
            yield _at(f"{path}.{member}" if path else member, rule)


def _unknown_value(value: Any, known: Sequence[str], path: str) -> Iterator[str]:
    if isinstance(value, str) and value not in known:
        near = near_miss(value, known)
        yield _at(
            path, f"must be one of {', '.join(known)}" if near is None else f"unknown value; did you mean {near!r}?"
        )


def _at(path: str, problem: str) -> str:
    return f"{path}: {problem}" if path else problem
