"""A journal of the partner that returns values of wrong types, or raises errors without a readable message."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
from support import lambda_functions as functions
from support.journals import OTHER_SCOPE
from support.lambda_functions import MARKER, FakeClient, make_event
from support.worker_service import (
    ACTION_TYPE,
    CLIENT_ID,
    CUSTOM_TYPE,
    AnyJob,
    SharedJournal,
    claim,
    make_worker,
    running,
    scope_of,
    succeed,
    until,
)

from cp_thirdparty import CustomJob, ExecutionDetails, JobData, JobWorker, Succeeded, ThirdPartyJob
from cp_thirdparty.exceptions import JournalError
from cp_thirdparty.testing import LambdaContext, LocalCodePipeline
from cp_thirdparty.worker import JournalEntry, JournalState, LambdaHandler, Recovered, SetAside


class _UnreadableError(JournalError):
    """Its message cannot be read."""

    def __str__(self) -> str:
        raise RuntimeError(MARKER)


class _EmptyError(JournalError):
    """Its class does not call `super().__init__`."""

    def __init__(self) -> None:
        pass


class _LeasedJournal(SharedJournal):
    """A journal with leases, each of which is long."""

    recovery_seconds: Any = 10.0

    def hold(self, _job_id: str) -> float:
        """Return the seconds of the lease."""
        return 60.0


def _journal(method: str, value: Any, *, calls: float = 0.0) -> _LeasedJournal:
    """Return a journal one of whose methods returns or raises something, after a number of good calls."""
    journal = _LeasedJournal()
    good: Callable[..., Any] = getattr(journal, method)
    left = calls

    def misbehave(*arguments: Any, **settings: Any) -> Any:
        nonlocal left
        left -= 1
        if left >= 0:
            return good(*arguments, **settings)
        if isinstance(value, BaseException):
            raise value
        return value

    setattr(journal, method, misbehave)
    return journal


@pytest.mark.parametrize("error", [_UnreadableError("full"), _EmptyError(), JournalError("")])
@pytest.mark.parametrize("method", ["running", "result", "finish"])
def test_an_error_without_a_message_costs_no_result(
    method: str, error: JournalError, service: LocalCodePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """The claimed job is reported, and the log and `run` have the name of the error."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with running(make_worker(service, journal=_journal(method, error))) as run:
        until(lambda: action.status == "Succeeded")
    assert run.is_clean is False
    assert f"the journal raised {type(error).__name__}" in caplog.text
    assert "a bug of cp-thirdparty" not in caplog.text
    assert MARKER not in caplog.text


@pytest.mark.parametrize("value", [_UnreadableError("full"), _EmptyError(), None, "yes"])
def test_a_claim_without_a_verdict_is_an_error(value: Any, service: LocalCodePipeline) -> None:
    """The job is left to other workers, and the health and `run` have the problem."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = make_worker(service, journal=_journal("claim", value))
    with running(worker) as run:
        until(lambda: bool(worker.health().journal_error))
    assert run.is_clean is False
    assert action.status == "Dispatched"


@pytest.mark.parametrize("value", [None, "60", math.nan, _UnreadableError("full")])
def test_a_hold_without_a_number_loses_no_result(value: Any, service: LocalCodePipeline) -> None:
    """Whether another worker has the job is not known, so the result stays until the journal confirms it."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    journal = _journal("hold", value)
    worker = make_worker(service, journal=journal)
    with running(worker):
        until(lambda: bool(worker.health().journal_error) and bool(worker.health().stalled))
        assert action.status == "InProgress"
        setattr(journal, "hold", lambda _job_id: 60.0)  # noqa: B010 - a method is replaced
        until(lambda: action.status == "Succeeded")


_RECOVERED: Any = Recovered  # refuses no wrong types, as type checkers do
_ENTRY: Any = JournalEntry
_NO_JOB = _ENTRY(job=None, scope=None, state=JournalState.RUNNING, changed_at=5.0)
_WRONG_LISTS = [
    None,
    [],
    _RECOVERED(entries=(None,), set_aside=()),
    _RECOVERED(entries=(_NO_JOB,), set_aside=()),
    _RECOVERED(entries=(), set_aside=("job-1",)),
]


