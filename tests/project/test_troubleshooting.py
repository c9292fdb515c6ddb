"""Each message on the page "Troubleshooting" is the one that its cause leads to."""

from __future__ import annotations

import json
import logging
import os
import re
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs
import pytest
from botocore.config import Config
from support.worker_service import ACTION_TYPE, CLIENT_ID, CLIENT_TOKEN, AnyJob, claim, make_worker

from cp_thirdparty import FailureDetails, JobWorker, SecretStr, Succeeded, ThirdPartyJobClient
from cp_thirdparty.exceptions import CodePipelineJobError
from cp_thirdparty.testing import LocalCodePipeline, samples
from cp_thirdparty.testing.faults import Delay, ExpiredCredentials, Fault, HtmlPage, LostAnswer, Throttling
from cp_thirdparty.worker import SqliteJournal, processes

_PAGE: Final = Path(__file__).parents[2] / "docs" / "operate" / "troubleshooting.md"
_SECTION: Final = re.compile(r"^## ([^\n]+)\n\n(?:```text\n(.*?)\n```$)?", re.DOTALL | re.MULTILINE)
_SECTIONS: Final = dict(_SECTION.findall(_PAGE.read_text(encoding="utf-8")))
# What differs from run to run, and what the page has in its place.
_VARIABLE: Final = (
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "JOB_ID"),
    (r"36\d\d s ahead", "3600 s ahead"),
    (r"longer than \d seconds", "longer than 3300 seconds"),
)
_OTHER_VERSION: Final = attrs.evolve(ACTION_TYPE, version="2")
_AWS_HOUR: Final = 3600


@attrs.frozen
class _ProjectConfiguration:
    project_name: str


@attrs.frozen
class _Place:
    """The folder, the environment and the log of a test."""

    folder: Path
    patch: pytest.MonkeyPatch
    log: pytest.LogCaptureFixture

    def clear_environment(self, **variables: str) -> None:
        """Remove each setting of AWS from the environment, and set these variables."""
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            self.patch.delenv(name)
        nowhere = str(self.folder / "none")
        aws = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": nowhere, "AWS_SHARED_CREDENTIALS_FILE": nowhere}
        for name, value in {**aws, **variables}.items():
            self.patch.setenv(name, value)

    def find_record(self, event: str) -> str:
        """Return the worker's message about an event."""
        messages = [record.getMessage() for record in self.log.records if record.name == "cp_thirdparty.worker"]
        return next(message for message in messages if message.startswith(event))


_Cause: TypeAlias = Callable[[_Place], str]


def _error(cause: Callable[[], object]) -> str:
    with pytest.raises((CodePipelineJobError, TypeError)) as caught:
        cause()
    return str(caught.value)


@contextmanager
def _service(**settings: Any) -> Generator[LocalCodePipeline]:
    with LocalCodePipeline(**settings) as service:
        service.register_client(CLIENT_ID, CLIENT_TOKEN)
        yield service


def _start(service: LocalCodePipeline) -> str:
    return service.start_action(ACTION_TYPE, client_id=CLIENT_ID).jobs[0].id


def _poll(*faults: Fault, deadline: float = 60.0, **settings: Any) -> _Cause:
    """Return the cause "a poll with a fault", with one attempt."""

    def cause(place: _Place) -> str:
        with _service(**settings) as service:
            place.clear_environment(**service.environment())
            for fault in faults:
                service.faults.add("PollForThirdPartyJobs", fault, times=None)
            once = Config(retries={"total_max_attempts": 1})
            with ThirdPartyJobClient.create(config=once, deadline=deadline) as client:
                return _error(lambda: client.poll_for_third_party_jobs(_OTHER_VERSION))

    return cause


def _report(*faults: Fault, is_reported: bool = False) -> _Cause:
    """Return the cause "a success of a claimed job, with a fault"."""

    def cause(_: _Place) -> str:
        with _service() as service, service.client() as client:
            job_id = _start(service)
            claim(client, job_id)
            if is_reported:
                client.put_third_party_job_success_result(job_id, client_token=CLIENT_TOKEN)
            for fault in faults:
                service.faults.add("PutThirdPartyJobSuccessResult", fault)
            return _error(lambda: client.put_third_party_job_success_result(job_id, client_token=CLIENT_TOKEN))

    return cause


def _refuse_token(_: _Place) -> str:
    with _service() as service, service.client() as client:
        job_id = _start(service)
        return _error(lambda: client.get_third_party_job_details(job_id, client_token="another"))


def _lose_race(_: _Place) -> str:
    with _service() as service, service.client() as client:
        job_id = _start(service)
        nonce = client.get_third_party_job_details(job_id, client_token=CLIENT_TOKEN).nonce
        claim(client, job_id)
        return _error(lambda: client.acknowledge_third_party_job(job_id, nonce=nonce, client_token=CLIENT_TOKEN))


def _reject(place: _Place) -> str:
    with _service() as service:
        _start(service)
        make_worker(service, client_tokens={}).run_once()
    return place.find_record("rejected")


def _find_no_credentials(place: _Place) -> str:
    place.clear_environment()
    with ThirdPartyJobClient.create(region_name="us-east-1") as client:
        return _error(lambda: client.poll_for_third_party_jobs(ACTION_TYPE))


