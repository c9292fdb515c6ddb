"""
Explain failures that happen before a request is sent: AWS credentials cannot be loaded, or a setting is wrong.

The message of a failure may hold a secret, such as the output of a program, a response, or the value of a setting.  So
an explanation contains only names (of a profile, file, variable, program, operation or key), statuses, AWS error codes,
request ids, and constant strings.
"""

from __future__ import annotations

import json
import os
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from botocore import credentials, tokens
from botocore import exceptions as botocore_exceptions
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from cp_thirdparty._base.text import show
from cp_thirdparty._core.call import Call, CallStoppedError, Obstacle
from cp_thirdparty._core.caller_code import causes
from cp_thirdparty._core.facts import Failure, facts_of
from cp_thirdparty._core.failure_frames import FailureFrames
from cp_thirdparty._core.responses import classify_error, is_failure_status
from cp_thirdparty._core.sessions import NoTerminalError
from cp_thirdparty._core.sources import setting_error
from cp_thirdparty.exceptions import CallFacts, CredentialsError, InvalidRequestError

_SIGN_IN: Final = "the AWS sign-in has expired or is incomplete"
_NOT_LOADED: Final = "the AWS credentials could not be loaded"

# botocore's exception -> the beginning of our message.  Botocore 1.35 has no LoginError.
_CREDENTIAL_MESSAGES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (botocore_exceptions.NoCredentialsError, "no AWS credentials were found"),
    (botocore_exceptions.PartialCredentialsError, "the AWS credentials are incomplete"),
    (botocore_exceptions.CredentialRetrievalError, _NOT_LOADED),
    (botocore_exceptions.NoAuthTokenError, "no AWS token was found"),
    (botocore_exceptions.SSOError, _SIGN_IN),
    (getattr(botocore_exceptions, "LoginError", botocore_exceptions.SSOError), _SIGN_IN),
    (botocore_exceptions.TokenRetrievalError, _SIGN_IN),
)

# If a method of one of these classes was running, the failure is about credentials, whatever the exception's class is.
_LOADERS: Final = (
    credentials.CachedCredentialFetcher,
    credentials.CredentialProvider,
    credentials.CredentialResolver,
    credentials.Credentials,
    tokens.DeferredRefreshableToken,
    tokens.SSOTokenProvider,
)

# botocore's exception -> our message.  A subclass comes before its base class, because the first match is used.
CONNECTION_MESSAGES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (botocore_exceptions.ConnectTimeoutError, "no connection within the timeout"),
    (botocore_exceptions.ReadTimeoutError, "no response within the timeout"),
    (botocore_exceptions.ProxyConnectionError, "no connection to the proxy"),
    (botocore_exceptions.SSLError, "the TLS connection could not be opened, or its certificate is not trusted"),
    (botocore_exceptions.EndpointConnectionError, "no connection to the endpoint"),
    (botocore_exceptions.ConnectionClosedError, "the connection was closed before a response"),
    (botocore_exceptions.HTTPClientError, "the connection failed"),
)
_RESPONSE_MESSAGES: Final[tuple[tuple[type[Exception], str], ...]] = (
    *CONNECTION_MESSAGES,
    (ResponseParserError, "the response could not be read"),
)

# Functions that send a request for credentials, and modules that read the response.
_SENDERS: Final = frozenset(
    (f"{package}.{module}", function)
    for package in ("botocore", "aiobotocore")
    for module, function in (("endpoint", "_send"), ("httpsession", "send"))
)
_READERS: Final = frozenset(
    f"{package}.{module}" for package in ("botocore", "aiobotocore") for module in ("parsers", "utils")
)

_RESPONSE_KEYS: Final = (
    "AccessKeyId|SecretAccessKey|SessionToken|Token|Expiration|access_key|secret_key|token|expiry_time"
)
_SSO_KEY: Final = "sso_account_id|sso_region|sso_registration_scopes|sso_role_name|sso_session|sso_start_url"

