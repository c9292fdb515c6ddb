"""What faces botocore's public side: settings to a client of it, and a request to an answer."""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import botocore.session
from botocore import xform_name
from botocore.client import BaseClient

from cp_thirdparty._botocore import data_loader
from cp_thirdparty._botocore.call import CURRENT, Call
from cp_thirdparty._botocore.guard import DOCUMENT
from cp_thirdparty._errors import configuration_error_of, error_of, struck_out
from cp_thirdparty._operations import Request
from cp_thirdparty.exceptions import InvalidRequestError, ThirdPartyError
from cp_thirdparty.secrets import SecretStr

_T = TypeVar("_T")

# A socket takes a time-out of no more than 2**31 milliseconds.
_MOST_SECONDS = 1_000_000


def answered(
    client: BaseClient, request: Request[_T], call: Call
) -> tuple[_T | None, BaseException | None, Mapping[str, Any]]:
    """Send the request.  It returns every error, so that its frame and those below are gone when one is raised."""
    secrets = [value for value in request.parameters.values() if isinstance(value, SecretStr)]
    parameters = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in request.parameters.items()
    }
    current = CURRENT.set(call)
    try:
        answer: dict[str, Any] = getattr(client, xform_name(request.operation_name))(**parameters)
        # A stubbed client brings what botocore would have parsed.
        outcome = request.decode(answer.get(DOCUMENT, answer) or {})
    except Exception as failure:  # noqa: BLE001 - botocore's parsers let almost any of them through
        error = error_of(
            failure,
            operation_name=request.operation_name,
            secrets=secrets,
            is_repeatable=request.is_repeatable,
            call=call,
        )
        forget(failure)
        return None, error, {}
    except BaseException as interruption:  # noqa: BLE001 - Ctrl-C is raised again by the caller
        forget(interruption)
        return None, interruption, {}
    finally:
        CURRENT.reset(current)
    metadata: Mapping[str, Any] = answer.get("ResponseMetadata", {})
    # The header is the peer's: it may say a secret back.
    return *outcome, {**metadata, "RequestId": struck_out(metadata.get("RequestId", ""), secrets) or None}


def forget(failure: BaseException | None) -> None:
    """Clear the frames that an error and its causes lead to: they hold secrets, and sockets that wait to be closed."""
    while failure is not None:
        traceback.clear_frames(failure.__traceback__)
        cause = failure.__cause__ or failure.__context__
        failure.__traceback__ = failure.__cause__ = failure.__context__ = None
        failure = cause


def refused_seconds(name: str, seconds: object) -> InvalidRequestError | None:
    """Tell what is wrong with a number of seconds, or ``None``."""
    if seconds is None or (isinstance(seconds, (int, float)) and 0 < seconds <= _MOST_SECONDS):
        return None
    return InvalidRequestError(name, "must be more than 0 and at most 1,000,000 seconds, or None for no limit")


def refused_setting(
    *,
    endpoint_url: str | None,
    verify: object,
    connect_timeout: float | None,
    read_timeout: float | None,
    profile_name: str | None,
    session: object,
) -> InvalidRequestError | None:
    """Tell what is wrong with the settings of a client, or ``None``."""
    if endpoint_url is not None and not _is_url(endpoint_url):
        return InvalidRequestError("endpoint_url", "must be an http:// or https:// URL with a host")
    if isinstance(verify, (str, os.PathLike)) and not os.path.exists(cast("str", verify)):  # noqa: PTH110
        return InvalidRequestError("verify", "must be a bool or the path of a CA bundle that exists")
    for name, seconds in (("connect_timeout", connect_timeout), ("read_timeout", read_timeout)):
        refused = refused_seconds(name, seconds)
        if refused is not None:
            return refused
    if profile_name is not None and session is not None:
        return InvalidRequestError("profile_name", "must not be given together with a session, which has its own")
    return None


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def made_client(
    session: botocore.session.Session | None, profile_name: str | None, **settings: Any
) -> BaseClient | ThirdPartyError:
    """Make a client of botocore, or return the error."""
    try:
        if session is None:
            session = botocore.session.Session(profile=profile_name)
            data_loader.install(session)
        return session.create_client("codepipeline", **settings)
    except Exception as failure:  # noqa: BLE001 - told as one of ours
        return configuration_error_of(failure)