@pytest.mark.parametrize("value", _WRONG_LISTS)
def test_a_recovery_of_a_wrong_type_is_a_journal_error(value: Any, service: LocalCodePipeline) -> None:
    """The worker does not start."""
    with pytest.raises(JournalError, match="recover of the journal returned a wrong type: "):
        make_worker(service, journal=_journal("recover", value)).run()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"state": JournalState.DONE}, "a wrong value: state"),
        ({"state": "RUNNING"}, "a wrong value: state"),
        ({"state": JournalState.RESULT}, "a wrong value: result"),
        ({"result": "xMARKERx"}, "a wrong value: result"),
        ({"crashes": None}, "a wrong value: crashes"),
        ({"changed_at": Decimal(5)}, "a wrong value: changed_at or claimed_at"),
        ({"claimed_at": math.nan}, "a wrong value: changed_at or claimed_at"),
        ({"claimed_at": Decimal(0)}, "a wrong value: changed_at or claimed_at"),
        ({"claimed_at": ""}, "a wrong value: changed_at or claimed_at"),
        ({"claimed_at": 10**400}, "a wrong value: changed_at or claimed_at"),
        ({"crashes": 10**5000}, "a wrong value: crashes"),
        ({"crashes": -1}, "a wrong value: crashes"),
        ({"state": JournalState.CLAIMING, "result": Succeeded()}, "a wrong value: result"),
        ({"state": JournalState.UNCERTAIN, "result": Succeeded()}, "a wrong value: result"),
        ({"scope": OTHER_SCOPE}, "it for another scope"),
        (
            {"job": CustomJob(id="job-1", data=JobData(), nonce="3")},
            "a custom job, and the worker is for third-party jobs",
        ),
    ],
)
def test_a_job_of_wrong_values_costs_one_job(
    changes: Any, problem: str, service: LocalCodePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """It is set aside by its id, nothing is reported for it, and the worker goes on."""
    job = ThirdPartyJob(client_id=CLIENT_ID, job_id="job-1")
    with service.client() as client:
        scope = scope_of(client)
    entry = _ENTRY(**{"job": job, "scope": scope, "state": JournalState.RUNNING, "changed_at": 5.0, **changes})
    worker = make_worker(service, journal=_journal("recover", Recovered(entries=(entry,), set_aside=())))
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with running(worker) as run:
        until(lambda: action.status == "Succeeded")
        assert worker.health().set_aside == ("job-1",)
    assert (run.failure, run.is_clean) == (None, False)
    assert f"job=job-1 is set aside: recover of the journal returned {problem}" in caplog.text
    assert not any("job-1" in str(request) for request in service.requests)


_UNSAFE = "a\x1b[31m\n2026-01-01 ERROR forged\u202e" + "x" * (20 << 20)
_SHOWN = "a\\x1b[31m\\n2026-01-01 ERROR forged\\u202ex"


@pytest.mark.parametrize("is_entry", [False, True])
def test_ids_and_problems_of_a_journal_are_shown_escaped(
    is_entry: bool,  # noqa: FBT001 - pytest passes it
    service: LocalCodePipeline,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No line of the health or of the log is forged, and none is long."""
    row = SetAside(job_id=_UNSAFE, problem=_UNSAFE)
    job = ThirdPartyJob(client_id=CLIENT_ID, job_id=_UNSAFE)
    entry = JournalEntry(job=job, scope=OTHER_SCOPE, state=JournalState.RUNNING, changed_at=5.0)
    recovered = Recovered(entries=(entry,), set_aside=()) if is_entry else Recovered(entries=(), set_aside=(row,))
    worker = make_worker(service, journal=_journal("recover", recovered))
    with running(worker):
        until(lambda: bool(worker.health().set_aside))
        (shown,) = worker.health().set_aside
    assert shown.startswith(_SHOWN)
    assert len(shown) < 2000
    (record,) = (record for record in caplog.records if "set aside" in record.getMessage())
    assert record.getMessage().startswith(f"job={_SHOWN}")
    assert len(record.getMessage()) < 4000
    assert record.getMessage().isprintable()


@pytest.mark.parametrize("method", ["recover", "claim"])
def test_a_message_of_a_journal_is_shown_escaped(
    method: str, service: LocalCodePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """The health has the message, and so has the error with which the worker does not start."""
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = make_worker(service, journal=_journal(method, JournalError(_UNSAFE)))
    with running(worker) as run:
        until(lambda: run.failure is not None or bool(worker.health().journal_error))
        shown = [str(run.failure) if run.failure else str(worker.health().journal_error)]
    shown += [record.getMessage() for record in caplog.records if "forged" in record.getMessage()]
    assert all(_SHOWN in text and text.isprintable() and len(text) < 2000 for text in shown)


_WRONG_ID: Any = {"client_id": CLIENT_ID, "job_id": ["job-1"]}
_WRONG_CLIENT: Any = {"client_id": ["client-1"], "job_id": "job-1"}


@pytest.mark.parametrize(
    ("values", "name"),
    [(_WRONG_ID, "a list"), ({**_WRONG_ID, "job_id": 5}, "a int"), (_WRONG_CLIENT, "job-1"), (None, "a int")],
)
def test_an_id_of_a_wrong_type_costs_one_job(values: Any, name: str, service: LocalCodePipeline) -> None:
    """The health names the type of an id that is not a string."""
    any_row: Any = SetAside
    recovered = Recovered(entries=(), set_aside=(any_row(job_id=5, problem=None),))
    if values is not None:
        with service.client() as client:
            scope = scope_of(client)
        entry = JournalEntry(job=ThirdPartyJob(**values), scope=scope, state=JournalState.RUNNING, changed_at=5.0)
        recovered = Recovered(entries=(entry,), set_aside=())
    worker = make_worker(service, journal=_journal("recover", recovered))
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with running(worker):
        until(lambda: action.status == "Succeeded")
        assert worker.health().set_aside == (name,)


def test_a_third_party_job_is_not_run_by_a_worker_for_custom_jobs(service: LocalCodePipeline) -> None:
    """Its calls would need a client token, which the worker does not have."""
    with service.client() as client:
        scope = attrs.evolve(scope_of(client), action_type_id=CUSTOM_TYPE)
    job = ThirdPartyJob(client_id=CLIENT_ID, job_id="job-1")
    entry = JournalEntry(job=job, scope=scope, state=JournalState.RUNNING, changed_at=5.0)
    journal = _journal("recover", Recovered(entries=(entry,), set_aside=()))
    action = service.start_action(CUSTOM_TYPE)
    connect = service.custom_client
    with running(JobWorker(connect, CUSTOM_TYPE, succeed, journal=journal, poll_interval=0.05)) as run:
        until(lambda: action.status == "Succeeded")
        until(lambda: run.worker.health().set_aside == ("job-1",))
    assert not any("job-1" in str(request) for request in service.requests)


def _claim_job(service: LocalCodePipeline) -> tuple[Any, JournalEntry]:
    """Return an action whose job is acknowledged, and the entry of the job."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with service.client() as client:
        (job,) = client.poll_for_third_party_jobs(ACTION_TYPE)
        claim(client, job.job_id)
        scope = scope_of(client)
    return action, JournalEntry(job=job, scope=scope, state=JournalState.CLAIMED, changed_at=time.time())


_RESULT = Succeeded(execution_details=ExecutionDetails(summary="of the first process"))
_LATER = Succeeded(execution_details=ExecutionDetails(summary="of the second process"))
_FIRST: dict[str, Any] = {"state": JournalState.RESULT, "result": _RESULT}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({}, {}, "handled"),
        ({"crashes": 1}, {}, "handled"),
        (_FIRST, {}, "of the first process"),
        ({}, _FIRST, "of the first process"),
        (_FIRST, {"state": JournalState.RUNNING}, "of the first process"),
        (_FIRST, {**_FIRST, "result": _LATER, "changed_at": 1e10}, "of the second process"),
        ({**_FIRST, "result": _LATER, "changed_at": 1e10}, _FIRST, "of the second process"),
        ({}, {"state": JournalState.UNCERTAIN}, "handled"),
        ({}, {"scope": OTHER_SCOPE}, "handled"),
        ({"state": JournalState.DONE}, {}, "handled"),
        ({"state": JournalState.RUNNING, "result": _RESULT}, None, "of the first process"),
        ({"result": _RESULT}, None, "of the first process"),
    ],
)
def test_a_job_that_is_returned_twice_or_with_a_result_is_reported_once(
    first: dict[str, Any], second: dict[str, Any] | None, expected: str, service: LocalCodePipeline
) -> None:
    """A result of an earlier process is reported, and the handler does not run again."""
    action, entry = _claim_job(service)
    entries = tuple(attrs.evolve(entry, **changes) for changes in (first, second) if changes is not None)
    journal = SharedJournal()
    journal.claim(entry.job, entry.scope)  # type: ignore[arg-type] # the entry has a scope
    left = [Recovered(entries=entries, set_aside=())]
    setattr(journal, "recover", lambda _: left.pop() if left else Recovered(entries=(), set_aside=()))  # noqa: B010 - a method is replaced
    calls: list[str] = []

    def handle(job: AnyJob) -> Succeeded:
        calls.append(job.id)
        return Succeeded(execution_details=ExecutionDetails(summary="handled"))

    with running(make_worker(service, handle, journal=journal)):
        until(lambda: action.status == "Succeeded")
    assert action.result is not None
    assert action.result.execution_details == ExecutionDetails(summary=expected)
    assert len(calls) == (expected == "handled")
    assert [entry.state for entry in journal.jobs()] == [JournalState.DONE]


