"""
Find out which owners of jobs are alive.  An owner is one journal object in one process, and is alive while it is open.

Each owner has a small file beside the journal, which SQLite locks while the owner is open.  SQLite's lock works on
every system, ends with its process, and is not inherited by a forked child.

On Linux the name of the owner also contains the process id, the start time of the process, and a hash of the boot id
and the pid namespace.  With these, an owner can be recognised as alive without its locked file: the file may have been
deleted, may not have been copied with the journal, or may have lost its lock because other code of the process opened
and closed it.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import stat
import uuid
import weakref
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from cp_thirdparty.worker._private_files import create_private_file, identify
from cp_thirdparty.worker._sqlite_file import SQLITE_ERRORS, connect
from cp_thirdparty.worker._sqlite_reader import read_only_uri

_PROC = Path("/proc")

# Names that version 0.1 or a system without /proc has created consist of the first part only.
_NAME: Final = re.compile(r"[0-9a-f]{32}(?:\.(?P<machine>[0-9a-f]{16})\.(?P<pid>[0-9]+)\.(?P<started>[0-9]+))?")

# If the file of an owner in another container was deleted, the owner counts as alive for this many seconds.  In
# this time, the owner creates the file again: every worker does so at each check for jobs to recover, every 30 seconds.
_MISSING_SECONDS: Final = 60.0


class Owner:
    """
    This process as the owner of jobs of a journal.

    Args:
        path: The journal's file.
        clock: Returns the time in seconds.

    Raises:
        OSError: The owner's file cannot be created.
        sqlite3.Error: The owner's file cannot be locked.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self.name = _create_name()
        self._path = path
        self._clock = clock
        self._missing_since: dict[str, float] = {}
        self._lock_file()
        _OWNERS[self.name] = self

    def restore_file(self) -> None:
        """
        Create the owner's file again if it was deleted or replaced.

        Raises:
            OSError: The file cannot be created.
            sqlite3.Error: The file cannot be locked.
        """
        if identify(_file_of(self._path, self.name)) != self._identity:
            with closing(self._lock):
                self._lock_file()

    def find_dead(self, owners: Iterable[object]) -> set[object]:
        """
        Return the owners that are not alive.

        Owners that have a file but no jobs are checked too, so that their files can be removed.
        """
        prefix = _file_of(self._path, "").name
        left = {path.name.removeprefix(prefix) for path in self._path.parent.iterdir() if path.name.startswith(prefix)}
        return {owner for owner in {*owners, *left} if owner != self.name and not self._may_be_alive(owner)}

    def remove_files(self, owners: Iterable[object]) -> None:
        """Remove the files of owners that are not alive and have no more jobs."""
        for owner in owners:
            if isinstance(owner, str) and _NAME.fullmatch(owner):
                for suffix in ("", "-journal"):  # version 0.1 created a second file
                    with suppress(OSError):  # a file that does not exist or cannot be removed has no effect
                        _file_of(self._path, owner + suffix).unlink()

    def close(self) -> None:
        """Unlock and remove the owner's file."""
        _OWNERS.pop(self.name, None)
        self._lock.close()
        self.remove_files([self.name])

    def _lock_file(self) -> None:
        path = _file_of(self._path, self.name)
        create_private_file(path)
        self._lock = connect(path)
        self._lock.execute("PRAGMA journal_mode = MEMORY")  # no second file beside it
        self._lock.execute("BEGIN EXCLUSIVE")
        self._identity = identify(path)

    def _may_be_alive(self, owner: object) -> bool:
        if is_alive(self._path, owner):
            self._missing_since.pop(str(owner), None)
            return True
        if not _is_on_other_system(owner) or identify(_file_of(self._path, str(owner))) is not None:
            return False
        now = self._clock()
        return now - self._missing_since.setdefault(str(owner), now) < _MISSING_SECONDS


# The owners of this process that are open, by their names.
_OWNERS: weakref.WeakValueDictionary[str, Owner] = weakref.WeakValueDictionary()


def is_alive(path: Path, owner: object) -> bool:
    """
    Return whether an owner of the journal at a path is alive.

    If the owner ran on this machine and in this pid namespace, its process is checked first.  Otherwise, or if this
    process has ended, the lock of its file is checked.
    """
    match = _NAME.fullmatch(owner) if isinstance(owner, str) else None
    if match is None:
        return False
    if match["machine"] is not None and match["machine"] == _identify_machine():
        is_running = _find_start_time(match["pid"]) == match["started"]
        if is_running:
            return int(match["pid"]) != os.getpid() or match[0] in _OWNERS
    return _is_locked(_file_of(path, match[0]))


def _is_on_other_system(owner: object) -> bool:
    """Return whether an owner's process cannot be checked here: it is in another container, or of an earlier boot."""
    match = _NAME.fullmatch(owner) if isinstance(owner, str) else None
    return match is not None and match["machine"] not in (None, _identify_machine())


def _create_name() -> str:
    machine, started = _identify_machine(), _find_start_time(str(os.getpid()))
    unique = uuid.uuid4().hex
    return unique if machine is None or started is None else f"{unique}.{machine}.{os.getpid()}.{started}"


def _identify_machine() -> str | None:
    """Return a hash of the boot id and the pid namespace; process ids can be compared only if this hash is equal."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_bytes()
        namespace = (_PROC / "self/ns/pid").readlink()
    except OSError:
        return None
    return hashlib.sha256(boot + bytes(namespace)).hexdigest()[:16]


def _find_start_time(pid: str) -> str | None:
    """Return when a process started, in ticks since the boot; ``None`` if there is no such process or it has ended."""
    try:
        status = (_PROC / pid / "stat").read_bytes()
    except OSError:
        return None
    # The second field is the name of the program in parentheses; the name may contain spaces and parentheses.
    state, *fields = status.rpartition(b")")[2].split()
    return None if state in (b"Z", b"X") else fields[18].decode()


def _file_of(path: Path, owner: str) -> Path:
    return path.with_name(f"{path.name}-alive-{owner}")


def _is_locked(path: Path) -> bool:
    try:
        # Another program may have created a special file with this name: a pipe would block, and a device has no end.
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        with closing(sqlite3.connect(read_only_uri(path), timeout=0, uri=True)) as connection:
            # This takes a shared lock.  Two processes may have it at the same time, so two checks do not collide.
            connection.execute("SELECT 1 FROM sqlite_master")
    except (*SQLITE_ERRORS, OSError) as error:  # also if there is no such file, or it is not the file of an owner
        return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)
    return False
