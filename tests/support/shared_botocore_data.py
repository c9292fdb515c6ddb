"""All botocore sessions of a test process share what botocore computes again for each: tests create many clients."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from types import FunctionType, MethodType
from typing import Any

import botocore.hooks
import botocore.loaders
import botocore.session
import pytest

_hooks: Any = botocore.hooks  # its stubs do not have the private names
_alias_event_name: Callable[[object, str], str] = _hooks.EventAliaser._alias_event_name
_accepts_kwargs: Callable[[object], bool] = _hooks.accepts_kwargs


@functools.lru_cache(maxsize=4096)
def _find_alias(name: str) -> str:
    return _alias_event_name(_hooks.EventAliaser(_hooks.HierarchicalEmitter()), name)


def _read_flag(handler: object) -> bool:
    """Return whether an event handler has `**kwargs`; botocore creates a complete signature to find out."""
    function = handler.__func__ if isinstance(handler, MethodType) else handler
    if isinstance(function, FunctionType):
        return bool(function.__code__.co_flags & inspect.CO_VARKEYWORDS)
    return _accepts_kwargs(handler)


def _copy_nodes(_: object, nodes: dict[str, Any]) -> dict[str, Any]:
    """Copy the tree of event handlers of a session; botocore calls `copy.copy` four times for each event."""
    return {name: _copy_node(node) for name, node in nodes.items()}


def _copy_node(node: dict[str, Any]) -> dict[str, Any]:
    children = {name: _copy_node(child) for name, child in node["children"].items()}
    values = node["values"] and _hooks.NodeList(*(handlers.copy() for handlers in node["values"]))
    return {"chunk": node["chunk"], "children": children, "values": values}


@pytest.fixture(scope="session", autouse=True)
def shared_botocore_data() -> Iterator[None]:
    """
    Give the sessions of one data path one loader, and look at the names and the handlers of events once.

    A loader parses 2 MB of JSON for a client; a session spends 4 of 5 ms on the names of 120 events.
    """
    with pytest.MonkeyPatch.context() as patch:
        create = functools.lru_cache(maxsize=4)(botocore.loaders.create_loader)
        patch.setattr(botocore.session, "create_loader", create)
        patch.setattr(_hooks.EventAliaser, "_alias_event_name", lambda _, name: _find_alias(name))
        patch.setattr(_hooks, "accepts_kwargs", _read_flag)
        patch.setattr(_hooks._PrefixTrie, "_recursive_copy", _copy_nodes)
        yield
