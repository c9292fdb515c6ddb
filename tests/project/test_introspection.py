"""Tools that look at the library: star import, `dir`, `hasattr`, `inspect`, `pydoc`, types at run time, completion."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from support.introspection import EXTRAS, MODULES, NEEDS, unresolved_hints, walk, written_names
from support.slow_rows import slow_unless

import cp_thirdparty
from cp_thirdparty._base import lazy as _lazy

_TESTS = Path(__file__).parents[1]
_NOT_HERE = frozenset(package for package in EXTRAS if find_spec(package) is None)

# What is not installed: nothing more than here, each extra, all of them.
_SITUATIONS: dict[str, tuple[str, ...]] = {
    "as installed": (),
    **{f"without {package}": (package,) for package in sorted(EXTRAS)},
    "without extras": tuple(sorted(EXTRAS)),
}
# Each one walks in a new interpreter; the first and the last are enough for a short run.
_SHORT = ("as installed", "without extras")
each_situation = pytest.mark.parametrize(
    "situation",
    [pytest.param(name, marks=() if name in _SHORT else pytest.mark.slow, id=name) for name in _SITUATIONS],
)


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=_TESTS, capture_output=True, text=True, check=False)


@cache
def _walk(situation: str) -> Mapping[str, Mapping[str, Any]]:
    """Walk over all public modules in a new interpreter."""
    blocked = {*_SITUATIONS[situation], *_NOT_HERE}
    result = _run("-W", "error", "-m", "support.introspection", *sorted(blocked))
    assert result.returncode == 0, result.stderr
    seen: dict[str, dict[str, Any]] = json.loads(result.stdout)
    assert list(seen) == [name for name, package in MODULES.items() if package not in blocked]
    return seen


def _missing(situation: str, module: str) -> set[str]:
    blocked = {*_SITUATIONS[situation], *_NOT_HERE}
    return {name for name, package in NEEDS.get(module, {}).items() if package in blocked}


# --- every public module, with and without the extras ----------------------------------------------------------------


@pytest.mark.slow
@each_situation
def test_a_star_import_takes_what_is_there(situation: str) -> None:
    """A star import brings each name of ``__all__``, except those whose extra is missing."""
    for module, seen in _walk(situation).items():
        expected = set(seen["written"]) - _missing(situation, module)
        # A module without names of an extra is imported by Python itself.
        assert (module, set(seen["star"])) == (module, expected)


@pytest.mark.slow
@each_situation
def test_hasattr_is_false_for_what_is_missing(situation: str) -> None:
    """`hasattr` raises nothing: it is false for a name whose extra is missing, and true for all others."""
    for module, seen in _walk(situation).items():
        expected = {*seen["written"], *NEEDS.get(module, ())} - _missing(situation, module)
        assert (module, set(seen["has"])) == (module, expected)


@each_situation
def test_dir_and_inspect_list_what_is_there(situation: str) -> None:
    """`dir` and `inspect.getmembers` have each public name, and none whose extra is missing."""
    for module, seen in _walk(situation).items():
        missing = _missing(situation, module)
        for listed in (set(seen["dir"]), set(seen["members"])):
            assert (module, listed & missing) == (module, set())
            assert (module, set(seen["written"]) - missing - listed) == (module, set())


@each_situation
def test_pydoc_describes_what_is_there(situation: str) -> None:
    """``help()`` shows every public module with its classes and functions."""
    for module, seen in _walk(situation).items():
        # pydoc shows the value of ``__version__`` under a heading of its own.
        names = set(seen["written"]) - _missing(situation, module) - {"__version__"}
        assert (module, [name for name in names if name not in seen["pydoc"]]) == (module, [])


@each_situation
def test_types_resolve_at_run_time(situation: str) -> None:
    """`typing.get_type_hints` works on every public class, function, method and property."""
    for module, seen in _walk(situation).items():
        assert (module, seen["unresolved"]) == (module, [])
    assert sum(seen["hints"] for seen in _walk(situation).values()) > 500


def test_a_walk_in_this_process_sees_the_same() -> None:
    """The walk has no effect of its own: it sees the same where everything is loaded already."""
    for module in _walk("as installed"):
        seen, again = _walk("as installed")[module], walk(module)
        assert (again["star"], sorted(again["has"])) == (seen["star"], sorted(seen["has"]))
        assert again["unresolved"] == []


def test_a_type_that_does_not_resolve_is_found() -> None:
    """The walk is not blind: it reports a class whose annotation names nothing."""

    class Broken:
        wrong: Nothing  # type: ignore[name-defined] # noqa: F821 # pyright: ignore[reportUndefinedVariable] - on purpose

    Broken.__module__ = "cp_thirdparty.broken"
    module: Any = type(sys)("broken")
    module.__all__, module.Broken = ["Broken"], Broken
    assert unresolved_hints(module) == (1, ["Broken: NameError: name 'Nothing' is not defined"])


def test_every_public_module_is_walked() -> None:
    """A public module or package is on the list, or is a part of a package that is."""
    source = Path(cp_thirdparty.__file__).parent
    found = {
        f"cp_thirdparty.{path.stem if path.is_file() else path.name}"
        for path in source.iterdir()
        if not path.name.startswith("_") and (path.suffix == ".py" or (path / "__init__.py").exists())
    }
    # The command line is a program.
    assert found - {"cp_thirdparty._cli"} == {name for name in MODULES if name.count(".") == 1}


# --- a name whose extra is missing -----------------------------------------------------------------------------------

_ERRORS = {
    "s3transfer": "ImportError: artifacts in S3 need s3transfer: pip install 'cp-thirdparty[artifacts]'",
    "aiobotocore": "ImportError: the client for asyncio needs aiobotocore: pip install 'cp-thirdparty[async]'",
    "hypothesis": (
        "ImportError: cp_thirdparty.testing.strategies needs hypothesis: pip install 'cp-thirdparty[testing]'"
    ),
    "pytest": "ImportError: cp_thirdparty.testing.plugin needs pytest: pip install 'cp-thirdparty[testing]'",
}

# Package -> uses of a name that needs it.
_USES: list[tuple[str, str]] = [
    ("s3transfer", "from cp_thirdparty import ArtifactStore"),
    ("s3transfer", "import cp_thirdparty; cp_thirdparty.ArtifactStore"),
    ("s3transfer", "import cp_thirdparty; cp_thirdparty.ArtifactStore.for_job()"),
    ("s3transfer", "import cp_thirdparty; cp_thirdparty.ArtifactStore(1, 2)"),
    ("s3transfer", "import cp_thirdparty; (lambda: cp_thirdparty.artifacts.ArtifactStore)()"),
    ("s3transfer", "from cp_thirdparty.artifacts import ArtifactStore"),
    ("aiobotocore", "from cp_thirdparty import AsyncThirdPartyJobClient"),
    ("aiobotocore", "from cp_thirdparty import async_client"),
    ("aiobotocore", "import cp_thirdparty.async_client"),
    ("aiobotocore", "import cp_thirdparty; cp_thirdparty.AsyncThirdPartyJobClient.create()"),
    ("aiobotocore", "import cp_thirdparty; cp_thirdparty.async_client"),
    ("hypothesis", "from cp_thirdparty.testing import strategies"),
    ("hypothesis", "import cp_thirdparty.testing.strategies"),
    ("hypothesis", "import cp_thirdparty; cp_thirdparty.testing.strategies"),
    ("pytest", "from cp_thirdparty.testing import plugin"),
    ("pytest", "import cp_thirdparty.testing.plugin"),
]


@pytest.mark.parametrize(("package", "use"), slow_unless(lambda row: row[0] == "pytest", _USES))
def test_the_use_of_a_missing_name_names_the_extra(package: str, use: str) -> None:
    """Code that uses a name whose extra is missing gets an ImportError with the command that installs it."""
    result = _run("-c", f"from support.introspection import block; block({package!r}); {use}")
    assert result.stderr.strip().split("\n")[-1] == _ERRORS[package]


def test_a_missing_name_has_a_default() -> None:
    """`getattr` with a default returns it, and without one raises an AttributeError that names the extra."""
    program = """