# Pattern of a message of botocore -> our message.  It copies only what the groups match: a known key, an HTTP status,
# or the name of a profile or sso-session.  The patterns are compiled at the first failure that needs them.
_PHRASES: Final[tuple[tuple[str, str], ...]] = (
    (rf"^Missing required key in response: '(?P<key>{_RESPONSE_KEYS})'$", "printed no {key}"),
    (r"^Unsupported version .* for credential process", "printed a Version other than 1"),
    (r"Received non 200 response (?P<status>\d{3}) from container metadata", "the response has status {status}"),
    (r"Unable to parse JSON returned from container metadata", "the response is not JSON"),
    (r"Received error when attempting to retrieve container metadata", "no response"),
    (r"^Unsupported host ", "credentials must not be read from this host"),
    (r"^Auth token value is not a legal header value$", "the authorization token has a line break"),
    (r"IMDSv1 has been disabled$", "the metadata service returned no token (IMDSv2), and IMDSv1 is disabled"),
    (r"^No credentials found in credential_source ", "credential_source has no credentials"),
    (r"^The credential[ _]source \".*\" (?:is specified|referenced) ", "credential_source is unknown"),
    (r"^The source_profile \"(?P<name>[^\"]+)\" referenced in ", "source_profile '{name}' does not exist"),
    (
        r"^The source profile \"(?P<name>[^\"]+)\" must have credentials",
        "source_profile '{name}' has no credentials",
    ),
    (
        r" contains both source_profile and credential_source\.$",
        "the profile has both source_profile and credential_source",
    ),
    (rf"missing required configuration: (?P<key>(?:(?:{_SSO_KEY})(?:, )?)+)$", "{key} is missing"),
    (r"^The specified sso-session does not exist: \"(?P<name>[^\"]+)\"$", "sso-session '{name}' does not exist"),
    (rf"^The value for (?P<key>{_SSO_KEY}) is inconsistent ", "{key} differs between profile and sso-session"),
    (r"has no role ARN configured", "role_arn, or AWS_ROLE_ARN, is missing"),
    (rf"response did not contain: (?P<key>(?:(?:{_RESPONSE_KEYS})(?:, )?)+)$", "the response has no {key}"),
    (r"^Credentials were refreshed, but ", "the refreshed credentials have already expired"),
    (r"^No closing quotation$", "a quotation mark is not closed"),
    (
        r"^(?:Unknown string format|String does not contain a date)",
        "the expiration time of the credentials cannot be parsed",
    ),
    (r"^Token for .* does not exist$", "there is no token; run `aws sso login`"),
    (r"^Token for .* is invalid$", "the token cannot be read; run `aws sso login`"),
    (r"^Token has expired and refresh failed$", "the token has expired; run `aws sso login`"),
    (r"aws login", "the session cannot be used; run `aws login`"),
    (r"botocore\[crt\]", "a package is missing: pip install 'botocore[crt]'"),
)

_CODE: Final = re.compile(r"[A-Z][A-Za-z]{1,62}(?:\.[A-Z][A-Za-z]{1,62})?")
_REQUEST_ID: Final = re.compile(r"^[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\Z")
_MAX_NAME_CHARACTERS: Final = 200
_MAX_MESSAGE_CHARACTERS: Final = 1_000


def find_error(failure: Exception, call: Call | None = None) -> CredentialsError | InvalidRequestError | None:
    """
    Return the error to raise for a failure before a request was sent, or while a client was created.

    Args:
        failure: The exception that botocore raised, with its traceback.
        call: The call that failed; ``None`` while a client was created.

    Returns:
        The error; ``None`` if neither AWS credentials nor a setting caused the failure.
    """
    frames = FailureFrames.from_failure(failure)
    setting = setting_error(failure, frames)
    operation_name = None if call is None or call.request is None else call.request.operation_name
    if _is_about_credentials(failure, frames, operation_name):
        headline = next((text for kind, text in _CREDENTIAL_MESSAGES if isinstance(failure, kind)), _NOT_LOADED)
        reason = _explain_credentials(failure, frames) if setting is None else f"{setting.parameter} {setting.rule}"
        sources = "; ".join(dict.fromkeys(_find_sources(failure, frames)))
        text = f"{headline}: {reason}" if reason else headline
        is_temporary = call is not None and setting is None and _is_temporary(failure, call.obstacle)
        facts = _facts_of(call, Failure.TEMPORARY if is_temporary else Failure.PERMANENT)
        return CredentialsError(f"{text} ({sources})" if sources else text, **facts)
    if setting is None:
        return None
    return InvalidRequestError(setting.parameter, setting.rule, **_facts_of(call, Failure.PERMANENT))


