"""What went wrong before a request was sent: the error names the cause and where to repair it, and shows no value."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pytest
from botocore import credentials as botocore_credentials
from botocore.config import Config
from support import both_clients as both
from support.aws_machine import MARKER, REQUEST_ID, Machine, Setup

from cp_thirdparty import ActionTypeId
from cp_thirdparty.exceptions import CodePipelineJobError, CredentialsError, InvalidRequestError

_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="p", version="1")
_HAS_LOGIN = hasattr(botocore_credentials, "LoginProvider")  # botocore 1.35 has none
_HAS_CHECKSUMS = "request_checksum_calculation" in Config.OPTION_DEFAULTS  # botocore 1.36 added it


def _profile(text: str, env: Mapping[str, str | None] | None = None, **more: Any) -> Setup:
    return Setup({"AWS_PROFILE": "p", **(env or {})}, f"[profile p]\n{text}", **more)


_BASE = f"[profile base]\naws_access_key_id = {MARKER}\naws_secret_access_key = {MARKER}\n"
_ROLE = "role_arn = arn:aws:iam::123456789012:role/x\nsource_profile = base\n"
_WEB_IDENTITY = {
    "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/x",
    "AWS_WEB_IDENTITY_TOKEN_FILE": "{tmp}/token",
    "AWS_ENDPOINT_URL_STS": "{server}/denied",
}
_SSO = "sso_account_id = 1\nsso_role_name = r\n"
_START = "sso_start_url = http://start\nsso_region = us-east-1\n"
_SESSION = f"sso_session = s\n{_SSO}[sso-session s]\n{_START}"


def _token(key: str, expires: str) -> dict[str, str]:
    """Return the file in which botocore keeps the token of a sign-in."""
    name = hashlib.sha1(key.encode()).hexdigest()
    return {f"{name}.json": json.dumps({"accessToken": MARKER, "expiresAt": expires})}


def _role(response: str, more: str = "") -> Setup:
    return _profile(_ROLE + more + _BASE, {"AWS_ENDPOINT_URL_STS": "{server}/" + response})


def _process(program: str) -> Setup:
    return _profile(f"credential_process = {{tmp}}/program --password {MARKER}\n", program=program)


def _container(response: str, env: Mapping[str, str] | None = None) -> Setup:
    return Setup({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "{server}/" + response + "/x", **(env or {})})


def _print_command(**document: object) -> str:
    return f"echo '{json.dumps(document)}'"


_KEYS = {"AccessKeyId": MARKER, "SecretAccessKey": MARKER, "SessionToken": MARKER}

# What is wrong -> the setup, when it shows, and words of the message.
_CREDENTIALS: dict[str, tuple[Setup, str, tuple[str, ...]]] = {
    "role denied": (
        _role("denied"),
        "call",
        ("AssumeRole failed with AccessDenied", "assume-role", "profile 'p'", f"request id {REQUEST_ID}"),
    ),
    "role denied with the secret as code": (_role("echo"), "call", ("AssumeRole failed with status 403",)),
    "role, garbage": (_role("garbage"), "call", ("AssumeRole: the response could not be read", "profile 'p'")),
    "role, unavailable": (_role("unavailable"), "call", ("AssumeRole: the response could not be read",)),
    "role, dropped": (_role("dropped"), "call", ("AssumeRole: the connection was closed before a response",)),
    "role, throttled": (_role("throttled"), "call", ("AssumeRole failed with Throttling",)),
    "role, failed": (_role("internal"), "call", ("AssumeRole failed with InternalFailure",)),
    "role, expired": (_role("expired"), "call", ("AssumeRole failed with ExpiredToken",)),
    "role, no STS": (
        _profile(_ROLE + _BASE, {"AWS_ENDPOINT_URL_STS": "http://127.0.0.1:9"}),
        "call",
        ("AssumeRole: no connection to the endpoint", "profile 'p'"),
    ),
    "role, wrong URL of STS": (
        _profile(_ROLE + _BASE, {"AWS_ENDPOINT_URL_STS": f"user:{MARKER}@sts"}),
        "call",
        ("AWS_ENDPOINT_URL_STS must be an http:// or https:// URL", "profile 'p'"),
    ),
    "role with MFA": (
        _role("denied", "mfa_serial = arn:aws:iam::123456789012:mfa/x\n"),
        "call",
        ("an MFA code must be entered, and standard input is not a terminal", "profile 'p'"),
    ),
    "role with a wrong name": (
        _profile(f"role_arn = {MARKER}\nsource_profile = base\n{_BASE}"),
        "call",
        ("AssumeRole: RoleArn is not valid", "profile 'p'"),
    ),
    "loop": (
        _profile("role_arn = a\nsource_profile = q\n[profile q]\nrole_arn = a\nsource_profile = p\n"),
        "create",
        ("the source_profile settings form a loop: p, q",),
    ),
    "no source": (_profile(_ROLE), "create", ("source_profile 'base' does not exist", "profile 'p'")),
    "empty source": (
        _profile(f"{_ROLE}[profile base]\nregion = us-east-1\n"),
        "create",
        ("source_profile 'base' has no credentials",),
    ),
    "two sources": (
        _profile(f"{_ROLE}credential_source = Environment\n{_BASE}"),
        "create",
        ("the profile has both source_profile and credential_source", "profile 'p'"),
    ),
    "neither source": (
        _profile("role_arn = a\n"),
        "create",
        ("the AWS credentials are incomplete: source_profile or credential_source is missing", "profile 'p'"),
    ),
    "empty environment": (
        _profile("role_arn = a\ncredential_source = Environment\n"),
        "create",
        ("credential_source has no credentials", "profile 'p'"),
    ),
    "unknown source": (
        _profile(f"role_arn = a\ncredential_source = {MARKER}\n"),
        "create",
        ("credential_source is unknown", "profile 'p'"),
    ),
    "sso, no token": (
        _profile(_START + _SSO),
        "call",
        ("the AWS sign-in has expired or is incomplete", "there is no token; run `aws sso login`", "profile 'p'"),
    ),
    "sso, expired token": (
        _profile(
            _START + _SSO,
            {"AWS_ENDPOINT_URL_SSO": "{server}/unauthorized"},  # botocore 1.35 sends the token
            files=_token("http://start", "2000-01-01T00:00:00Z"),
        ),
        "call",
        ("The SSO session associated with this profile has expired", "aws sso login", "profile 'p'"),
    ),
    "sso, token of a session": (_profile(_SESSION), "call", ("there is no token; run `aws sso login`", "profile 'p'")),
    "sso, expired token of a session": (
        _profile(_SESSION, files=_token("s", "2000-01-01T00:00:00Z")),
        "call",
        ("the token has expired; run `aws sso login`", "profile 'p'"),
    ),
    "sso, broken token": (
        _profile(
            _START + _SSO, files={**_token("http://start", ""), **dict.fromkeys(_token("http://start", ""), "{}")}
        ),
        "call",
        ("the token cannot be read; run `aws sso login`",),
    ),
    "sso, refused token": (
        _profile(
            _START + _SSO,
            {"AWS_ENDPOINT_URL_SSO": "{server}/unauthorized"},
            files=_token("http://start", "2100-01-01T00:00:00Z"),
        ),
        "call",
        ("The SSO session associated with this profile has expired", "profile 'p'"),
    ),
    "sso, forbidden": (
        _profile(
            _START + _SSO,
            {"AWS_ENDPOINT_URL_SSO": "{server}/forbidden"},
            files=_token("http://start", "2100-01-01T00:00:00Z"),
        ),
        "call",
        ("GetRoleCredentials failed with ForbiddenException", "profile 'p'", f"request id {REQUEST_ID}"),
    ),
    "sso, no session": (_profile(f"sso_session = s\n{_SSO}"), "create", ("sso-session 's' does not exist",)),
    "sso, keys missing": (_profile(_SSO), "create", ("sso_start_url, sso_region is missing", "profile 'p'")),
    "sso, contradiction": (
        _profile(f"sso_region = {MARKER}\n{_SESSION}"),
        "create",
        ("sso_region differs between profile and sso-session", "profile 'p'"),
    ),
    "web identity, no file": (
        Setup(_WEB_IDENTITY),
        "call",
        ("/token: No such file or directory", "AWS_WEB_IDENTITY_TOKEN_FILE", "assume-role-with-web-identity"),
    ),
    "web identity, denied": (
        Setup(_WEB_IDENTITY, files={"token": MARKER}),
        "call",
        ("AssumeRoleWithWebIdentity failed with AccessDenied", f"request id {REQUEST_ID}"),
    ),
    "web identity, no provider": (
        Setup({**_WEB_IDENTITY, "AWS_ENDPOINT_URL_STS": "{server}/no-identity"}, files={"token": MARKER}),
        "call",
        ("AssumeRoleWithWebIdentity failed with IDPCommunicationError",),
    ),
    "web identity, no role": (
        Setup({"AWS_WEB_IDENTITY_TOKEN_FILE": "{tmp}/token"}),
        "create",
        ("role_arn, or AWS_ROLE_ARN, is missing",),
    ),
    "no program": (
        _profile(f"credential_process = /none/tool --password {MARKER}\n"),
        "create",
        ("the program 'tool' could not be started: No such file or directory", "profile 'p'"),
    ),
    "program that cannot run": (
        _profile(f"credential_process = {{tmp}}/tool {MARKER}\n", files={"tool": ""}),
        "create",
        ("the program 'tool' could not be started: Permission denied", "profile 'p'"),
    ),
    "program with an open quotation": (
        _profile(f'credential_process = /none/tool "{MARKER}\n'),
        "create",
        ("credential_process: a quotation mark is not closed", "profile 'p'"),
    ),
    "program fails": (
        _process(f"echo {MARKER} >&2; exit 3"),
        "create",
        ("the program 'program' ended with status 3", "custom-process", "profile 'p'"),
    ),
    "program prints no JSON": (_process(f"echo {MARKER}"), "create", ("'program' did not print a JSON object",)),
    "program prints a list": (_process("echo [1]"), "create", ("'program' did not print a JSON object",)),
    "program prints no key": (
        _process(_print_command(Version=1, AccessKeyId=MARKER)),
        "create",
        ("the program 'program' printed no SecretAccessKey",),
    ),
    "program prints a new version": (
        _process(_print_command(Version=MARKER, **_KEYS)),
        "create",
        ("the program 'program' printed a Version other than 1",),
    ),
    "program prints no time": (
        _process(_print_command(Version=1, Expiration=MARKER, **_KEYS)),
        "create",
        ("credential_process: the expiration time of the credentials cannot be parsed", "profile 'p'"),
    ),
    "program prints expired credentials": (
        _process(_print_command(Version=1, Expiration="2000-01-01T00:00:00Z", **_KEYS)),
        "call",
        ("the refreshed credentials have already expired", "custom-process"),
    ),
    "half in the environment": (
        Setup({"AWS_ACCESS_KEY_ID": MARKER}),
        "create",
        ("the AWS credentials are incomplete: AWS_SECRET_ACCESS_KEY is missing", "AWS_ACCESS_KEY_ID"),
    ),
    "half in the credentials": (
        Setup(credentials=f"[default]\naws_access_key_id = {MARKER}\n"),
        "create",
        ("aws_secret_access_key is missing", "profile 'default'", "{tmp}/credentials"),
    ),
    "half in the configuration": (
        _profile(f"aws_access_key_id = {MARKER}\n"),
        "create",
        ("aws_secret_access_key is missing", "profile 'p'", "{tmp}/config"),
    ),
    "no time in the environment": (
        Setup(
            {
                "AWS_ACCESS_KEY_ID": MARKER,
                "AWS_SECRET_ACCESS_KEY": MARKER,
                "AWS_CREDENTIAL_EXPIRATION": MARKER,
            }
        ),
        "create",
        ("the expiration time of the credentials cannot be parsed", "AWS_CREDENTIAL_EXPIRATION"),
    ),
    "none": (Setup(), "call", ("no AWS credentials were found",)),
    **{
        f"instance, {response}": (
            Setup({"AWS_EC2_METADATA_DISABLED": None, "AWS_EC2_METADATA_SERVICE_ENDPOINT": "{server}/" + response}),
            "call",
            ("no AWS credentials were found",),
        )
        for response in ("dropped", "missing", "role", "unavailable")
    },
    "instance, version 1": (
        Setup(
            {
                "AWS_EC2_METADATA_DISABLED": None,
                "AWS_EC2_METADATA_SERVICE_ENDPOINT": "{server}/missing",
                "AWS_EC2_METADATA_V1_DISABLED": "true",
            }
        ),
        "create",
        ("the metadata service returned no token (IMDSv2), and IMDSv1 is disabled", "iam-role"),
    ),
    "container, dropped": (
        _container("dropped"),
        "create",
        ("no response", "container-role", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    ),
    "container, missing": (_container("missing"), "create", ("the response has status 404", "container-role")),
    "container, garbage": (_container("garbage"), "create", ("the response is not JSON", "container-role")),
    "container, nothing": (_container("nothing"), "create", ("the response has no AccessKeyId", "container-role")),
    "container, wrong host": (
        Setup({"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://example.invalid/{MARKER}"}),
        "create",
        ("credentials must not be read from this host", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    ),
    "container, no token file": (
        _container("nothing", {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "{tmp}/none"}),
        "create",
        ("/none: No such file or directory", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
    ),
    "container, token": (
        _container("nothing", {"AWS_CONTAINER_AUTHORIZATION_TOKEN": f"{MARKER}\n"}),
        "create",
        ("the authorization token has a line break", "AWS_CONTAINER_AUTHORIZATION_TOKEN"),
    ),
}
if _HAS_LOGIN:
    _CREDENTIALS["login without a package"] = (
        _profile(f"login_session = arn:aws:iam::123456789012:user/{MARKER}\n"),
        "create",
        ("a package is missing: pip install 'botocore[crt]'", "login", "profile 'p'"),
    )

# Failures of a call whose cause may pass; the others last.
_PASSING = {
    "role, unavailable",
    "role, dropped",
    "role, throttled",
    "role, failed",
    "role, no STS",
    "web identity, no provider",
}

_STATIC = {"AWS_ACCESS_KEY_ID": MARKER, "AWS_SECRET_ACCESS_KEY": MARKER}
_HTTPS = {"endpoint_url": "https://127.0.0.1:9"}


def _variable(name: str, value: str, **more: Any) -> Setup:
    return Setup({**_STATIC, "AWS_MAX_ATTEMPTS": "1", name: value}, arguments={"config": None, **more})


def _key(text: str, **more: Any) -> Setup:
    env = {**_STATIC, "AWS_MAX_ATTEMPTS": None}
    return Setup(env, f"[default]\n{text}\n", arguments={"config": None, **more})


_URL = "must be an http:// or https:// URL with a host and without a password"
_BUNDLE = "must be the path of a file with CA certificates"
_PROXY = "must be the URL of a proxy: http:// or https:// and a host"
_FORMAT = "must have the format of AWS configuration files"
_IN_CONFIG = "in profile 'default' of {tmp}/config"

# Settings of the environment and of files that cannot be used -> the parameter and the rule of the error.
_SETTINGS: dict[str, tuple[Setup, str, str]] = {
    "AWS_USE_DUALSTACK_ENDPOINT": (
        _variable("AWS_USE_DUALSTACK_ENDPOINT", "true", endpoint_url=None, region_name="us-isof-east-1"),
        "AWS_USE_DUALSTACK_ENDPOINT",
        "is not possible for this endpoint",
    ),
    **{
        f"{name}={value}": (_variable(name, value, **more), name, rule)
        for name, value, rule, more in (
            ("AWS_RETRY_MODE", MARKER, "must be legacy, standard or adaptive", {"config": lambda: Config(retries={})}),
            ("AWS_DEFAULTS_MODE", MARKER, "is not accepted by botocore", {}),
            ("AWS_STS_REGIONAL_ENDPOINTS", MARKER, "must be legacy or regional", {}),
            ("AWS_REQUEST_MIN_COMPRESSION_SIZE_BYTES", MARKER, "is not accepted by botocore", {}),
            ("AWS_DEFAULT_REGION", f"{MARKER} !", "must be the name of a region", {"region_name": None}),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", MARKER, "must be ipv4 or ipv6", {}),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"{MARKER} x", "must be a URL", {}),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://[{MARKER}", "must be a URL", {}),
            ("AWS_METADATA_SERVICE_TIMEOUT", MARKER, "must be an integer", {}),
            ("AWS_METADATA_SERVICE_NUM_ATTEMPTS", MARKER, "must be an integer", {}),
            ("AWS_ENDPOINT_URL_CODEPIPELINE", f"{MARKER}:99", _URL, {"endpoint_url": None}),
            ("AWS_ENDPOINT_URL", f"http://user:{MARKER}@127.0.0.1:9", _URL, {"endpoint_url": None}),
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:0", _URL, {"endpoint_url": None}),
            ("AWS_CA_BUNDLE", f"/none/{MARKER}", _BUNDLE, _HTTPS),
            ("AWS_CA_BUNDLE", "{tmp}/config", _BUNDLE, _HTTPS),
            ("REQUESTS_CA_BUNDLE", f"/none/{MARKER}", _BUNDLE, _HTTPS),
            ("HTTPS_PROXY", f"http://[{MARKER}", _PROXY, _HTTPS),
            ("https_proxy", f"socks5://user:{MARKER}@127.0.0.1:9", _PROXY, _HTTPS),
            ("HTTP_PROXY", f"http://user:{MARKER}@127.0.0.1:99999", _PROXY, {"endpoint_url": "http://192.0.2.1"}),
            ("http_proxy", f"{MARKER}é@127.0.0.1:9", _PROXY, {"endpoint_url": "http://192.0.2.1"}),
        )
    },
    "AWS_MAX_ATTEMPTS": (
        _variable("AWS_MAX_ATTEMPTS", MARKER, config=Config(retries={"mode": "standard"})),
        "AWS_MAX_ATTEMPTS",
        "must be an integer",
    ),
    "AWS_MAX_ATTEMPTS=0": (
        _variable("AWS_MAX_ATTEMPTS", "0"),
        "AWS_MAX_ATTEMPTS",
        "must be an integer of at least 1",
    ),
    "AWS_PROFILE": (
        Setup({**_STATIC, "AWS_PROFILE": "nobody", "AWS_CONFIG_FILE": "{tmp}/none"}),
        "AWS_PROFILE",
        "must be a profile of {tmp}/none (does not exist) or {tmp}/credentials",
    ),
    "max_attempts": (_key(f"max_attempts = {MARKER}"), f"max_attempts {_IN_CONFIG}", "must be an integer"),
    "max_attempts=0": (_key("max_attempts = 0"), f"max_attempts {_IN_CONFIG}", "must be an integer of at least 1"),
    "nested": (_key(f"max_attempts =\n  x = {MARKER}"), f"max_attempts {_IN_CONFIG}", "must be an integer"),
    "region": (
        Setup({**_STATIC, "AWS_DEFAULT_REGION": None}, "[default]\nregion = no region!\n"),
        f"region {_IN_CONFIG}",
        "must be the name of a region",
    ),
    "region in the credentials": (
        Setup({**_STATIC, "AWS_DEFAULT_REGION": None}, "", "[default]\nregion = no region!\n"),
        "region in profile 'default' of {tmp}/credentials",
        "must be the name of a region",
    ),
    "no credentials file": (
        Setup(
            {**_STATIC, "AWS_DEFAULT_REGION": None, "AWS_SHARED_CREDENTIALS_FILE": "{tmp}/none"},
            "[default]\nregion = no region!\n",
        ),
        f"region {_IN_CONFIG}",
        "must be the name of a region",
    ),
    "no region": (
        Setup({**_STATIC, "AWS_DEFAULT_REGION": None}),
        "region_name",
        "must be given, here or in the AWS configuration: AWS_DEFAULT_REGION, or region in the profile",
    ),
    "ca_bundle": (_key(f"ca_bundle = /none/{MARKER}", **_HTTPS), f"ca_bundle {_IN_CONFIG}", _BUNDLE),
    "nested ca_bundle": (_key(f"ca_bundle =\n  x = {MARKER}", **_HTTPS), f"ca_bundle {_IN_CONFIG}", _BUNDLE),
    "endpoint_url": (
        _key(f"endpoint_url = {MARKER}", endpoint_url=None),
        f"endpoint_url {_IN_CONFIG}",
        _URL,
    ),
    "services": (
        _key(f"services = s\n[services s]\ncodepipeline =\n  endpoint_url = {MARKER}", endpoint_url=None),
        "endpoint_url in section [services s] of {tmp}/config",
        _URL,
    ),
    "services, flat": (
        _key(f"services = s\n[services s]\ncodepipeline = {MARKER}", endpoint_url=None),
        f"services {_IN_CONFIG}",
        "must name a [services] section in which the endpoint_url of a service is indented",
    ),
    "services, missing": (
        _key("services = s", endpoint_url=None),
        f"services {_IN_CONFIG}",
        "must name a [services] section in which the endpoint_url of a service is indented",
    ),
    "section that is not closed": (_key(f"[profile\n{MARKER}"), "{tmp}/config", f"{_FORMAT}; see line 2"),
    "no section": (Setup(_STATIC, f"{MARKER} = x\n"), "{tmp}/config", f"{_FORMAT}; see line 1"),
    "key given twice": (_key(f"a = b\na = {MARKER}"), "{tmp}/config", f"{_FORMAT}; see line 3"),
    "line without a value": (_key(f"s3 =\n  {MARKER}"), "{tmp}/config", _FORMAT),
    "credentials": (Setup(_STATIC, "", f"{MARKER}\n"), "{tmp}/credentials", f"{_FORMAT}; see line 1"),
    "no such profile given": (
        Setup(_STATIC, arguments={"profile_name": "nobody"}),
        "profile_name",
        "must be a profile of {tmp}/config or {tmp}/credentials",
    ),
    "region in a configuration": (
        Setup(_STATIC, arguments={"config": Config(region_name="no region!")}),
        "region_name",
        "must be the name of a region",
    ),
    "proxy in a configuration": (
        Setup(_STATIC, arguments={**_HTTPS, "config": Config(proxies={"https": f"socks5://{MARKER}"})}),
        "config",
        _PROXY,
    ),
    "bundle given": (Setup(_STATIC, arguments={**_HTTPS, "verify": __file__}), "verify", _BUNDLE),
}
if _HAS_CHECKSUMS:
    _SETTINGS["AWS_REQUEST_CHECKSUM_CALCULATION"] = (
        _variable("AWS_REQUEST_CHECKSUM_CALCULATION", MARKER),
        "AWS_REQUEST_CHECKSUM_CALCULATION",
        "is not accepted by botocore",
    )


def _fail(kind: str, arguments: Mapping[str, Any]) -> tuple[str, CodePipelineJobError]:
    """Return when an error is raised, and the error.  No frame here holds what a setup plants."""
    settings = {"endpoint_url": "http://127.0.0.1:9", "config": Config(proxies={}), **arguments}
    if callable(settings["config"]):  # botocore writes into it
        settings["config"] = settings["config"]()
    stage = "create"
    try:
        with both.create(kind, **settings) as client:
            stage = "call"
            client.poll_for_third_party_jobs(_TYPE)
    except CodePipelineJobError as raised:
        return stage, raised
    raise AssertionError("nothing was raised")


@both.each_kind
@pytest.mark.parametrize("what", _CREDENTIALS)
def test_credentials_that_cannot_be_loaded_give_the_reason(what: str, kind: str, machine: Machine) -> None:
    """The error is a CredentialsError with the reason and the place, nothing was sent, and no secret shows."""
    setup, expected_stage, words = _CREDENTIALS[what]
    machine.apply(setup)
    del setup
    stage, raised = _fail(kind, {})
    text = str(raised)
    assert (type(raised), stage) == (CredentialsError, expected_stage), text
    assert [word for word in words if machine.fill(word) not in text] == [], text
    sent = ("PollForThirdPartyJobs", 0) if stage == "call" else (None, None)
    assert (raised.operation_name, raised.attempts) == sent
    assert raised.is_retry_safe is (what in _PASSING if stage == "call" else None)
    assert (raised.status_code, raised.request_id) == (None, None)
    assert machine.find_marker(raised) == []


@both.each_kind
@pytest.mark.parametrize("what", _SETTINGS)
def test_a_setting_that_cannot_be_used_is_named(what: str, kind: str, machine: Machine) -> None:
    """The error is an InvalidRequestError when the client is created; it names variable, key and file, or argument."""
    setup, parameter, rule = _SETTINGS[what]
    machine.apply(setup)
    arguments = setup.arguments
    del setup
    stage, raised = _fail(kind, arguments)
    del arguments
    assert isinstance(raised, InvalidRequestError), repr(raised)
    assert stage == "create"
    assert (raised.parameter, raised.rule) == (machine.fill(parameter), machine.fill(rule))
    assert machine.find_marker(raised) == []
