"""Read the parameters of a call from the command line, the input document, the environment and the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

import attrs
import click

from cp_thirdparty._base.text import show
from cp_thirdparty._cli.documents import parse_structure, read_text
from cp_thirdparty._cli.errors import ENVIRONMENT, CommandError
from cp_thirdparty._cli.operations import TOKEN_VARIABLE, Operation, Parameter
from cp_thirdparty._cli.output import is_terminal
from cp_thirdparty._structuring.strict_input import read_input, unknown_member
from cp_thirdparty.secrets import SecretStr

# Maximum number of problems in an error message, which must remain readable in one line.
_MAX_PROBLEMS = 5


def read_parameters(
    operation: Operation, given: Mapping[str, Any], *, document: tuple[str, Any] | None, prompt: bool | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """
    Return the values of all parameters of a call, and the source of each value for error messages.

    The keys of both mappings are the names of the parameters in CodePipeline's API.  The source is an option, or a
    member of the input document.  The command line overrides the document.

    Args:
        operation: The operation to call.
        given: The values of the options on the command line.
        document: The name of the option with the input document, and the document; ``None`` if there is none.
        prompt: Whether to ask the user for missing parameters; ``None`` to ask only for the client token.
    """
    option, content = document or ("", {})
    values = _document_values(operation, content, option)
    names = {member: f"{option}: {member}" for member in values}
    for parameter in operation.parameters:
        member, typed = parameter.member, given.get(parameter.member)
        if typed is None and member in values:
            continue
        value = read_one(parameter, typed, prompt=prompt)
        if value is not None:
            values[member], names[member] = value, parameter.option
    return values, names


def _document_values(operation: Operation, document: Any, option: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise CommandError(f"{option}: must be an object")
    known = {parameter.member: parameter for parameter in operation.parameters}
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, content in document.items():
        if name in known and known[name].kind is dict:
            values[name] = content  # the client checks the content
        elif name in known:
            value, found = read_input(content, known[name].kind, name)
            values[name] = SecretStr(value) if known[name].is_secret and not found else value
            problems.extend(found)
        else:
            problems.append(unknown_member(name, list(known)))
    _raise_if_any(option, problems)
    return values


def _raise_if_any(name: str, problems: Sequence[str]) -> None:
    if problems:
        more = len(problems) - _MAX_PROBLEMS
        shown = [*problems[:_MAX_PROBLEMS], *([f"and {more} more"] if more > 0 else [])]
        raise CommandError(f"{name}: {'; '.join(shown)}")


def read_model(kind: type[Any], value: str, name: str) -> Any:
    """Create a model from a string or file with JSON or ``NAME=VALUE,NAME=VALUE``."""
    model, problems = read_input(parse_structure(read_text(value, name), kind, name), kind)
    _raise_if_any(name, problems)
    return model


def find_token(
    store: str | None, client_id: str | None, *, is_token_given: bool, has_client_token: bool = True
) -> SecretStr | None:
    """Find the client token of a client in the store of a worker; return ``None`` if no store is given."""
    if not has_client_token and (is_token_given or store is not None or client_id is not None):
        raise CommandError("--client-token, --client-tokens, --client-id: custom jobs have no client token")
    if store is None:
        if client_id is not None:
            raise CommandError("--client-id: has an effect with --client-tokens only")
        return None
    if is_token_given:
        raise CommandError("--client-token and --client-tokens: there can be only one of them")
    if client_id is None:
        raise CommandError("--client-id: is required with --client-tokens")
    from cp_thirdparty.worker._isolation import Raised, call_partner  # noqa: PLC0415 - it loads the worker
    from cp_thirdparty.worker.tokens import NoTokenError, TokenLookup  # noqa: PLC0415 - few calls use it

    option = "--client-tokens"
    found = load_object(store, option, kind="callable or mapping", example="examplescan.worker:tokens")
    tokens = call_partner(found) if isinstance(found, type) else found
    lookup = tokens if isinstance(tokens, Raised) else call_partner(TokenLookup, tokens)
    if isinstance(lookup, Raised):
        raise CommandError(f"{option}: must be a callable or a mapping from client id to client token")
    token = lookup.find(client_id)
    if isinstance(token, NoTokenError):
        reason = "" if token.error is None else f" ({token.error})"
        names = ", ".join(f"environment variable {show(name)}" for name in lookup.read_environment(client_id))
        place = f"client id {show(client_id)}{names and ', '}{names}"
        raise CommandError(f"{option}: {token}{reason}; {place}", ENVIRONMENT)
    return token


def read_one(parameter: Parameter, value: Any, *, prompt: bool | None) -> Any:
    """Return the value of one parameter from its option, from the environment, or from a prompt."""
    return _missing(parameter, prompt=prompt) if value is None else _read(parameter, value)


def _read(parameter: Parameter, value: Any) -> Any:
    if isinstance(value, SecretStr) or parameter.kind is int:
        return value
    if parameter.is_secret:
        return SecretStr(_read_secret(value, parameter.option))
    if attrs.has(parameter.kind):
        return read_model(parameter.kind, value, parameter.option)
    text = read_text(value, parameter.option)
    return parse_structure(text, dict, parameter.option) if parameter.kind is dict else text


def _read_secret(value: str, name: str) -> str:
    """Return a secret: the value itself, a line of standard input for ``-``, or the content of a file."""
    if value == "-" and sys.stdin is None:
        raise CommandError(f"{name}: standard input is closed")
    text = sys.stdin.readline() if value == "-" else read_text(value, name)
    return text.removeprefix("\ufeff").removesuffix("\n").removesuffix("\r")


def load_object(reference: str, name: str, *, kind: str, example: str) -> Any:
    """Import the object with the name ``MODULE:NAME``.  The module may also be in the working directory."""
    module, _, path = reference.partition(":")
    if not (module and path):
        raise CommandError(f"{name}: must be a module and a {kind}, such as {example}")
    sys.path.insert(0, str(Path.cwd()))  # the working directory, as with `python -m`
    try:
        return reduce(getattr, path.split("."), import_module(module))
    except AttributeError:
        problem = f"the module has no such {kind}"
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the import runs code of the user
        missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        problem = (
            f"there is no module {missing}" if missing else f"the import of the module raises {type(error).__name__}"
        )
    finally:
        sys.path.pop(0)
    raise CommandError(f"{name}: {problem}")


def _missing(parameter: Parameter, *, prompt: bool | None) -> Any:
    if parameter.is_secret and os.environ.get(TOKEN_VARIABLE):
        return SecretStr(os.environ[TOKEN_VARIABLE])
    if not parameter.is_required:
        return None
    if prompt is False or not (prompt or parameter.is_secret):
        raise CommandError(f"{parameter.option}: is required")
    if not is_terminal(sys.stdin):
        raise CommandError(f"{parameter.option}: is required, and there is no terminal to ask")
    return _read(parameter, click.prompt(parameter.option, hide_input=parameter.is_secret, err=True))
