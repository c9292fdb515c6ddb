"""What can be imported, what an import loads, and that every public name is described."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from types import FunctionType, ModuleType

import pytest
from support.introspection import MODULES, written_names
from support.scripted_server import ScriptedServer, ok

import cp_thirdparty
from cp_thirdparty import artifacts

_SOURCE = Path(cp_thirdparty.__file__).parent
# Without the extra `async` there are no clients for asyncio.
_ASYNC = ["AsyncCustomJobClient", "AsyncThirdPartyJobClient", "async_client"]
_MISSING = [] if find_spec("aiobotocore") else _ASYNC
_PUBLIC_MODULES = [name for name, extra in MODULES.items() if extra is None or find_spec(extra)]


def _find_loaded_modules(code: str) -> set[str]:
    """Return which modules a fresh interpreter has after running some code, beyond those that it starts with."""
    program = f"import sys; before = set(sys.modules); {code}; print(*sorted(set(sys.modules) - before))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_all_is_sorted_and_unique() -> None:
    """The root's ``__all__`` is in order, as it is written and as a star import sees it."""
    for names in (written_names(cp_thirdparty), cp_thirdparty.__all__):
        assert names == sorted(set(names))


@pytest.mark.parametrize("name", cp_thirdparty.__all__)
def test_each_root_name_loads(name: str) -> None:
    """Each name of the root can be used, twice as well as once."""
    assert getattr(cp_thirdparty, name) is getattr(cp_thirdparty, name)


def test_the_root_shows_its_names() -> None:
    """``dir()`` lists the names and the public modules, and a wrong name is an AttributeError that names it."""
    modules = {name for name in cp_thirdparty._MODULES if name not in _MISSING}
    assert dir(cp_thirdparty) == sorted({*cp_thirdparty.__all__, *modules})
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        cp_thirdparty.nothing  # type: ignore[attr-defined] # noqa: B018 - on purpose


