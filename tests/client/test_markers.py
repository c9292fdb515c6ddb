"""
A planted marker in each secret of a call, and each place in which it must not appear afterwards.

DEBUG is on everywhere.  The calls succeed, fail in each modelled way, and meet faults; then no log, no error and no
traceback tool shows a marker.  The last tests show that the harness finds them where redaction is off.  Every fault of
`test_false_responses` is held against the surfaces that cost little; here the costly ones are, too.
"""

from __future__ import annotations

import http.client
import json
import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.config import Config
from support import both_clients as both
from support.marker_surfaces import ALL_ERROR_SURFACES, ERROR_TOOLS, catch, logged, reachable, with_locals
from support.scripted_server import ReceivedRequest, Response, ScriptedServer, error, ok
from support.slow_rows import slow_pairs

from cp_thirdparty import ActionTypeId, FailureDetails, FailureType, SecretStr, ThirdPartyJobClient

_STEM = "xMARK"
# The marker of each secret; the slash and the quote must be escaped in URLs and in JSON.
_MARKERS = {
    name: f'{_STEM}/"{name}"'
    for name in ("client_token", "access_key_id", "secret_access_key", "session_token", "configuration")
}
_CALLER = f"{_STEM}callersecret"
_CALLER_TOKEN = f"{_STEM}callertoken"

_DETAILS = {
    "jobDetails": {
        "id": "job-1",
        "data": {
            "actionConfiguration": {"configuration": {"ApiKey": _MARKERS["configuration"]}},
            "artifactCredentials": {
                "accessKeyId": _MARKERS["access_key_id"],
                "secretAccessKey": _MARKERS["secret_access_key"],
                "sessionToken": _MARKERS["session_token"],
            },
        },
        "nonce": "1",
    }
}
# A job of either kind.
_JOB = {**_DETAILS["jobDetails"], "accountId": "111122223333", "jobId": "job-1", "clientId": "client-1"}
_GOOD = {**_DETAILS, "jobs": [_JOB], "status": "InProgress"}
_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="p", version="1")
_TOKEN = SecretStr(_MARKERS["client_token"])

# Functions of no argument but the client, so that no frame of the test holds a marker in plain text.
_CALLS: dict[str, Callable[[ThirdPartyJobClient], object]] = {
    "poll": lambda client: client.poll_for_third_party_jobs(_TYPE),
    "get": lambda client: client.get_third_party_job_details("job-1", client_token=_TOKEN),
    "get with a str": lambda client: client.get_third_party_job_details(
        "job-1", client_token=_TOKEN.get_secret_value()
    ),
    "acknowledge": lambda client: client.acknowledge_third_party_job("job-1", nonce="1", client_token=_TOKEN),
    "succeed": lambda client: client.put_third_party_job_success_result("job-1", client_token=_TOKEN),
    "fail": lambda client: client.put_third_party_job_failure_result(
        "job-1", client_token=_TOKEN, failure_details=FailureDetails(type=FailureType.JOB_FAILED, message="no")
    ),
}
_CALLS.update(both.custom_calls("job-1"))


def _echo(request: ReceivedRequest) -> Response:
    """Return the token in every way of writing it."""
    token = str(request.parameters.get("clientToken", ""))
    quoted = token.replace("/", "%2F").replace('"', "%22")
    return error("ValidationException", f"Value '{token}' or {json.dumps(token)} or {quoted} at 'clientToken' failed")


def _always(response: Response) -> Callable[[ReceivedRequest], Response]:
    return lambda _: response


_WRONG = {"jobDetails": {**_DETAILS["jobDetails"], "nonce": [_MARKERS["session_token"]]}, "jobs": [_STEM], "status": {}}
_FAILURES: dict[str, Callable[[ReceivedRequest], Response]] = {
    **{
        code: _always(error(code, "no"))
        for code in (
            "ActionTypeNotFoundException",
            "InvalidClientTokenException",
            "InvalidJobException",
            "InvalidJobStateException",
            "InvalidNonceException",
            "JobNotFoundException",
            "OutputVariablesSizeExceededException",
            "AccessDeniedException",
            "ExpiredTokenException",
            "ThrottlingException",
        )
    },
    "echo": _echo,
    "skewed clock": _always(
        error("InvalidSignatureException", _CALLER_TOKEN, headers={"Date": "Mon, 01 Jan 2024 00:00:00 GMT"})
    ),
    "HTML": _always(Response(body=f"<html>{_STEM}</html>".encode())),
    "cut": _always(Response(body=json.dumps(_GOOD).encode()[:250])),
    "403 page": _always(Response(body=f"<html>{_STEM}</html>".encode(), status=403, headers={})),
    "502": _always(Response(body=b"", status=502)),
    "wrong shapes": _always(ok(_WRONG)),
}


class _Responses:
    """What the server returns now."""

    now: Callable[[ReceivedRequest], Response] = staticmethod(_always(ok(_GOOD)))


@pytest.fixture(scope="module")
def endpoint_url() -> Iterator[str]:
    """Give a server that returns what `_Responses` holds."""

    def respond(request: ReceivedRequest) -> Response:
        return _Responses.now(request)

    with ScriptedServer(respond) as server:
        yield server.endpoint_url


def _session(kind: str = "blocking") -> Any:
    return both.session(kind, "AKIDEXAMPLE", _CALLER, _CALLER_TOKEN)


