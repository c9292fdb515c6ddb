"""Log records from the process of a job: the process sends the records, and the worker writes them."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import attrs

from cp_thirdparty._core.truncation import truncate

# Limits of one record.  The worker ends a job that sends a message longer than `_processes._LONGEST_MESSAGE`.
_MAX_STRING_CHARACTERS: Final = 20_000  # of the message, of the traceback and of each extra
_MAX_EXTRAS_CHARACTERS: Final = 45_000  # of the names and values of all extras together
_MAX_NAME_CHARACTERS: Final = 4_096  # of each copied attribute; a path on Linux has at most 4,096 bytes
_MAX_EXTRAS: Final = 50

# The attributes that each record has.  All other attributes were passed as `extra`.
_STANDARD: Final = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})
# These attributes are copied.  `write_record` computes others from them, such as `levelname`.
_COPIED_ATTRIBUTES: Final = (
    "name",
    "levelno",
    "pathname",
    "lineno",
    "funcName",
    "created",
    "process",
    "processName",
    "threadName",
)


@attrs.frozen
class Levels:
    """
    The levels of the worker's loggers.  A child process uses them to decide which records to send.

    Attributes:
        disabled_level: The level that was set with `logging.disable`.
        levels: The level of each logger that has its own level, by name; the root logger has the name ``""``.
    """

    disabled_level: int
    levels: Mapping[str, int]

    @classmethod
    def read(cls) -> Levels:
        """Return the levels of the loggers in this process."""
        loggers = {
            name: each for name, each in tuple(_manager().loggerDict.items()) if isinstance(each, logging.Logger)
        }
        levels = {name: each.level for name, each in loggers.items() if each.level != logging.NOTSET}
        return cls(_manager().disable, {**levels, "": logging.getLogger().level})

    def apply(self) -> None:
        """Set these levels in this process."""
        logging.disable(self.disabled_level)
        for name, level in self.levels.items():
            logging.getLogger(name).setLevel(level)


class RecordSender(logging.Handler):
    """
    Sends the log records of a child process to the worker.

    Args:
        send: Sends one encoded record.
        job_id: The id of the job, which is added to records that have no `job_id`.
    """

    def __init__(self, send: Callable[[bytes], object], job_id: str) -> None:
        super().__init__()
        self._send = send
        self._job_id = job_id
        self._process_id = os.getpid()

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record; do nothing in a process that was forked after this `RecordSender` was created."""
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
        fields: dict[str, Any] = {
            name: _shorten(getattr(record, name), _MAX_NAME_CHARACTERS) for name in _COPIED_ATTRIBUTES
        }
        fields["msg"] = _shorten(record.getMessage())
        if record.exc_info:
            fields["exc_text"] = _shorten(logging.Formatter().formatException(record.exc_info))
        extras = {"job_id": self._job_id, **_extras(record)}
        return json.dumps({**fields, "extras": dict(list(extras.items())[:_MAX_EXTRAS])}).encode()


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    """Return the attributes that were passed as `extra` and have a simple type; other values may contain secrets."""
    found: dict[str, Any] = {}
    left = _MAX_EXTRAS_CHARACTERS
    for name, value in vars(record).items():
        if name not in _STANDARD and (value is None or type(value) in (bool, int, float, str)):
            short = _shorten(value)
            size = len(name) + len(str(short))
            if size <= left:
                found[name] = short
                left -= size
    return found


def _shorten(value: Any, maximum: int = _MAX_STRING_CHARACTERS) -> Any:
    return truncate(value, maximum) if isinstance(value, str) else value


def write_record(data: bytes) -> None:
    """Write a record that a child process has sent; ignore invalid records and exceptions of log handlers."""
    with suppress(BaseException):
        fields = json.loads(data)
        extras = {name: value for name, value in fields.pop("extras").items() if name not in _STANDARD}
        known = {name: fields[name] for name in (*_COPIED_ATTRIBUTES, "msg")}
        record = logging.makeLogRecord({**known, "exc_text": fields.get("exc_text"), **extras})
        record.levelname = logging.getLevelName(record.levelno)
        record.msecs = float(int(record.created % 1 * 1000))
        record.module = os.path.splitext(os.path.basename(record.pathname))[0]  # noqa: PTH119, PTH122 - a plain string operation
        record.filename = os.path.basename(record.pathname)  # noqa: PTH119 - a plain string operation
        logger = _find_logger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)


def _find_logger(name: str) -> logging.Logger:
    """
    Return the logger with this name, or its nearest existing parent.

    No logger is created, because a child process could otherwise create any number of loggers in the worker.
    """
    while name:
        found = _manager().loggerDict.get(name)
        if isinstance(found, logging.Logger):
            return found
        name = name.rpartition(".")[0]
    return logging.getLogger()


def _manager() -> logging.Manager:
    return logging.Logger.manager
