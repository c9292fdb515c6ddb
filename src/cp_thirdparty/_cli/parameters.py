"""The parameters of a call, from the command line, the input document, the environment and the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import click

from cp_thirdparty._cli.documents import parse_structure, read_text
from cp_thirdparty._cli.errors import CommandError
from cp_thirdparty._cli.operations import Operation, Parameter
from cp_thirdparty._input import read_input, unknown_member
from cp_thirdparty.secrets import SecretStr

__all__ = ["TOKEN_VARIABLE", "UserInput", "read_model", "read_parameters"]

TOKEN_VARIABLE = "CP_THIRDPARTY_CLIENT_TOKEN"  # noqa: S105 - a name

# An error stays readable on one line.
_MOST_PROBLEMS = 5


@attrs.frozen(kw_only=True)
class UserInput:
    """
    The parameters of a call.

    Attributes:
        values: The values by the service's names.

        names: What the user wrote to give each of them, by the service's names: an option, or a place in a document.

    .. versionadded:: 0.2.0
    """

    values: Mapping[str, Any]
    names: Mapping[str, str]


def read_parameters(
    operation: Operation, given: Mapping[str, Any], *, document: tuple[str, Any] | None, prompt: bool | None
) -> UserInput:
    """
    Return the parameters of a call.  The command line overrides the document.

    Args:
        operation: The operation.

        given: Strings and numbers of the command line by the service's names; ``None`` where there was none.

        document: The option that gives the input document and the document, or ``None``.

        prompt: Whether to ask for what is missing; ``None`` to ask for a client token only, if there is a terminal.

    Raises:
        CommandError: A parameter is missing or cannot be read, or there is an unknown one.

    .. versionadded:: 0.2.0
    """
    option, content = document or ("", {})
    values = _document_values(operation, content, option)
    names = {member: f"{option}: {member}" for member in values}
    for parameter in operation.parameters:
        member, typed = parameter.member, given.get(parameter.member)
        value = _read(parameter, typed) if typed is not None else None
        if value is None and member not in values:
            value = _missing(parameter, prompt=prompt)
        if value is not None:
            values[member], names[member] = value, parameter.option
    return UserInput(values=values, names=names)


def _document_values(operation: Operation, document: Any, option: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise CommandError(f"{option}: must be an object")
    known = {parameter.member: parameter for parameter in operation.parameters}
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, content in document.items():
        if name in known and known[name].kind is dict:
            values[name] = content  # the client checks it
        elif name in known:
            value, found = read_input(content, known[name].kind, name)
            values[name] = SecretStr(value) if known[name].is_secret and not found else value
            problems.extend(found)
        else:
            problems.append(unknown_member(name, list(known)))
    _check(option, problems)
    return values


def _check(name: str, problems: Sequence[str]) -> None:
    if problems:
        more = len(problems) - _MOST_PROBLEMS
        shown = [*problems[:_MOST_PROBLEMS], *([f"and {more} more"] if more > 0 else [])]
        raise CommandError(f"{name}: {'; '.join(shown)}")


def read_model(kind: type[Any], value: str, name: str) -> Any:
    """
    Create a model of JSON or of ``NAME=VALUE,NAME=VALUE``.

    Args:
        kind: A class of `cp_thirdparty.models`.

        value: What the user has given.

        name: The option, for errors.

    Raises:
        CommandError: It has another form.
    """
    model, problems = read_input(parse_structure(value, kind, name), kind)
    _check(name, problems)
    return model


def _read(parameter: Parameter, value: Any) -> Any:
    if parameter.is_secret:
        return SecretStr(_line(value, parameter.option))
    if parameter.kind is int:
        return value
    text = read_text(value, parameter.option)
    if parameter.kind is dict:
        return parse_structure(text, dict, parameter.option)
    return text if parameter.kind is str else read_model(parameter.kind, text, parameter.option)


def _line(value: str, name: str) -> str:
    """Return a secret: itself, or the first line of standard input or of a file."""
    text = sys.stdin.readline() if value == "-" else read_text(value, name)
    return text.removesuffix("\n").removesuffix("\r")


def _missing(parameter: Parameter, *, prompt: bool | None) -> Any:
    if parameter.is_secret and os.environ.get(TOKEN_VARIABLE):
        return SecretStr(os.environ[TOKEN_VARIABLE])
    if not parameter.is_required:
        return None
    if prompt is False or not (prompt or parameter.is_secret):
        raise CommandError(f"{parameter.option}: is required")
    if not sys.stdin.isatty():
        raise CommandError(f"{parameter.option}: is required, and there is no terminal to prompt on")
    return _read(parameter, click.prompt(parameter.option, hide_input=parameter.is_secret, err=True))
