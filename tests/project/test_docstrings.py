"""The docstrings are complete: each describes its parameters, and the errors that the function raises."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

import cp_thirdparty

_SOURCE = Path(cp_thirdparty.__file__).parent
_MODULES = [
    f"cp_thirdparty.{module.replace('/', '.')}"
    for module in (path.relative_to(_SOURCE).with_suffix("").as_posix() for path in sorted(_SOURCE.rglob("*.py")))
    if not any(part.startswith("_") for part in module.split("/"))
    and (not module.startswith("async_") or find_spec("aiobotocore"))  # `nox -s docs` installs the extra `async`
]

# The library makes its errors itself: these two of their parameters are not attributes of their own.
_OF_ERRORS = {"message", "facts"}

_Described = tuple[str, Callable[..., Any], str]


def _functions(name: str) -> Iterator[_Described]:
    """Return the public functions and methods of a module with their docstrings; a class describes its constructor."""
    module = importlib.import_module(name)
    for key in module.__all__:
        value = getattr(module, key)
        if isinstance(value, FunctionType) and value.__module__ == name:
            yield key, value, inspect.getdoc(value) or ""
        elif inspect.isclass(value) and value.__module__ == name:
            yield from _methods(key, value)


def _methods(key: str, owner: type[Any]) -> Iterator[_Described]:
    for member, defined in vars(owner).items():
        function = defined.fget if isinstance(defined, property) else getattr(defined, "__func__", defined)
        # What attrs and typing add is not written here.
        if isinstance(function, FunctionType) and function.__module__ == owner.__module__:
            if member == "__init__":
                yield f"{key}.{member}", function, inspect.getdoc(owner) or ""
            elif not member.startswith("_"):
                yield f"{key}.{member}", function, inspect.getdoc(function) or ""


def _missing_parameters(functions: Iterator[_Described]) -> list[str]:
    """Return the parameters that are missing where a docstring describes any."""
    return [
        f"{key}: {parameter}"
        for key, function, text in functions
        for parameter in inspect.signature(function).parameters
        if parameter not in {"self", "cls", *_OF_ERRORS}
        and ("Args:" in text or "Attributes:" in text)
        and not re.search(rf"^ +\*{{0,2}}{parameter}:", text, flags=re.MULTILINE)
    ]


def _raises_in_silence(functions: Iterator[_Described]) -> list[str]:
    """Return the functions that raise something new in their own body, and whose docstrings have no ``Raises:``."""
    return [
        key
        for key, function, text in functions
        if "Raises:" not in text and not function.__code__.co_filename.startswith("<") and _raises(function)
    ]


def _raises(function: Callable[..., Any]) -> bool:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return any(isinstance(node, ast.Raise) for node in ast.walk(tree))


@pytest.mark.parametrize("name", _MODULES)
def test_each_parameter_is_described(name: str) -> None:
    """A docstring that describes parameters describes all of them."""
    assert _missing_parameters(_functions(name)) == []


@pytest.mark.parametrize("name", _MODULES)
def test_each_function_documents_what_it_raises(name: str) -> None:
    """A public function, method or constructor that raises has ``Raises:`` in its docstring."""
    assert _raises_in_silence(_functions(name)) == []


class _Example:
    """
    An example.

    Args:
        first: Described.
    """

    def __init__(self, first: int, second: int) -> None:
        self.first, self.second = first, second

    def close(self) -> None:
        """Leave the error out."""
        raise ValueError(f"{self.first} and {self.second}")


def test_what_is_missing_is_found() -> None:
    """The checks see a parameter that is not described, and an error that is kept quiet."""
    assert _missing_parameters(_methods("Example", _Example)) == ["Example.__init__: second"]
    assert _raises_in_silence(_methods("Example", _Example)) == ["Example.close"]
    with pytest.raises(ValueError, match="1 and 2"):
        _Example(1, 2).close()


def test_every_module_is_looked_at() -> None:
    """The checks have functions to check, in the client and in the worker."""
    assert {key for key, _, _ in _functions("cp_thirdparty.client")} >= {
        "ThirdPartyJobClient.poll_for_third_party_jobs"
    }
    assert {key for key, _, _ in _functions("cp_thirdparty.worker.worker")} >= {"JobWorker.__init__", "JobWorker.run"}
