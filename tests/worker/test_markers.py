"""No secret of a job is in the journal, the log, the outcomes, the events or what the customer reads."""

from __future__ import annotations

import logging
import pickle
import traceback
from pathlib import Path
from typing import Any

import attrs
import pytest
from support.worker_service import ACTION_TYPE, CLIENT_ID, CLIENT_TOKEN, Instead, make_worker

from cp_thirdparty import ArtifactCredentials, Continued, Job, JobFailedError, SecretStr, Succeeded
from cp_thirdparty.enums import FailureType
from cp_thirdparty.testing import LocalCodePipeline
from cp_thirdparty.testing._wire import error_response
from cp_thirdparty.testing.faults import ExpiredCredentials, HtmlPage, LostAnswer, ServerError, Throttling
from cp_thirdparty.worker import JobEvent, SqliteJournal

_MARKER = "xMARKERx"
_CONFIGURATION = {"ApiKey": f"{_MARKER}-value", "Level": f"{_MARKER}-level"}
_CREDENTIALS = ArtifactCredentials(
    access_key_id=f"{_MARKER}-id", secret_access_key=f"{_MARKER}-secret", session_token=f"{_MARKER}-session"
)


@attrs.frozen
class _Configuration:
    api_key: SecretStr


@attrs.frozen
class _OtherConfiguration:
    level: int


def _succeeds(_job: Job[Any]) -> Succeeded:
    return Succeeded()


def _continues(_job: Job[Any]) -> Continued:
    return Continued(continuation_token="step 2")


def _fails(_job: Job[Any]) -> Succeeded:
    raise JobFailedError(FailureType.JOB_FAILED, "no")


def _raises(job: Job[_Configuration]) -> Succeeded:
    key = job.configuration.api_key.get_secret_value()
    raise ValueError(key)


def _raises_details(job: Job[Any]) -> Succeeded:
    raise RuntimeError(job.details, job.configuration)


def _returns_a_secret(job: Job[_Configuration]) -> Any:
    return job.configuration.api_key.get_secret_value()


async def _raises_async(job: Job[_Configuration]) -> Succeeded:
    raise KeyError(job.configuration.api_key.get_secret_value())


_HANDLERS = (_succeeds, _continues, _fails, _raises, _raises_details, _returns_a_secret, _raises_async)
_FAULTS: dict[str, Any] = {
    "none": None,
    "throttling": Throttling(),
    "500": ServerError(),
    "lost": LostAnswer(),
    "page": HtmlPage(),
    "expired": ExpiredCredentials(),
    "echo": Instead(error_response("ValidationException", f"Value '{CLIENT_TOKEN}' at 'clientToken' failed")),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", _FAULTS)
@pytest.mark.parametrize("handler", _HANDLERS, ids=lambda handler: handler.__name__)
def test_nothing_of_a_job_gets_out(
    service: LocalCodePipeline,
    handler: Any,
    fault: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """Whatever a handler does and the service returns: no surface of the worker has a marker."""
    caplog: pytest.LogCaptureFixture = request.getfixturevalue("caplog")
    capfd: pytest.CaptureFixture[str] = request.getfixturevalue("capfd")
    caplog.set_level(logging.DEBUG)
    events: list[JobEvent] = []
    if _FAULTS[fault] is not None:
        for operation_name in ("Acknowledge", "PutThirdPartyJobSuccessResult", "PutThirdPartyJobFailureResult"):
            name = "AcknowledgeThirdPartyJob" if operation_name == "Acknowledge" else operation_name
            service.faults.add(name, _FAULTS[fault])
    action = service.start_action(
        ACTION_TYPE, client_id=CLIENT_ID, configuration=_CONFIGURATION, artifact_credentials=_CREDENTIALS
    )
    journal = SqliteJournal(tmp_path / "j.db")
    worker = make_worker(service, handler, configuration=_Configuration, journal=journal, on_event=events.append)
    outcomes = worker.run_once()
    entries = list(journal.jobs())
    journal.close()
    assert outcomes
    assert events
    shown = [
        *(f"{record.getMessage()} {record.__dict__}" for record in caplog.records),
        *(f"{outcome!r} {pickle.dumps(outcome)!r}" for outcome in outcomes),
        *(repr(each) for each in (*events, *entries, action.result, worker.health())),
        *(path.read_bytes().decode("latin-1") for path in tmp_path.iterdir()),
        *capfd.readouterr(),
    ]
    assert [text for text in shown if _MARKER in text] == []


def test_a_configuration_that_does_not_fit_shows_no_value(
    service: LocalCodePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """The customer reads the key and the rule."""
    caplog.set_level(logging.DEBUG)
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID, configuration=_CONFIGURATION)
    (outcome,) = make_worker(service, _succeeds, configuration=_OtherConfiguration).run_once()
    assert "Level" in repr(outcome)
    assert _MARKER not in repr(outcome)
    assert _MARKER not in caplog.text


def test_the_harness_finds_a_marker(service: LocalCodePipeline, tmp_path: Path) -> None:
    """What a partner itself puts into a result is there to be found: the look is not blind."""

    def handle(_job: Job[Any]) -> Succeeded:
        raise JobFailedError(FailureType.JOB_FAILED, _MARKER)

    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    journal = SqliteJournal(tmp_path / "j.db")
    outcomes = make_worker(service, handle, journal=journal).run_once()
    journal.close()
    assert _MARKER in repr(outcomes)
    assert any(_MARKER.encode() in path.read_bytes() for path in tmp_path.iterdir())


def test_a_traceback_of_a_failed_poll_shows_no_token(service: LocalCodePipeline) -> None:
    """What ``run_once()`` raises has no local with a secret."""
    service.faults.add("PollForThirdPartyJobs", Throttling(), times=None)
    with pytest.raises(Exception, match="Throttling") as caught:
        make_worker(service).run_once()
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert _MARKER not in "".join(line for line in shown.format() if "test_worker_markers" not in line)
