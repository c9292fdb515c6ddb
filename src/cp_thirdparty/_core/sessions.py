"""Create botocore's session for a client of CodePipeline, and prepare each session that this library has created."""

from __future__ import annotations

import getpass
import sys
from typing import Any, Final

import botocore.session
from botocore import handlers

from cp_thirdparty._core import data_loader

# Services that neither a client of CodePipeline nor the loading of its credentials calls.  Two of three event handlers
# of botocore are for one of these services, or for the generation of botocore's documentation.
_UNUSED_SERVICES: Final = frozenset({"cloudwatch", "ec2", "glacier", "rds", "s3"})
_DOCUMENTATION: Final = "docs"


class NoTerminalError(Exception):
    """A profile needs an MFA code, and there is no terminal to ask for it."""


def create_session(profile_name: str | None) -> botocore.session.Session:
    """
    Create a prepared session for a client of CodePipeline.

    It has only the event handlers that such a client may need.  To register the others, and to copy them for the
    client, would take 3 % of the time from the start of a process to the result of its first call.
    """
    session = botocore.session.Session(profile=profile_name, include_builtin_handlers=False)
    events = session.get_component("event_emitter")
    methods = {handlers.REGISTER_FIRST: events.register_first, handlers.REGISTER_LAST: events.register_last}
    for event, handler, *places in handlers.BUILTIN_HANDLERS:
        if _is_needed(event):
            register = methods.get(places[0] if places else None, events.register)
            register(event, handler)
    prepare(session)
    return session


def _is_needed(event: str) -> bool:
    kind, _, target = event.partition(".")
    return kind != _DOCUMENTATION and target.partition(".")[0] not in _UNUSED_SERVICES


def prepare(session: botocore.session.Session) -> None:
    """Prepare a session that this library has created."""
    _never_prompt(session)
    data_loader.install(session)


def _never_prompt(session: botocore.session.Session) -> None:
    """
    Let a session that this library has created ask for an MFA code only if standard input is a terminal.

    Otherwise botocore would read the code from the standard input of the program, or wait for input there.
    """
    create = session._create_credential_resolver  # type: ignore[attr-defined] # noqa: SLF001 - no public way

    def create_resolver() -> Any:
        resolver = create()
        resolver.get_provider("assume-role")._prompter = _ask_on_terminal  # noqa: SLF001 - no public way
        return resolver

    session.lazy_register_component("credential_provider", create_resolver)


def _ask_on_terminal(prompt: str) -> str:
    if sys.stdin is None or not sys.stdin.isatty():
        raise NoTerminalError
    return getpass.getpass(prompt)
