"""Each public parameter that takes seconds or days also takes a `datetime.timedelta`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from support.public_surface import list_surface

from cp_thirdparty import ActionTypeId, CustomJobClient, ThirdPartyJobClient
from cp_thirdparty.exceptions import InvalidRequestError
from cp_thirdparty.testing import LambdaContext, LocalCodePipeline, LocalLambda, ManualClock, samples
from cp_thirdparty.testing.faults import Delay
from cp_thirdparty.worker import (
    DynamoDBJournal,
    JobProcessor,
    JobWorker,
    LambdaHandler,
    SecretsManagerTokens,
    Succeeded,
)

_ACTION_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")

_PARAMETER = re.compile(r"(\w+): ((?:[^,()\[\]]|\[[^\]]*\])*)")

# Numbers that are points in time, or fields of what the library creates.
_NO_DURATIONS = re.compile(
    r"cp_thirdparty\.(artifacts (ArtifactStore\.for_job|create_archive|extract_archive).* deadline"
    r"|testing FolderArtifacts.* deadline"
    r"|\S+ .* older_than"
    r"|testing ManualClock .* now"
    r"|(telemetry CallRecord|worker JobEvent|worker WorkerHealth|worker JournalEntry|exceptions ClockSkewError) .*)$"
)


def _list_floats() -> list[str]:
    """Return each public callable and the name of its parameter that takes a float, but no timedelta."""
    found = []
    for line in list_surface():
        signature = line.partition("(")[2]
        if signature and not re.match(r"\S+ \S+ value", line):
            parameters = _PARAMETER.findall(signature)
            numbers = [name for name, kind in parameters if re.match(r"float(?! \| timedelta)", kind)]
            found += [f"{line.partition(' (')[0]} {name}" for name in numbers]
    return found


def test_a_public_parameter_with_seconds_takes_a_timedelta() -> None:
    """The public surface has no duration that takes only a number."""
    assert [each for each in _list_floats() if not _NO_DURATIONS.match(each)] == []


def _handle(_: object) -> Succeeded:
    return Succeeded()


def _create_client(**settings: Any) -> object:
    options: dict[str, Any] = {"region_name": "us-east-1", "endpoint_url": "http://127.0.0.1:1", "sign_request": False}
    with ThirdPartyJobClient.create(**options, **settings):
        return None


def _iterate(**settings: Any) -> object:
    with LocalCodePipeline() as service, service.client() as client:
        service.register_client("c", "t")
        service.start_action(_ACTION_TYPE, client_id="c")
        return next(client.iter_third_party_jobs(_ACTION_TYPE, **settings))


def _create_worker(**settings: Any) -> object:
    return JobWorker(ThirdPartyJobClient.create, _ACTION_TYPE, _handle, client_tokens={"c": "t"}, **settings)


def _create_processor(**settings: Any) -> object:
    return JobProcessor(ThirdPartyJobClient.create, _handle, client_tokens={"c": "t"}, **settings)


def _poll_once(**settings: Any) -> object:
    with LocalCodePipeline() as service:
        processor = JobProcessor(service.client, _handle, client_tokens={"c": "t"})
        return list(processor.poll(_ACTION_TYPE, **settings))


def _wait(**settings: Any) -> object:
    with LocalCodePipeline() as service:
        service.register_client("c", "t")
        action = service.start_action(_ACTION_TYPE, client_id="c")
        return action.wait("Queued", **settings)


def _create_function(**settings: Any) -> object:
    with LocalCodePipeline() as service:
        return LocalLambda(service, lambda event, context: None, **settings)  # noqa: ARG005 - as Lambda calls it


_DELAYS = ("redelivery_delay", "continuation_delay", "job_timeout", "custom_job_timeout", "credential_lifetime")

_TAKES: list[tuple[Callable[..., object], str, type[Exception]]] = [
    *((_create_client, name, InvalidRequestError) for name in ("deadline", "connect_timeout", "read_timeout")),
    (_iterate, "poll_interval", InvalidRequestError),
    *((_create_worker, name, TypeError) for name in ("poll_interval", "job_timeout", "grace", "keep_finished")),
    (_create_processor, "job_timeout", TypeError),
    (_poll_once, "seconds_left", TypeError),
    (partial(LambdaHandler, _handle, connect=CustomJobClient.create), "report_seconds", TypeError),
    *(
        (partial(DynamoDBJournal, "t", client=object()), name, TypeError)
        for name in ("takeover_seconds", "keep_finished")
    ),
    (partial(SecretsManagerTokens, "t/"), "keep", TypeError),
    (samples.job, "seconds_left", TypeError),
    (_wait, "timeout", TypeError),
    (LambdaContext, "seconds", TypeError),
    (_create_function, "timeout", TypeError),
    (_create_function, "credentials_lifetime", TypeError),
    (ManualClock().advance, "seconds", TypeError),
    (Delay, "seconds", TypeError),
    *((LocalCodePipeline, name, TypeError) for name in _DELAYS),
]


@pytest.mark.parametrize(("function", "name", "error"), _TAKES)
def test_a_duration_is_a_number_or_a_timedelta(
    function: Callable[..., object], name: str, error: type[Exception]
) -> None:
    """A number and a timedelta are accepted; a string is an error that names the parameter."""
    function(**{name: 2.5})
    function(**{name: timedelta(minutes=2)})
    with pytest.raises(error, match=rf"^{name}: must be a number of (seconds|days) or a timedelta"):
        function(**{name: "5"})
    with pytest.raises(error, match=rf"^{name}: must be "):
        function(**{name: True})


def test_a_negative_timedelta_is_out_of_range() -> None:
    """The range holds for a timedelta too."""
    with pytest.raises(ValueError, match=r"^grace: must be at least 0 and at most 1,000,000 seconds$"):
        _create_worker(grace=timedelta(seconds=-1))
    with pytest.raises(ValueError, match=r"^seconds: must be at least 0 seconds$"):
        ManualClock().advance(timedelta(seconds=-1))
    with pytest.raises(ValueError, match=r"^keep_finished: must be at least 0 and at most 36,500 days, or None$"):
        _create_worker(keep_finished=timedelta(days=36_501))
    with pytest.raises(InvalidRequestError, match=r"^deadline: must be more than 0 and at most 1,000,000 seconds"):
        _create_client(deadline=timedelta(0))


def test_a_timedelta_is_converted_to_seconds() -> None:
    """What is calculated with a timedelta is the same as with its seconds."""
    clock = ManualClock()
    clock.advance(timedelta(minutes=1, milliseconds=500))
    assert clock() == 60.5
    assert Delay(timedelta(milliseconds=250)) == Delay(0.25)
    assert 29_000 < LambdaContext(timedelta(seconds=30)).get_remaining_time_in_millis() <= 30_000
    job = samples.job(seconds_left=timedelta(hours=2))
    assert 7_100 < job.deadline - time.time() <= 7_200


def test_the_timeout_of_a_timedelta_ends_a_wait() -> None:
    """The seconds of the timedelta are in the message."""
    with LocalCodePipeline() as service:
        service.register_client("c", "t")
        action = service.start_action(_ACTION_TYPE, client_id="c")
        with pytest.raises(TimeoutError, match=r"after 0\.01 seconds"):
            action.wait(timeout=timedelta(milliseconds=10))
