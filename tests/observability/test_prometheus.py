"""Metrics for Prometheus: their values, labels and sources."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import attrs
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from support.journals import SCOPE
from support.worker_service import ACTION_TYPE, CLIENT_ID, CLIENT_TOKEN, TOKENS, AnyJob, make_worker

from cp_thirdparty import FailureType, JobFailedError, JobWorker, Succeeded, ThirdPartyJob, ThirdPartyJobClient
from cp_thirdparty.observability import HealthServer, prometheus_metrics
from cp_thirdparty.telemetry import CallRecord
from cp_thirdparty.testing import LocalCodePipeline
from cp_thirdparty.testing.faults import ServerError
from cp_thirdparty.worker import JobEvent, JobProcessor, MemoryJournal

_NAME = "ThirdParty/Test/ExampleScan/1"


@pytest.fixture
def service() -> Iterator[LocalCodePipeline]:
    """Give a service with one customer."""
    with LocalCodePipeline() as created:
        created.register_client(CLIENT_ID, CLIENT_TOKEN)
        yield created


def _samples(registry: CollectorRegistry, name: str) -> dict[tuple[str, ...], float]:
    """Return the values of a metric by its labels."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "cp_thirdparty_" + name
    }


def test_a_worker_counts_calls_and_events(service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """By operation, error, failure type and responsible party."""
    registry = CollectorRegistry()
    metrics = prometheus_metrics(registry)

    def handle(job: AnyJob) -> Succeeded:
        if job.id == actions[0].jobs[-1].id:
            raise JobFailedError(FailureType.CONFIGURATION_ERROR, "no")
        return Succeeded()

    for name, value in service.environment().items():
        monkeypatch.setenv(name, value)
    connect = partial(ThirdPartyJobClient.create, on_call=metrics.on_call)
    worker = JobWorker(connect, ACTION_TYPE, handle, client_tokens=TOKENS, metrics=metrics)
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(2)]
    service.faults.add("PutThirdPartyJobSuccessResult", ServerError())
    worker.run_once()
    assert _samples(registry, "job_events_total") == {
        (_NAME, "claimed", "", ""): 2.0,
        (_NAME, "call_failed", "", "service"): 1.0,
        (_NAME, "reported", "ConfigurationError", "customer"): 1.0,
        (_NAME, "reported", "", ""): 1.0,
    }
    assert _samples(registry, "job_seconds_count") == {(_NAME,): 2.0}
    calls = _samples(registry, "calls_total")
    assert calls["PollForThirdPartyJobs", ""] == 1.0
    assert calls["PutThirdPartyJobSuccessResult", "ServiceError"] == 1.0
    worker.close()


def test_a_processor_counts_events_by_the_action_type_of_the_details(service: LocalCodePipeline) -> None:
    """It is `other` for a job whose details were not read."""
    registry = CollectorRegistry()
    metrics = prometheus_metrics(registry)
    service.register_client("without a token", "a token")
    for client_id in (CLIENT_ID, "without a token"):
        service.start_action(ACTION_TYPE, client_id=client_id)
    processor = JobProcessor(service.client, lambda _: Succeeded(), client_tokens=TOKENS, metrics=metrics)
    outcomes = list(processor.poll(ACTION_TYPE, max_batch_size=2))
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Rejected", "Reported"]
    assert _samples(registry, "job_events_total") == {
        (_NAME, "claimed", "", ""): 1.0,
        (_NAME, "reported", "", ""): 1.0,
        ("other", "rejected", "", ""): 1.0,
    }
    assert _samples(registry, "job_seconds_count") == {(_NAME,): 1.0}
    assert _samples(registry, "worker_alive") == {}


def test_a_processor_of_custom_jobs_counts_events(service: LocalCodePipeline) -> None:
    """By its action type, as a worker does."""
    registry = CollectorRegistry()
    custom_type = attrs.evolve(ACTION_TYPE, owner="Custom")
    service.start_action(custom_type)
    processor = JobProcessor(service.custom_client, lambda _: Succeeded(), metrics=prometheus_metrics(registry))
    list(processor.poll(custom_type))
    name = _NAME.replace("ThirdParty", "Custom")
    assert _samples(registry, "job_events_total") == {
        (name, "claimed", "", ""): 1.0,
        (name, "reported", "", ""): 1.0,
    }


