"""The arguments of `JobWorker` and `JobProcessor`: what cannot work is refused when the object is created."""

from __future__ import annotations

import dataclasses
import functools
import math
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal, TypedDict

import attrs
import pytest
from support.worker_service import ACTION_TYPE, CLIENT_TOKEN, TOKENS, AnyJob, succeed

from cp_thirdparty import JobWorker, SecretStr, Succeeded, ThirdPartyJobClient
from cp_thirdparty.artifacts.store import ArtifactStore
from cp_thirdparty.configuration import Key
from cp_thirdparty.worker import EnvironmentTokens, JobEvent, JobProcessor, MemoryJournal, SqliteJournal


def _connect() -> ThirdPartyJobClient:
    raise AssertionError("nothing is created before the first job")


def _make_worker(**settings: Any) -> object:
    every: dict[str, Any] = {"connect": _connect, "handler": succeed, "client_tokens": TOKENS, **settings}
    return JobWorker(action_type_id=every.pop("action_type_id", ACTION_TYPE), **every)


def _make_processor(**settings: Any) -> object:
    every: dict[str, Any] = {"connect": _connect, "handler": succeed, "client_tokens": TOKENS, **settings}
    return JobProcessor(**every)


def _describe(value: Any) -> str:
    """Return a name that is the same in each process: addresses of functions are not."""
    if isinstance(value, dict):
        return "-".join(f"{name}={getattr(each, '__name__', type(each).__name__)}" for name, each in value.items())
    return "" if isinstance(value, type) else str(value)[:30]


_Make = Callable[..., object]
_BOTH = pytest.mark.parametrize("make", [_make_worker, _make_processor], ids=["worker", "processor"])


@attrs.frozen
class _Scan:
    project: str
    token: Annotated[SecretStr, Key("APIKey")]
    level: Literal["low", "high"] = "low"


@dataclasses.dataclass
class _Lists:
    names: set[str]


@attrs.frozen
class _Unknown:
    names: _Missing  # type: ignore[name-defined] # noqa: F821 - the mistake


@attrs.frozen
class _Divides:
    names: 1 / 0  # type: ignore[valid-type] # the mistake


@attrs.frozen
class _Twins:
    one: Annotated[str, Key("Name")]
    name: str


class _Plain:
    def __init__(self, project: str) -> None:
        self.project = project


class _Typed(TypedDict):
    project: str


class _PydanticLike:
    """A model of pydantic, as far as the check can see: it must not become a dependency."""

    model_fields: Mapping[str, object] = {}


class _Service:
    def handle(self, job: AnyJob) -> Succeeded:
        return succeed(job)

    def no_job(self) -> Succeeded:
        return Succeeded()

    def __call__(self, job: AnyJob) -> Succeeded:
        return succeed(job)


class _AsyncService:
    async def __call__(self, job: AnyJob) -> Succeeded:
        return succeed(job)


class _NoSignature(_Service):
    @property
    def __signature__(self) -> object:
        raise RuntimeError


async def _succeed_async(job: AnyJob) -> Succeeded:
    return succeed(job)


def _with_setting(job: AnyJob, setting: int) -> Succeeded:
    return succeed(job) if setting else Succeeded()


def _with_keyword(job: AnyJob, *, setting: int) -> Succeeded:
    return _with_setting(job, setting)


def _yields(job: AnyJob) -> Iterator[Succeeded]:
    yield succeed(job)


async def _yields_async(job: AnyJob) -> Any:
    yield succeed(job)


class _BrokenProperty(MemoryJournal):
    @property
    def is_durable(self) -> bool:
        raise RuntimeError


_ALLOWED: list[dict[str, Any]] = [
    {"handler": _Service()},
    {"handler": _Service().handle},
    {"handler": _AsyncService()},
    {"handler": _NoSignature()},
    {"handler": _succeed_async},
    {"handler": functools.partial(_with_setting, setting=1)},
    {"handler": functools.partial(_succeed_async)},
    {"handler": lambda *_: Succeeded()},
    {"handler": max},  # its signature is not known
    {"configuration": _Scan},
    {"configuration": None},
    {"client_tokens": EnvironmentTokens()},
    {"client_tokens": {"client": SecretStr("xMARKERx")}},
    {"client_tokens": {}},
    {"connect": functools.partial(ThirdPartyJobClient.create, region_name="eu-west-1")},
    {"artifacts": functools.partial(ArtifactStore.for_job, expected_bucket_owner="111122223333")},
    {"artifacts": ArtifactStore.for_job},
    {"on_event": print},
    {"on_event": list[JobEvent]().append},
    {"job_timeout": 60},
    {"job_timeout": None},
    {"job_timeout": 0.001},
]
_ALLOWED_OF_WORKER: list[dict[str, Any]] = [
    {"journal": MemoryJournal()},
    {"journal": _BrokenProperty()},
    {"keep_finished": None},
    {"keep_finished": 0},
    {"grace": 0},
    {"concurrency": 1_000},
]

