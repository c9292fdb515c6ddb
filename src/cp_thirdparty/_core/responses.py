"""Classify errors of AWS services by their error codes and HTTP statuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cp_thirdparty import exceptions
from cp_thirdparty._core.facts import Failure
from cp_thirdparty.exceptions import ServiceError

# Error code -> error class.  Classes for errors of CodePipeline's model have the model's names, which end in
# "Exception"; the names of all other error classes end in "Error".
MODELLED: Final[Mapping[str, type[ServiceError]]] = {
    name: getattr(exceptions, name) for name in exceptions.__all__ if name.endswith("Exception")
}

# The codes that botocore's retry handlers treat as throttling (botocore.retries.standard).
_THROTTLING: Final = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)

# Codes with status 400 that botocore retries as failures of the service (botocore.retries.standard).  STS returns
# `IDPCommunicationError` if it cannot reach an identity provider.
_TRANSIENT: Final = frozenset({"RequestTimeout", "RequestTimeoutException", "IDPCommunicationError"})

_BAD_REQUEST: Final = 400
_TOO_MANY_REQUESTS: Final = 429
_SERVER_ERROR: Final = 500


def classify_error(response: Mapping[str, Any]) -> Failure:
    """Return the kind of an error of a service: the service throttled the request, refused it, or failed."""
    code = response.get("Error", {}).get("Code")
    status: int = response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0
    if code in _THROTTLING or status == _TOO_MANY_REQUESTS:
        return Failure.THROTTLED
    if code in _TRANSIENT:
        return Failure.SERVICE_FAULT
    return Failure.REFUSED if code in MODELLED or is_refusal_status(status) else Failure.SERVICE_FAULT


def is_refusal_status(status: int) -> bool:
    """Return whether a service responds with this status if it refuses a request."""
    return _BAD_REQUEST <= status < _SERVER_ERROR


def is_failure_status(status: int) -> bool:
    """Return whether a service responds with this status if it throttles a request or fails."""
    return status == _TOO_MANY_REQUESTS or status >= _SERVER_ERROR
