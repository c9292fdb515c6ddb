"""
A planted marker in each secret field of a job, and each surface on which it must not appear.

`_SURFACES` are what people and tools do to show a job; a row is a line.  `_TYPE_ERRORS` are what would copy a secret
into a string or onto a wire, which is refused.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import io
import json
import logging
import os
import pickle
import pprint
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import attrs
import cattrs
import pytest
import rich
import rich.console
import rich.pretty
import rich.traceback
from IPython.core.formatters import DisplayFormatter

from cp_thirdparty import JobDetails, SecretStr
from cp_thirdparty.converter import structure, unstructure

# A marker for each secret field, all with one stem to look for.
_STEM = "xMARKERx"
_SECRETS: dict[str, Callable[[JobDetails], SecretStr]] = {
    "access_key_id": lambda job: _some(_some(job.data.artifact_credentials).access_key_id),
    "secret_access_key": lambda job: _some(_some(job.data.artifact_credentials).secret_access_key),
    "session_token": lambda job: _some(_some(job.data.artifact_credentials).session_token),
    "configuration": lambda job: _some(job.data.action_configuration).configuration["ApiKey"],
}


def _some(value: Any) -> Any:
    assert value is not None
    return value


@pytest.fixture
def job() -> JobDetails:
    """Give a job with a marker in each secret field."""
    document = {
        "id": "job-1",
        "data": {
            "actionConfiguration": {"configuration": {"ApiKey": f"{_STEM}-configuration"}},
            "artifactCredentials": {
                "accessKeyId": f"{_STEM}-access_key_id",
                "secretAccessKey": f"{_STEM}-secret_access_key",
                "sessionToken": f"{_STEM}-session_token",
            },
        },
        "nonce": "1",
    }
    return structure(document, JobDetails)


def _log(value: object, template: str = "%s", **extra: object) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    records: list[logging.LogRecord] = []

    def keep(record: logging.LogRecord) -> bool:
        records.append(record)
        return True

    handler.addFilter(keep)
    logger = logging.Logger("surface")  # noqa: LOG001 - not shared with other tests
    logger.addHandler(handler)
    logger.warning(template, value, extra={"job": value, **extra})
    return stream.getvalue() + repr(records[0].__dict__)


def _print(value: object) -> str:
    file = io.StringIO()
    print(value, file=file)
    return file.getvalue()


def _print_by_rich(value: object) -> str:
    console = rich.console.Console(file=io.StringIO(), width=200)
    console.print(value)
    console.print(rich.pretty.Pretty(value, expand_all=True))
    rich.inspect(value, console=console, private=True, dunder=True, methods=True)
    return _text_of(console)


def _text_of(console: rich.console.Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def _raise(value: object) -> None:
    local = value
    raise RuntimeError(type(local))


def _traceback(value: object, *, with_rich: bool) -> str:
    try:
        _raise(value)
    except RuntimeError as error:
        if not with_rich:
            return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        console = rich.console.Console(file=io.StringIO(), width=200)
        shown = rich.traceback.Traceback.from_exception(
            RuntimeError, error, error.__traceback__, show_locals=True, locals_max_string=10_000
        )
        console.print(shown)
        return _text_of(console)
    raise AssertionError


def _warn(value: object) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn(f"odd job {value!r}", stacklevel=1)
    return str(caught[0].message)


def _all_members(value: object) -> str:
    return repr(inspect.getmembers(value)) + "".join(repr(getattr(value, name)) for name in dir(value))


def _state(value: object) -> str:
    try:
        return repr(getattr(copy.copy(value), "__getstate__")())  # noqa: B009 - object has it since Python 3.11
    except (AttributeError, TypeError) as refused:
        return repr(refused)


def _in_jupyter(value: object) -> str:
    formatter: Any = DisplayFormatter()
    formatter.active_types = formatter.format_types
    return repr(formatter.format(value))


async def _in_task(value: object) -> str:
    task = asyncio.get_running_loop().create_task(asyncio.sleep(0, value))
    await task
    return repr(task)


# How something is shown -> the text that someone would see of it.  Each takes a complete job or one secret.
_SURFACES: dict[str, Callable[[Any], str]] = {
    "str": str,
    "repr": repr,
    "f-string": lambda value: f"{value} {value!s} {value!r} {value!a}",
    "format": "{0} {0!r}".format,
    "%": lambda value: f"%s %r" % (value, value),  # noqa: F541 - it is the surface
    "print": _print,
    "pprint": lambda value: pprint.pformat(value, width=20),
    "list and dict": lambda value: f"{[value]} { {'job': value} }",
    "logging %s": _log,
    "logging %r": lambda value: _log(value, "%r"),
    "rich": _print_by_rich,
    "Jupyter": _in_jupyter,
    "asyncio": lambda value: asyncio.run(_in_task(value)),
    "partial": lambda value: repr(functools.partial(print, value)),
    "warning": _warn,
    "KeyError": lambda value: str(KeyError(value)) + repr(KeyError(value)),
    "traceback with locals": lambda value: _traceback(value, with_rich=False),
    "rich's traceback with locals": lambda value: _traceback(value, with_rich=True),
    "inspect.getmembers": _all_members,
    "__getstate__": _state,
    "json default=str": lambda value: json.dumps(value, default=str),
    "hash": lambda value: str(hash(value)),
    "deepcopy": lambda value: repr(copy.deepcopy(value)),
}

# They show no string of anything.
_BLIND = ("hash", "Jupyter")

# What takes complete models only.
_MODEL_SURFACES: dict[str, Callable[[Any], str]] = {
    "attrs.asdict": lambda job: repr(attrs.asdict(job)),
    "attrs.astuple": lambda job: repr(attrs.astuple(job)),
    "cattrs.unstructure": lambda job: repr(cattrs.unstructure(job)),
    "unstructure": lambda job: json.dumps(unstructure(job)),
    "evolve": lambda job: repr(attrs.evolve(job, nonce="2")),
}

# What would carry the secret away in plain text.
_TYPE_ERRORS: dict[str, Callable[[Any], object]] = {
    "+": lambda secret: "token=" + secret,
    "join": lambda secret: ",".join([secret]),  # noqa: FLY002 - it is the surface
    "write": lambda secret: io.StringIO().write(secret),
    "environment": lambda secret: os.environ.__setitem__("SURFACE", secret),
    "subprocess argument": lambda secret: subprocess.run([sys.executable, secret], check=True),
    "json default=vars": lambda secret: json.dumps(secret, default=vars),
    "json": json.dumps,
    "pickle": pickle.dumps,
    "vars": vars,
    "len": len,
    "iteration": list,
    "containment": lambda secret: "x" in secret,
    "ordering": lambda secret: secret < secret,  # noqa: PLR0124 - it is the surface
    "bytes": bytes,
    "int": int,
}


@pytest.mark.parametrize("surface", _SURFACES)
def test_a_job_shows_no_secret(surface: str, job: JobDetails) -> None:
    """No surface shows a secret of a job that is given to it complete."""
    assert _STEM not in _SURFACES[surface](job)


@pytest.mark.parametrize("secret", _SECRETS)
@pytest.mark.parametrize("surface", _SURFACES)
def test_a_secret_field_does_not_show_itself(surface: str, secret: str, job: JobDetails) -> None:
    """No surface shows a secret that is given to it alone."""
    assert _STEM not in _SURFACES[surface](_SECRETS[secret](job))


@pytest.mark.parametrize("surface", _MODEL_SURFACES)
def test_a_converted_job_shows_no_secret(surface: str, job: JobDetails) -> None:
    """Turning a job into plain containers keeps its secrets wrapped or masked."""
    assert _STEM not in _MODEL_SURFACES[surface](job)


@pytest.mark.parametrize("secret", _SECRETS)
@pytest.mark.parametrize("surface", _TYPE_ERRORS)
def test_a_secret_cannot_be_copied_in_clear(surface: str, secret: str, job: JobDetails) -> None:
    """A function that would copy a secret in plain text raises a TypeError without the secret."""
    with pytest.raises(TypeError) as caught:
        _TYPE_ERRORS[surface](_SECRETS[secret](job))
    assert _STEM not in str(caught.value)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_job_with_secrets_is_not_pickled(protocol: int, job: JobDetails) -> None:
    """Pickling a job refuses and names what to send instead."""
    with pytest.raises(TypeError, match="send the ThirdPartyJob"):
        pickle.dumps(job, protocol)


@pytest.mark.parametrize("secret", _SECRETS)
def test_the_value_is_returned_on_request(secret: str, job: JobDetails) -> None:
    """``get_secret_value()`` gives the value."""
    assert _SECRETS[secret](job).get_secret_value() == f"{_STEM}-{secret}"


def test_a_configuration_shows_its_keys(job: JobDetails) -> None:
    """A configuration prints its keys unmasked and its values masked."""
    assert "SecretMapping({'ApiKey': **********})" in repr(job)


@pytest.mark.parametrize("surface", [name for name in (*_SURFACES, *_MODEL_SURFACES) if name not in _BLIND])
def test_each_surface_can_show_a_value(surface: str, job: JobDetails) -> None:
    """The harness is not blind: each surface shows a field that is not secret, or a plain text in a secret's place."""
    show = {**_SURFACES, **_MODEL_SURFACES}[surface]
    assert "job-1" in show(job) or "job-1" in show("job-1")


def test_pytest_shows_no_secret_in_a_diff(pytester: pytest.Pytester) -> None:
    """The diff of two unequal jobs, in full verbosity, shows no secret."""
    pytester.makepyfile(
        """
        from cp_thirdparty.converter import structure
        from cp_thirdparty import JobDetails

        def test_unequal():
            def job(mark):
                return structure(
                    {
                        "id": "job-1",
                        "data": {
                            "actionConfiguration": {"configuration": {"ApiKey": "x" + "MARKER" + "x" + mark}},
                            "artifactCredentials": {"sessionToken": "x" + "MARKER" + "x" + mark},
                        },
                        "nonce": mark,
                    },
                    JobDetails,
                )

            left, right = job("a"), job("b")
            assert left == right
        """
    )
    result = pytester.runpytest_subprocess("-vv", "--showlocals")
    result.assert_outcomes(failed=1)
    assert _STEM not in result.stdout.str() + result.stderr.str()
    assert "nonce" in result.stdout.str()
