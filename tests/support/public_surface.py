"""
The public surface as lines of module, name, kind and signature.

``PYTHONPATH=tests python -m support.public_surface`` writes it into ``tests/project/public_surface.txt``, with all
extras installed.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, get_origin

from support.introspection import MODULES, NEEDS

FILE = Path(__file__).parents[1] / "project" / "public_surface.txt"

_MODULE = re.compile(r"\bcp_thirdparty(\.\w+)*\.")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class _Bare:
    """An annotation that a signature shows as it is written, without quotes."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _is_missing(package: str | None) -> bool:
    return package is not None and find_spec(package) is None


def list_missing() -> set[str]:
    """Return the public modules, and names of public modules, that are absent because an extra is not installed."""
    modules = {name for name, package in MODULES.items() if _is_missing(package)}
    names = {
        f"{module}.{name}" for module, needs in NEEDS.items() for name, package in needs.items() if _is_missing(package)
    }
    return modules | names


def list_surface() -> Iterator[str]:
    """Yield a line for each public name and for each public member of a class."""
    names: dict[int, str] = {}  # by the identity of the object; the deepest module has the first one
    for name in sorted(set(MODULES) - list_missing(), key=lambda name: (-name.count("."), name)):
        module = importlib.import_module(name)
        objects = {each: getattr(module, each) for each in module.__all__}
        for each, value in objects.items():
            names.setdefault(id(value), f"{name}.{each}")
        for each, value in objects.items():
            first = names[id(value)]
            lines = _describe(each, value, names) if first == f"{name}.{each}" else [f"{each} is {first}"]
            yield from (f"{name} {line}" for line in lines)


def _describe(name: str, value: Any, names: dict[int, str]) -> Iterator[str]:
    if isinstance(value, type) and get_origin(value) is None:  # an alias of Callable is a type on Python 3.10
        yield from _describe_class(name, value, names)
    elif isinstance(value, ModuleType):
        yield f"{name} module"
    elif inspect.isroutine(value):
        yield f"{name} function {_signature(value)}"
    else:
        yield f"{name} value {'str' if isinstance(value, str) else _MODULE.sub('', repr(value))}"


def _describe_class(name: str, cls: type, names: dict[int, str]) -> Iterator[str]:
    if issubclass(cls, enum.Enum):
        yield f"{name} enum"
    elif getattr(cls, "_is_protocol", False):
        yield f"{name} protocol"
    else:
        kind = "exception" if issubclass(cls, BaseException) else "class"
        bases = ", ".join(base.__name__ for base in cls.__bases__)
        yield f"{name} {kind} {_signature(cls)} of {bases}"
    members: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        # The members of a public base are listed there.
        if base is cls or (base.__module__.startswith("cp_thirdparty") and id(base) not in names):
            members |= _own_members(base)
    yield from (f"{name}.{member} {line}" for member, line in sorted(members.items()))


def _own_members(cls: type) -> dict[str, str]:
    annotations = inspect.get_annotations(cls)
    found = {
        name: f"attribute {_annotation_text(hint)}" for name, hint in annotations.items() if not name.startswith("_")
    }
    for name, value in vars(cls).items():
        if name.startswith("_"):
            continue
        if isinstance(value, (classmethod, staticmethod)):
            found[name] = f"{type(value).__name__} {_signature(getattr(cls, name))}"
        elif isinstance(value, property):
            found[name] = f"property {inspect.get_annotations(value.fget)['return']}"  # type: ignore[arg-type] # it has one
        elif inspect.isfunction(value):
            found[name] = f"method {_signature(value)}"
        elif isinstance(value, enum.Enum):
            found[name] = f"member {value.value!r}"
    return found


def _annotation_text(annotation: Any) -> str:
    """Return an annotation as it is written; a TypedDict keeps it in a ForwardRef."""
    return str(getattr(annotation, "__forward_arg__", annotation))


def _signature(function: Any) -> str:
    try:
        signature = inspect.signature(function)
    except ValueError:  # of a subclass of dict, whose signature CPython does not have
        return "(...)"
    parameters = [
        each.replace(annotation=_Bare(each.annotation)) if isinstance(each.annotation, str) else each
        for each in signature.parameters.values()
    ]
    result = signature.return_annotation
    written = signature.replace(
        parameters=parameters, return_annotation=_Bare(result) if isinstance(result, str) else result
    )
    return _ADDRESS.sub("", str(written))


if __name__ == "__main__":
    if missing := list_missing():
        sys.exit(f"cannot be imported without their extras: {', '.join(sorted(missing))}")
    FILE.write_text("".join(f"{line}\n" for line in list_surface()), encoding="utf-8")