def test_labels_are_bounded() -> None:
    """Values that this library does not know are counted as `other`."""
    registry = CollectorRegistry()
    metrics = prometheus_metrics(registry)
    record = CallRecord(
        operation_name="x",
        job_id="xMARKERx",
        status_code=None,
        request_id=None,
        attempts=1,
        seconds=1.0,
        error="Foreign",
    )
    metrics.on_call(record)
    assert _samples(registry, "calls_total") == {("other", "other"): 1.0}
    assert b"MARKER" not in generate_latest(registry)


def test_action_types_of_jobs_are_bounded_labels() -> None:
    """A peer can send any action type in the details of a job: labels are escaped, short and few."""
    registry = CollectorRegistry()
    metrics = prometheus_metrics(registry)
    event = JobEvent(name="claimed", job_id="1", client_id="1")
    for provider in ("a\x1b[31m\nb", "x" * 10_000, *map(str, range(200))):
        metrics.record(event, attrs.evolve(ACTION_TYPE, provider=provider))
    labels = [labels[0] for labels in _samples(registry, "job_events_total")]
    assert labels[0] == "ThirdParty/Test/a\\x1b[31m\\nb/1"
    assert max(map(len, labels)) <= 1001
    assert (len(labels), labels[-1]) == (101, "other")


def test_the_state_of_workers_is_read_at_each_scrape(service: LocalCodePipeline) -> None:
    """Each worker has its values, and each journal is read once."""
    registry = CollectorRegistry()
    metrics = prometheus_metrics(registry)
    journal = MemoryJournal(clock=lambda: 1000.0)
    for _ in range(2):
        make_worker(service, journal=journal, metrics=metrics)
    for name in ("claiming", "running"):
        journal.claim(ThirdPartyJob(client_id=CLIENT_ID, job_id=name), SCOPE)
    journal.running("running")
    assert _samples(registry, "worker_alive") == {(_NAME, "0"): 0.0, (_NAME, "1"): 0.0}
    assert _samples(registry, "worker_poll_age_seconds") == {}
    jobs = _samples(registry, "journal_jobs")
    assert (jobs["0", "CLAIMING"], jobs["0", "RUNNING"], jobs["0", "RESULT"]) == (1.0, 1.0, 0.0)
    assert _samples(registry, "journal_age_seconds")["0",] > 1e9
    assert _samples(registry, "journal_readable") == {("0",): 1.0}


def test_a_journal_that_fails_costs_no_other_metric(service: LocalCodePipeline) -> None:
    """Its own metric shows it."""

    class _Broken(MemoryJournal):
        def jobs(self, *, unfinished_only: bool = False) -> Any:  # noqa: ARG002 - as its protocol has it
            raise ZeroDivisionError

    registry = CollectorRegistry()
    make_worker(service, journal=_Broken(), metrics=prometheus_metrics(registry))
    assert _samples(registry, "journal_readable") == {("0",): 0.0}
    assert _samples(registry, "journal_jobs") == {}
    assert _samples(registry, "worker_alive") == {(_NAME, "0"): 0.0}


def test_metrics_that_raise_cost_no_job(service: LocalCodePipeline, caplog: pytest.LogCaptureFixture) -> None:
    """The worker logs it."""

    class _Raising:
        def record(self, *_arguments: object) -> None:
            raise ZeroDivisionError

        def watch(self, *_arguments: object) -> None:
            pass

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    make_worker(service, metrics=_Raising()).run_once()
    assert action.status == "Succeeded"
    assert "metrics raised ZeroDivisionError at the event claimed" in caplog.text


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server with a registry needs it."""
    monkeypatch.setitem(sys.modules, "prometheus_client", cast("Any", None))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ImportError, match=r"cp-thirdparty\[prometheus\]"):
        HealthServer(lambda: cast("Any", None), registry=object(), port=0)
