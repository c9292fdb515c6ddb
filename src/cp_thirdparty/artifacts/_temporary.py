"""
Temporary directories of this library: private, and removed even if their process was killed.

The process of a temporary directory has a lock on it, which ends with the process; a child of a fork does not keep it.
So `sweep` finds those of dead processes, also if a new process has the id of a dead one.  Where there are no such
locks, as on Windows, they stay.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
import time
import weakref
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, cast

import attrs
from typing_extensions import Self

from cp_thirdparty.artifacts._bounds import never
from cp_thirdparty.artifacts._open_directory import PRIVATE, OpenDirectory, remove_tree
from cp_thirdparty.exceptions import ArtifactError

if sys.platform != "win32":  # pragma: no branch - Windows has no such locks
    import fcntl

__all__ = ["PrivateDirectory", "SweepResult", "sweep"]

_PREFIX: Final = "cp-thirdparty-tmp-"

# A file in each of them.  Others may be able to rename a directory of the user, but not to create a file in it.
_MARKER: Final = ".cp-thirdparty-tmp"

_OTHERS: Final = 0o077

# The result of a job waits for the removal of its workspace, so that must end long before CodePipeline's timeout.
_REMOVAL_SECONDS: Final = 60.0
# A worker waits for the sweep when it starts, and a transfer for that of its directory.
_SWEEP_SECONDS: Final = 10.0
# A sweep asks after so many names of others whether the job is over.
_NAMES: Final = 1000
# A sweep of another process may take a new directory before it is locked.
_ATTEMPTS: Final = 10


class PrivateDirectory:
    """
    A new directory that only its user can read.  A context manager, which removes it.

    What dead processes have left beside it is removed first.

    Args:
        parent: The directory in which it is created.
        is_hidden: Whether its name starts with a dot.
        is_over: Returns whether the removal of what dead processes have left must end: the job has more urgent work.

    Attributes:
        path: Its absolute path.
        inner: The open directory.

    Raises:
        OSError: It cannot be created.
        cp_thirdparty.exceptions.ArtifactError: Another user has exchanged it.
    """

    def __init__(self, parent: Path, *, is_hidden: bool = True, is_over: Callable[[], bool] = never) -> None:
        self._parent_path = parent.absolute()  # the process may change its directory meanwhile
        self._is_closed = False
        self._parent = self.inner = _CLOSED
        _ALL.add(self)
        prefix = f".{_PREFIX}" if is_hidden else _PREFIX
        try:
            self._parent = OpenDirectory.open(parent)
            try:
                with suppress(OSError):  # the user may not list the parent
                    for _ in _sweep(self._parent, _SWEEP_SECONDS, is_over):
                        pass  # other users may have put any number of names there
                self._name = self._create(prefix)
            except BaseException:
                self._close_parent()
                raise
        except OSError as failure:
            raise OSError(failure.errno, failure.strerror, os.fspath(parent / prefix)) from None
        self.path = self._parent_path / self._name

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def create_file(self, name: str) -> BinaryIO:
        """Create a file, open for reading and writing."""
        return cast("BinaryIO", os.fdopen(self.inner.open_file(name, 0o666), "w+b"))

    def publish(self, name: str, to: str) -> None:
        """
        Move a file or directory in it to a name in its parent.  A file that is there is replaced.

        Raises:
            cp_thirdparty.exceptions.ArtifactError: Another user has exchanged this directory, its parent, or the file
                or directory after it was moved.
        """
        before = self.inner.status(name)
        if not self._is_in_place():
            raise self._exchange_error()
        descriptors = {"src_dir_fd": self.inner.descriptor, "dst_dir_fd": self._parent.descriptor}
        try:
            os.replace(self.inner.path + name, self._parent.path + to, **descriptors)  # noqa: PTH105 - pathlib has no descriptors
        except OSError as failure:
            raise OSError(failure.errno, failure.strerror, os.fspath(self._parent_path / to)) from None
        if not _is_same(self._parent_path / to, before):
            raise self._exchange_error()

    def close(self, *, seconds: float = _REMOVAL_SECONDS) -> str:
        """
        Remove it with its content, but nothing that another user has put in its place.

        Read-only directories are made writable, and symbolic links are removed, not followed.

        Args:
            seconds: After how many seconds the rest is left.

        Returns:
            What prevented the removal; empty if nothing is left, or this was called before.
        """
        if self._is_closed:
            return ""
        self._is_closed = True
        try:
            return remove_tree(self._parent, self._name, self.inner, last=_MARKER, is_over=_limit(seconds))
        finally:
            self._close_inner()
            self._close_parent()

    def forget(self) -> None:
        """In the child of a fork: close the descriptors, which keep the lock, and leave the directory to the parent."""
        self._is_closed = True
        self._close_inner()
        self._close_parent()

    # Another file may get the number of a closed descriptor, and another thread may fork at any moment.  So a number
    # is dropped before it is closed: the child of the fork must not close what is not ours.

    def _close_inner(self) -> None:
        opened, self.inner = self.inner, _CLOSED
        if opened is not _CLOSED:
            opened.close()

    def _close_parent(self) -> None:
        opened, self._parent = self._parent, _CLOSED
        if opened is not _CLOSED:
            opened.close()

    def _create(self, prefix: str) -> str:
        for _ in range(_ATTEMPTS):
            name = f"{prefix}{os.getpid()}-{secrets.token_hex(6)}"
            self._parent.make_directory(name, PRIVATE)
            try:
                if self._begin(name):
                    return name
            except BaseException:
                self._close_inner()
                with suppress(OSError):
                    self._parent.remove_directory(name)
                raise
            self._close_inner()
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    def _begin(self, name: str) -> bool:
        """Open, lock and mark a new directory, and return ``False`` if a sweep has taken it."""
        try:
            self.inner = self._parent.open_directory(name)  # it is known before it is locked: another thread may fork
        except FileNotFoundError:
            return False
        except NotADirectoryError:
            raise self._exchange_error() from None
        if self.inner.descriptor is not None and not self._take(name, self.inner, self.inner.descriptor):
            return False
        os.close(self.inner.open_file(_MARKER, 0o600))
        return True

    def _take(self, name: str, opened: OpenDirectory, descriptor: int) -> bool:
        """Check and lock a new directory, and return ``False`` if a sweep has taken it."""
        status = os.fstat(descriptor)
        if not _can_be_new(opened, descriptor, status):
            raise self._exchange_error()
        with suppress(PermissionError):  # by a file system without modes
            os.fchmod(descriptor, PRIVATE)  # whatever the umask is
        if _lock(descriptor) is False:
            return False
        with suppress(FileNotFoundError):
            return os.path.samestat(self._parent.status(name), status)
        return False

    def _is_in_place(self) -> bool:
        return self.inner.descriptor is None or _is_same(self.path, os.fstat(self.inner.descriptor))

    def _exchange_error(self) -> ArtifactError:
        return ArtifactError(f"another user has exchanged a file or directory in {os.fspath(self._parent_path)!a}")


# In place of a directory that is closed: a descriptor that no file has.
_CLOSED: Final = OpenDirectory("", -1)
_ALL: weakref.WeakSet[PrivateDirectory] = weakref.WeakSet()


def _forget_all() -> None:
    for each in tuple(_ALL):
        each.forget()


if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows
    os.register_at_fork(after_in_child=_forget_all)


def _can_be_new(opened: OpenDirectory, descriptor: int, status: os.stat_result) -> bool:
    """
    Whether this user can just have created a directory; another user may have moved one to its name.

    It is empty, its owner is this user, and its mode is private.  FAT, some network file systems and some mounts of
    containers store neither owners nor modes.  There it is enough that a new file has another owner, too, and that the
    mode cannot be changed: who may write there may change everything anyway.
    """
    if not _is_empty(descriptor) or (status.st_uid != os.geteuid() and _has_owners(opened)):
        return False
    mode = stat.S_IMODE(status.st_mode)
    return not mode & _OTHERS or not _has_modes(descriptor, mode)


def _has_owners(opened: OpenDirectory) -> bool:
    """Whether a file that this user creates in a directory has this user as its owner."""
    try:
        descriptor = opened.open_file(_MARKER, 0o600)
    except PermissionError:  # its owner, another user, keeps others out
        return True
    try:
        return os.fstat(descriptor).st_uid == os.geteuid()
    finally:
        os.close(descriptor)
        with suppress(FileNotFoundError):
            os.unlink(_MARKER, dir_fd=opened.descriptor)


def _has_modes(descriptor: int, mode: int) -> bool:
    """Whether the mode of a directory can be made private; its mode is as before then."""
    with suppress(PermissionError):
        os.fchmod(descriptor, PRIVATE)
    if os.fstat(descriptor).st_mode & _OTHERS:
        return False
    os.fchmod(descriptor, mode)
    return True


@attrs.frozen
class SweepResult:
    """
    The result of a sweep.

    Attributes:
        removed: Names of the directories of dead processes, which are removed.
        kept: Names of the others that it has come to, each with the reason.
    """

    removed: tuple[str, ...]
    kept: tuple[tuple[str, str], ...]


def sweep(directory: Path, *, seconds: float = _SWEEP_SECONDS) -> SweepResult:
    """
    Remove the temporary directories of dead processes of this user.

    Args:
        directory: Where to look for them; not in the directories in it.
        seconds: After how many seconds the rest is left.

    Raises:
        OSError: The directory cannot be listed.
    """
    removed: list[str] = []
    kept: list[tuple[str, str]] = []
    parent = OpenDirectory.open(directory)
    try:
        for name, reason in _sweep(parent, seconds):
            if reason:
                kept.append((name, reason))
            else:
                removed.append(name)
    finally:
        parent.close()
    return SweepResult(tuple(sorted(removed)), tuple(sorted(kept)))


def _limit(seconds: float) -> Callable[[], bool]:
    """Return a function that returns whether so many seconds have passed from now on."""
    ends_at = time.monotonic() + seconds
    return lambda: time.monotonic() >= ends_at


def _sweep(parent: OpenDirectory, seconds: float, is_over: Callable[[], bool] = never) -> Generator[tuple[str, str]]:
    """Yield the name of each directory that looks like one of a dead process, and why it is kept, if it is."""
    is_late = _limit(seconds)
    # Other users may have put any number of files there, also ones with such names.
    with closing(parent.names()) as names:
        for number, name in enumerate(names):
            is_ours = name.removeprefix(".").startswith(_PREFIX)
            # `is_over` runs code of the caller, which may be slow.
            if is_late() or ((is_ours or number % _NAMES == 0) and is_over()):
                return
            if is_ours:
                try:
                    reason = _remove_leftover(parent, name, lambda: is_late() or is_over())
                except OSError as failure:
                    reason = failure.strerror or type(failure).__name__
                yield name, reason


def _remove_leftover(parent: OpenDirectory, name: str, is_over: Callable[[], bool]) -> str:
    opened = parent.open_directory(name)
    try:
        if opened.descriptor is None:  # pragma: no cover - only Windows
            return "this system has no locks"
        if os.fstat(opened.descriptor).st_uid != os.geteuid():
            return "it belongs to another user"
        is_locked = _lock(opened.descriptor)
        if not is_locked:
            return "its file system has no locks" if is_locked is None else "its process is alive"
        if not _is_marked(opened, opened.descriptor):
            return "it was not created by cp-thirdparty"
        return remove_tree(parent, name, opened, last=_MARKER, is_over=is_over)
    finally:
        opened.close()


def _is_marked(opened: OpenDirectory, descriptor: int) -> bool:
    """Whether a directory is one of this library, or so new that it is empty."""
    try:
        return opened.status(_MARKER).st_uid == os.geteuid()
    except FileNotFoundError:
        return _is_empty(descriptor)


def _is_empty(descriptor: int) -> bool:
    """Whether a directory is empty.  One of another user may have any number of files."""
    with os.scandir(descriptor) as entries:
        return not any(True for _ in entries)  # after the first one, no other is read


def _lock(descriptor: int) -> bool | None:
    """Lock a directory, and return whether it is locked now; ``None`` if there are no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:  # another process has it
        return False
    except (OSError, NameError):
        return None
    return True


def _is_same(path: Path, status: os.stat_result) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.lstat(path), status)
    return False
