"""One handler behind each entry point: the customer sees the same."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import pytest
from support.one_handler import Configuration, handle
from support.worker_service import ACTION_TYPE, CLIENT_ID, TOKENS

from cp_thirdparty import FailureDetails, JobWorker
from cp_thirdparty.testing import Action, LambdaContext, LocalCodePipeline, LocalLambda, Success
from cp_thirdparty.worker import JobProcessor, LambdaHandler

_CUSTOM_TYPE = attrs.evolve(ACTION_TYPE, owner="Custom")

# How many jobs the action had, its end, and what the customer reads.
End = tuple[int, str, str | None]


@pytest.fixture
def service() -> LocalCodePipeline:
    """Give a service without delays."""
    made = LocalCodePipeline(continuation_delay=0.0)
    made.register_client(CLIENT_ID, TOKENS[CLIENT_ID])
    return made


def _end_of(action: Action) -> End:
    result = action.result
    if isinstance(result, FailureDetails):
        return len(action.jobs), result.type.value, _without_id(result.message)
    assert isinstance(result, Success)
    assert result.execution_details is not None
    return len(action.jobs), "Success", result.execution_details.summary


def _without_id(message: str) -> str:
    return re.sub(r"job [0-9a-f-]+", "job", message)


def _third_party_worker(service: LocalCodePipeline, configuration: dict[str, str]) -> End:
    connect = partial(service.client, in_process=True)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID, configuration=configuration)
    with JobWorker(connect, ACTION_TYPE, handle, configuration=Configuration, client_tokens=TOKENS) as worker:
        while action.status not in ("Succeeded", "Failed"):
            worker.run_once()
    return _end_of(action)


def _custom_worker(service: LocalCodePipeline, configuration: dict[str, str]) -> End:
    connect = partial(service.custom_client, in_process=True)
    action = service.start_action(_CUSTOM_TYPE, configuration=configuration)
    with JobWorker(connect, _CUSTOM_TYPE, handle, configuration=Configuration) as worker:
        while action.status not in ("Succeeded", "Failed"):
            worker.run_once()
    return _end_of(action)


def _third_party(service: LocalCodePipeline, configuration: dict[str, str]) -> End:
    processor = JobProcessor(
        partial(service.client, in_process=True), handle, configuration=Configuration, client_tokens=TOKENS
    )
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID, configuration=configuration)
    while action.status not in ("Succeeded", "Failed"):
        list(processor.poll(ACTION_TYPE))
    return _end_of(action)


def _custom(service: LocalCodePipeline, configuration: dict[str, str]) -> End:
    processor = JobProcessor(partial(service.custom_client, in_process=True), handle, configuration=Configuration)
    action = service.start_action(_CUSTOM_TYPE, configuration=configuration)
    while action.status not in ("Succeeded", "Failed"):
        list(processor.poll(_CUSTOM_TYPE))
    return _end_of(action)


def _invoke_action(service: LocalCodePipeline, configuration: dict[str, str]) -> End:
    connect = partial(service.custom_client, in_process=True)
    function = LocalLambda(service, LambdaHandler(handle, configuration=Configuration, connect=connect))
    action = function.start_action(user_parameters=json.dumps(configuration))
    while action.status not in ("Succeeded", "Failed"):
        function.invoke()
    return _end_of(action)


def _action_type(_service: LocalCodePipeline, configuration: dict[str, str]) -> End:
    function = LambdaHandler(handle, configuration=Configuration)
    number = 0
    returned: Any = {"result": "Continue", "continuation": {"state": None}}
    while returned["result"] == "Continue":
        number += 1
        data = {"actionConfiguration": configuration, "continuationToken": returned["continuation"]["state"]}
        returned = function({"jobId": f"{number}", "data": data}, LambdaContext())
    summary: str = returned["status"]["summary"]
    return number, returned["failureType"] or returned["result"], _without_id(summary)


_ENTRY_POINTS: dict[str, Callable[[LocalCodePipeline, dict[str, str]], End]] = {
    "third-party job": _third_party,
    "third-party job of a worker": _third_party_worker,
    "custom job": _custom,
    "custom job of a worker": _custom_worker,
    "invoke action": _invoke_action,
    "action type with a Lambda executor": _action_type,
}

_NO_NUMBER = "MaxFindings: must be an integer of at most 18 digits"

_SCENARIOS: dict[str, tuple[dict[str, str], End]] = {
    "success": ({"ProjectName": "a", "ApiKey": "xMARKERx", "MaxFindings": "3"}, (2, "Success", "3 findings")),
    "failure": ({"ProjectName": "a", "ApiKey": "xMARKERx"}, (2, "JobFailed", "3 findings")),
    "error of the handler": (
        {"ProjectName": "broken", "ApiKey": "xMARKERx"},
        (1, "JobFailed", "The action's worker failed with RuntimeError (job)."),
    ),
    "no result": (
        {"ProjectName": "silent", "ApiKey": "xMARKERx"},
        (1, "JobFailed", "The action's worker returned no valid result (job)."),
    ),
    "failure of the configuration": (
        {"ProjectName": "unknown", "ApiKey": "xMARKERx"},
        (1, "ConfigurationError", "There is no such project."),
    ),
    "wrong configuration": (
        {"ProjectName": "a", "MaxFindings": "xMARKERx"},
        (
            1,
            "ConfigurationError",
            f"The action configuration is not valid: ApiKey: required key missing; {_NO_NUMBER} (job).",
        ),
    ),
}


@pytest.mark.parametrize("scenario", _SCENARIOS)
@pytest.mark.parametrize("entry_point", _ENTRY_POINTS)
def test_an_action_ends_the_same(entry_point: str, scenario: str, service: LocalCodePipeline) -> None:
    """The number of jobs, the end and the message are those of the scenario."""
    configuration, end = _SCENARIOS[scenario]
    assert _ENTRY_POINTS[entry_point](service, configuration) == end
