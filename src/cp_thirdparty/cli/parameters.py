"""What the user has given, from the command line, documents, files, the environment and the terminal, to values."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from cp_thirdparty.cli.errors import CommandError
from cp_thirdparty.cli.operations import Operation, Parameter
from cp_thirdparty.converter import structure
from cp_thirdparty.exceptions import ResponseDecodeError
from cp_thirdparty.secrets import SecretStr

__all__ = ["TOKEN_VARIABLE", "document_of", "model_of", "text_of", "values_of"]

TOKEN_VARIABLE = "CP_THIRDPARTY_CLIENT_TOKEN"  # noqa: S105 - a name

_FILE = "file://"

_DIGITS = 3  # of a percentage: Python refuses to read a number of thousands


def values_of(operation: Operation, given: Mapping[str, Any], *, document: Any, prompt: bool | None) -> dict[str, Any]:
    """
    Gather the parameters of a call.  What the command line has overrides the document.

    Args:
        operation: The operation.

        given: Texts and numbers of the command line by the service's names; ``None`` where there was none.

        document: The input document, or ``None``.

        prompt: Whether to ask for what is missing; ``None`` to ask for a client token only, if there is a terminal.

    Raises:
        CommandError: A parameter is missing or cannot be read.

    .. versionadded:: 0.1.0
    """
    known = {parameter.member: parameter for parameter in operation.parameters}
    document = {} if document is None else document
    if not isinstance(document, dict) or not document.keys() <= known.keys():
        raise CommandError(f"the input document must be an object with nothing but {', '.join(known)}")
    values = {name: value for name, value in document.items() if value is not None}
    values |= {name: _read(known[name], value) for name, value in given.items() if value is not None}
    for parameter in operation.parameters:
        if parameter.member not in values:
            value = _missing(parameter, prompt=prompt)
            if value is not None:
                values[parameter.member] = value
    return {name: _value(known[name], value) for name, value in values.items()}


def text_of(value: str, name: str) -> str:
    """
    Return a text, or what is in the file that it names by ``file://``.

    Args:
        value: What the user has given.

        name: The option, for errors.

    Raises:
        CommandError: The file cannot be read.

    .. versionadded:: 0.1.0
    """
    if not value.startswith(_FILE):
        return value
    try:
        return Path(value[len(_FILE) :]).expanduser().read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or "no such file"
    except (ValueError, RuntimeError):
        reason = "it is no UTF-8 text, or there is no such file"
    raise CommandError(f"{name}: the file cannot be read: {reason}")


def model_of(kind: type[Any], value: str, name: str) -> Any:
    """
    Make a model of JSON or of ``NAME=VALUE,NAME=VALUE``.

    Args:
        kind: A class of `cp_thirdparty.models`.

        value: What the user has given.

        name: The option, for errors.

    Raises:
        CommandError: It has another form.

    .. versionadded:: 0.1.0
    """
    return _model(kind, _structure(value, name), name)


def _read(parameter: Parameter, value: Any) -> Any:
    if parameter.is_secret:
        return SecretStr(_line(value, parameter.option))
    if parameter.kind is int:
        return value
    text = text_of(value, parameter.option)
    return text if parameter.kind is str else _structure(text, parameter.option)


def _line(value: str, name: str) -> str:
    """Return a secret: itself, or the first line of standard input or of a file."""
    text = sys.stdin.readline() if value == "-" else text_of(value, name)
    return text.removesuffix("\n").removesuffix("\r")


def _missing(parameter: Parameter, *, prompt: bool | None) -> Any:
    if parameter.is_secret and os.environ.get(TOKEN_VARIABLE):
        return SecretStr(os.environ[TOKEN_VARIABLE])
    if not parameter.is_required:
        return None
    if prompt is False or not (prompt or parameter.is_secret):
        raise CommandError(f"{parameter.option}: is needed")
    if not sys.stdin.isatty():
        raise CommandError(f"{parameter.option}: is needed, and there is no terminal to ask")
    return _read(parameter, click.prompt(parameter.option, hide_input=parameter.is_secret, err=True))


def _value(parameter: Parameter, value: Any) -> Any:
    if parameter.is_secret and isinstance(value, str):
        return SecretStr(value)
    if parameter.kind in (str, int):
        return value  # the client checks it
    return _model(parameter.kind, value, parameter.option)


def _model(kind: type[Any], value: Any, name: str) -> Any:
    try:
        return structure(value, kind)
    except ResponseDecodeError as error:
        problems = error.problems
    raise CommandError(f"{name}: {'; '.join(problems)}")


def _structure(text: str, name: str) -> Any:
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise CommandError(f"{name}: is malformed JSON") from None
    words = shlex.shlex(text, posix=True)
    words.whitespace, words.whitespace_split, words.commenters = ",", True, ""
    try:
        pairs = [word.partition("=") for word in words]
    except ValueError:
        pairs = []
    if not pairs or not all(equals and key for key, equals, _ in pairs):
        raise CommandError(f"{name}: must be JSON or NAME=VALUE,NAME=VALUE")
    return {key: _number(key, value) for key, _, value in pairs}


def _number(key: str, value: str) -> str | int:
    """Return the one member that is a number as one."""
    return int(value) if key == "percentComplete" and value.isdecimal() and len(value) <= _DIGITS else value


def document_of(as_json: str | None, as_yaml: str | None) -> Any:
    """
    Read an input document.

    Args:
        as_json: JSON, or ``file://PATH``.

        as_yaml: Likewise YAML.

    Raises:
        CommandError: It is malformed, cannot be read, or there are two.

    .. versionadded:: 0.1.0
    """
    if as_json is not None and as_yaml is not None:
        raise CommandError("--cli-input-json and --cli-input-yaml: there can be only one of them")
    if as_json is not None:
        document, is_read = _json(text_of(as_json, "--cli-input-json"))
    elif as_yaml is not None:
        document, is_read = _yaml(text_of(as_yaml, "--cli-input-yaml"))
    else:
        return None
    if not is_read:
        raise CommandError(f"--cli-input-{'json' if as_yaml is None else 'yaml'}: is malformed")
    return document


def _json(text: str) -> tuple[Any, bool]:
    try:
        return json.loads(text), True
    except (ValueError, RecursionError):
        return None, False


def _yaml(text: str) -> tuple[Any, bool]:
    import yaml  # noqa: PLC0415 - few calls need it

    try:
        return yaml.safe_load(text), True
    except (yaml.YAMLError, ValueError, RecursionError):
        return None, False
