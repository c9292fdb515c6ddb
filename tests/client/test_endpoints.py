"""A client of our own remembers its endpoint, and only if nothing but its settings decides on it."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import botocore.session
import pytest
from botocore.config import Config
from botocore.regions import EndpointRulesetResolver
from support.scripted_server import ReceivedRequest, ScriptedServer, ok

from cp_thirdparty import ThirdPartyJobClient
from cp_thirdparty._core import endpoints


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Serve acknowledgements."""

    def respond(_: ReceivedRequest) -> Any:
        return ok({"status": "InProgress"})

    with ScriptedServer(respond) as server:
        yield server


def _count_resolutions(server: ScriptedServer, **settings: Any) -> int:
    """Return how often botocore resolves the endpoint in three calls."""
    original = EndpointRulesetResolver.construct_endpoint
    with (
        ThirdPartyJobClient.create(
            region_name="us-east-1", endpoint_url=server.endpoint_url, config=Config(proxies={}), **settings
        ) as client,
        mock.patch.object(EndpointRulesetResolver, "construct_endpoint", autospec=True) as resolve,
    ):
        resolve.side_effect = original
        for _ in range(3):
            client.acknowledge_third_party_job("job-1", nonce="3", client_token="token")
    return resolve.call_count


def test_an_endpoint_is_resolved_once(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call resolves it, and the next ones use the result."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made up")
    assert (_count_resolutions(server), len(server.requests)) == (1, 3)


def test_handlers_of_the_caller_may_change_endpoints(server: ScriptedServer) -> None:
    """With a session of the caller, whose handlers may choose another endpoint, each call resolves it."""
    session = botocore.session.Session()
    session.set_credentials("AKIDEXAMPLE", "made up")
    assert _count_resolutions(server, session=session) == 3


def _session(*parameters: str) -> Any:
    rules: Any = {"parameters": {name: {} for name in parameters}}
    loader = SimpleNamespace(load_service_model=lambda *_: rules)
    return SimpleNamespace(get_component=lambda _: loader)


def test_rules_that_depend_on_more_are_evaluated_each_time() -> None:
    """Rules of a later version may depend on the account or on a parameter of the operation."""
    resolver = object()
    client: Any = SimpleNamespace(_ruleset_resolver=resolver)
    endpoints.cache_endpoints(client, _session("Region", "AccountId"))
    assert client._ruleset_resolver is resolver


def test_a_client_without_rules_stays_as_it_is() -> None:
    """Data files of the user may have none."""
    client: Any = SimpleNamespace(_ruleset_resolver=None)
    endpoints.cache_endpoints(client, _session("Region"))
    assert client._ruleset_resolver is None


def test_everything_else_is_left_to_the_resolver() -> None:
    """What botocore asks of the resolver besides endpoints comes from the resolver."""
    client: Any = SimpleNamespace(_ruleset_resolver=SimpleNamespace(other=5))
    endpoints.cache_endpoints(client, _session("Region", "Endpoint"))
    assert client._ruleset_resolver.other == 5
