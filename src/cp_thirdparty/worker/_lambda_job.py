"""The job of a Lambda function's event, as the steps of a job and the process of its handler see it."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import attrs

from cp_thirdparty._base.limits import EXECUTION_SUMMARY
from cp_thirdparty._core.truncation import truncate
from cp_thirdparty.artifacts._credentials import NotRenewable
from cp_thirdparty.client import CustomJobClient
from cp_thirdparty.converter import structure, unstructure
from cp_thirdparty.enums import JobStatus
from cp_thirdparty.exceptions import JournalError
from cp_thirdparty.models import (
    ActionConfiguration,
    CustomJobDetails,
    ExecutionDetails,
    FailureDetails,
    LambdaJobEvent,
)
from cp_thirdparty.secrets import SecretStr
from cp_thirdparty.worker._clients import Clients
from cp_thirdparty.worker._emit import Emitter
from cp_thirdparty.worker._isolation import Raised, call_partner
from cp_thirdparty.worker._kinds import CUSTOM
from cp_thirdparty.worker.results import Result

# The key of an invoke action's configuration that has what the customer entered.
_USER_PARAMETERS: Final = "UserParameters"


class KeptClient:
    """
    The client of an environment, for all its invocations.  Thread-safe.

    Args:
        connect: Creates a client.
    """

    def __init__(self, connect: Callable[[], CustomJobClient]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._client: CustomJobClient | None = None

    def get(self) -> CustomJobClient:
        """Return the client; whatever its creation raises is raised."""
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def renew(self, emitter: Emitter) -> None:
        """Create the client again, which loads the AWS credentials again."""
        made = call_partner(self._connect)
        if isinstance(made, Raised):  # the next attempt tries it again
            emitter.log(logging.WARNING, "connect raised %s", made.name)
            return
        with self._lock:
            self._client = made


class EventCalls:
    """
    The calls of a job's steps.  The event brings the details, and the invocation is the claim: only the result is put.

    Args:
        details: The details of the job.
    """

    def __init__(self, details: CustomJobDetails) -> None:
        self._details = details

    def get_job_details(self, _job_id: str) -> CustomJobDetails:
        """Return the details of the job."""
        return self._details

    def acknowledge_job(self, _job_id: str, **_nonce: str) -> JobStatus:
        """Return that the job is claimed."""
        return JobStatus.IN_PROGRESS

    def repeat(self, find_result: Callable[[], Result | None]) -> None:
        """
        Do what a second delivery of a finished job needs: nothing if the result was put.

        Args:
            find_result: Returns the result that the journal has.
        """


class PutResult(EventCalls):
    """
    The calls of a job whose result is put.

    Args:
        details: The details of the job.
        client: Puts the result.
    """

    def __init__(self, details: CustomJobDetails, client: KeptClient) -> None:
        super().__init__(details)
        self.client = client

    def put_job_success_result(self, job_id: str, **result: Any) -> None:
        """Report a success."""
        self.client.get().put_job_success_result(job_id, **result)

    def put_job_failure_result(self, job_id: str, **result: Any) -> None:
        """Report a failure."""
        self.client.get().put_job_failure_result(job_id, **result)


class ReturnedResult(EventCalls):
    """
    The calls of a job whose function returns the result.

    Attributes:
        document: What the function returns; ``None`` before there is a result.
    """

    document: dict[str, Any] | None = None

    def repeat(self, find_result: Callable[[], Result | None]) -> None:
        """
        Keep the result of a finished job, because what the first delivery has returned may be lost.

        Raises:
            JournalError: The journal has none.
        """
        result = find_result()
        if result is None:
            raise JournalError("the journal has it as finished, without a result")
        CUSTOM.report(self, "", result, None)

    def put_job_success_result(
        self,
        _job_id: str,
        *,
        continuation_token: str | None,
        execution_details: ExecutionDetails | None,
        output_variables: Mapping[str, str] | None,
        **_others: Any,
    ) -> None:
        """Keep a success."""
        details = execution_details or ExecutionDetails()
        self.document = {
            "result": "Success" if continuation_token is None else "Continue",
            "failureType": None,
            "continuation": None if continuation_token is None else {"state": continuation_token},
            "status": {"externalExecutionId": details.external_execution_id, "summary": details.summary},
            "outputVariables": dict(output_variables) if output_variables else None,
        }

    def put_job_failure_result(self, _job_id: str, *, failure_details: FailureDetails) -> None:
        """Keep a failure; its message is the summary that the customer reads."""
        summary = truncate(failure_details.message, EXECUTION_SUMMARY)
        self.document = {
            "result": "Fail",
            "failureType": failure_details.type.value,
            "continuation": None,
            "status": {"externalExecutionId": failure_details.external_execution_id, "summary": summary},
            "outputVariables": None,
        }


class EventClients(Clients):
    """The calls of one event in the place of two clients."""

    def __init__(self, calls: Any, emitter: Emitter) -> None:
        super().__init__(lambda: calls, emitter, CUSTOM)

    def reconnect(self, refused: Any) -> None:
        """Create the client of the environment again; only one that puts results is refused."""
        refused.client.renew(self._emitter)


class EventClient(NotRenewable):
    """
    Takes the place of a client in the process of a handler, which has no other source for the details of its job.

    It is pickled with the runner, so it holds the event in clear.  Nothing shows it.

    Args:
        event: The event.
    """

    def __init__(self, event: LambdaJobEvent) -> None:
        self._document = json.dumps(unstructure(event, secrets="reveal"))
        self.credentials_expire_at = event.credentials_expire_at
        self.region_name = find_region()

    def connect(self) -> Any:
        """Return this object, as the process of the handler connects."""
        return self

    def get_job_details(self, _job_id: str) -> CustomJobDetails:
        """Return the details of the job."""
        return find_details(structure(json.loads(self._document), LambdaJobEvent))


def find_region() -> str | None:
    """Return the region of the function, which Lambda puts into its environment."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")


def find_details(event: LambdaJobEvent) -> CustomJobDetails:
    """
    Return the details of the job of an event.

    If its user parameters are a JSON object, its members are values of the action configuration.
    """
    given = event.data.action_configuration
    if given is None:
        return CustomJobDetails(id=event.id, data=event.data, account_id=event.account_id)
    values: dict[str, str | SecretStr] = {
        **given.configuration,
        **_read_parameters(given.configuration.get(_USER_PARAMETERS)),
    }
    data = attrs.evolve(event.data, action_configuration=ActionConfiguration(configuration=values))
    return CustomJobDetails(id=event.id, data=data, account_id=event.account_id)


def _read_parameters(parameters: SecretStr | None) -> dict[str, str]:
    """Return the members of a JSON object as strings; nothing for another string."""
    try:
        found: object = json.loads("null" if parameters is None else parameters.get_secret_value())
        if not isinstance(found, dict):
            return {}
        members = cast("dict[str, Any]", found)
        return {key: _to_string(value) for key, value in members.items() if value is not None}
    except (ValueError, RecursionError):
        return {}


def _to_string(value: Any) -> str:
    """Return a value as a customer enters it in the console: a list has commas, as for `structure_configuration`."""
    if isinstance(value, list):
        return ",".join([_to_item(item).replace("\\", "\\\\").replace(",", "\\,") for item in value])
    return _to_item(value)


def _to_item(value: Any) -> str:
    # A list in a list is JSON: each further escape of its commas would double the length.
    return value if isinstance(value, str) else json.dumps(value)