_ONCE = Config(retries={"mode": "standard", "total_max_attempts": 1})


@pytest.fixture(scope="module")
def client(kind: str, endpoint_url: str) -> ThirdPartyJobClient:
    """Give a client with markers in its own credentials."""
    return both.create(kind, region_name="us-east-1", endpoint_url=endpoint_url, session=_session(kind), config=_ONCE)


def _is_in(name: str, text: str) -> bool:
    """Return whether a string has the marker of a secret, however it is quoted, escaped and quoted again."""
    return re.search(rf"{_STEM}(/|%2F)[\\\"']*(%22)?{name}", text) is not None


@pytest.mark.parametrize(("failure", "surface"), slow_pairs(_FAILURES, ALL_ERROR_SURFACES))
def test_no_error_shows_a_secret(failure: str, surface: str, client: ThirdPartyJobClient) -> None:
    """No tool that shows errors finds a marker in any error of any operation."""
    _Responses.now = staticmethod(_FAILURES[failure])
    shown: list[str] = []
    for name, call in _CALLS.items():
        if surface in ERROR_TOOLS and name not in ("get with a str", "succeed", "GetJobDetails"):
            continue
        raised = catch(lambda call=call: call(client))  # type: ignore[misc]
        shown += [] if raised is None else [ALL_ERROR_SURFACES[surface](raised)]
    assert [text for text in shown if _STEM in text] == []


@pytest.mark.slow
@pytest.mark.parametrize("secret", [*_MARKERS, "caller"])
def test_no_log_and_no_output_shows_a_secret(
    secret: str, client: ThirdPartyJobClient, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """With DEBUG on everywhere, neither log nor output nor warnings have a marker, in success and in failure."""
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for response in (_always(ok(_GOOD)), *_FAILURES.values()):
            _Responses.now = staticmethod(response)
            for call in _CALLS.values():
                catch(lambda call=call: call(client))  # type: ignore[misc]
    shown = logged(caplog.records) + "".join(capfd.readouterr()) + repr([str(warning.message) for warning in warned])
    assert len(caplog.records) > 100
    if secret == "caller":
        assert [part for part in (_CALLER, _CALLER_TOKEN) if part in shown] == []
    else:
        assert not _is_in(secret, shown)


def test_the_debug_level_of_http_client_shows_no_secret(
    kind: str,
    client: ThirdPartyJobClient,
    endpoint_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """``http.client`` prints all that it sends and receives, but nothing of a call of ours without wire logs."""
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    for response in (_always(ok(_GOOD)), _echo):
        _Responses.now = staticmethod(response)
        for call in _CALLS.values():
            catch(lambda call=call: call(client))  # type: ignore[misc]
    assert "".join(capfd.readouterr()) == ""
    _Responses.now = staticmethod(_always(ok(_GOOD)))
    if kind == "blocking":
        settings: dict[str, Any] = {"region_name": "us-east-1", "endpoint_url": endpoint_url, "session": _session()}
        with both.create(kind, wire_logs=True, **settings) as loud:
            _CALLS["poll"](loud)
        assert "send:" in capfd.readouterr().out
        raw: Any = _session().create_client("codepipeline", region_name="us-east-1", endpoint_url=endpoint_url)
        raw.poll_for_third_party_jobs(actionTypeId=dict.fromkeys(("category", "owner", "provider", "version"), "1"))
        assert "send:" in capfd.readouterr().out


def test_ctrl_c_shows_no_secret(client: ThirdPartyJobClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interruption comes out of a call without the frames of the call."""
    _Responses.now = staticmethod(_always(ok(_GOOD)))

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    raw: Any = client._client
    monkeypatch.setattr(raw._endpoint.http_session, "send", interrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        _CALLS["get"](client)
    assert _STEM not in with_locals(caught.value) + reachable(caught.value)


# --- the harness finds markers where redaction is off ----------------------------------------------------------------


@pytest.mark.parametrize("surface", ["traceback with locals", "reachable locals", *ERROR_TOOLS])
def test_the_harness_finds_a_secret_of_botocore(surface: str, endpoint_url: str) -> None:
    """The same error of botocore alone shows the token on every surface that shows frames."""
    _Responses.now = staticmethod(_FAILURES["JobNotFoundException"])
    raw: Any = _session().create_client("codepipeline", region_name="us-east-1", endpoint_url=endpoint_url)
    try:
        raw.get_third_party_job_details(jobId="job-1", clientToken=_TOKEN.get_secret_value())
    except raw.exceptions.ClientError:
        assert _STEM in ALL_ERROR_SURFACES[surface](_current())


def _current() -> BaseException:
    raised = sys.exc_info()[1]
    assert raised is not None
    return raised


@pytest.mark.parametrize("secret", [*_MARKERS, "caller"])
def test_the_harness_finds_a_secret_in_wire_logs(
    secret: str, kind: str, endpoint_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With ``wire_logs=True`` the log has every secret."""
    caplog.set_level(logging.DEBUG)
    _Responses.now = staticmethod(_always(ok(_GOOD)))
    loud = both.create(kind, region_name="us-east-1", endpoint_url=endpoint_url, session=_session(kind), wire_logs=True)
    _CALLS["get"](loud)
    shown = logged(caplog.records)
    assert _CALLER_TOKEN in shown if secret == "caller" else _is_in(secret, shown)
