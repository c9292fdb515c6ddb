"""
Keep the secrets of this library's calls out of botocore's logs.

A filter of a logger does not get the records of child loggers.  Therefore the filter is added to each logger that may
log secrets.  It changes records only while a call of this library runs: it keeps a message that is a constant in the
code that logs it, and removes arguments, composed strings and tracebacks.
"""

from __future__ import annotations

import logging
import sys
from types import FrameType
from typing import Final

from cp_thirdparty._core.call import current_call

# The loggers, and the secrets that botocore 1.35 to 1.44 log there for a call or while they load its credentials.
_LOGGERS: Final = tuple(
    logging.getLogger(name)
    for name in (
        "botocore.auth",  # canonical requests, signatures
        "botocore.credentials",  # a response from which credentials could not be read
        "botocore.endpoint",  # parameters, requests
        "botocore.handlers",  # the body of an error that S3 sends with status 200
        "botocore.history",  # the traceback of a recorder that failed
        "botocore.httpsession",  # the traceback of a request that failed
        "botocore.monitoring",  # errors that echo a parameter; the traceback of a monitor that failed
        "botocore.parsers",  # responses
        "botocore.retries.standard",  # a header of the response
        "botocore.retryhandler",  # the traceback of a request that failed
        "botocore.tokens",  # the traceback of a sign-in that failed
        "botocore.utils",  # what the metadata services of instances and containers return
        "urllib3.connection",  # headers that cannot be read
        "s3transfer.download",
        "s3transfer.futures",
        "s3transfer.tasks",
        "s3transfer.utils",
        "aiobotocore.credentials",  # the same as botocore's modules of these names
        "aiobotocore.tokens",
        "aiobotocore.utils",
        "aiohttp.client",  # cookies that cannot be read
        "aiohttp.internal",
    )
)
# urllib3 1.26 logs headers that cannot be read here, with a traceback.  Its other records have no secrets, but only
# method, host, path and status.
_CONNECTION_POOL: Final = logging.getLogger("urllib3.connectionpool")


def install() -> None:
    """Install the filters, if they are not installed.  This is fast enough to be done before each call."""
    for logger in _LOGGERS:
        if not logger.filters or logger.filters[0] is not _withhold:
            logger.removeFilter(_withhold)
            logger.filters.insert(0, _withhold)  # it must run before the filters of the program
    if _CONNECTION_POOL.filters[:1] != [_withhold_failure]:
        _CONNECTION_POOL.removeFilter(_withhold_failure)
        _CONNECTION_POOL.filters.insert(0, _withhold_failure)


def _withhold(record: logging.LogRecord) -> bool:
    call = current_call()
    if call is not None and not call.wire_logs:
        if not _is_constant(record):
            record.msg = "[withheld]"
        elif record.args or record.exc_info:
            record.msg = f"{record.msg} [withheld]"
        record.args = None
        record.exc_info = record.exc_text = None
    return True


def _withhold_failure(record: logging.LogRecord) -> bool:
    return _withhold(record) if record.exc_info else True


def _is_constant(record: logging.LogRecord) -> bool:
    """Return whether the message is a constant in the code that logged it; an f-string is not a constant."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - as `logging` itself does
    while frame is not None and (frame.f_code.co_filename, frame.f_lineno) != (record.pathname, record.lineno):
        frame = frame.f_back
    texts = () if frame is None else (text for text in frame.f_code.co_consts if isinstance(text, str))
    return isinstance(record.msg, str) and record.msg in texts
