"""The result of a run of a handler, with messages about an exception that it raised or about a timeout."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import dropwhile
from pathlib import Path
from traceback import walk_tb
from types import FrameType
from typing import Final

import attrs

from cp_thirdparty import exceptions
from cp_thirdparty._base.lazy import is_missing_extra
from cp_thirdparty._base.text import escape
from cp_thirdparty._core.truncation import truncate
from cp_thirdparty.enums import FailureType
from cp_thirdparty.exceptions import JobFailedError
from cp_thirdparty.exceptions._job_failures import ResultTypeError
from cp_thirdparty.models import FailureDetails
from cp_thirdparty.worker._failure_policy import FAILED, HANDLER_FAILURES, HandlerFailure
from cp_thirdparty.worker.results import Result, failure_details

# The maximum length of the message of an error.  It leaves room for the job id, which is added after the message and
# must not be removed when the complete text is truncated.
_MAX_CHARACTERS: Final = 4000
# The maximum length of class names and job ids.  Real ones are much shorter.
_LONGEST_NAME: Final = 100
# Limits for the exceptions and frames that are read, because exception groups and tracebacks can have thousands of
# parts.
_MAX_RELATED: Final = 100
_MAX_LOGGED: Final = 10
_MAX_FRAMES: Final = 20

# Modules of this library that call the handler.  Their frames are the same in each traceback, so they are left out.
_CALLERS: Final = frozenset(str(Path(__file__).with_name(name)) for name in ("runner.py", "_async_handlers.py"))

# The folder in which this library is installed.  It is removed from paths in the log, because it does not help readers.
_FOLDER: Final = f"{Path(__file__).parents[2]}{os.sep}"
_PACKAGE: Final = f"{Path(__file__).parents[1]}{os.sep}"

# Only errors of exactly these classes have messages that this library wrote.  The message of a partner's subclass may
# contain secrets.
_OURS: Final = frozenset({ResultTypeError, *(getattr(exceptions, name) for name in exceptions.__all__)})


@attrs.frozen(kw_only=True)
class HandlerRun:
    """
    The result of one run of a handler, and details for the log.

    It can be pickled, whatever the handler returned or raised.

    Attributes:
        result: The result to report.
        failure: The exceptions that the handler raised, for the log; empty if there are none, and for a correct
            `JobFailedError`.
        error: Class and message of the exception that determines the failure type, without the lines of code.
        where: The lines of code that lead to that exception.  If that exception was never raised, the lines that lead
            to the exception that ended the handler.  Empty if they are not known, or are all in this library.
        was_interrupted: Whether one of the exceptions is a `KeyboardInterrupt`.
        has_timed_out: Whether the handler was cancelled at its deadline, or because its result is no longer needed.
        clean_up: Removes the files and closes the connections of the job, and returns a message for each that remains.
            It is called after the report, because it may take long, and the result must not wait for it.  It must be
            called before the object is pickled.
    """

    result: Result
    failure: str = ""
    error: str = ""
    where: str = ""
    was_interrupted: bool = False
    has_timed_out: bool = False
    clean_up: Callable[[], tuple[str, ...]] = attrs.field(default=tuple, eq=False, repr=False)


def explain(failure: BaseException, job_id: str) -> HandlerRun:
    """
    Return the result of a handler that raised an exception, with messages for the customer and for the log.

    It searches the exception, the members of its group and its causes.  If one of them is a `JobFailedError`, the
    customer sees the message that the partner wrote for it.  Otherwise the first exception for whose class the table of
    handler failures has a row determines the message.
    """
    related = tuple(_related_exceptions(failure))
    written, is_correct = _find_job_failed_error(related)
    row, chosen = _choose_row(related)
    return HandlerRun(
        result=_report(row, chosen, job_id) if written is None else failure_details(written),
        failure="" if is_correct else "; from ".join(map(_describe_with_place, related[:_MAX_LOGGED])),
        error=_describe(chosen),
        where=format_place(walk_tb(chosen.__traceback__ or failure.__traceback__)),
        was_interrupted=any(isinstance(one, KeyboardInterrupt) for one in related),
    )


def explain_unreadable(failure: BaseException, obstacle: BaseException, job_id: str) -> HandlerRun:
    """Return the result of a handler whose exception cannot be read, because its own code raised `obstacle`."""
    return HandlerRun(
        result=_details(FailureType.JOB_FAILED, "The action's worker failed", job_id),
        failure=f"{class_name(failure)}, which raised {class_name(obstacle)} when it was read",
        error=class_name(failure),
        was_interrupted=type(obstacle) is KeyboardInterrupt,
    )


def timeout_message(seconds: float) -> str:
    """Return the message for the customer about a job that has not ended within so many seconds."""
    return f"The job took longer than {max(0.0, seconds):.0f} seconds."


def class_name(value: object) -> str:
    """Return the name of a value's class without running code of that class."""
    return printable(type.__dict__["__name__"].__get__(type(value)), _LONGEST_NAME)


