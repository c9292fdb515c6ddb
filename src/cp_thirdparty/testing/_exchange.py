"""Handle one request and return its response: faults, signature, parameters, states and journal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Any

import attrs

from cp_thirdparty._core.operations import CUSTOM, THIRD_PARTY
from cp_thirdparty.converter import structure, unstructure
from cp_thirdparty.models import ActionTypeId, CurrentRevision, ExecutionDetails, FailureDetails
from cp_thirdparty.secrets import SecretStr
from cp_thirdparty.testing._signature import SignatureCheck
from cp_thirdparty.testing._states import States
from cp_thirdparty.testing._wire import (
    HttpRequest,
    RefusedError,
    Response,
    error_response,
    ok_response,
    operation_name_of,
    parameters_of,
)
from cp_thirdparty.testing.actions import Success
from cp_thirdparty.testing.faults import Fault, Faults
from cp_thirdparty.testing.journal import RequestJournal, RequestRecord


@attrs.frozen(kw_only=True)
class Exchange:
    """Respond to requests.  Thread-safe."""

    states: States
    faults: Faults
    journal: RequestJournal
    signature: SignatureCheck | None  # None to accept all signatures
    clock: Callable[[], float]  # seconds since 1970

    def respond(self, request: HttpRequest) -> Response:
        """Serve a request, or play the next fault of its operation, and write the request into the journal."""
        try:
            operation_name = operation_name_of(request.headers)
        except RefusedError as refused:
            return self.refuse(refused.code, refused.message)
        served = _ServedRequest(exchange=self, operation_name=operation_name, request=request)
        fault = self.faults.take(operation_name)
        try:
            response = served.serve() if fault is None else fault.play(served.serve)
        except Exception as error:  # noqa: BLE001 - from a fault of the user; the response has its type and no values
            response = _internal_failure(error)
        return self._add_to_journal(response, operation_name, served.parameters, fault, accepted=served.accepted)

    def refuse(self, code: str, message: str, *, status: int = 400) -> Response:
        """Refuse a request for no operation of the service, and write it into the journal."""
        return self._add_to_journal(error_response(code, message, status=status), None, None, None, accepted=False)

    def _add_to_journal(
        self,
        response: Response,
        operation_name: str | None,
        parameters: Mapping[str, Any] | None,
        fault: Fault | None,
        *,
        accepted: bool,
    ) -> Response:
        is_sent = response.ending != "lost"
        record = RequestRecord(
            operation_name=operation_name,
            parameters=parameters,
            accepted=accepted,
            status_code=response.status if is_sent else None,
            error_code=response.headers.get("x-amzn-ErrorType") if is_sent else None,
            fault=fault,
        )
        self.journal.add(record)
        # A client whose clock is wrong computes the difference from the header Date.
        return attrs.evolve(response, headers={"Date": formatdate(self.clock(), usegmt=True), **response.headers})


class _ServedRequest:
    """A request that is being served."""

    def __init__(self, *, exchange: Exchange, operation_name: str, request: HttpRequest) -> None:
        self._exchange = exchange
        self._operation_name = operation_name
        self._request = request
        self.accepted = False
        self._parameters, self._refusal = _parse(operation_name, request.body)

    @property
    def parameters(self) -> Mapping[str, Any] | None:
        return self._parameters if self._refusal is None else None

    def serve(self) -> Response:
        """Check the signature first, then the parameters, and then call the operation."""
        try:
            if self._exchange.signature is not None:
                self._exchange.signature.check(self._request)
            if self._refusal is not None:
                return self._refusal
            document = _HANDLERS[self._operation_name](self._exchange.states, self._parameters)
        except RefusedError as refused:
            return error_response(refused.code, refused.message)
        except Exception as error:  # noqa: BLE001 - such as one of the clock; the response has its type and no values
            return _internal_failure(error)
        self.accepted = True
        return ok_response(document)


def _parse(operation_name: str, body: bytes) -> tuple[Mapping[str, Any], Response | None]:
    """Return the parameters with the client token hidden, or the response that refuses them."""
    try:
        parameters = parameters_of(operation_name, body)
    except RefusedError as refused:
        return {}, error_response(refused.code, refused.message)
    if "clientToken" in parameters:
        parameters["clientToken"] = SecretStr(parameters["clientToken"])
    return parameters, None


def _internal_failure(error: Exception) -> Response:
    return error_response("InternalFailure", f"The local CodePipeline failed with {type(error).__name__}", status=500)


def _poll(states: States, parameters: Mapping[str, Any]) -> dict[str, Any]:
    jobs = states.poll(structure(parameters["actionTypeId"], ActionTypeId), parameters.get("maxBatchSize"))
    return {"jobs": [unstructure(job) for job in jobs]}


def _poll_custom(states: States, parameters: Mapping[str, Any]) -> dict[str, Any]:
    action_type_id = structure(parameters["actionTypeId"], ActionTypeId)
    jobs = states.poll_custom(action_type_id, parameters.get("maxBatchSize"), parameters.get("queryParam") or {})
    return {"jobs": [unstructure(job, secrets="reveal") for job in jobs]}


def _custom_details(states: States, parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {"jobDetails": unstructure(states.custom_details(parameters["jobId"]), secrets="reveal")}


def _details(states: States, parameters: Mapping[str, Any]) -> dict[str, Any]:
    details = states.details(parameters["jobId"], parameters["clientToken"])
    return {"jobDetails": unstructure(details, secrets="reveal")}


def _acknowledge(states: States, parameters: Mapping[str, Any]) -> dict[str, Any]:
    status = states.acknowledge(parameters["jobId"], parameters["nonce"], parameters.get("clientToken"))
    return {"status": status.value}


def _put_success(states: States, parameters: Mapping[str, Any]) -> None:
    revision, execution = parameters.get("currentRevision"), parameters.get("executionDetails")
    success = Success(
        continuation_token=parameters.get("continuationToken"),
        current_revision=None if revision is None else structure(revision, CurrentRevision),
        execution_details=None if execution is None else structure(execution, ExecutionDetails),
        output_variables=parameters.get("outputVariables") or {},
    )
    states.put_success(parameters["jobId"], parameters.get("clientToken"), success)


def _put_failure(states: States, parameters: Mapping[str, Any]) -> None:
    failure = structure(parameters["failureDetails"], FailureDetails)
    states.put_failure(parameters["jobId"], parameters.get("clientToken"), failure)


_HANDLERS: Mapping[str, Callable[[States, Mapping[str, Any]], dict[str, Any] | None]] = {
    THIRD_PARTY.poll: _poll,
    THIRD_PARTY.details: _details,
    CUSTOM.poll: _poll_custom,
    CUSTOM.details: _custom_details,
    **{kind.acknowledge: _acknowledge for kind in (THIRD_PARTY, CUSTOM)},
    **{kind.success: _put_success for kind in (THIRD_PARTY, CUSTOM)},
    **{kind.failure: _put_failure for kind in (THIRD_PARTY, CUSTOM)},
}
