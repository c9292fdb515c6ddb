"""
Both kinds of client behind one face: what is true of the one must be true of the other.

A test that takes the kind of client from `KINDS` runs for each that is installed here.  The client for asyncio needs
aiobotocore, which asks for a botocore of its own, so it is there in the environment of tox's ``3.13-async`` only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, cast

import botocore.session

from cp_thirdparty import ThirdPartyJobClient

KINDS = ["blocking", *(["asyncio"] if find_spec("aiobotocore") else [])]


class _Face:
    """A client for asyncio that blocks: it has a loop of its own, which runs while a call does."""

    def __init__(self, make: Callable[[], Any]) -> None:
        loop = asyncio.new_event_loop()
        client = make()
        loop.run_until_complete(client.__aenter__())
        vars(self).update(_loop=loop, _asynchronous=client)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._asynchronous, name)
        if not asyncio.iscoroutinefunction(value):
            return value

        def call(*arguments: Any, **more: Any) -> Any:
            coroutine = value(*arguments, **more)
            del arguments, more  # this frame is in the traceback
            return self._loop.run_until_complete(coroutine)

        return call

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._asynchronous, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._asynchronous, name)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        with suppress(AttributeError):  # it was never made
            self._loop.run_until_complete(self._asynchronous.close())
            self._loop.close()


def session(kind: str, *credentials: str) -> Any:
    """Make a session of botocore or aiobotocore with these credentials."""
    if kind == "blocking":
        made: Any = botocore.session.Session()
    else:
        from aiobotocore.session import AioSession  # noqa: PLC0415 - not installed everywhere

        made = AioSession()
    made.set_credentials(*credentials)
    return made


def create(kind: str, **settings: Any) -> ThirdPartyJobClient:
    """Make a client of this kind with a client of its own."""
    if kind == "blocking":
        return ThirdPartyJobClient.create(**settings)
    from cp_thirdparty import AsyncThirdPartyJobClient  # noqa: PLC0415 - likewise

    return cast("ThirdPartyJobClient", _Face(lambda: AsyncThirdPartyJobClient.create(**settings)))
