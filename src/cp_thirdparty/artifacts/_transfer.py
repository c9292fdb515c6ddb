"""
Run s3transfer with our settings.

Its memory is limited.  Its threads get the context variables of the code that starts the transfer.  The callback never
runs in two threads at once.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

from cp_thirdparty.artifacts._bounds import TransferStoppedError

_T = TypeVar("_T")

# Called with the number of bytes transferred since the last call.
ProgressCallback = Callable[[int], object]

# The same as boto3's defaults, except `io_chunksize` (512 KiB instead of 256 KiB) and `max_io_queue_size` (16 instead
# of 100).  The larger chunks save about as much time as the comparison of checksums costs (measured by
# tests/benchmarks/artifacts.py).  The shorter queue limits the memory: at most 16 chunks wait to be written.
PART_BYTES: Final = 8 << 20
_SETTINGS: Final = {
    "multipart_threshold": PART_BYTES,
    "multipart_chunksize": PART_BYTES,
    "max_request_concurrency": 10,
    "max_io_queue_size": 16,
    "io_chunksize": 512 << 10,
    "num_download_attempts": 5,
}


class _ContextExecutor(ThreadPoolExecutor):
    """
    A thread pool that runs each task with a copy of the context variables of the code that submitted it.

    The context variables contain the limits of the current transfer.
    """

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        return super().submit(contextvars.copy_context().run, fn, *args, **kwargs)


def open_transfer_manager(s3: Any, os_utils: Any = None) -> Any:
    """
    Create a transfer manager for a ``with`` block.  All its threads end before the block is left.

    It opens files with ``os_utils``, an ``OSUtils`` of s3transfer; ``None`` for the default.
    """
    from s3transfer.manager import TransferConfig, TransferManager  # noqa: PLC0415 - optional dependency

    return TransferManager(s3, TransferConfig(**_SETTINGS), osutil=os_utils, executor_cls=_ContextExecutor)


def check_callback(callback: Callable[..., object] | None, parameter: str) -> None:
    """Raise `TypeError` if a callback of the caller is neither callable nor ``None``."""
    if callback is not None and not callable(callback):
        raise TypeError(f"{parameter}: must be callable, not {type(callback).__name__}")


class CallbackFailed(Exception):  # noqa: N818 - a signal that no caller sees
    """The caller's callback has raised an exception, which is stored as `Reporter.failure`."""


class Reporter:
    """
    Calls the caller's callback with numbers of bytes, and raises an error if the work must be aborted.

    The callback is never called from two threads at the same time.  A reporter is also a subscriber of s3transfer.

    Args:
        progress: The caller's callback; ``None`` if there is none.
        check: A function that raises an error if the work must be aborted, such as `TransferCall.check_deadline`.

    Attributes:
        failure: The exception that the callback raised.  Its traceback has only the frames of the callback.

    Raises:
        TypeError: `progress` is neither callable nor ``None``.
    """

    def __init__(self, progress: ProgressCallback | None, check: Callable[[], object]) -> None:
        check_callback(progress, "progress")
        self._progress = progress
        self.check = check
        self._lock = threading.Lock()
        self.failure: BaseException | None = None

    def on_progress(self, future: Any, bytes_transferred: int, **_: object) -> None:  # noqa: ARG002 - set by s3transfer
        """Report transferred bytes.  s3transfer calls this method."""
        self.report_bytes(bytes_transferred)

    def is_aborted(self) -> bool:
        """Return whether the work must be aborted."""
        try:
            self.check()
        except TransferStoppedError:
            return True
        return False

    def report_bytes(self, count: int) -> None:
        """
        Report bytes to the callback.

        Raises:
            CallbackFailed: The callback has raised an exception, now or in an earlier call.
            TransferStoppedError: The work must be aborted.
        """
        self.check()
        if self._progress is not None:
            with self._lock:
                self.call(self._progress, count)

    def call(self, callback: Callable[[_T], object], argument: _T) -> None:
        """
        Call one of the caller's callbacks.  Do not call it if any callback has already failed.

        Raises:
            CallbackFailed: A callback has raised an exception, now or in an earlier call.
        """
        if self.failure is None:
            try:
                callback(argument)
            except BaseException as failure:  # noqa: BLE001 - raised again, in the caller's thread
                trace = failure.__traceback__
                self.failure = failure.with_traceback(None if trace is None else trace.tb_next)
        if self.failure is not None:
            raise CallbackFailed