def test_a_recovery_of_a_wrong_type_does_not_end_a_running_worker(
    service: LocalCodePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """It goes on with its jobs, and the health has the problem."""
    journal = _journal("recover", None, calls=1)
    journal.recovery_seconds = 0.05
    worker = make_worker(service, journal=journal)
    with caplog.at_level(logging.ERROR), running(worker) as run:
        until(lambda: bool(worker.health().journal_error))
        action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        until(lambda: action.status == "Succeeded")
    assert (run.failure, run.is_clean) == (None, False)


def test_a_list_of_wrong_types_does_not_prevent_the_start(service: LocalCodePipeline) -> None:
    """The list only serves the log."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with running(make_worker(service, journal=_journal("jobs", ["job-1"]))):
        until(lambda: action.status == "Succeeded")


@pytest.mark.parametrize("seconds", [0, -1.0, math.nan])
def test_an_interval_that_is_not_positive_is_refused(seconds: float, service: LocalCodePipeline) -> None:
    """Otherwise the worker would read the journal without a pause."""
    journal = _LeasedJournal()
    journal.recovery_seconds = seconds
    with pytest.raises(JournalError, match="recovery_seconds of the journal must be more than 0"):
        make_worker(service, journal=journal).run()


@pytest.mark.parametrize(
    ("method", "value"),
    [("is_finished", None), ("is_finished", "no"), ("recover", None), ("recover", _UnreadableError("full"))],
)
def test_a_second_delivery_does_not_run_the_handler_again(
    method: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lambda must deliver the event again, because it is not known whether the job is finished."""
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    client, note = FakeClient(), tmp_path / "note"
    journal = SharedJournal()
    make_function: Any = LambdaHandler
    settings = {"handler": partial(functions.count, note=str(note)), "connect": lambda: client}
    make_function(**settings, journal=lambda: journal)(make_event(), LambdaContext())
    odd = _journal(method, value)
    odd._finished = journal._finished
    again = make_function(**settings, journal=lambda: odd)
    with pytest.raises(JournalError, match="Lambda must deliver the event again"):
        again(make_event(), LambdaContext())
    assert note.read_text(encoding="utf-8") == "job-1\n"
    assert len(client.results) == 1
