"""Sessions of our own have the event handlers of botocore that a client of CodePipeline may need."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest
from botocore import handlers

from cp_thirdparty._core.sessions import create_session

_EVENTS = sorted({event.partition(".")[0] for event, *_ in handlers.BUILTIN_HANDLERS} - {"docs"})


def _handlers(session: botocore.session.Session, event: str) -> list[Any]:
    emitter: Any = session.get_component("event_emitter")
    return list(emitter._emitter._handlers.prefix_search(event))


@pytest.mark.parametrize(
    "operation",
    [
        "codepipeline.GetThirdPartyJobDetails",
        "sso-oidc.CreateToken",
        "sso.GetRoleCredentials",
        "signin.CreateOAuth2Token",
        "sts.AssumeRole",
        "sts.AssumeRoleWithSAML",
        "sts.AssumeRoleWithWebIdentity",
    ],
)
def test_a_session_has_the_handlers_of_what_it_calls(operation: str) -> None:
    """For CodePipeline, and for each service that may be called for credentials, they are botocore's, in its order."""
    ours, theirs = create_session(None), botocore.session.Session()
    for event in _EVENTS:
        name = f"{event}.{operation}"
        assert _handlers(ours, name) == _handlers(theirs, name), name


def test_a_session_has_no_handlers_of_other_services() -> None:
    """Those of S3 and of the documentation are left out; those that a program has added are not."""
    session = create_session(None)
    assert _handlers(session, "choose-signer.s3.PutObject") == _handlers(session, "choose-signer.sts.AssumeRole")
    assert _handlers(session, "docs.request-params.s3.PutObject.complete-section") == []


@pytest.mark.parametrize("place", [[], [handlers.REGISTER_FIRST], [handlers.REGISTER_LAST]])
def test_a_session_has_the_handlers_that_tools_have_added(place: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Moto adds a handler to botocore's list, which returns the responses for each later session."""

    def respond(**_: object) -> None:
        return None

    added = [*handlers.BUILTIN_HANDLERS, ("before-send", respond, *place)]
    monkeypatch.setattr(handlers, "BUILTIN_HANDLERS", added)
    assert respond in _handlers(create_session(None), "before-send.codepipeline.PollForJobs")
