"""
A walk over the public names, as tools make it: star import, `dir`, `hasattr`, `inspect`, `pydoc`, `get_type_hints`.

``python -m support.introspection s3transfer hypothesis`` walks where these packages cannot be imported, and prints what
it saw as JSON.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pydoc
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, get_type_hints

# The modules whose ``__all__`` is public, and the package of an extra that a module needs.
MODULES: Mapping[str, str | None] = {
    "cp_thirdparty": None,
    "cp_thirdparty.artifacts": None,
    "cp_thirdparty.async_client": "aiobotocore",
    "cp_thirdparty.client": None,
    "cp_thirdparty.configuration": None,
    "cp_thirdparty.converter": None,
    "cp_thirdparty.enums": None,
    "cp_thirdparty.exceptions": None,
    "cp_thirdparty.models": None,
    "cp_thirdparty.observability": None,
    "cp_thirdparty.secrets": None,
    "cp_thirdparty.telemetry": None,
    "cp_thirdparty.testing": None,
    "cp_thirdparty.testing.faults": None,
    "cp_thirdparty.testing.journal_conformance": "pytest",
    "cp_thirdparty.testing.plugin": "pytest",
    "cp_thirdparty.testing.samples": None,
    "cp_thirdparty.testing.strategies": "hypothesis",
    "cp_thirdparty.worker": None,
}

# Package -> the extra that installs it.
EXTRAS = {
    "aiobotocore": "async",
    "hypothesis": "testing",
    "prometheus_client": "prometheus",
    "pytest": "testing",
    "s3transfer": "artifacts",
}

# Module -> its names that need a package, and the package.
NEEDS: Mapping[str, Mapping[str, str]] = {
    "cp_thirdparty": {
        "ArtifactStore": "s3transfer",
        "AsyncCustomJobClient": "aiobotocore",
        "AsyncThirdPartyJobClient": "aiobotocore",
        "async_client": "aiobotocore",
    },
    "cp_thirdparty.artifacts": {"ArtifactStore": "s3transfer"},
    "cp_thirdparty.observability": {
        "PrometheusMetrics": "prometheus_client",
        "prometheus_metrics": "prometheus_client",
    },
    "cp_thirdparty.testing": {"plugin": "pytest", "strategies": "hypothesis"},
}


class _Blocker:
    """An import hook that refuses packages."""

    def __init__(self, packages: list[str]) -> None:
        self._packages = packages

    def find_spec(self, name: str, *_: object) -> None:
        """Refuse a package and what is in it."""
        if name.partition(".")[0] in self._packages:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def block(*packages: str) -> None:
    """Let imports of packages fail, as where they are not installed."""
    sys.meta_path.insert(0, _Blocker([*packages]))


def written_names(module: ModuleType) -> list[str]:
    """Return ``__all__`` as it is written in the source of a module."""
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [str(name) for name in ast.literal_eval(node.value)]
    raise LookupError(module.__name__)


def functions_of(value: object) -> Iterator[tuple[str, Any]]:
    """Yield a public class or function, and of a class all methods and properties that this library defines."""
    if isinstance(value, FunctionType):
        yield "", value
    if not isinstance(value, type):
        return
    for owner in value.__mro__:
        if not owner.__module__.startswith("cp_thirdparty"):
            continue
        yield "", owner
        for name, member in vars(owner).items():
            function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if isinstance(function, FunctionType) and function.__module__.startswith("cp_thirdparty"):
                yield f".{name}", function


def unresolved_hints(module: ModuleType) -> tuple[int, list[str]]:
    """Return how many classes and functions were asked for their types, and those that could not give them."""
    count, failures = 0, []
    for name in module.__all__:
        for suffix, function in functions_of(getattr(module, name)):
            count += 1
            try:
                get_type_hints(function)
            except Exception as failure:  # noqa: BLE001 - whatever it is, it is reported
                failures.append(f"{name}{suffix}: {type(failure).__name__}: {failure}")
    return count, failures


def walk(name: str) -> dict[str, Any]:
    """Look at a public module in every way."""
    module = importlib.import_module(name)
    namespace: dict[str, object] = {}
    exec(f"from {name} import *", namespace)
    written = written_names(module)
    count, failures = unresolved_hints(module)
    return {
        "written": written,
        "star": sorted(namespace.keys() - {"__builtins__"}),
        "dir": dir(module),
        "members": [member for member, _ in inspect.getmembers(module)],
        "has": [each for each in {*written, *NEEDS.get(name, ())} if hasattr(module, each)],
        "pydoc": pydoc.plain(pydoc.render_doc(module)),
        "hints": count,
        "unresolved": failures,
    }


if __name__ == "__main__":
    block(*sys.argv[1:])
    json.dump({name: walk(name) for name, package in MODULES.items() if package not in sys.argv[1:]}, sys.stdout)