def _facts_of(call: Call | None, failure: Failure) -> CallFacts:
    return {} if call is None else facts_of(call, failure)


def _is_temporary(failure: Exception, obstacle: Obstacle | None) -> bool:
    """
    Return whether a retry without changed settings may load the credentials, because their source failed or did not
    respond.
    """
    if isinstance(failure, ClientError):
        return classify_error(failure.response) is not Failure.REFUSED
    if _kwargs(failure).get("provider") == credentials.InstanceMetadataProvider.METHOD:
        return True  # botocore hides the reason; the metadata service has returned credentials before, so it may again
    frames = FailureFrames.from_causes(failure)
    status = frames.find_status(_READERS)
    if status is not None:
        return is_failure_status(status)
    return frames.has_function(_SENDERS) and (_can_reconnect(failure) if obstacle is None else obstacle.is_temporary)


def _can_reconnect(failure: Exception) -> bool:
    """
    Return whether a retry may succeed after a failure of a connection.

    This library did not observe the connection, such as one of aiobotocore.
    """
    # A retry fails in the same way if a certificate is not trusted, or if a proxy refused with a status.
    lasting = (isinstance(each, ssl.SSLCertVerificationError) or hasattr(each, "status") for each in causes(failure))
    return not any(lasting)


def _is_about_credentials(failure: Exception, frames: FailureFrames, operation_name: str | None) -> bool:
    if isinstance(failure, ClientError):
        return failure.operation_name != operation_name
    return isinstance(failure, tuple(kind for kind, _ in _CREDENTIAL_MESSAGES)) or any(frames.find_objects(*_LOADERS))


def _explain_credentials(failure: Exception, frames: FailureFrames) -> str:
    for _, variables in frames.find_objects(credentials.ProcessProvider):
        return _explain_process(failure, variables)
    for kind, explain_kind in _EXPLANATIONS:
        if isinstance(failure, kind):
            return explain_kind(failure, frames)
    return _find_phrase(failure)


def _explain_process(failure: Exception, variables: Mapping[str, Any]) -> str:
    if "process_list" not in variables:  # the command could not be split, or the output was already parsed
        return f"credential_process: {_find_phrase(failure)}"
    path = (variables["process_list"] or [""])[0]
    program = _escape_name(os.path.basename(path))  # noqa: PTH119 - a plain string operation
    status = getattr(variables.get("p"), "returncode", None)
    if isinstance(failure, OSError):
        reason = f"could not be started: {failure.strerror}"
    elif status:
        reason = f"ended with status {status}"
    elif isinstance(failure, botocore_exceptions.CredentialRetrievalError):
        reason = _find_phrase(failure)
    else:
        reason = "did not print a JSON object"
    return f"the program '{program}' {reason}"


def _explain_response(failure: Any, _: FailureFrames) -> str:
    code = str(failure.response.get("Error", {}).get("Code", ""))
    status = failure.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return f"{_escape_name(failure.operation_name)} failed with {code if _CODE.fullmatch(code) else f'status {status}'}"


def _explain_connection(failure: Exception, frames: FailureFrames) -> str:
    return _find_operation(frames) + next(text for kind, text in _RESPONSE_MESSAGES if isinstance(failure, kind))


def _explain_parameters(failure: Exception, frames: FailureFrames) -> str:
    # The pattern stops before the value, which may be a secret.
    match = re.match(r"Invalid \w+ for parameter (\w+)", str(_kwargs(failure)["report"]))
    return f"{_find_operation(frames)}{match[1] if match else 'a parameter'} is not valid"


def _find_operation(frames: FailureFrames) -> str:
    """Return the name of the operation that supplies the credentials, with a colon; empty if it is unknown."""
    methods = frames.find_objects(BaseClient, *_LOADERS)
    # A call outside of a loader is the call that needs the credentials, so it does not supply them.
    names = (
        None if isinstance(owner, _LOADERS) else variables["operation_name"]
        for owner, variables in methods
        if isinstance(owner, _LOADERS) or "operation_name" in variables
    )
    name = next(names, None)
    return f"{name}: " if name else ""


def _explain_file(failure: Any, _: FailureFrames) -> str:
    return f"{_escape_name(failure.filename)}: {failure.strerror}" if failure.filename else _find_phrase(failure)