_ONE_ARGUMENT = "it must take one positional argument, the job"
_NOT_A_MODEL = "TypedDict and other classes are not supported"
_REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"handler": None}, TypeError, "handler: must be a callable; NoneType is not callable"),
    ({"handler": lambda: None}, TypeError, f"handler: must be a callable; {_ONE_ARGUMENT}"),
    ({"handler": _with_setting}, TypeError, f"handler: must be a callable; {_ONE_ARGUMENT}"),
    ({"handler": _with_keyword}, TypeError, f"handler: must be a callable; {_ONE_ARGUMENT}"),
    ({"handler": _Service().no_job}, TypeError, f"handler: must be a callable; {_ONE_ARGUMENT}"),
    ({"handler": _Service}, TypeError, "handler: must be a callable; _Service is a class: pass an object"),
    ({"handler": _yields}, TypeError, "handler: must return a result; a generator function does not"),
    ({"handler": _yields_async}, TypeError, "handler: must return a result; a generator function does not"),
    ({"connect": None}, TypeError, "connect: must be a callable; NoneType is not callable"),
    ({"connect": lambda region: region}, TypeError, "connect: must be a callable; it must take no arguments"),
    ({"configuration": _Lists}, TypeError, "configuration: _Lists.names: the type is not supported; use str"),
    ({"configuration": _Twins}, TypeError, "configuration: _Twins: more than one field has the key Name"),
    ({"configuration": _Unknown}, TypeError, "configuration: _Unknown: the name _Missing in its annotations"),
    ({"configuration": _Divides}, TypeError, "configuration: _Divides: its annotations raise ZeroDivisionError"),
    ({"configuration": _Plain}, TypeError, f"configuration: .* not _Plain; {_NOT_A_MODEL}"),
    ({"configuration": _Typed}, TypeError, f"configuration: .* not _Typed; {_NOT_A_MODEL}"),
    ({"configuration": _PydanticLike}, TypeError, f"configuration: .* not _PydanticLike; {_NOT_A_MODEL}"),
    ({"configuration": _Scan("p", SecretStr("s"))}, TypeError, "configuration: .* not an object of type _Scan"),
    ({"configuration": {}}, TypeError, "configuration: .* not an object of type dict"),
    ({"client_tokens": 7}, TypeError, "client_tokens: must be a mapping .* int is not callable"),
    ({"client_tokens": EnvironmentTokens}, TypeError, "client_tokens: must be .*EnvironmentTokens is a class"),
    ({"client_tokens": lambda: "t"}, TypeError, "client_tokens: .* it must take one positional argument, the client"),
    ({"client_tokens": {**TOKENS, "other": 7}}, TypeError, "client_tokens: .* each token a str or a SecretStr"),
    ({"artifacts": 7}, TypeError, "artifacts: must be a callable; int is not callable"),
    ({"artifacts": lambda client: client}, TypeError, "artifacts: must be a callable; it must take a client, the det"),
    ({"on_event": "log"}, TypeError, "on_event: must be a callable; str is not callable"),
    ({"on_event": lambda: None}, TypeError, "on_event: must be a callable; it must take one positional argument"),
    ({"job_timeout": "60"}, TypeError, "job_timeout: must be a number of seconds or a timedelta, not str"),
    ({"job_timeout": True}, TypeError, "job_timeout: must be a number of seconds or a timedelta, not bool"),
    ({"job_timeout": 0}, ValueError, "job_timeout: must be more than 0 and at most 1,000,000 seconds$"),
    ({"job_timeout": -1.5}, ValueError, "job_timeout: must be more than 0"),
    ({"job_timeout": math.nan}, ValueError, "job_timeout: must be more than 0"),
    ({"job_timeout": math.inf}, ValueError, "job_timeout: must be more than 0"),
    ({"job_timeout": 10**400}, ValueError, "job_timeout: must be more than 0"),
]
_REFUSED_BY_WORKER: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"action_type_id": "ExampleScan"}, TypeError, "action_type_id: must be of type ActionTypeId, not str"),
    ({"is_idempotent": "no"}, TypeError, "is_idempotent: must be of type bool, not str"),
    ({"concurrency": 1.5}, TypeError, "concurrency: must be an int, not float"),
    ({"concurrency": True}, TypeError, "concurrency: must be an int, not bool"),
    ({"concurrency": "4"}, TypeError, "concurrency: must be an int, not str"),
    ({"concurrency": 0}, ValueError, "concurrency: must be at least 1$"),
    ({"max_crashes": 2.0}, TypeError, "max_crashes: must be an int, not float"),
    ({"max_crashes": 0}, ValueError, "max_crashes: must be at least 1$"),
    ({"poll_interval": "5"}, TypeError, "poll_interval: must be a number of seconds or a timedelta, not str"),
    ({"poll_interval": 0}, ValueError, "poll_interval: must be more than 0"),
    ({"poll_interval": math.nan}, ValueError, "poll_interval: must be more than 0"),
    ({"grace": None}, TypeError, "grace: must be a number of seconds or a timedelta, not NoneType"),
    ({"grace": -1}, ValueError, "grace: must be at least 0 and at most 1,000,000 seconds$"),
    ({"grace": math.inf}, ValueError, "grace: must be at least 0"),
    ({"keep_finished": "30"}, TypeError, "keep_finished: must be a number of days or a timedelta, or None, not str"),
    ({"keep_finished": -1}, ValueError, "keep_finished: must be at least 0 and at most 36,500 days, or None$"),
    ({"journal": "jobs.db"}, TypeError, "journal: must be a journal; str has no is_durable, is_shared, claim, "),
    ({"journal": SqliteJournal}, TypeError, "journal: must be an object, not the class SqliteJournal"),
    ({"executor": 4}, TypeError, "executor: must be a callable; int is not callable"),
    ({"executor": lambda size: size}, TypeError, "executor: must be a callable; it must take no arguments"),
    ({"clock": 7}, TypeError, "clock: must be a callable; int is not callable"),
    ({"clock": abs}, TypeError, "clock: must be a callable; it must take no arguments"),
]


