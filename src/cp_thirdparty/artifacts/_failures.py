"""
Convert the errors of S3, s3transfer and botocore into errors of this library.

Messages of S3 are not copied into the errors.  The message about a wrong signature, for example, repeats the signed
headers, and one of them is the session token.
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
from cp_thirdparty._core.caller_code import clear_frames
from cp_thirdparty._core.errors import clock_offset
from cp_thirdparty._core.reasons import CONNECTION_MESSAGES
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

_T = TypeVar("_T")

# The error codes of S3 are from the page "Error responses" of the S3 API reference.  A response to HEAD has no body, so
# botocore uses its status as the code: "403", "404", "503".
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
_WRONG_REGION: Final = frozenset(
    {"301", "307", "IllegalLocationConstraintException", "PermanentRedirect", "Redirect", "TemporaryRedirect"}
)
# The codes that are shown in error messages.  For every other code, the message has only the status.
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
    (
        _WRONG_REGION,
        ArtifactTransferError,
        "the bucket is in another region; pass the bucket's region as region_name to the artifact store",
    ),
)

# Words that only messages of KMS contain.  Some of these messages name no action, such as "The ciphertext refers to a
# customer master key that does not exist".
_KMS_WORDS: Final = re.compile(r"\bKMS\b|\bciphertext\b|\bmaster key\b|:kms:", re.IGNORECASE)
_S3_ACTION: Final = re.compile(r"\bs3:[A-Z]")
# The action and the ARN of the key, in the message with which KMS denies access.  Nothing else of the message is
# copied.
_KMS_ACTION: Final = re.compile(r"\bkms:[A-Z][A-Za-z]{1,40}\b")
_KMS_KEY: Final = re.compile(
    r"\barn:aws[a-z-]{0,20}:kms:[a-z0-9-]{1,30}:[0-9]{12}:(?:key|alias)/[\w/-]{1,256}", re.ASCII
)

_FIRST_SERVER_ERROR_STATUS: Final = 500

# The S3 operations that read an input artifact.  All others write an output artifact.
_READ_OPERATIONS: Final = frozenset({"GetObject", "HeadBucket", "HeadObject"})

# Errors of botocore and of the operating system -> the text of our message.  A subclass comes before its base class,
# because the first match is used.
_TRANSPORT_ERRORS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (botocore_exceptions.FlexibleChecksumError, "the bytes do not have the checksum that S3 reports"),
    (botocore_exceptions.IncompleteReadError, "the connection was closed before the end of the response"),
    (botocore_exceptions.ResponseStreamingError, "the connection was closed before the end of the response"),
    *CONNECTION_MESSAGES,
    (TimeoutError, "no response within the timeout"),
    (ConnectionError, "the connection failed"),
    (ssl.SSLError, "the connection failed"),
)


def call_s3(
    work: Callable[[], _T], location: ObjectLocation, call: TransferCall, shown_path: Path | None = None
) -> tuple[_T | None, BaseException | None]:
    """
    Call a function that sends requests to S3.  Return the function's value and ``None``, or ``None`` and its error.

    Meanwhile, the logs of botocore and s3transfer are withheld.  An error is returned and not raised, because the
    frames of this function and of the functions that it calls hold credentials.  The caller raises the error, and its
    traceback has none of these frames.

    Args:
        work: The function to call.
        location: The artifact that the function reads or writes.
        call: The limits of the transfer: its deadline, the cancellation of the job, and the size of responses.
        shown_path: The path to show in an error about a local file; ``None`` to show the path of the operating system's
            error.
    """
    redaction.install()
    connection.install()
    current = CURRENT.set(call)
    try:
        return work(), None
    except BaseException as failure:  # noqa: BLE001 - Ctrl-C is raised again by the caller
        error = _error_of(failure, location, shown_path)
        if isinstance(error, CodePipelineJobError):
            error.job_id = show(location.job_id)
        clear_frames(failure)  # the frames hold credentials
        return None, error
    finally:
        CURRENT.reset(current)


def _error_of(failure: BaseException, location: ObjectLocation, shown_path: Path | None) -> BaseException:
    # s3transfer belongs to an optional extra.  If its errors are not imported, it cannot have raised one.
    s3transfer = sys.modules.get("s3transfer.exceptions")
    if s3transfer is not None and isinstance(failure, s3transfer.RetriesExceededError):
        wrapper: Any = failure
        failure = wrapper.last_exception
    if isinstance(failure, botocore_exceptions.HTTPClientError):
        stopped = failure.kwargs.get("error")  # old versions of botocore wrap every error of a connection
        failure = stopped if isinstance(stopped, TransferStoppedError) else failure
    if isinstance(failure, botocore_exceptions.ClientError):
        return _response_error(failure, location)
    if isinstance(failure, ThirdPartyError) or not isinstance(failure, Exception):
        return failure
    if isinstance(failure, (ResponseRefusedError, TransferStoppedError)):
        return ArtifactTransferError(f"{location}: {failure}", is_retry_safe=isinstance(failure, ResponseRefusedError))
    for kind, text in _TRANSPORT_ERRORS:
        if isinstance(failure, kind):
            return ArtifactTransferError(f"{location}: {text}", is_retry_safe=True)
    if isinstance(failure, OSError):
        return file_error(failure, shown_path)
    return ArtifactTransferError(
        f"{location}: the response could not be read ({type(failure).__name__})", is_retry_safe=False
    )


def _find_denial(failure: botocore_exceptions.ClientError, location: ObjectLocation) -> tuple[str, str]:
    """Return the denied IAM action, and the ARN of the resource for which a policy must allow this action."""
    # If KMS denies access, S3 returns its own code "AccessDenied".  Only the message names the KMS action and the key.
    message = str(failure.response.get("Error", {}).get("Message", ""))
    action, key = _KMS_ACTION.search(message), _KMS_KEY.search(message)
    is_read = failure.operation_name in _READ_OPERATIONS
    if action is not None or (_KMS_WORDS.search(message) and not _S3_ACTION.search(message)):
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
    facts["is_retry_safe"] = metadata.get("HTTPStatusCode", 0) >= _FIRST_SERVER_ERROR_STATUS
    status_text = f"{code} with status" if code in _SHOWN_CODES else "status"
    return ArtifactTransferError(
        f"{location}: {failure.operation_name}: S3 returned {status_text} {metadata.get('HTTPStatusCode')}", **facts
    )
