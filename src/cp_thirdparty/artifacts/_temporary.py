"""
Create temporary directories that only their user can read, and remove them even if their process was killed.

The process that creates a temporary directory holds a lock on it.  The operating system releases the lock when the
process ends, and the child of a fork does not keep it.  So `sweep` can find the directories of processes that have
ended, even if a new process has the same process id.  Systems without such locks, such as Windows, keep the directories
of killed processes.
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
from typing import BinaryIO, Final, cast

import attrs
from typing_extensions import Self

from cp_thirdparty.artifacts._bounds import never
from cp_thirdparty.artifacts._open_directory import PRIVATE, OpenDirectory, remove_tree
from cp_thirdparty.exceptions import ArtifactError

if sys.platform != "win32":  # pragma: no branch - Windows has no such locks
    import fcntl

_PREFIX: Final = "cp-thirdparty-tmp-"

# The name of a file in each temporary directory.  It proves that this library created the directory: other users may be
# able to rename a directory, but they cannot create a file in a private one.
_MARKER: Final = ".cp-thirdparty-tmp"

_GROUP_AND_OTHERS: Final = 0o077  # the permissions of all users except the owner

# The slot of a job is free, and a worker that stops can end, only after the removal of the job's workspace.
_REMOVAL_SECONDS: Final = 60.0
# A worker waits for a sweep when it starts, and a transfer waits for a sweep of the directory that it writes to.
_SWEEP_SECONDS: Final = 10.0
# After this many names of other programs, a sweep calls `is_aborted`.
_NAMES: Final = 1000
# How many times a new directory is created if the sweep of another process removes it before it is locked.
_ATTEMPTS: Final = 10


class PrivateDirectory:
    """
    A new directory that only its user can read.  As a context manager, it removes the directory at the end.

    Before, it removes temporary directories in the same parent whose processes have ended.

    Args:
        parent: The directory in which the new directory is created.
        is_hidden: Whether the name of the new directory starts with a dot.
        is_aborted: Returns whether the removal of old temporary directories must stop, as the work was aborted.

    Attributes:
        path: The absolute path of the new directory.
        opened: The open new directory.

    Raises:
        OSError: The directory cannot be created.
        cp_thirdparty.exceptions.ArtifactError: Another user has replaced the new directory.
    """

    def __init__(self, parent: Path, *, is_hidden: bool = True, is_aborted: Callable[[], bool] = never) -> None:
        self._parent_path = parent.absolute()  # the process may change its working directory later
        self._is_closed = False
        self._parent = self.opened = _CLOSED
        _ALL.add(self)
        prefix = f".{_PREFIX}" if is_hidden else _PREFIX
        try:
            self._parent = OpenDirectory.open(parent)
            try:
                with suppress(OSError):  # perhaps the user has no permission to list the parent
                    # The names are not stored, because other users may have created any number of them.
                    for _ in _sweep(self._parent, _SWEEP_SECONDS, is_aborted):
                        pass
                self._name = self._create(prefix)
            except BaseException:
                self._close_parent()
                raise
        except OSError as failure:
            raise OSError(failure.errno, failure.strerror, os.fspath(parent / prefix)) from None
        self.path = self._parent_path / self._name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def create_file(self, name: str) -> BinaryIO:
        """Create a file in this directory, and open it for reading and writing."""
        return cast("BinaryIO", os.fdopen(self.opened.open_file(name, 0o666), "w+b"))

    def publish(self, name: str, to: str) -> None:
        """
        Move a file or a subdirectory into the parent directory.  An existing file with that name is replaced.

        Args:
            name: The name in this directory.
            to: The new name in the parent directory.

        Raises:
            cp_thirdparty.exceptions.ArtifactError: Another user has replaced this directory, its parent, or the moved
                file or directory.
        """
        before = self.opened.status(name)
        if not self._is_in_place():
            raise self._exchange_error()
        descriptors = {"src_dir_fd": self.opened.descriptor, "dst_dir_fd": self._parent.descriptor}
        try:
            os.replace(self.opened.path + name, self._parent.path + to, **descriptors)  # noqa: PTH105 - pathlib has no descriptors
        except OSError as failure:
            raise OSError(failure.errno, failure.strerror, os.fspath(self._parent_path / to)) from None
        if not _is_same(self._parent_path / to, before):
            raise self._exchange_error()

    def close(self, *, seconds: float = _REMOVAL_SECONDS) -> str:
        """
        Remove this directory with its content.  If another user has replaced the directory, the replacement is kept.

        Read-only directories are made writable.  Symbolic links are removed and not followed.

        Args:
            seconds: The removal stops after this many seconds, even if it is not complete.

        Returns:
            The reason why the removal is not complete; an empty string if it is complete, or if this method was called
            before.
        """
        if self._is_closed:
            return ""
        self._is_closed = True
        try:
            return remove_tree(self._parent, self._name, self.opened, last=_MARKER, is_aborted=_limit(seconds))
        finally:
            self._close_inner()
            self._close_parent()

    def release(self) -> None:
        """
        Close the descriptors in the child process of a fork, and do not remove the directory.

        The descriptors would keep the lock.  The parent process removes the directory.
        """
        self._is_closed = True
        self._close_inner()
        self._close_parent()

    # After a descriptor is closed, another file may get its number, and another thread may fork at any moment.  So the
    # number is removed from the attribute before it is closed.  Otherwise the child of a fork could close another file.

    def _close_inner(self) -> None:
        opened, self.opened = self.opened, _CLOSED
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
        """Open and lock a new directory and create its marker; return ``False`` if a sweep has locked or removed it."""
        try:
            # The attribute is set before the lock: if another thread forks after the lock, the child must find it.
            self.opened = self._parent.open_directory(name)
        except FileNotFoundError:
            return False
        except NotADirectoryError:
            raise self._exchange_error() from None
        if self.opened.descriptor is not None and not self._check_and_lock(name, self.opened, self.opened.descriptor):
            return False
        os.close(self.opened.open_file(_MARKER, 0o600))
        return True

    def _check_and_lock(self, name: str, opened: OpenDirectory, descriptor: int) -> bool:
        """Check and lock a new directory; return ``False`` if a sweep has locked or removed it."""
        status = os.fstat(descriptor)
        if not _can_be_new(opened, descriptor, status):
            raise self._exchange_error()
        with suppress(PermissionError):  # the file system may have no modes
            os.fchmod(descriptor, PRIVATE)  # the umask may have removed some of the owner's permissions
        if _lock(descriptor) is False:
            return False
        with suppress(FileNotFoundError):
            return os.path.samestat(self._parent.status(name), status)
        return False

    def _is_in_place(self) -> bool:
        return self.opened.descriptor is None or _is_same(self.path, os.fstat(self.opened.descriptor))

    def _exchange_error(self) -> ArtifactError:
        return ArtifactError(f"another user has exchanged a file or directory in {os.fspath(self._parent_path)!a}")


# The value of an attribute after its directory was closed.  No file has this descriptor.
_CLOSED: Final = OpenDirectory("", -1)
_ALL: weakref.WeakSet[PrivateDirectory] = weakref.WeakSet()


def _release_all() -> None:
    for each in tuple(_ALL):
        each.release()


if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows
    os.register_at_fork(after_in_child=_release_all)


def _can_be_new(opened: OpenDirectory, descriptor: int, status: os.stat_result) -> bool:
    """
    Return whether an open directory can be the one that this process has just created.

    Another user may have moved another directory to its name.  The new directory is empty, its owner is this user, and
    its mode is private.  Some file systems store no owners or no modes: FAT, some network file systems, and some mounts
    of containers.  There, another owner is accepted if a new file has another owner too, and another mode is accepted
    if the mode cannot be changed.  This adds no risk: on such a file system, each user with write access can change all
    files.
    """
    if not _is_empty(descriptor) or (status.st_uid != os.geteuid() and _has_owners(opened)):
        return False
    mode = stat.S_IMODE(status.st_mode)
    return not mode & _GROUP_AND_OTHERS or not _has_modes(descriptor, mode)


def _has_owners(opened: OpenDirectory) -> bool:
    """Return whether a file that this user creates in the directory belongs to this user."""
    try:
        descriptor = opened.open_file(_MARKER, 0o600)
    except PermissionError:  # the directory belongs to another user, who does not let this user write
        return True
    try:
        return os.fstat(descriptor).st_uid == os.geteuid()
    finally:
        os.close(descriptor)
        with suppress(FileNotFoundError):
            os.unlink(_MARKER, dir_fd=opened.descriptor)


def _has_modes(descriptor: int, mode: int) -> bool:
    """Return whether the mode of the directory can be made private.  Afterwards, the old mode is restored."""
    with suppress(PermissionError):
        os.fchmod(descriptor, PRIVATE)
    if os.fstat(descriptor).st_mode & _GROUP_AND_OTHERS:
        return False
    os.fchmod(descriptor, mode)
    return True


@attrs.frozen
class SweepResult:
    """
    The result of a sweep.

    Attributes:
        removed: The names of the removed directories.
        kept: The names of the temporary directories that were not removed, each with the reason.
    """

    removed: tuple[str, ...]
    kept: tuple[tuple[str, str], ...]


def sweep(directory: Path, *, seconds: float = _SWEEP_SECONDS) -> SweepResult:
    """
    Remove the temporary directories of this user's processes that have ended.

    Args:
        directory: The directory that contains the temporary directories.  Its subdirectories are not searched.
        seconds: The sweep stops after this many seconds, even if it is not complete.

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
    """Return a function that returns whether the given number of seconds has passed since this call."""
    ends_at = time.monotonic() + seconds
    return lambda: time.monotonic() >= ends_at