from support.introspection import block
block("s3transfer")
import cp_thirdparty
print(getattr(cp_thirdparty, "ArtifactStore", None))
getattr(cp_thirdparty, "ArtifactStore")
"""
    result = _run("-c", program)
    assert result.stdout == "None\n"
    assert result.stderr.strip().split("\n")[-1] == (
        "AttributeError: cp_thirdparty.ArtifactStore: artifacts in S3 need s3transfer: "
        "pip install 'cp-thirdparty[artifacts]'"
    )


def test_the_store_itself_names_the_extra() -> None:
    """The class can be imported from its module, for types; making a store without the extra is an ImportError."""
    program = """
from support.introspection import block
block("s3transfer")
from cp_thirdparty.artifacts.store import ArtifactStore
from cp_thirdparty.worker import Job
from typing import get_type_hints
print(get_type_hints(Job.artifacts.fget)["return"] is ArtifactStore)
ArtifactStore.for_job(None, None, client_token="xMARKERx")
"""
    result = _run("-c", program)
    assert result.stdout == "True\n"
    assert result.stderr.strip().split("\n")[-1] == _ERRORS["s3transfer"]


def test_a_package_that_is_loaded_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that a program put in place itself, without a spec, counts as installed."""
    monkeypatch.setitem(sys.modules, "aiobotocore", type(sys)("aiobotocore"))
    assert _lazy.is_installed("aiobotocore")


# --- types and names at run time -------------------------------------------------------------------------------------


def test_public_modules_are_attributes_of_the_root() -> None:
    """``import cp_thirdparty`` is enough to reach each public module by its name."""
    program = (
        "import cp_thirdparty; print(cp_thirdparty.worker.SqliteJournal, cp_thirdparty.testing.samples.job_details)"
    )
    assert _run("-c", program).stdout.startswith(
        "<class 'cp_thirdparty.worker.sqlite_journal.SqliteJournal'> <function"
    )


def test_the_handler_type_takes_a_configuration_at_run_time() -> None:
    """``Handler[C]`` can be written outside of annotations, and is a handler of jobs with that configuration."""
    worker: Any = cp_thirdparty.worker  # type checkers know Handler only as an alias

    class Configuration:
        """A partner's own."""

    handler = worker.Handler[Configuration]
    assert handler.__args__[0] == worker.Job[Configuration]
    assert get_type_hints(worker.JobWorker.__init__)["handler"] == worker.Handler[Any]


@pytest.mark.parametrize("module", ["cp_thirdparty", "cp_thirdparty.artifacts", "cp_thirdparty.testing"])
def test_editors_complete_names(module: str) -> None:
    """jedi, which completes names in IPython, Jupyter and editors, offers every public name and what it has."""
    jedi = pytest.importorskip("jedi")
    names = written_names(importlib.import_module(module))
    for code in (f"import {module}\n{module}.", f"from {module} import "):
        offered = {completion.name for completion in jedi.Script(code).complete()}
        assert {name for name in names if name not in offered} == set()
    offered = {each.name for each in jedi.Script("import cp_thirdparty\ncp_thirdparty.JobDetails.").complete()}
    assert {"id", "data", "nonce"} <= offered