def _find_no_region(place: _Place) -> str:
    place.clear_environment()
    return _error(ThirdPartyJobClient.create)


def _find_no_endpoint(place: _Place) -> str:
    place.clear_environment(AWS_ACCESS_KEY_ID="AKID", AWS_SECRET_ACCESS_KEY="secret")
    settings: dict[str, Any] = {"region_name": "us-east-1", "endpoint_url": "http://127.0.0.1:1"}
    once = Config(proxies={}, retries={"total_max_attempts": 1})
    with ThirdPartyJobClient.create(**settings, config=once) as client:
        return _error(lambda: client.poll_for_third_party_jobs(ACTION_TYPE))


def _hang(worker_error: bool) -> _Cause:  # noqa: FBT001 - called in the table only
    """Return the cause "a handler that does not end"."""

    def cause(place: _Place) -> str:
        ended = threading.Event()

        def wait(_: AnyJob) -> Succeeded:
            ended.wait()
            return Succeeded()

        with _service() as service:
            _start(service)
            worker: JobWorker[Any] = make_worker(service, wait, concurrency=1, job_timeout=0.6, grace=0.1)
            error = _error(worker.run)
            ended.set()
        return error if worker_error else place.find_record("timed_out")

    return cause


def _fail(handler: Callable[[Any], Any], configuration: type[Any] | None = None) -> str:
    with _service() as service:
        action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        make_worker(service, handler, configuration=configuration).run_once()
        result = action.jobs[0].result
    assert isinstance(result, FailureDetails)
    return result.message


def _return_nothing(place: _Place) -> str:
    _fail(lambda _: None)
    return place.find_record("handler_failed").partition(" at ")[0]


def _raise_key_error(_: _Place) -> str:
    return _fail(lambda _: dict[str, Succeeded]()["key"])


def _miss_extra(place: _Place) -> str:
    place.patch.setitem(sys.modules, "s3transfer", None)
    _fail(lambda job: job.artifacts)
    return place.find_record("handler_failed").partition(" at ")[0]


def _enter_nothing(_: _Place) -> str:
    return _fail(lambda _: Succeeded(), _ProjectConfiguration)


def _send_lambda(_: _Place) -> str:
    with _service() as service:
        return _error(lambda: make_worker(service, lambda _: Succeeded(), executor=processes(1)))


def _open_other_database(place: _Place) -> str:
    path = place.folder / "other.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE other (name)")
    return _error(lambda: SqliteJournal(path))


def _extract(name: str, entry: str) -> _Cause:
    def cause(_: _Place) -> str:
        job = samples.job(inputs={"Source": {entry: "x"}})
        return _error(lambda: job.artifacts.extract(name, to=job.workspace / "source"))

    return cause


_CAUSES: Final[dict[str, _Cause]] = {
    "No jobs arrive": _poll(action_types=[ACTION_TYPE]),
    "The worker rejects jobs: no client token": _reject,
    "The client token is refused": _refuse_token,
    "The nonce is not valid": _lose_race,
    "The result is refused: the job has ended": _report(is_reported=True),
    "The response to a result is lost": _report(LostAnswer()),
    "A proxy page comes instead of a response": _report(HtmlPage()),
    "Access denied": _poll(Throttling(code="AccessDeniedException")),
    "No AWS credentials were found": _find_no_credentials,
    "The AWS credentials have expired": _poll(ExpiredCredentials()),
    "The clock is wrong": _poll(wall_clock=lambda: time.time() - _AWS_HOUR),
    "No region is known": _find_no_region,
    "No connection": _find_no_endpoint,
    "A call ends at its deadline": _poll(Delay(0.3), deadline=0.1),
    "Too many requests": _poll(Throttling()),
    "The customer reads that the job took too long": _hang(worker_error=False),
    "The worker ends because its handlers hang": _hang(worker_error=True),
    "The handler returns no result": _return_nothing,
    "The customer reads the name of an exception": _raise_key_error,
    "An extra is not installed": _miss_extra,
    "The configuration of the customer is wrong": _enter_nothing,
    "The handler cannot go to another process": _send_lambda,
    "The journal cannot be opened": _open_other_database,
    "Artifact not found": _extract("Sorce", "app.py"),
    "An archive is refused": _extract("Source", "../x"),
    "A secret is printed as asterisks": lambda _: f"{SecretStr('value')}",
    "A secret cannot be joined or written as JSON": lambda _: _error(lambda: json.dumps(SecretStr("value"))),
}


def test_each_symptom_has_a_cause() -> None:
    """Each section of the page has a message, and each is reproduced below."""
    assert list(_SECTIONS) == list(_CAUSES)


@pytest.mark.slow
@pytest.mark.parametrize("symptom", _CAUSES)
def test_a_cause_leads_to_the_message(
    symptom: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The cause of each section leads to the message of the section, word for word."""
    caplog.set_level(logging.INFO)
    message = _CAUSES[symptom](_Place(tmp_path, monkeypatch, caplog))
    for pattern, text in _VARIABLE:
        message = re.sub(pattern, text, message)
    assert message == _SECTIONS[symptom]
