"""Find the argument, environment variable or file that supplied an invalid setting."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import botocore.session
from botocore import exceptions as botocore_exceptions
from botocore.args import ClientArgsCreator
from botocore.client import BaseClient
from botocore.configloader import raw_config_parse
from botocore.configprovider import ConfiguredEndpointProvider, ConfigValueStore
from botocore.endpoint import EndpointCreator
from botocore.utils import IMDSFetcher, get_environ_proxies
from urllib3.exceptions import LocationValueError

from cp_thirdparty.exceptions import InvalidRequestError

if TYPE_CHECKING:
    from cp_thirdparty._core.failure_frames import FailureFrames

_NOT_ACCEPTED: Final = "is not accepted by botocore"
_PROXY_RULE: Final = "must be the URL of a proxy: http:// or https:// and a host"
_BUNDLE_RULE: Final = "must be the path of a file with CA certificates"
_SERVICES_RULE: Final = "must name a [services] section in which the endpoint_url of a service is indented"
URL_RULE: Final = "must be an http:// or https:// URL with a host and without a password"

# The environment variable that botocore reads if neither an argument nor the AWS configuration has a CA bundle.
_REQUESTS_BUNDLE: Final = "REQUESTS_CA_BUNDLE"

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

# botocore's exception -> botocore's name of the setting, and the rule that the setting breaks.
_REFUSALS: Final[tuple[tuple[type[Exception], str, str], ...]] = (
    (botocore_exceptions.InvalidDefaultsMode, "defaults_mode", _NOT_ACCEPTED),
    (botocore_exceptions.InvalidIMDSEndpointError, "ec2_metadata_service_endpoint", "must be a URL"),
    (botocore_exceptions.InvalidIMDSEndpointModeError, "ec2_metadata_service_endpoint_mode", "must be ipv4 or ipv6"),
    (botocore_exceptions.InvalidMaxRetryAttemptsError, "max_attempts", "must be an integer of at least 1"),
    (botocore_exceptions.InvalidRegionError, "region", "must be the name of a region"),
    (botocore_exceptions.InvalidRetryModeError, "retry_mode", "must be legacy, standard or adaptive"),
    (
        botocore_exceptions.InvalidSTSRegionalEndpointsConfigError,
        "sts_regional_endpoints",
        "must be legacy or regional",
    ),
)

# A class of botocore that reads only one setting -> botocore's name of the setting, and the rule that it breaks.
_READERS: Final[tuple[tuple[type, str, str], ...]] = (
    (ConfiguredEndpointProvider, "services", _SERVICES_RULE),
    (EndpointCreator, "endpoint_url", URL_RULE),
)

# botocore's name of a setting -> the argument of botocore's `create_client`, and the argument of our `create()`.
_ARGUMENTS: Final = {
    "endpoint_url": ("endpoint_url", "endpoint_url"),
    "profile": ("", "profile_name"),
    "region": ("region_name", "region_name"),
}

# A word in the message of a botocore error about endpoints -> botocore's name of the setting that causes the error.
_ERROR_WORDS: Final = {"fips": "use_fips_endpoint", "dualstack": "use_dualstack_endpoint", "missing region": "region"}


def setting_error(failure: Exception, frames: FailureFrames) -> InvalidRequestError | None:
    """Return an error that names the setting that caused a failure of botocore; ``None`` if no setting caused it."""
    facts: Mapping[str, Any] = getattr(failure, "kwargs", {})
    if isinstance(failure, botocore_exceptions.ConfigParseError):
        return InvalidRequestError(os.path.abspath(facts["path"]), _file_format_rule(facts.get("error")))  # noqa: PTH100 - as botocore
    if isinstance(failure, botocore_exceptions.NoRegionError):
        return InvalidRequestError(
            "region_name",
            "must be given, here or in the AWS configuration: AWS_DEFAULT_REGION, or region in the profile",
        )
    session = frames.find_session() or botocore.session.Session()
    found = _find_by_class(failure, session) or _find_by_method(facts, frames, session)
    if found is None:
        return _connection_setting_error(failure, facts.get("error"))
    name, rule = found
    return InvalidRequestError(_find_source(name, frames, session), rule)


def _find_by_class(failure: Exception, session: botocore.session.Session) -> tuple[str, str] | None:
    """Return botocore's name of the setting, and the rule that it breaks."""
    if isinstance(failure, botocore_exceptions.ProfileNotFound):
        files = " or ".join(map(_describe_file, _config_paths(session)))
        return "profile", f"must be a profile of {files}"
    if isinstance(failure, (botocore_exceptions.EndpointProviderError, botocore_exceptions.EndpointVariantError)):
        text = str(failure).lower()
        found = ((name, "is not possible for this endpoint") for word, name in _ERROR_WORDS.items() if word in text)
        return next(found, None)
    return next(((name, rule) for kind, name, rule in _REFUSALS if isinstance(failure, kind)), None)


