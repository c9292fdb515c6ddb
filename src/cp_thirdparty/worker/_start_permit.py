"""
Whether a handler in a process pool has begun.

A pool does not report when a task begins: its future counts as running while it still waits for a process.  So each
task has a file, its permit.  Who removes the file decides: the process, which then calls the handler, or the worker,
after which the handler is never called.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

# Why a handler was not called whose worker has removed the permit.
WITHDRAWN: Final = "the handler was not called in time"


def create_permit() -> str | None:
    """Create a permit; return ``None`` if there is no place for a file."""
    try:
        descriptor, path = tempfile.mkstemp(prefix="cp-thirdparty-start-")
    except OSError:
        return None
    os.close(descriptor)
    return path


def take_permit(path: str) -> bool:
    """Remove a permit; return ``False`` if the other side has removed it, or may have."""
    try:
        Path(path).unlink()
    except OSError:
        return False
    return True


def is_taken(path: str) -> bool:
    """Return whether a permit was removed."""
    return not Path(path).exists()
