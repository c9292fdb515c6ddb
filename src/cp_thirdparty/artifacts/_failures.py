"""
What S3, s3transfer and botocore raise, as errors of this library.

No text of S3 is kept: that about a wrong signature repeats the headers that were signed, a token among them.
"""

from __future__ import annotations

import re
import ssl
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from botocore import exceptions as botocore_exceptions

from cp_thirdparty._base.text import show
from cp_thirdparty._core import connection, redaction
from cp_thirdparty._core.call import CURRENT
from cp_thirdparty._core.caller_code import forget
from cp_thirdparty._core.errors import clock_offset
from cp_thirdparty.artifacts._bounds import TransferCall, TransferStoppedError
from cp_thirdparty.artifacts._local_files import file_error
from cp_thirdparty.artifacts._place import ObjectLocation
from cp_thirdparty.artifacts._responses import ResponseRefusedError
from cp_thirdparty.exceptions import (
    AccessDeniedError,
    ArtifactNotFoundError,
    ArtifactTransferError,
    CallFacts,
    ClockSkewError,
    CodePipelineJobError,
    CredentialsError,
    ThirdPartyError,
    ThrottledError,
)

__all__ = ["attempt"]

_T = TypeVar("_T")

# S3's codes, from the page "Error responses" of its API reference.  The response to HEAD has a status for a code.
_NOT_FOUND: Final = frozenset({"404", "NoSuchBucket", "NoSuchKey"})
_DENIED: Final = frozenset({"403", "AccessDenied", "AccountProblem", "AllAccessDisabled"})
_CREDENTIALS: Final = frozenset(
    {
        "AuthorizationHeaderMalformed",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_CLOCK: Final = frozenset({"RequestExpired", "RequestTimeTooSkewed"})
_THROTTLING: Final = frozenset({"503", "RequestLimitExceeded", "SlowDown", "Throttling", "ThrottlingException"})
_ELSEWHERE: Final = frozenset(
    {"301", "307", "IllegalLocationConstraintException", "PermanentRedirect", "Redirect", "TemporaryRedirect"}
)
# Codes that a message repeats; of any other only the status is reported.
_SHOWN_CODES: Final = frozenset(
    {
        "BadDigest",
        "EntityTooLarge",
        "InternalError",
        "InvalidObjectState",
        "InvalidRequest",
        "KMS.DisabledException",
        "KMS.InvalidKeyUsageException",
        "KMS.KMSInvalidStateException",
        "KMS.NotFoundException",
        "NoSuchUpload",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
    }
)

_ERRORS_BY_CODE: Final[tuple[tuple[frozenset[str], type[ThirdPartyError], str], ...]] = (
    (_NOT_FOUND, ArtifactNotFoundError, "S3 has no such object"),
    (_CREDENTIALS, CredentialsError, "S3 does not accept the credentials of the job"),
    (_ELSEWHERE, ArtifactTransferError, "the bucket is in another region; give its region_name"),
)

# Messages of KMS that name no action, such as that the ciphertext refers to a customer master key.
_OF_KMS: Final = re.compile(r"\bKMS\b|\bciphertext\b|\bmaster key\b|:kms:", re.IGNORECASE)
_S3_ACTION: Final = re.compile(r"\bs3:[A-Z]")
# The parts of the message of a refusal by KMS that are kept.
_KMS_ACTION: Final = re.compile(r"\bkms:[A-Z][A-Za-z]{1,40}\b")
_KMS_KEY: Final = re.compile(
    r"\barn:aws[a-z-]{0,20}:kms:[a-z0-9-]{1,30}:[0-9]{12}:(?:key|alias)/[\w/-]{1,256}", re.ASCII
)

_SERVER_ERROR: Final = 500

_READS: Final = frozenset({"GetObject", "HeadBucket", "HeadObject"})

_TRANSPORT: Final[tuple[tuple[type[Exception], str], ...]] = (
    (botocore_exceptions.FlexibleChecksumError, "the bytes do not have the checksum that S3 reports"),
    (botocore_exceptions.ConnectTimeoutError, "no connection within the timeout"),
    (botocore_exceptions.ProxyConnectionError, "no connection to the proxy"),
    (botocore_exceptions.SSLError, "the TLS connection could not be trusted or made"),
    (botocore_exceptions.EndpointConnectionError, "no connection to the endpoint"),
    (botocore_exceptions.ReadTimeoutError, "no response within the timeout"),
    (botocore_exceptions.IncompleteReadError, "the connection was closed before the end"),
    (botocore_exceptions.ResponseStreamingError, "the connection was closed before the end"),
    (botocore_exceptions.ConnectionClosedError, "the connection was closed before a response"),
    (botocore_exceptions.HTTPClientError, "the connection failed"),
    (TimeoutError, "no response within the timeout"),
    (ConnectionError, "the connection failed"),
    (ssl.SSLError, "the connection failed"),
)


def attempt(
    work: Callable[[], _T], location: ObjectLocation, call: TransferCall, local: Path | None = None
) -> tuple[_T | None, BaseException | None]:
    """
    Do the work with botocore's and s3transfer's logs withheld, and return its value or its error.

    It returns every error, so that its frame and those below, which hold credentials, are gone when one is raised.

    Args:
        work: Is done.
        location: The artifact that it is about.
        call: Limits its time and its responses.
        local: The local file that it reads or writes.
    """
    redaction.install()
    connection.install()
    current = CURRENT.set(call)
    try:
        return work(), None
    except BaseException as failure:  # noqa: BLE001 - Ctrl-C is raised again by the caller
        error = _error_of(failure, location, local)
        if isinstance(error, CodePipelineJobError):
            error.job_id = show(location.job_id)
        forget(failure)
        return None, error
    finally:
        CURRENT.reset(current)


def _error_of(failure: BaseException, location: ObjectLocation, local: Path | None) -> BaseException:
    # s3transfer, which is of an extra, raises only what it has loaded.
    s3transfer = sys.modules.get("s3transfer.exceptions")
    if s3transfer is not None and isinstance(failure, s3transfer.RetriesExceededError):
        wrapper: Any = failure
        failure = wrapper.last_exception
    if isinstance(failure, botocore_exceptions.HTTPClientError):
        stopped = failure.kwargs.get("error")
        failure = stopped if isinstance(stopped, TransferStoppedError) else failure  # by an old botocore
    if isinstance(failure, botocore_exceptions.ClientError):
        return _response_error(failure, location)
    if isinstance(failure, ThirdPartyError) or not isinstance(failure, Exception):
        return failure
    if isinstance(failure, (ResponseRefusedError, TransferStoppedError)):
        return ArtifactTransferError(f"{location}: {failure}", is_retry_safe=isinstance(failure, ResponseRefusedError))
    for kind, text in _TRANSPORT:
        if isinstance(failure, kind):
            return ArtifactTransferError(f"{location}: {text}", is_retry_safe=True)
    if isinstance(failure, OSError):
        return file_error(failure, local)
    return ArtifactTransferError(
        f"{location}: the response could not be read ({type(failure).__name__})", is_retry_safe=False
    )


def _find_denial(failure: botocore_exceptions.ClientError, location: ObjectLocation) -> tuple[str, str]:
    """Return the action to allow and the ARN to allow it on."""
    # S3 reports a refusal of KMS with its own code, so only the message has the action and the key.
    message = str(failure.response.get("Error", {}).get("Message", ""))
    action, key = _KMS_ACTION.search(message), _KMS_KEY.search(message)
    is_read = failure.operation_name in _READS
    if action is not None or (_OF_KMS.search(message) and not _S3_ACTION.search(message)):
        name = ("kms:Decrypt" if is_read else "kms:GenerateDataKey") if action is None else action[0]
        return name, f"arn:{location.partition}:kms:*:*:key/*" if key is None else key[0]
    name = "s3:GetObject" if is_read else "s3:PutObject"
    return name, f"arn:{location.partition}:s3:::{location.bucket}/{location.key}"


def _response_error(failure: botocore_exceptions.ClientError, location: ObjectLocation) -> ThirdPartyError:
    response: Mapping[str, Any] = failure.response
    code = str(response.get("Error", {}).get("Code", ""))
    metadata: Mapping[str, Any] = response.get("ResponseMetadata", {})
    retries = metadata.get("RetryAttempts")
    facts: CallFacts = {
        "operation_name": failure.operation_name,
        "status_code": metadata.get("HTTPStatusCode"),
        "request_id": metadata.get("RequestId"),
        "attempts": None if retries is None else retries + 1,
        "is_retry_safe": False,
    }
    if code in _DENIED:
        action, resource = _find_denial(failure, location)
        return AccessDeniedError(action=action, resource=resource, code=code, **facts)
    if code in _CLOCK:
        offset = clock_offset(metadata.get("HTTPHeaders", {})) or 0.0
        return ClockSkewError("", code=code, offset=offset, **facts)
    if code in _THROTTLING:
        facts["is_retry_safe"] = True
        return ThrottledError("", code=code, **facts)
    for codes, kind, text in _ERRORS_BY_CODE:
        if code in codes:
            return kind(f"{location}: {text}", **facts)
    facts["is_retry_safe"] = metadata.get("HTTPStatusCode", 0) >= _SERVER_ERROR
    status_text = f"{code} with status" if code in _SHOWN_CODES else "status"
    return ArtifactTransferError(
        f"{location}: {failure.operation_name}: S3 returned {status_text} {metadata.get('HTTPStatusCode')}", **facts
    )
