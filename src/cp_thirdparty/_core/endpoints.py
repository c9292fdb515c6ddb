"""
Remember the endpoint of a client of our own.

Botocore evaluates the rules of an endpoint for each call, which takes 3.5 % of a call, although the rules of
CodePipeline depend on nothing but the settings of the client.
"""

from __future__ import annotations

from typing import Any, Final

import botocore.session
from botocore.client import BaseClient

# Botocore takes these parameters of rules from the settings of the client.
_OF_CLIENT: Final = frozenset({"Endpoint", "Region", "UseDualStack", "UseFIPS"})


def remember(client: BaseClient, session: botocore.session.Session) -> None:
    """
    Let a client resolve its endpoint once for each operation, if nothing but its settings decides on it.

    The session must be our own: event handlers of the caller may change endpoints.
    """
    internals: Any = client
    resolver = getattr(internals, "_ruleset_resolver", None)
    if resolver is None:
        return
    rules: Any = session.get_component("data_loader").load_service_model("codepipeline", "endpoint-rule-set-1")
    if rules["parameters"].keys() <= _OF_CLIENT:
        internals._ruleset_resolver = _CachingResolver(resolver)  # noqa: SLF001 - no public way


class _CachingResolver:
    """Wrap the resolver of a client."""

    def __init__(self, resolver: Any) -> None:
        self._resolver = resolver
        self._known: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._resolver, name)

    def construct_endpoint(self, operation_model: Any, **settings: Any) -> Any:
        """Return the endpoint of an operation, as botocore resolved it before."""
        name: str = operation_model.name
        if name not in self._known:
            self._known[name] = self._resolver.construct_endpoint(operation_model=operation_model, **settings)
        return self._known[name]
