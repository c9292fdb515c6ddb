"""
Cache the endpoint of a botocore client that this library has created.

Botocore evaluates its endpoint rules for each call, which takes 3.5 % of the time of a call.  The rules of CodePipeline
depend only on the settings of the client, so the result is always the same.
"""

from __future__ import annotations

from typing import Any, Final

import botocore.session
from botocore.client import BaseClient

# The parameters of endpoint rules that botocore reads from the settings of the client.
_CLIENT_PARAMETERS: Final = frozenset({"Endpoint", "Region", "UseDualStack", "UseFIPS"})


def cache_endpoints(client: BaseClient, session: botocore.session.Session) -> None:
    """
    Let a client resolve its endpoint only once for each operation, if the endpoint depends only on its settings.

    This library must have created the session, because event handlers of a caller's session may change endpoints.
    """
    internals: Any = client
    resolver = getattr(internals, "_ruleset_resolver", None)
    if resolver is None:
        return
    rules: Any = session.get_component("data_loader").load_service_model("codepipeline", "endpoint-rule-set-1")
    if rules["parameters"].keys() <= _CLIENT_PARAMETERS:
        internals._ruleset_resolver = _CachingResolver(resolver)  # noqa: SLF001 - no public way


class _CachingResolver:
    """Wrap the endpoint resolver of a client, and cache its results."""

    def __init__(self, resolver: Any) -> None:
        self._resolver = resolver
        self._known: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._resolver, name)

    def construct_endpoint(self, operation_model: Any, **settings: Any) -> Any:
        name: str = operation_model.name
        if name not in self._known:
            self._known[name] = self._resolver.construct_endpoint(operation_model=operation_model, **settings)
        return self._known[name]
