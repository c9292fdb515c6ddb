"""
Adapters for the job of a Lambda event.

`Steps` and the process of the handler expect clients that read details, acknowledge and report.  These classes take the
place of such clients: they return the details of the event, and put or return the result.
"""

from __future__ import annotations

import json
import logging
import os
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
from cp_thirdparty.worker._clients import NOT_RETURNED, Clients, Connector
from cp_thirdparty.worker._emit import Emitter
from cp_thirdparty.worker._isolation import Raised, call_partner
from cp_thirdparty.worker._kinds import CUSTOM
from cp_thirdparty.worker.results import Result

# The key in the configuration of an invoke action whose value is the user parameters that the customer entered.
_USER_PARAMETERS: Final = "UserParameters"

# Seconds to wait for a new client during a report.  Then the report is retried with the old client.
_RENEW_SECONDS: Final = 5.0


class KeptClient:
    """
    The client that all invocations of an environment share.  Thread-safe.

    Args:
        connect: Creates a client.
    """

    def __init__(self, connect: Callable[[], CustomJobClient]) -> None:
        self._connect = connect
        self._connector = Connector()
        self._client: CustomJobClient | None = None

    def get(self, seconds: float = _RENEW_SECONDS) -> CustomJobClient:
        """
        Return the client, which the first call creates.

        Args:
            seconds: How long to wait for ``connect``.  If it returns later, its client is used for the next event.

        Raises:
            TransportError: ``connect`` has not returned in time.
            Exception: The error of ``connect``.
        """
        if self._client is None:
            self._connector.call_or_raise(seconds, self._create, lambda: self._client is None)
        return cast("CustomJobClient", self._client)

    def renew(self, emitter: Emitter) -> None:
        """
        Replace the client by a new one, which loads the AWS credentials again.

        After an error, keep the old one: the next attempt to report calls `renew` again.
        """
        has_returned = call_partner(self._connector.call, _RENEW_SECONDS, self._create, lambda: True)
        if isinstance(has_returned, Raised):
            emitter.log(logging.WARNING, "connect raised %s", has_returned.name)
        elif not has_returned:
            emitter.log(logging.WARNING, NOT_RETURNED)

    def _create(self) -> None:
        self._client = self._connect()


class EventCalls:
    """
    The calls of `Steps` for the job of an event.

    The details are in the event, and a job of an event is already claimed.  So only the report calls CodePipeline.

    Args:
        details: The details of the job.
    """

    def __init__(self, details: CustomJobDetails) -> None:
        self._details = details

    def get_job_details(self, _job_id: str) -> CustomJobDetails:
        """Return the details of the job."""
        return self._details

    def acknowledge_job(self, _job_id: str, **_nonce: str) -> JobStatus:
        """Return ``InProgress``, because the job of an event is already claimed."""
        return JobStatus.IN_PROGRESS

    def repeat(self, find_result: Callable[[], Result | None]) -> None:
        """
        Do nothing at another delivery of a finished job, because CodePipeline has the result.

        Args:
            find_result: Returns the result from the journal.
        """


class PutResult(EventCalls):
    """
    The calls of a job whose result is reported with ``PutJobSuccessResult`` or ``PutJobFailureResult``.

    Args:
        details: The details of the job.
        client: The client that reports the result.
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
    The calls of a job whose result is the return value of the function.

    Attributes:
        document: The return value of the function; ``None`` before the job has a result.
    """

    document: dict[str, Any] | None = None

    def repeat(self, find_result: Callable[[], Result | None]) -> None:
        """
        Return the result of a finished job again, because the return value of the first delivery may be lost.

        Raises:
            JournalError: The journal has no result of the job.
        """
        result = find_result()
        if result is None:
            raise JournalError("the journal has no result of this finished job")
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
        """Store a success in `document`."""
        details = execution_details or ExecutionDetails()
        self.document = {
            "result": "Success" if continuation_token is None else "Continue",
            "failureType": None,
            "continuation": None if continuation_token is None else {"state": continuation_token},
            "status": {"externalExecutionId": details.external_execution_id, "summary": details.summary},
            "outputVariables": dict(output_variables) if output_variables else None,
        }

    def put_job_failure_result(self, _job_id: str, *, failure_details: FailureDetails) -> None:
        """Store a failure in `document`.  The message of the failure becomes the summary that the customer reads."""
        summary = truncate(failure_details.message, EXECUTION_SUMMARY)
        self.document = {
            "result": "Fail",
            "failureType": failure_details.type.value,
            "continuation": None,
            "status": {"externalExecutionId": failure_details.external_execution_id, "summary": summary},
            "outputVariables": None,
        }


class EventClients(Clients):
    """Uses the `EventCalls` of one event in place of the two clients of a worker, which read and report."""

    def __init__(self, calls: Any, emitter: Emitter) -> None:
        super().__init__(lambda: calls, emitter, CUSTOM)

    def reconnect(self, refused: Any) -> None:
        """Renew the client of the environment.  ``refused`` is a `PutResult`, because only it makes calls."""
        refused.client.renew(self._emitter)


class EventClient(NotRenewable):
    """
    Takes the place of a client in the process of a handler, and returns the details of the job from the event.

    The object is pickled with the runner, so it contains the secrets of the event in plain text.  Do not log it.

    Args:
        event: The event.
    """

    def __init__(self, event: LambdaJobEvent) -> None:
        self._document = json.dumps(unstructure(event, secrets="reveal"))
        self.credentials_expire_at = event.credentials_expire_at
        self.region_name = find_region()

    def connect(self) -> Any:
        """Return this object: the process of the handler calls it as ``connect`` of its runner."""
        return self

    def get_job_details(self, _job_id: str) -> CustomJobDetails:
        """Return the details of the job."""
        return find_details(structure(json.loads(self._document), LambdaJobEvent))


def find_region() -> str | None:
    """Return the AWS region of the function from the environment variables that Lambda sets."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")


def find_details(event: LambdaJobEvent) -> CustomJobDetails:
    """
    Return the details of the job of an event.

    If the user parameters are a JSON object, its members are added to the values of the action configuration.
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
    """Return the members of a JSON object as strings; an empty dictionary if the string is not a JSON object."""
    try:
        found: object = json.loads("null" if parameters is None else parameters.get_secret_value())
        if not isinstance(found, dict):
            return {}
        members = cast("dict[str, Any]", found)
        return {key: _to_string(value) for key, value in members.items() if value is not None}
    except (ValueError, RecursionError):
        return {}


def _to_string(value: Any) -> str:
    """
    Return a value as the string that a customer would enter in the console.

    The items of a list are separated by commas, because `structure_configuration` splits them at commas.
    """
    if isinstance(value, list):
        return ",".join([_to_item(item).replace("\\", "\\\\").replace(",", "\\,") for item in value])
    return _to_item(value)


def _to_item(value: Any) -> str:
    # A list inside a list is written as JSON, because another level of escaped commas would double its length.
    return value if isinstance(value, str) else json.dumps(value)