def _sweep(parent: OpenDirectory, seconds: float, is_aborted: Callable[[], bool] = never) -> Generator[tuple[str, str]]:
    """Yield the name of each temporary directory with the reason why it was not removed; "" if it was removed."""
    is_late = _limit(seconds)
    # Other users may have created any number of files there, also files with such names.
    with closing(parent.names()) as names:
        for number, name in enumerate(names):
            is_ours = name.removeprefix(".").startswith(_PREFIX)
            # `is_aborted` runs code of the caller, which may be slow.  So it is not called for each name of other
            # programs.
            if is_late() or ((is_ours or number % _NAMES == 0) and is_aborted()):
                return
            if is_ours:
                try:
                    reason = _remove_leftover(parent, name, lambda: is_late() or is_aborted())
                except OSError as failure:
                    reason = failure.strerror or type(failure).__name__
                yield name, reason


def _remove_leftover(parent: OpenDirectory, name: str, is_aborted: Callable[[], bool]) -> str:
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
        return remove_tree(parent, name, opened, last=_MARKER, is_aborted=is_aborted)
    finally:
        opened.close()


def _is_marked(opened: OpenDirectory, descriptor: int) -> bool:
    """Return whether this library created the directory: it has the marker, or it is new and still empty."""
    try:
        return opened.status(_MARKER).st_uid == os.geteuid()
    except FileNotFoundError:
        return _is_empty(descriptor)


def _is_empty(descriptor: int) -> bool:
    """Return whether the directory is empty."""
    with os.scandir(descriptor) as entries:
        return not any(True for _ in entries)  # stops at the first name: another user may have created any number


def _lock(descriptor: int) -> bool | None:
    """Try to lock a directory, and return whether this process has the lock; ``None`` if the system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:  # another process has the lock
        return False
    except (OSError, NameError):
        return None
    return True


def _is_same(path: Path, status: os.stat_result) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.lstat(path), status)
    return False