def _find_job_failed_error(related: Iterable[BaseException]) -> tuple[JobFailedError | None, bool]:
    """Return the `JobFailedError` of the handler, or ``None``, and whether the handler has used it correctly."""
    for one in related:
        if isinstance(one, JobFailedError):
            message: object = one.message
            return one, isinstance(message, str) and message != ""
    for one in related:
        if isinstance(one, ResultTypeError) and isinstance(one.failure, JobFailedError):
            return one.failure, False
    return None, False


def _choose_row(related: Iterable[BaseException]) -> tuple[HandlerFailure, BaseException]:
    """Return the first exception whose class has a row in the table, with that row; otherwise the first exception."""
    choices = [(_find_row(one), one) for one in related]
    return next((choice for choice in choices if choice[0].error is not BaseException), choices[0])


def _find_row(error: BaseException) -> HandlerFailure:
    rows = (row for base in type(error).__mro__ for row in HANDLER_FAILURES if row.error is base and row.is_for(error))
    return next(rows)


def _report(row: HandlerFailure, error: BaseException, job_id: str) -> FailureDetails:
    sentence = row.sentence if type(error) in _OURS or "{message}" not in row.sentence else FAILED
    # The message is read only if it is shown, because the messages of other exceptions may contain secrets.
    message = printable(str(error), _MAX_CHARACTERS) if "{message}" in sentence else ""
    return _details(row.failure_type, sentence.format(message=message, error=class_name(error)), job_id)


def _details(kind: FailureType, sentence: str, job_id: str) -> FailureDetails:
    text = f"{sentence[:1].upper()}{sentence[1:]} (job {printable(job_id, _LONGEST_NAME)})."
    return FailureDetails(type=kind, message=text)


def _related_exceptions(failure: BaseException) -> Iterator[BaseException]:
    """Yield an exception, the members of its group and its causes, each once."""
    waiting: list[BaseException] = [failure]
    seen: set[int] = set()
    while waiting and len(seen) < _MAX_RELATED:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting.extend(_members(one))
        if one.__cause__ is not None:
            waiting.append(one.__cause__)


def _members(failure: BaseException) -> list[BaseException]:
    """
    Return the members of an exception group; an empty list for other exceptions.

    Groups are recognised by their attribute, because Python 3.10 has no class for them, and packages define their own.
    """
    members: object = getattr(failure, "exceptions", ())
    return [one for one in members if isinstance(one, BaseException)] if isinstance(members, tuple) else []


def _describe(error: BaseException) -> str:
    """Return the class name of an exception, with the message of the exception if this library wrote it."""
    is_ours = type(error) in _OURS or is_missing_extra(error)
    message = f": {printable(str(error), _MAX_CHARACTERS)}" if is_ours else ""
    return f"{class_name(error)}{message}"


def _describe_with_place(error: BaseException) -> str:
    place = "its start" if error.__traceback__ is None else format_place(walk_tb(error.__traceback__))
    return f"{_describe(error)} at {place}" if place else _describe(error)


def format_place(frames: Iterable[tuple[FrameType, int]]) -> str:
    """
    Return the lines of code that lead to a place, from the first line that is not of this library.

    An error that this library raises before it calls the handler, such as one about the configuration, has no place.
    """
    codes = ((frame.f_code, line) for frame, line in frames if frame.f_code.co_filename not in _CALLERS)
    lines = [
        f"{code.co_filename.removeprefix(_FOLDER)}:{line} {code.co_name}"
        for code, line in dropwhile(lambda found: found[0].co_filename.startswith(_PACKAGE), codes)
    ]
    return " > ".join(lines[-_MAX_FRAMES:])


def printable(text: str, maximum: int) -> str:
    """
    Return a string, truncated and escaped, that can be written to one line of a log or a console.

    Untrusted names, such as names of artifacts, may contain control characters.
    """
    return escape(truncate(text, maximum))
