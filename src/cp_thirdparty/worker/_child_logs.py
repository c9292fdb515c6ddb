"""Log records of the process of a job: its side sends them, and the worker's side writes them."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import attrs

from cp_thirdparty._core.truncation import truncate

# Bounds of one record, so that a child cannot fill the memory of its worker.
_MOST_CHARACTERS: Final = 20_000
_MOST_EXTRAS: Final = 50

# What each record has.  The rest was given as `extra`.
_STANDARD: Final = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})
_SENT: Final = ("name", "levelno", "pathname", "lineno", "funcName", "created", "process", "processName", "threadName")


@attrs.frozen
class Levels:
    """
    The levels of the worker's loggers, with which a child decides what to send.

    Attributes:
        disabled: The level of `logging.disable`.
        levels: Level by name of the logger; that of the root has the name ``""``.
    """

    disabled: int
    levels: Mapping[str, int]

    @classmethod
    def read(cls) -> Levels:
        """Return the levels of this process."""
        loggers = {
            name: each for name, each in tuple(_manager().loggerDict.items()) if isinstance(each, logging.Logger)
        }
        levels = {name: each.level for name, each in loggers.items() if each.level != logging.NOTSET}
        return cls(_manager().disable, {**levels, "": logging.getLogger().level})

    def apply(self) -> None:
        """Set the levels of this process."""
        logging.disable(self.disabled)
        for name, level in self.levels.items():
            logging.getLogger(name).setLevel(level)


class RecordSender(logging.Handler):
    """
    Sends the log records of a child.

    Args:
        send: Sends one record.
        job_id: The job, for records that have none.
    """

    def __init__(self, send: Callable[[bytes], object], job_id: str) -> None:
        super().__init__()
        self._send = send
        self._job_id = job_id
        self._process_id = os.getpid()

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record; a copy of the process that a handler has forked sends none."""
        if os.getpid() != self._process_id:
            return
        try:
            data = self._encode(record)
        except Exception:  # noqa: BLE001 - the message or its arguments are wrong
            self.handleError(record)
            return
        with suppress(OSError):  # the worker has ended
            self._send(data)

    def _encode(self, record: logging.LogRecord) -> bytes:
        fields: dict[str, Any] = {name: getattr(record, name) for name in _SENT}
        fields["msg"] = truncate(record.getMessage(), _MOST_CHARACTERS)
        if record.exc_info:
            fields["exc_text"] = truncate(logging.Formatter().formatException(record.exc_info), _MOST_CHARACTERS)
        extras = {"job_id": self._job_id, **_extras(record)}
        return json.dumps({**fields, "extras": dict(list(extras.items())[:_MOST_EXTRAS])}).encode()


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    """Return what was given as `extra`, if it is simple; other values could hold anything."""
    found: dict[str, Any] = {}
    for name, value in vars(record).items():
        if name not in _STANDARD and (value is None or type(value) in (bool, int, float, str)):
            found[name] = truncate(value, _MOST_CHARACTERS) if isinstance(value, str) else value
    return found


def write_record(data: bytes) -> None:
    """Write a record that a child has sent.  What is wrong with it, and what handlers of logs raise, is dropped."""
    with suppress(BaseException):
        fields = json.loads(data)
        extras = {name: value for name, value in fields.pop("extras").items() if name not in _STANDARD}
        known = {name: fields[name] for name in (*_SENT, "msg")}
        record = logging.makeLogRecord({**known, "exc_text": fields.get("exc_text"), **extras})
        record.levelname = logging.getLevelName(record.levelno)
        record.msecs = float(int(record.created % 1 * 1000))
        record.module = os.path.splitext(os.path.basename(record.pathname))[0]  # noqa: PTH119, PTH122 - of any system
        record.filename = os.path.basename(record.pathname)  # noqa: PTH119 - of any system
        logger = _find_logger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)


def _find_logger(name: str) -> logging.Logger:
    """Return the logger of this name, or the nearest one above it: a child must not create loggers here."""
    while name:
        found = _manager().loggerDict.get(name)
        if isinstance(found, logging.Logger):
            return found
        name = name.rpartition(".")[0]
    return logging.getLogger()


def _manager() -> logging.Manager:
    return logging.Logger.manager
