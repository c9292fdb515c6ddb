"""
Botocore's DEBUG log without the secrets of our calls.

A filter on a parent logger does not see the records of its children, so it sits on exactly the loggers that tell what
is sent and received.  It keeps a record's template and withholds its arguments, and only while a call of ours runs.
"""

from __future__ import annotations

import logging
from typing import Final

from cp_thirdparty._botocore.call import CURRENT

# What botocore 1.35 to 1.44 were seen to log there: parameters, requests, responses, canonical requests, signatures.
# The last one is that of the legacy retry mode, which logs exceptions with their traceback.
_LOGGERS: Final = tuple(
    logging.getLogger(f"botocore.{name}")
    for name in ("endpoint", "parsers", "auth", "credentials", "httpsession", "retryhandler")
)


def install() -> None:
    """Put the filter where it belongs, if it is not there.  Cheap enough to do before each call."""
    for logger in _LOGGERS:
        if logger.filters[:1] != [_withhold]:
            logger.removeFilter(_withhold)
            logger.filters.insert(0, _withhold)  # before those of the program, which see what comes to them


def _withhold(record: logging.LogRecord) -> bool:
    call = CURRENT.get()
    if call is not None and not call.wire_logs:
        record.msg = f"{record.msg} [withheld]" if isinstance(record.msg, str) and record.args else "[withheld]"
        record.args = None
        record.exc_info = record.exc_text = None
    return True