def test_type_checkers_see_what_is_loaded() -> None:
    """The imports for type checkers, the table of lazy names and ``__all__`` are the same."""
    tree = ast.parse((_SOURCE / "__init__.py").read_text(encoding="utf-8"))
    typed = {
        alias.name: node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert typed.pop("lazy") == "cp_thirdparty._base"
    assert typed == {
        **{name: f"cp_thirdparty.{module}" for module, names in cp_thirdparty._NAMES.items() for name in names},
        **dict.fromkeys(cp_thirdparty._MODULES, "cp_thirdparty"),
    }
    assert {*chain(*cp_thirdparty._NAMES.values()), "exceptions"} == set(written_names(cp_thirdparty))


def test_importing_the_root_loads_nothing_else() -> None:
    """``import cp_thirdparty`` loads the root and what loads names later, and nothing of the standard library."""
    assert _find_loaded_modules("import cp_thirdparty") == {
        "cp_thirdparty",
        "cp_thirdparty._base",
        "cp_thirdparty._base.lazy",
    }


def test_a_model_loads_neither_botocore_nor_a_higher_layer() -> None:
    """``cp_thirdparty.JobDetails`` loads no botocore, no cattrs, and nothing above the models."""
    loaded = _find_loaded_modules("import cp_thirdparty; cp_thirdparty.JobDetails")
    assert {name for name in loaded if name.startswith("cp_thirdparty.")} == {
        "cp_thirdparty._base",
        "cp_thirdparty._base.frames",
        "cp_thirdparty._base.lazy",
        "cp_thirdparty._base.limits",
        "cp_thirdparty._base.text",
        "cp_thirdparty._rendering",
        "cp_thirdparty._rendering.views",
        "cp_thirdparty._structuring",
        "cp_thirdparty._structuring.model_fields",
        "cp_thirdparty.enums",
        "cp_thirdparty.exceptions",
        "cp_thirdparty.exceptions._job_failures",
        "cp_thirdparty.models",
        "cp_thirdparty.secrets",
    }
    assert {"botocore", "cattrs"} & loaded == set()
    assert ("typing_extensions" in loaded) == (sys.version_info < (3, 11))  # it replaces what Python 3.10 lacks


def test_the_first_call_loads_only_what_a_success_needs() -> None:
    """A process that reads the details of a job loads nothing of failures, of the worker, of asyncio or of S3."""
    details = {"id": "job-1", "nonce": "1", "data": {}}
    with ScriptedServer(lambda _: ok({"jobDetails": details})) as server:
        settings = f"region_name='us-east-1', endpoint_url={server.endpoint_url!r}, sign_request=False"
        loaded = _find_loaded_modules(
            "from cp_thirdparty import ThirdPartyJobClient as Client; "
            f"Client.create({settings}).get_third_party_job_details('job-1', client_token='made up')"
        )
    assert {name for name in loaded if name.startswith("cp_thirdparty.")} == {
        "cp_thirdparty._base",
        "cp_thirdparty._base.durations",
        "cp_thirdparty._base.frames",
        "cp_thirdparty._base.lazy",
        "cp_thirdparty._base.limits",
        "cp_thirdparty._base.text",
        "cp_thirdparty._base.version",
        "cp_thirdparty._core",
        "cp_thirdparty._core.backoff",
        "cp_thirdparty._core.blocking_client",
        "cp_thirdparty._core.call",
        "cp_thirdparty._core.caller_code",
        "cp_thirdparty._core.connection",
        "cp_thirdparty._core.data_loader",
        "cp_thirdparty._core.deadline",
        "cp_thirdparty._core.endpoints",
        "cp_thirdparty._core.errors",
        "cp_thirdparty._core.events",
        "cp_thirdparty._core.facts",
        "cp_thirdparty._core.failure_frames",
        "cp_thirdparty._core.guard",
        "cp_thirdparty._core.operations",
        "cp_thirdparty._core.parsed",
        "cp_thirdparty._core.reasons",
        "cp_thirdparty._core.redaction",
        "cp_thirdparty._core.responses",
        "cp_thirdparty._core.secret_removal",
        "cp_thirdparty._core.send",
        "cp_thirdparty._core.sessions",
        "cp_thirdparty._core.settings",
        "cp_thirdparty._core.sources",
        "cp_thirdparty._core.truncation",
        "cp_thirdparty._rendering",
        "cp_thirdparty._rendering.views",
        "cp_thirdparty._structuring",
        "cp_thirdparty._structuring.converter",
        "cp_thirdparty._structuring.model_fields",
        "cp_thirdparty.client",
        "cp_thirdparty.enums",
        "cp_thirdparty.exceptions",
        "cp_thirdparty.exceptions._job_failures",
        "cp_thirdparty.models",
        "cp_thirdparty.secrets",
        "cp_thirdparty.telemetry",
    }
    assert {"aiobotocore", "boto3", "s3transfer"} & loaded == set()


def _own_names(module: ModuleType) -> Iterator[str]:
    """Return the public names that a module defines itself."""
    for name, value in vars(module).items():
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__:
            yield name


@pytest.mark.parametrize("name", _PUBLIC_MODULES)
def test_all_is_what_a_module_defines(name: str) -> None:
    """A public module's ``__all__`` is sorted, importable, and has each public class and function of its own."""
    module = importlib.import_module(name)
    exported: list[str] = module.__all__
    assert [each for each in exported if not hasattr(module, each)] == []
    assert set(_own_names(module)) <= set(exported)


_ERRORS = ("_base", "_base.lazy", "_base.text", "enums", "exceptions", "exceptions._job_failures")


def test_the_errors_load_alone() -> None:
    """``cp_thirdparty.exceptions`` loads the errors, the enumerations that they name, and nothing above them."""
    loaded = _find_loaded_modules("import cp_thirdparty; cp_thirdparty.exceptions")
    expected = {f"cp_thirdparty.{name}" for name in _ERRORS}
    assert {name for name in loaded if name.startswith("cp_thirdparty.")} == expected


def _exported_objects(module: ModuleType) -> Iterator[tuple[str, object]]:
    """Return the exported classes and functions of a module, and the public methods of the classes."""
    for name in module.__all__:
        value = getattr(module, name)
        if getattr(value, "__module__", None) == module.__name__:
            yield name, value
            if inspect.isclass(value):
                for key, member in vars(value).items():
                    if not key.startswith("_") and isinstance(member, (FunctionType, property, classmethod)):
                        yield f"{name}.{key}", member


@pytest.mark.parametrize("name", _PUBLIC_MODULES)
def test_each_public_name_is_described(name: str) -> None:
    """Each exported class and function, and each public method, has a docstring."""
    exported = _exported_objects(importlib.import_module(name))
    assert [each for each, value in exported if not inspect.getdoc(value)] == []


def test_a_package_has_no_other_names() -> None:
    """A wrong name of a package that loads its names when needed is an AttributeError that names it."""
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        artifacts.nothing  # type: ignore[attr-defined] # noqa: B018 - on purpose
