"""Checks of the arguments of `JobWorker` and `JobProcessor`, so that mistakes are found before the first claim."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final

from cp_thirdparty._base.frames import hide_arguments
from cp_thirdparty.configuration import check_configuration_class
from cp_thirdparty.worker._kinds import JobKind
from cp_thirdparty.worker.journal import Journal
from cp_thirdparty.worker.tokens import TokenLookup

# The names of the methods and properties that a journal must have, from its protocol.
_JOURNAL: Final = tuple(name for name in vars(Journal) if not name.startswith("_"))


@hide_arguments
def read_tokens(client_tokens: Any, kind: JobKind) -> TokenLookup | None:
    """
    Check the argument `client_tokens` and create the look-up of client tokens; ``None`` for jobs that have no token.

    Raises:
        TypeError: The argument is not valid.
    """
    if not kind.has_client_token:
        if client_tokens is not None:
            raise TypeError("client_tokens: must not be given for custom jobs, which have none")
        return None
    if client_tokens is None:
        raise TypeError(
            "client_tokens: must be given for third-party jobs: a mapping from client id to token, or a callable"
        )
    if not isinstance(client_tokens, Mapping):
        problem = _find_problem(client_tokens, "one positional argument, the client id", "", is_object=True)
        if problem:
            raise TypeError(f"client_tokens: must be a mapping from client id to token, or a callable; {problem}")
    try:
        return TokenLookup(client_tokens)
    except TypeError:
        rule = "must be a mapping from client id to token, and each token a str or a SecretStr"
        raise TypeError(f"client_tokens: {rule}") from None


def check_handling(
    kind: JobKind, *, connect: Any, handler: Any, configuration: Any, artifacts: Any, on_event: Any
) -> None:
    """
    Check the arguments that the worker and the processor share.

    Raises:
        TypeError: An argument has a wrong type, or is a callable that does not accept the arguments it is called with.
    """
    check_callable("connect", connect, "no arguments")
    check_callable("handler", handler, "one positional argument, the job", None, is_object=True)
    if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
        raise TypeError("handler: must return a result; a generator function does not")
    if configuration is not None:
        _check_configuration(configuration)
    if artifacts is not None:
        if kind.has_client_token:
            takes = "a client, the details of a job and client_token="
            check_callable("artifacts", artifacts, takes, None, None, client_token=None)
        else:
            check_callable("artifacts", artifacts, "a client and the details of a job", None, None)
    if on_event is not None:
        check_callable("on_event", on_event, "one positional argument, the event", None)


def check_metrics(metrics: object) -> None:
    """
    Check that `metrics` is ``None``, or has a `record` method that accepts an event and an action type.

    Raises:
        TypeError: The method is missing or does not accept these arguments.
    """
    if metrics is not None:
        record: object = getattr(metrics, "record", None)
        check_callable("metrics.record", record, "two positional arguments, the event and the action type", None, None)


def check_callable(
    name: str, value: Any, takes: str, *arguments: object, is_object: bool = False, **keywords: object
) -> None:
    """
    Check that a value can be called with the given arguments.

    Args:
        name: The name of the checked argument, for the error message.
        value: The value to check.
        takes: A description of the arguments that the callable must accept, for the error message.
        arguments: The positional arguments of the call.
        is_object: Whether the value must not be a class.
        keywords: The keyword arguments of the call.

    Raises:
        TypeError: The value is not callable, or does not accept these arguments.
    """
    problem = _find_problem(value, takes, *arguments, is_object=is_object, **keywords)
    if problem:
        raise TypeError(f"{name}: must be a callable; {problem}")


def check_instance(name: str, value: object, kind: type[Any]) -> None:
    """
    Check the type of an argument.

    Raises:
        TypeError: The value is not an instance of `kind`.
    """
    if not isinstance(value, kind):
        raise TypeError(f"{name}: must be of type {kind.__name__}, not {type(value).__name__}")


def check_journal(journal: Any) -> None:
    """
    Check that an object is a journal.

    Raises:
        TypeError: The object is a class, or a method or property of `Journal` is missing.
    """
    if isinstance(journal, type):
        raise TypeError(f"journal: must be an object, not the class {journal.__name__}")
    missing = [name for name in _JOURNAL if not _has(journal, name)]
    if missing:
        raise TypeError(f"journal: must be a journal; {type(journal).__name__} has no {', '.join(missing)}")


def check_count(name: str, value: object) -> None:
    """
    Check an argument that must be an integer of at least 1.

    Raises:
        TypeError: The value is not an ``int``.
        ValueError: The value is less than 1.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}: must be an int, not {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name}: must be at least 1")


def _has(value: object, name: str) -> bool:
    try:
        return hasattr(value, name)
    except Exception:  # noqa: BLE001 - a property of the partner's journal raised, so the journal has it
        return True


def _check_configuration(configuration: Any) -> None:
    try:
        check_configuration_class(configuration)
    except TypeError as failure:
        problem = str(failure)
    except NameError as failure:
        problem = f"{configuration.__qualname__}: the name {failure.name} in its annotations is not known"
    except Exception as failure:  # noqa: BLE001 - annotations are the partner's code, which may raise any exception
        problem = f"{configuration.__qualname__}: its annotations raise {type(failure).__name__}"
    else:
        return
    raise TypeError(f"configuration: {problem}")


def _find_problem(value: Any, takes: str, *arguments: object, is_object: bool = False, **keywords: object) -> str:
    """
    Return the reason why a value cannot be called with the given arguments.

    The reason is empty if the value can be called with them, or if its signature is not known.
    """
    if not callable(value):
        return f"{type(value).__name__} is not callable"
    if isinstance(value, type) and is_object:
        return f"{value.__name__} is a class: pass an object or a function"
    try:
        signature = inspect.signature(value)
    except Exception:  # noqa: BLE001 - built-in functions have none, and `__signature__` of the partner's objects may raise
        return ""
    try:
        signature.bind(*arguments, **keywords)
    except TypeError:
        return f"it must take {takes}"
    return ""
