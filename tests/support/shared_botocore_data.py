"""All botocore sessions of a test process share what botocore computes again for each: tests create many clients."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import botocore.hooks
import botocore.loaders
import botocore.session
import pytest

_hooks: Any = botocore.hooks  # its stubs do not have the two private names
_alias_event_name: Callable[[object, str], str] = _hooks.EventAliaser._alias_event_name
_accepts_kwargs: Callable[[object], bool] = _hooks.accepts_kwargs


@functools.lru_cache(maxsize=4096)
def _find_alias(name: str) -> str:
    return _alias_event_name(_hooks.EventAliaser(_hooks.HierarchicalEmitter()), name)


@functools.lru_cache(maxsize=1024)
def _function_accepts_kwargs(function: FunctionType) -> bool:
    return _accepts_kwargs(function)


def _find_accepts_kwargs(handler: object) -> bool:
    # A method or a nested function would be kept alive here with its object, and tests look for what stays alive.
    if isinstance(handler, FunctionType) and handler.__closure__ is None and handler.__module__ == "botocore.handlers":
        return _function_accepts_kwargs(handler)
    return _accepts_kwargs(handler)


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
        patch.setattr(_hooks, "accepts_kwargs", _find_accepts_kwargs)
        yield
