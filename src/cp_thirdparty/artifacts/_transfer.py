"""How s3transfer runs here: with the context of the call in its threads, bounded memory, and a guarded callback."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from cp_thirdparty.artifacts._bounds import TransferStoppedError

__all__ = ["PART_BYTES", "CallbackFailed", "Progress", "Reporter", "check_callback", "transfers"]

_T = TypeVar("_T")

# Called with the number of bytes moved since the last call.
Progress = Callable[[int], object]

# boto3's own settings, which its users know, but for pieces of 512 KiB instead of 256, which make up for the time
# that a checksum takes (tests/benchmarks/artifacts.py); at most 16 of them wait to be written.
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
    """Run each task in a copy of its submitter's context, which marks that a call of ours runs."""

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        return super().submit(contextvars.copy_context().run, fn, *args, **kwargs)


@contextmanager
def transfers(s3: Any, files: Any = None) -> Generator[Any]:
    """
    Give a manager of transfers whose threads are over when the block is.

    Args:
        s3: The client.
        files: An ``OSUtils`` of s3transfer, which opens files; ``None`` for the default one.
    """
    from s3transfer.manager import TransferConfig, TransferManager  # noqa: PLC0415 - of an extra

    with TransferManager(s3, TransferConfig(**_SETTINGS), osutil=files, executor_cls=_ContextExecutor) as manager:
        yield manager


def check_callback(callback: Callable[..., object] | None, parameter: str) -> None:
    """
    Check a callback of a caller.

    Raises:
        TypeError: It cannot be called.
    """
    if callback is not None and not callable(callback):
        raise TypeError(f"{parameter}: must be callable, not {type(callback).__name__}")


class CallbackFailed(Exception):  # noqa: N818 - a signal that no caller sees
    """The caller's callback has raised; the reporter has what."""


class Reporter:
    """
    Calls the caller's callback, never from two threads at once, and ends work that must not go on.

    It is a subscriber of s3transfer.

    Args:
        progress: The callback, called with numbers of bytes.
        check: Raises if the work must end: `TransferCall.check_deadline`.

    Attributes:
        failure: What the callback has raised, with the traceback of the callback alone.

    Raises:
        TypeError: The callback cannot be called.
    """

    def __init__(self, progress: Progress | None, check: Callable[[], object]) -> None:
        check_callback(progress, "progress")
        self._progress = progress
        self.check = check
        self._lock = threading.Lock()
        self.failure: BaseException | None = None

    def on_progress(self, future: Any, bytes_transferred: int, **_: object) -> None:  # noqa: ARG002 - s3transfer's way
        """Report bytes, as s3transfer calls it."""
        self.add(bytes_transferred)

    def is_over(self) -> bool:
        """Return whether work must end."""
        try:
            self.check()
        except TransferStoppedError:
            return True
        return False

    def add(self, count: int) -> None:
        """
        Report bytes, and end work that must not go on.

        Raises:
            CallbackFailed: The callback has raised, now or before.
            TransferStoppedError: The work must end.
        """
        self.check()
        if self._progress is not None:
            with self._lock:
                self.call(self._progress, count)

    def call(self, callback: Callable[[_T], object], argument: _T) -> None:
        """
        Call a function of the caller, unless one has raised before.

        Raises:
            CallbackFailed: One has raised, now or before.
        """
        if self.failure is None:
            try:
                callback(argument)
            except BaseException as failure:  # noqa: BLE001 - raised again, in the caller's thread
                trace = failure.__traceback__
                self.failure = failure.with_traceback(None if trace is None else trace.tb_next)
        if self.failure is not None:
            raise CallbackFailed
