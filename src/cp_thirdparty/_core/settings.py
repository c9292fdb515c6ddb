"""Validate the settings of a client, add the defaults, and create the botocore client or return an error."""

from __future__ import annotations

import os
import platform
from datetime import timedelta
from typing import Any, Protocol, cast

import botocore.session
from botocore import UNSIGNED
from botocore.client import BaseClient
from botocore.config import Config

from cp_thirdparty._base.durations import seconds_rule, to_seconds
from cp_thirdparty._base.version import __version__
from cp_thirdparty._core import endpoints, redaction
from cp_thirdparty._core.call import Call
from cp_thirdparty._core.errors import configuration_error_of
from cp_thirdparty._core.sessions import create_session
from cp_thirdparty._core.sources import URL_RULE, check_client_settings, is_endpoint_url
from cp_thirdparty.exceptions import InvalidRequestError, ThirdPartyError

# A complete user agent.  Otherwise botocore would compose one for each request, which took 15 % of a call.
_USER_AGENT = f"cp-thirdparty/{__version__} Botocore/{botocore.__version__} Python/{platform.python_version()}"

# The number of open connections that the pool keeps for later calls; the default of botocore is 10.  Connections are
# opened only when calls need them.
_CONNECTIONS = 64


def check_settings(
    *,
    endpoint_url: str | None,
    verify: object,
    connect_timeout: float | timedelta | None,
    read_timeout: float | timedelta | None,
    profile_name: str | None,
    session: object,
) -> InvalidRequestError | None:
    """Return what is wrong with the settings of a client, or ``None``."""
    if endpoint_url is not None and not is_endpoint_url(endpoint_url):
        return InvalidRequestError("endpoint_url", URL_RULE)
    if isinstance(verify, (str, os.PathLike)) and not os.path.exists(cast("str", verify)):  # noqa: PTH110
        return InvalidRequestError("verify", "must be a bool or the path of a CA bundle that exists")
    for name, seconds in (("connect_timeout", connect_timeout), ("read_timeout", read_timeout)):
        rule = seconds_rule(to_seconds(seconds))
        if rule is not None:
            return InvalidRequestError(name, rule)
    if profile_name is not None and session is not None:
        return InvalidRequestError("profile_name", "must not be given together with a session, which has a profile")
    return None


def base_config(
    *, connect_timeout: float | timedelta | None, read_timeout: float | timedelta | None, sign_request: bool
) -> Config:
    """Return the botocore settings of clients that this library creates."""
    settings = Config(
        connect_timeout=to_seconds(connect_timeout),
        read_timeout=to_seconds(read_timeout),
        retries={"mode": "standard"},
        tcp_keepalive=True,
        parameter_validation=False,
        user_agent=_USER_AGENT,
        max_pool_connections=_CONNECTIONS,
    )
    return settings if sign_request else settings.merge(Config(signature_version=UNSIGNED))


class Boto3Session(Protocol):
    """The part of a boto3 session that clients use; boto3 is not a dependency."""

    def client(self, *args: Any, **settings: Any) -> Any:
        """Create a client of boto3."""


def is_session(session: object) -> bool:
    """Return whether an object is a session of botocore or boto3; sessions for asyncio have the same methods."""
    packages = {cls.__module__.partition(".")[0] for cls in type(session).__mro__}
    if packages & {"aioboto3", "aiobotocore"}:
        return False
    return isinstance(session, botocore.session.Session) or callable(getattr(session, "client", None))


def create_botocore_client(
    session: botocore.session.Session | Boto3Session | None, profile_name: str | None, **settings: Any
) -> BaseClient | ThirdPartyError:
    """Create and return a client of botocore, or return the error."""
    redaction.install()
    try:
        with Call():  # botocore may load credentials, and log responses
            if session is None:
                session = create_session(profile_name)
                client = session.create_client("codepipeline", **settings)
                endpoints.cache_endpoints(client, session)
            elif isinstance(session, botocore.session.Session):
                client = session.create_client("codepipeline", **settings)
            else:
                client = session.client("codepipeline", **settings)
        inner = getattr(session, "_session", session)  # a session of boto3 contains a session of botocore
        inner = inner if isinstance(inner, botocore.session.Session) else botocore.session.Session()
        refused = check_client_settings(client, inner, endpoint_url=settings["endpoint_url"], verify=settings["verify"])
    except Exception as failure:  # noqa: BLE001 - returned as an error of this library
        return configuration_error_of(failure)
    return refused or client
