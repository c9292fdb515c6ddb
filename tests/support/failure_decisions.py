"""Find where a source text decides by the kind of an error, which only the failure policy of the worker may do."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

from cp_thirdparty import exceptions

# The root of all errors, and what is not about a call, an artifact or a configuration.
_ALLOWED = ("CodePipelineJobError", "ThirdPartyError", "JobFailedError", "JournalError", "WorkerStuckError")

_CLASSES = tuple(
    found
    for name in exceptions.__all__
    if name not in _ALLOWED and isinstance(found := getattr(exceptions, name), type) and issubclass(found, Exception)
)
_NAMES = frozenset({"NoTokenError", *(found.__name__ for found in _CLASSES)})

# The facts of an error about its call, beside its class.
_FACTS = frozenset({"code", "delivery", "error_code", "is_retry_safe", "response", "status_code"})

# Packages whose errors the library turns into its own.
_FOREIGN = re.compile(r"(botocore|boto3|s3transfer|urllib3)\b")

# By these, code gets at modules and names that its text does not show.
_INDIRECT = frozenset({"__import__", "eval", "exec", "import_module", "modules"})

_WORD = re.compile(r"\w+")


def find_decisions(source: str) -> set[str]:
    """Return the names by which a source text refers to kinds or facts of errors."""
    tree = ast.parse(source)
    ignored = {id(node) for node in _find_ignored(tree)}
    nodes = [node for node in ast.walk(tree) if id(node) not in ignored]
    bound = _Imports(nodes)
    found = set(bound.found)
    for node in nodes:
        if isinstance(node, ast.Name):
            found |= {node.id} & (_NAMES | _INDIRECT)
        elif isinstance(node, ast.Attribute):
            found |= {node.attr} & (_NAMES | _FACTS | _INDIRECT)
            if _holds_error(bound.resolve(node)):
                found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)):
            text = node.value if isinstance(node.value, str) else node.value.decode(errors="replace")
            found |= set(_WORD.findall(text)) & _NAMES
            found |= {text} & _FACTS
        elif isinstance(node, ast.MatchClass):
            found |= set(node.kwd_attrs) & _FACTS
    return found


class _Imports:
    """
    What a source text imports.

    Attributes:
        found: Names of imported errors, of modules of errors, and of values that hold errors.
    """

    def __init__(self, nodes: Iterable[ast.AST]) -> None:
        self.found: set[str] = set()
        self._bound: dict[str, Any] = {}
        for node in nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self._add_module(alias)
            elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
                for alias in node.names:
                    self._add_name(importlib.import_module(node.module), alias)
            elif isinstance(node, ast.ImportFrom):
                self.found.add("." * node.level)  # this package has no relative imports

    def resolve(self, node: ast.expr) -> Any:
        """Return the value of a name or of an attribute of a module; ``None`` if it is not known."""
        if isinstance(node, ast.Name):
            return self._bound.get(node.id)
        if isinstance(node, ast.Attribute):
            owner = self.resolve(node.value)
            return getattr(owner, node.attr, None) if isinstance(owner, ModuleType) else None
        return None

    def _add_module(self, alias: ast.alias) -> None:
        module = importlib.import_module(alias.name)
        root = alias.name.partition(".")[0]
        self._bound[alias.asname or root] = module if alias.asname else importlib.import_module(root)
        if _is_module_of_errors(module):
            self.found.add(alias.name)

    def _add_name(self, module: ModuleType, alias: ast.alias) -> None:
        if alias.name == "*":
            self.found.add(f"{module.__name__}.*")
            return
        try:
            value = getattr(module, alias.name)
        except AttributeError:
            value = importlib.import_module(f"{module.__name__}.{alias.name}")
        self._bound[alias.asname or alias.name] = value
        if alias.name in _NAMES or _holds_error(value) or _is_module_of_errors(value):
            self.found.add(alias.name)


def _is_module_of_errors(value: object) -> bool:
    return isinstance(value, ModuleType) and value.__name__.endswith("exceptions")


def _holds_error(value: object) -> bool:
    """Return whether a value is a class of errors, or a collection with one."""
    if isinstance(value, type):
        is_foreign = issubclass(value, Exception) and _FOREIGN.match(value.__module__) is not None
        return is_foreign or issubclass(value, _CLASSES)
    if isinstance(value, Mapping):
        return any(_holds_error(each) for pair in value.items() for each in pair)
    return isinstance(value, (tuple, list, set, frozenset)) and any(map(_holds_error, value))


def _find_ignored(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield strings that decide nothing: docstrings, and annotations."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if isinstance(annotation, ast.Constant):
                yield annotation