def _find_by_method(
    facts: Mapping[str, Any], frames: FailureFrames, session: botocore.session.Session
) -> tuple[str, str] | None:
    """Return the setting that a method of botocore read, and the rule that it breaks."""
    for kind, name, rule in _READERS:
        if any(frames.find_objects(kind)):
            return name, rule
    if any("base_url" in variables for _, variables in frames.find_objects(IMDSFetcher)):
        return "ec2_metadata_service_endpoint", "must be a URL"
    for _, variables in frames.find_objects(ConfigValueStore):
        name = variables["logical_name"]
        is_number = session.session_var_map.get(name, ())[3:] == (int,)
        return name, "must be an integer" if is_number else _NOT_ACCEPTED
    if not any(frames.find_objects(ClientArgsCreator)):
        return None
    # The message has the name and the value of the setting.  The value may be secret, so only known names are used.
    text = str(facts.get("config_key") or facts.get("error_msg", ""))
    names = sorted((name for name in session.session_var_map if name in text), key=len)
    return (names[-1], _NOT_ACCEPTED) if names else None


def _file_format_rule(failure: Any) -> str:
    """Return the rule and a line number.  The message of the parser is not used, because it shows the complete line."""
    errors = getattr(failure, "errors", None) or [(getattr(failure, "lineno", None), "")]
    line = errors[0][0]
    return "must have the format of AWS configuration files" + (f"; see line {line}" if line else "")


def _describe_file(path: str) -> str:
    if not os.path.exists(path):  # noqa: PTH110 - as botocore
        return f"{path} (does not exist)"
    is_readable = os.path.isfile(path) and os.access(path, os.R_OK)  # noqa: PTH113 - as botocore
    return path if is_readable else f"{path} (cannot be read)"


def _find_source(name: str, frames: FailureFrames, session: botocore.session.Session) -> str:
    """Return the name of the argument, environment variable, or key in a file that supplied a setting."""
    given = frames.find_client_arguments()
    botocore_argument, argument = _ARGUMENTS.get(name, ("", "config"))
    arguments = (given.get(botocore_argument), getattr(given.get("config"), botocore_argument or name, None))
    if any(each is not None for each in (*arguments, session.instance_variables().get(name))):
        return argument
    endpoint_url = next((variables["endpoint_url"] for _, variables in frames.find_objects(EndpointCreator)), None)
    return _find_variable_or_key(name, session, endpoint_url) or argument


def _find_variable_or_key(name: str, session: botocore.session.Session, endpoint_url: object = None) -> str | None:
    if name == "endpoint_url":  # each service has its own variable
        variables = [variable for variable in os.environ if variable.startswith("AWS_ENDPOINT_URL")]
        found = next((variable for variable in variables if os.environ[variable] == endpoint_url), None)
        return found or _describe_key(name, session, endpoint_url)
    key, variables, *_ = session.session_var_map.get(name, (name, []))
    variables = [variables] if isinstance(variables, str) else variables or []
    return next((variable for variable in variables if variable in os.environ), None) or _describe_key(key, session)


def _describe_key(key: str, session: botocore.session.Session, endpoint_url: object = None) -> str | None:
    """Return a description of where a setting is in the AWS configuration files; ``None`` if it is not there."""
    profile = session.get_config_variable("profile") or "default"
    try:
        settings: Mapping[str, Any] = session.full_config["profiles"].get(profile, {})
    except botocore_exceptions.ConfigParseError:  # a file was changed after the client was created
        return None
    config_file, credentials_file = (os.path.abspath(path) for path in _config_paths(session))  # noqa: PTH100 - as botocore
    if endpoint_url is not None and settings.get(key) != endpoint_url and "services" in settings:
        return f"endpoint_url in section [services {settings['services']}] of {config_file}"
    if key not in settings:
        return None
    # If both files have the key, botocore uses the value in the credentials file.
    is_in_credentials = os.path.isfile(credentials_file) and key in raw_config_parse(credentials_file).get(profile, {})  # noqa: PTH113
    return f"{key} in profile '{profile}' of {credentials_file if is_in_credentials else config_file}"