@_BOTH
@pytest.mark.parametrize("settings", _ALLOWED, ids=_describe)
def test_what_works_is_allowed(make: _Make, settings: dict[str, Any]) -> None:
    """Any form of callable, and objects whose signature is not known."""
    assert make(**settings)


@pytest.mark.parametrize("settings", _ALLOWED_OF_WORKER, ids=_describe)
def test_what_works_is_allowed_for_a_worker(settings: dict[str, Any]) -> None:
    """Limits of ranges, and journals of the partner."""
    assert _make_worker(**settings)


@_BOTH
@pytest.mark.parametrize(("settings", "kind", "message"), _REFUSED, ids=_describe)
def test_what_cannot_work_is_refused(
    make: _Make, settings: dict[str, Any], kind: type[Exception], message: str
) -> None:
    """The error names the argument and the rule."""
    with pytest.raises(kind, match=f"^{message}"):
        make(**settings)


@pytest.mark.parametrize(("settings", "kind", "message"), _REFUSED_BY_WORKER, ids=_describe)
def test_what_cannot_work_is_refused_by_a_worker(settings: dict[str, Any], kind: type[Exception], message: str) -> None:
    """The error names the argument and the rule."""
    with pytest.raises(kind, match=f"^{message}"):
        _make_worker(**settings)


@_BOTH
@pytest.mark.parametrize(
    "settings", [{"job_timeout": 0}, {"handler": None}, {"client_tokens": {**TOKENS, "other": 7}}], ids=_describe
)
def test_no_frame_of_a_refusal_has_a_token(make: _Make, settings: dict[str, Any]) -> None:
    """A reporter of errors that shows local variables shows no client token."""
    with pytest.raises((TypeError, ValueError)) as caught:
        make(**settings)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    frames = [frame for frame in shown.stack if frame.filename != __file__]
    assert frames
    assert [frame.name for frame in frames if CLIENT_TOKEN in str(frame.locals)] == []
    assert shown.__context__ is None
