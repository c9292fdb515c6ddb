"""Metrics that block, raise or are slow: jobs, event handlers and the end of a worker do not wait for them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import attrs
import pytest
from support.worker_service import ACTION_TYPE, CLIENT_ID, TOKENS, AnyJob, make_worker, running, succeed, until

from cp_thirdparty import ActionTypeId, Succeeded
from cp_thirdparty.testing import LocalCodePipeline
from cp_thirdparty.worker import JobEvent, JobProcessor, Journal, Reported, WorkerHealth, _emit

_TRACE: ContextVar[str] = ContextVar("_TRACE", default="none")

# Seconds for the end of a run whose metrics block, on a busy machine.
_PATIENCE = 15.0


@attrs.define
class _Metrics:
    """Metrics that block at one event."""

    blocks_at: str = ""
    counted: list[tuple[str, str]] = attrs.field(factory=list)
    traces: list[str] = attrs.field(factory=list)
    has_begun: threading.Event = attrs.field(factory=threading.Event)
    may_end: threading.Event = attrs.field(factory=threading.Event)

    def record(self, event: JobEvent, action_type_id: ActionTypeId | None) -> None:
        """Block at the event; count all others."""
        if event.name == self.blocks_at:
            self.has_begun.set()
            self.may_end.wait(60)
        self.counted.append((event.name, "none" if action_type_id is None else action_type_id.provider))
        self.traces.append(_TRACE.get())

    def watch(self, action_type_id: ActionTypeId, health: Callable[[], WorkerHealth], journal: Journal) -> None:
        """Read nothing."""


@pytest.fixture
def blocked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Metrics]:
    """Give metrics that block until the end of the test; workers do not wait long for them."""
    monkeypatch.setattr(_emit, "_FLUSH_SECONDS", 0.1)
    metrics = _Metrics(getattr(request, "param", "claimed"))
    yield metrics
    metrics.may_end.set()


@pytest.fixture
def _long_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for all events."""
    monkeypatch.setattr(_emit, "_FLUSH_SECONDS", 30.0)


@pytest.mark.parametrize("blocked", ["claimed", "reported"], indirect=True)
def test_metrics_that_block_delay_nothing(service: LocalCodePipeline, blocked: _Metrics) -> None:
    """Jobs are claimed and reported, events are delivered, and the run ends clean and in time."""
    names: list[str] = []
    worker = make_worker(service, concurrency=1, metrics=blocked, on_event=lambda event: names.append(event.name))
    with running(worker) as it:
        for _ in range(2):
            action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
            until(lambda action=action: action.status == "Succeeded")  # type: ignore[misc]
        assert blocked.has_begun.wait(_PATIENCE)
        until(lambda: worker.health().free_slots == 1)
        stopped_at = time.monotonic()
        worker.stop()
        it.join()
        assert time.monotonic() - stopped_at < _PATIENCE
    assert it.is_clean is True
    until(lambda: names == ["claimed", "reported"] * 2)


def test_events_that_are_not_counted_are_reported(
    service: LocalCodePipeline, blocked: _Metrics, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Health has their number, also after the run, and the log when the metrics return."""
    monkeypatch.setattr(_emit, "_SIZE", 2)
    worker = make_worker(service, metrics=blocked)
    with running(worker):
        action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        until(lambda: action.status == "Succeeded" and blocked.has_begun.is_set())
        later = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(2)]
        until(lambda: {action.status for action in later} == {"Succeeded"})
    # The log may drop records of this small queue too.
    until(lambda: worker.health().dropped_events >= 3)
    assert "were not counted" not in caplog.text
    blocked.may_end.set()
    until(lambda: "3 events were not counted, because metrics was too slow" in caplog.text)


def test_a_hook_that_blocks_loses_no_count(service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics have a queue of their own."""
    monkeypatch.setattr(_emit, "_FLUSH_SECONDS", 0.1)
    monkeypatch.setattr(_emit, "_SIZE", 2)
    metrics, may_end = _Metrics(), threading.Event()
    worker = make_worker(service, metrics=metrics, on_event=lambda _: may_end.wait(60))
    try:
        for _ in range(3):
            service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
            worker.run_once()
        until(lambda: metrics.counted == [("claimed", ACTION_TYPE.provider), ("reported", ACTION_TYPE.provider)] * 3)
    finally:
        may_end.set()


@pytest.mark.usefixtures("_long_flush")
def test_metrics_have_the_context_variables_of_the_job(service: LocalCodePipeline) -> None:
    """A counter with exemplars reads the trace of the handler.  All is counted when the run returns."""

    def handle(job: AnyJob) -> Succeeded:
        _TRACE.set(job.id)
        return Succeeded()

    metrics = _Metrics()
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    make_worker(service, handle, metrics=metrics).run_once()
    assert metrics.traces == ["none", action.jobs[-1].id]


@pytest.mark.usefixtures("_long_flush")
def test_a_processor_has_counted_all_events_when_it_returns(service: LocalCodePipeline) -> None:
    """In both ways to call it, with the context variables of the caller."""
    metrics = _Metrics()
    processor: JobProcessor[Any] = JobProcessor(service.client, succeed, client_tokens=TOKENS, metrics=metrics)
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    token = _TRACE.set("of the caller")
    list(processor.poll(ACTION_TYPE))
    _TRACE.reset(token)

    async def process() -> int:
        _TRACE.set("of the task")
        return len([outcome async for outcome in processor.poll_async(ACTION_TYPE)])

    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    assert asyncio.run(process()) == 1
    assert metrics.counted == [("claimed", ACTION_TYPE.provider), ("reported", ACTION_TYPE.provider)] * 2
    assert metrics.traces == ["of the caller"] * 2 + ["of the task"] * 2


def test_metrics_that_block_do_not_keep_a_processor(service: LocalCodePipeline, blocked: _Metrics) -> None:
    """Both ways to call it return the outcome."""
    processor: JobProcessor[Any] = JobProcessor(service.client, succeed, client_tokens=TOKENS, metrics=blocked)
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    outcomes = list(processor.poll(ACTION_TYPE))

    async def process() -> None:
        outcomes.extend([outcome async for outcome in processor.poll_async(ACTION_TYPE)])

    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    asyncio.run(process())
    assert [type(outcome) for outcome in outcomes] == [Reported, Reported]
    assert blocked.has_begun.is_set()