def _config_paths(session: botocore.session.Session) -> list[str]:
    names = ("config_file", "credentials_file")
    return [os.path.expanduser(session.get_config_variable(name)) for name in names]  # noqa: PTH111 - as botocore


def _connection_setting_error(failure: Exception, cause: object) -> InvalidRequestError | None:
    """Return an error if a setting, for example an unchecked one of a wrapped client, caused a failed connection."""
    proxy_errors = (botocore_exceptions.InvalidProxiesConfigError, LocationValueError)
    if isinstance(failure, proxy_errors) or isinstance(cause, proxy_errors):
        variables = (*_proxy_variables("https"), *_proxy_variables("http"))
        wrong = (variable for variable in variables if not _is_proxy_url(os.environ[variable]))
        return InvalidRequestError(next(wrong, "config"), _PROXY_RULE)
    causes = (cause, *getattr(cause, "args", ()))
    # If a CA bundle cannot be loaded, the error has no file name; errors about other files have one.
    if any(isinstance(each, (FileNotFoundError, IsADirectoryError)) and each.filename is None for each in causes):
        return InvalidRequestError(_find_bundle_source(botocore.session.Session()), _BUNDLE_RULE)
    return None


def check_client_settings(
    client: BaseClient, session: botocore.session.Session, *, endpoint_url: str | None = None, verify: object = None
) -> InvalidRequestError | None:
    """
    Check the settings that botocore does not check before the first request; return an error, or ``None``.

    ``endpoint_url`` and ``verify`` are the arguments with which the client was created.
    """
    url: str = client.meta.endpoint_url
    if not is_endpoint_url(url):
        source = "endpoint_url" if endpoint_url is not None else _find_variable_or_key("endpoint_url", session, url)
        return InvalidRequestError(source or "config", URL_RULE)
    scheme = urlsplit(url).scheme
    bundle = verify
    if bundle is None:
        bundle = session.get_config_variable("ca_bundle") or os.environ.get(_REQUESTS_BUNDLE)
    if scheme == "https" and bundle and bundle is not True and not _is_bundle(bundle):
        return InvalidRequestError("verify" if verify is not None else _find_bundle_source(session), _BUNDLE_RULE)
    config: Any = client.meta.config
    proxies: Mapping[str, str] | None = config.proxies
    proxy = (get_environ_proxies(url) if proxies is None else proxies).get(scheme)
    if proxy and not _is_proxy_url(proxy):
        return InvalidRequestError("config" if proxies else next(_proxy_variables(scheme)), _PROXY_RULE)
    return None


def is_endpoint_url(value: object) -> bool:
    """Return whether a value is an HTTP URL with a host and no password, which the ``repr`` of a client would show."""
    try:
        parts = urlsplit(value if isinstance(value, str) else "")
        has_host = bool(parts.hostname) and parts.port != 0 and parts.username is None
    except ValueError:
        return False
    return has_host and parts.scheme in ("http", "https")


def _is_proxy_url(value: str) -> bool:
    """Return whether botocore can use a string as the URL of a proxy; ``http://`` may be missing."""
    try:
        parts = urlsplit(value if _SCHEME.match(value) else f"http://{value.removeprefix('//')}")
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and value.isascii()
    except ValueError:
        return False


def _proxy_variables(scheme: str) -> Iterator[str]:
    """Yield the environment variables that name a proxy for a scheme, in the order in which Python reads them."""
    names = (f"{scheme}_proxy", f"{scheme.upper()}_PROXY")
    return (name for name in names if os.environ.get(name))


def _is_bundle(path: Any) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (OSError, TypeError):  # no such file, or no certificates in it; TypeError: not a path
        return False
    return True


def _find_bundle_source(session: botocore.session.Session) -> str:
    return _find_variable_or_key("ca_bundle", session) or _REQUESTS_BUNDLE