def _explain_key(failure: Exception, _: FailureFrames) -> str:
    key = str(failure)[1:-1]
    return f"the response has no {key}" if re.fullmatch(_RESPONSE_KEYS, key) else _find_phrase(failure)


def _explain_loop(failure: Any, _: FailureFrames) -> str:
    names = ", ".join(map(_escape_name, failure.kwargs["visited_profiles"]))
    return f"the source_profile settings form a loop: {names}"


_EXPLANATIONS: Final[tuple[tuple[type[Exception], Callable[[Exception, FailureFrames], str]], ...]] = (
    (botocore_exceptions.NoAuthTokenError, lambda *_: ""),  # the headline has the reason
    (botocore_exceptions.NoCredentialsError, lambda *_: ""),
    (NoTerminalError, lambda *_: "an MFA code must be entered, and standard input is not a terminal"),
    (EOFError, lambda *_: "an MFA code must be entered, and standard input has ended"),
    (botocore_exceptions.InfiniteLoopConfigError, _explain_loop),
    (
        botocore_exceptions.PartialCredentialsError,
        lambda failure, _: f"{_escape_name(_kwargs(failure)['cred_var'])} is missing",
    ),
    (ClientError, _explain_response),
    # `_core.errors` reports a reached deadline before it calls `find_error`, so the response was too long.
    (CallStoppedError, lambda *_: "the response is too long"),
    (botocore_exceptions.ParamValidationError, _explain_parameters),
    *((kind, _explain_connection) for kind, _ in _RESPONSE_MESSAGES),
    (json.JSONDecodeError, lambda *_: "the response is not JSON"),
    (KeyError, _explain_key),
    (OSError, _explain_file),
)


def _kwargs(failure: Exception) -> Mapping[str, Any]:
    return getattr(failure, "kwargs", {})


def _find_phrase(failure: Exception) -> str:
    """Return our message for botocore's message; if there is none, botocore's constant message or the class name."""
    facts = _kwargs(failure)
    text = str(facts.get("error_msg") or facts.get("msg") or failure)[:_MAX_MESSAGE_CHARACTERS]
    for pattern, phrase in _PHRASES:
        match = re.search(pattern, text)
        if match:
            return phrase.format_map({name: _escape_name(value) for name, value in match.groupdict().items()})
    fmt: str = getattr(failure, "fmt", "{}")
    return type(failure).__name__ if "{" in fmt else fmt.rstrip(".")


def _find_sources(failure: Any, frames: FailureFrames) -> Iterator[str]:
    """Yield descriptions of where the credentials should come from, and the request id for AWS Support."""
    loaders = [owner for owner, _ in frames.find_objects(*_LOADERS)]
    yield from _find_attribute(loaders, "METHOD", "method")
    session = frames.find_session()
    configured = None if session is None else session.get_config_variable("profile")
    yield from (
        f"profile '{name}'" for name in (*_find_attribute(loaders, "_profile_name"), *_to_name_list(configured))[:1]
    )
    if isinstance(failure, botocore_exceptions.PartialCredentialsError):
        yield from _find_attribute(loaders, "_creds_filename", "_config_filename")
    kinds = {type(owner): None for owner in loaders}
    constants = [getattr(kind, name) for kind in kinds for name in dir(kind) if name.isupper()]
    yield from (variable for variable in constants if isinstance(variable, str) and variable in os.environ)
    if isinstance(failure, OSError) and failure.filename:
        yield from (variable for variable, value in os.environ.items() if value == failure.filename)
    if isinstance(failure, ClientError):
        request_id = str(failure.response.get("ResponseMetadata", {}).get("RequestId"))
        yield from (f"request id {request_id}" for _ in _REQUEST_ID.findall(request_id)[:1])


def _find_attribute(owners: list[Any], *names: str) -> list[str]:
    """Return a list with the first attribute that has one of these names; an empty list if there is none."""
    values = (getattr(owner, name, None) for owner in owners for name in names)
    return _to_name_list(next(filter(None, values), None))


def _to_name_list(name: object) -> list[str]:
    return [_escape_name(name)] if isinstance(name, str) else []


def _escape_name(name: object) -> str:
    return show(str(name), _MAX_NAME_CHARACTERS)
