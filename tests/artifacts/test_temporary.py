"""Temporary directories: other users cannot exchange them, and those of dead processes are removed."""

from __future__ import annotations

import errno
import fcntl
import io
import itertools
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.zip_records import LINK, Record, built

from cp_thirdparty.artifacts import create_archive, extract_archive
from cp_thirdparty.artifacts._open_directory import OpenDirectory
from cp_thirdparty.artifacts._temporary import PrivateDirectory, SweepResult, sweep
from cp_thirdparty.exceptions import ArtifactError, ArtifactFileError, ArtifactTransferError

_NOBODY = 65534
_EXCHANGED = r"^another user has exchanged a file or directory in '.*/parent'$"
_PRIVATE = 0o700
_DESCRIPTORS = Path("/proc/self/fd")


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """Give a directory in which every user may write, beside an archive, a source and a place of another user."""
    (tmp_path / "a.zip").write_bytes(
        built(Record(name=b"d/f"), Record(name=b"g"), Record(name=b"d/link", content=b"f", attributes=LINK))
    )
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "f").write_bytes(b"x" * 1000)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "parent").mkdir()
    (tmp_path / "parent").chmod(0o777)
    return tmp_path / "parent"


def _exchange(parent: Path) -> None:
    """Move the temporary directory away and put a link in its place, as another user could."""
    (found,) = parent.iterdir()
    found.rename(parent.parent / "stolen")
    found.symlink_to(parent.parent / "elsewhere")


_WAYS: dict[str, Callable[..., object]] = {
    "extract": lambda parent, progress, **bounds: extract_archive(
        parent.parent / "a.zip", to=parent / "out", progress=progress, **bounds
    ),
    "create": lambda parent, progress, **bounds: create_archive(
        parent.parent / "source", to=parent / "out", progress=progress, **bounds
    ),
}


@pytest.mark.parametrize("way", _WAYS)
def test_an_exchanged_directory_is_refused(parent: Path, way: str) -> None:
    """Nothing is written elsewhere, nothing of ours stays, and what the other user has put there stays."""
    calls: list[int] = []

    def exchange(count: int) -> None:
        if not calls:
            _exchange(parent)
        calls.append(count)

    with pytest.raises(ArtifactError, match=_EXCHANGED):
        _WAYS[way](parent, exchange)
    assert calls
    assert [path.is_symlink() for path in parent.iterdir()] == [True]
    assert list((parent.parent / "elsewhere").iterdir()) == []
    assert list((parent.parent / "stolen").iterdir()) == []


@pytest.mark.parametrize("way", _WAYS)
def test_an_exchanged_parent_is_refused(parent: Path, way: str) -> None:
    """The path of the caller would lead to something else than what was written."""

    def exchange(_: int) -> None:
        if not (parent.parent / "moved").exists():
            parent.rename(parent.parent / "moved")
            parent.symlink_to("elsewhere")

    with pytest.raises(ArtifactError, match=_EXCHANGED):
        _WAYS[way](parent, exchange)
    assert list((parent.parent / "elsewhere").iterdir()) == []
    assert list((parent.parent / "moved").iterdir()) == []


@pytest.mark.parametrize("way", _WAYS)
def test_an_exchanged_result_is_refused(parent: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is at the path at the end must be what was written."""
    replace = os.replace

    def exchange(*arguments: Any, **settings: Any) -> None:
        replace(*arguments, **settings)
        (parent / "out").rename(parent.parent / "stolen")
        (parent / "out").symlink_to(parent.parent / "elsewhere")

    monkeypatch.setattr("os.replace", exchange)
    with pytest.raises(ArtifactError, match=_EXCHANGED):
        _WAYS[way](parent, lambda _: None)


def _put_link(parent: Path, name: str) -> None:
    (parent / name).rmdir()
    (parent / name).symlink_to(parent.parent / "elsewhere")


def _put_file(parent: Path, name: str) -> None:
    (parent / name).rmdir()
    (parent / name).touch()


def _put_other_directory_of_ours(parent: Path, name: str) -> None:
    (parent / name).rmdir()
    (parent / name).mkdir(_PRIVATE)
    (parent / name / "precious").touch()


def _put_public_directory(parent: Path, name: str) -> None:
    (parent / name).chmod(0o777)


def _give_away(parent: Path, name: str) -> None:
    os.chown(parent / name, _NOBODY, _NOBODY)


_needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to another user")


@pytest.mark.parametrize(
    "put",
    [
        _put_link,
        _put_file,
        _put_other_directory_of_ours,
        _put_public_directory,
        pytest.param(_give_away, marks=_needs_root),
    ],
)
@pytest.mark.parametrize("way", _WAYS)
def test_a_directory_that_is_exchanged_before_it_is_opened_is_refused(
    parent: Path, way: str, put: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must be ours, private and empty."""
    make = os.mkdir

    def exchange(name: Any, *arguments: Any, **settings: Any) -> None:
        make(name, *arguments, **settings)
        monkeypatch.undo()
        put(parent, name)

    monkeypatch.setattr("os.mkdir", exchange)
    with pytest.raises(ArtifactError, match=_EXCHANGED):
        _WAYS[way](parent, lambda _: None)
    assert not (parent / "out").exists()
    assert list((parent.parent / "elsewhere").iterdir()) == []
    assert [path.name for path in parent.rglob("precious")] == ["precious"] * (put is _put_other_directory_of_ours)


def test_links_in_place_of_directories_of_a_tree_are_not_followed(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tree that is changed while it is written is one typed error."""
    make = os.mkdir

    def exchange(name: Any, *arguments: Any, **settings: Any) -> None:
        make(name, *arguments, **settings)
        if name == "d":
            os.rmdir(name, dir_fd=settings["dir_fd"])
            os.symlink(parent.parent / "elsewhere", name, dir_fd=settings["dir_fd"])

    monkeypatch.setattr("os.mkdir", exchange)
    with pytest.raises(ArtifactFileError) as caught:
        extract_archive(parent.parent / "a.zip", to=parent / "out")
    assert caught.value.errno in (errno.ENOTDIR, errno.ELOOP)
    assert list((parent.parent / "elsewhere").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_an_attack_of_another_user_writes_nothing_elsewhere(parent: Path) -> None:
    """Another user exchanges the directory again and again, in a parent without the sticky bit."""
    for path in (parent.parent, *parent.parents):
        if path.stat().st_uid == 0 and not path.stat().st_mode & 0o001:
            path.chmod(path.stat().st_mode | 0o011)
    os.chown(parent.parent / "elsewhere", _NOBODY, _NOBODY)

    def attack(_: int) -> None:
        os.seteuid(_NOBODY)
        try:
            for found in parent.iterdir():
                if found.name.startswith(".cp-thirdparty") and not found.is_symlink():
                    found.rename(parent / "stolen")
                    found.symlink_to(parent.parent / "elsewhere")
        finally:
            os.seteuid(0)

    with pytest.raises(ArtifactError, match=_EXCHANGED):
        extract_archive(parent.parent / "a.zip", to=parent / "out", progress=attack)
    assert list((parent.parent / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("mask", [0, 0o022, 0o277])
def test_a_temporary_directory_is_private_whatever_the_umask_is(tmp_path: Path, mask: int) -> None:
    """It can be used, and only by its user."""
    before = os.umask(mask)
    try:
        with PrivateDirectory(tmp_path) as private:
            assert stat.S_IMODE(private.path.stat().st_mode) == _PRIVATE
            private.create_file("f").close()
    finally:
        os.umask(before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("owner", "bits", "can_chmod"),
    [(_NOBODY, 0, True), (_NOBODY, 0o077, True), (None, 0o055, True), (None, 0o077, False), (_NOBODY, 0o077, False)],
)
def test_a_file_system_without_owners_or_modes_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: int | None, bits: int, *, can_chmod: bool
) -> None:
    """FAT, network file systems and mounts of containers state one owner and one mode for everything."""
    (tmp_path / "source" / "d").mkdir(parents=True)
    (tmp_path / "source" / "d" / "f").write_text("x")

    def change(status: os.stat_result) -> os.stat_result:
        return os.stat_result(
            (status.st_mode | bits, *status[1:4], status.st_uid if owner is None else owner, *status[5:])
        )

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    fstat = os.fstat
    monkeypatch.setattr("os.fstat", lambda descriptor: change(fstat(descriptor)))
    if not can_chmod:
        monkeypatch.setattr("os.fchmod", refuse)
        monkeypatch.setattr("os.chmod", refuse)
    create_archive(tmp_path / "source", to=tmp_path / "a.zip")
    extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
    with PrivateDirectory(tmp_path) as private:
        private.opened.make_directory("d", 0o700)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "out", "source"]


@_needs_root
def test_a_directory_of_another_user_that_keeps_others_out_is_refused(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file can be created in it, to see who owns it."""
    make = os.mkdir

    def exchange(name: Any, *arguments: Any, **settings: Any) -> None:
        make(name, *arguments, **settings)
        monkeypatch.undo()
        (parent / name).chmod(0o755)
        os.chown(parent / name, 0, 0)

    with _as_other_user(parent.parent):
        real = os.seteuid

        def exchange_as_root(*arguments: Any, **settings: Any) -> None:
            real(0)
            exchange(*arguments, **settings)
            real(_NOBODY)

        monkeypatch.setattr("os.mkdir", exchange_as_root)
        with pytest.raises(ArtifactError, match=_EXCHANGED):
            PrivateDirectory(parent)


def test_a_parent_that_cannot_be_listed_is_enough(tmp_path: Path) -> None:
    """Directories for temporary files may allow to create files only."""
    (tmp_path / "drop").mkdir()
    (tmp_path / "drop").chmod(0o333)
    with _as_other_user(tmp_path), PrivateDirectory(tmp_path / "drop") as private:
        private.create_file("f").close()
        assert private.path.is_dir()
    assert list((tmp_path / "drop").iterdir()) == []


@contextmanager
def _as_other_user(tmp_path: Path) -> Generator[None, None, None]:
    """Run as a user without privileges, who may enter the directories of the test."""
    if os.geteuid() != 0:
        yield
        return
    for path in (tmp_path, *tmp_path.parents):
        path.chmod(path.stat().st_mode | 0o011)
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_parent_in_which_nobody_may_write_is_a_typed_error(tmp_path: Path) -> None:
    """The error has the path of the caller."""
    (tmp_path / "read-only").mkdir(mode=0o555)
    (tmp_path / "source").mkdir()
    with _as_other_user(tmp_path), pytest.raises(ArtifactFileError) as caught:
        create_archive(tmp_path / "source", to=tmp_path / "read-only" / "out")
    assert (caught.value.errno, caught.value.filename) == (errno.EACCES, str(tmp_path / "read-only" / "out"))


# --- leftovers

_NAME = ".cp-thirdparty-tmp-1-dead"
_MARKER = ".cp-thirdparty-tmp"

# Creates temporary directories, reports it, and waits.
_CHILD = """
import sys, time
from pathlib import Path
from cp_thirdparty.artifacts._open_directory import OpenDirectory
from cp_thirdparty.artifacts._temporary import PrivateDirectory

made = [PrivateDirectory(Path(sys.argv[1]), is_hidden=hidden) for hidden in (True, False)]
made[0].create_file("secret.zip").write(b"source")
made[1].opened.make_directory("workspace", 0o500)
print("created", flush=True)
time.sleep(60)
"""


@pytest.fixture
def child(tmp_path: Path) -> Generator[subprocess.Popen[bytes], None, None]:
    """Give a process that has two temporary directories in `tmp_path`."""
    with subprocess.Popen([sys.executable, "-c", _CHILD, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"created\n"
        yield process
        process.kill()


def test_the_directories_of_a_killed_process_are_swept(tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    """At once, and not while their process is alive."""
    names = sorted(path.name for path in tmp_path.iterdir())
    swept = sweep(tmp_path)
    assert (swept.removed, dict(swept.kept)) == ((), dict.fromkeys(names, "its process is alive"))
    child.kill()
    child.wait()
    swept = sweep(tmp_path)
    assert (sorted(swept.removed), swept.kept) == (names, ())
    assert list(tmp_path.iterdir()) == []


_FORKING_CHILD = """
import os, sys
from pathlib import Path
from cp_thirdparty.artifacts._open_directory import OpenDirectory
from cp_thirdparty.artifacts._temporary import PrivateDirectory

made = PrivateDirectory(Path(sys.argv[1]))
closed = PrivateDirectory(Path(sys.argv[1]))
closed.close()
if os.fork() == 0:
    problem = made.close()
    try:
        made.create_file("late")
    except OSError as failure:
        problem += type(failure).__name__
    os.write(1, f"child {problem}\\n".encode())
    sys.stdin.read()  # until the test ends
    os._exit(0)
os.wait()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_child_of_a_fork_does_not_keep_a_directory(tmp_path: Path) -> None:
    """The child neither removes nor uses it, and it is swept after the death of the parent although the child runs."""
    command = [sys.executable, "-c", _FORKING_CHILD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"child OSError\n"
        (name,) = [path.name for path in tmp_path.iterdir()]
        assert sweep(tmp_path).kept == ((name, "its process is alive"),)
        process.kill()
        process.wait()
        assert sweep(tmp_path).removed == (name,)


def _closed_by_forget(private: PrivateDirectory) -> list[int]:
    """Give each free number to another file, and return which of them the child of a fork would close."""
    numbers = [os.open(os.devnull, os.O_RDONLY) for _ in range(64)]
    private.release()
    opened = {int(path.name) for path in _DESCRIPTORS.iterdir()}
    for number in opened.intersection(numbers):
        os.close(number)
    return sorted(set(numbers) - opened)


def test_a_child_of_a_fork_closes_no_file_in_place_of_a_removed_directory(tmp_path: Path) -> None:
    """The number of a closed descriptor may be that of a pipe now."""
    private = PrivateDirectory(tmp_path)
    private.close()
    assert _closed_by_forget(private) == []


def _fail(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("step", ["open_directory", "status", "open_file"])
def test_a_directory_that_cannot_be_completed_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Neither itself, nor a descriptor, nor a number that the child of a fork would close."""
    monkeypatch.setattr(OpenDirectory, step, _fail)
    before = sorted(_DESCRIPTORS.iterdir())
    with pytest.raises(OSError, match="No space left on device") as caught:
        PrivateDirectory(tmp_path)
    assert sorted(_DESCRIPTORS.iterdir()) == before
    assert list(tmp_path.iterdir()) == []
    private = caught.traceback[-1].frame.f_locals["self"]  # an error that is kept keeps it
    assert _closed_by_forget(private) == []


def test_the_next_process_removes_them(tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    """An archive that is written beside them is enough."""
    child.kill()
    child.wait()
    (tmp_path / "source").mkdir()
    create_archive(tmp_path / "source", to=tmp_path / "out.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.zip", "source"]


def test_what_only_looks_like_a_leftover_stays(tmp_path: Path) -> None:
    """Files, links, FIFOs and other names are kept."""
    (tmp_path / "outside").mkdir()
    (tmp_path / ".cp-thirdparty-tmp-1-file").touch()
    (tmp_path / ".cp-thirdparty-tmp-1-link").symlink_to("outside")
    os.mkfifo(tmp_path / ".cp-thirdparty-tmp-1-pipe")
    (tmp_path / ".cp-thirdparty-other").mkdir()
    swept = sweep(tmp_path)
    assert swept.removed == ()
    assert [name for name, _ in swept.kept] == [f".cp-thirdparty-tmp-1-{kind}" for kind in ("file", "link", "pipe")]
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can create a directory of another user")
def test_a_directory_of_another_user_stays(tmp_path: Path) -> None:
    """In a directory of several users each removes only what is theirs, root too."""
    (tmp_path / _NAME).mkdir()
    os.chown(tmp_path / _NAME, _NOBODY, _NOBODY)
    assert sweep(tmp_path).kept == ((_NAME, "it belongs to another user"),)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [(BlockingIOError(), "its process is alive"), (OSError(), "its file system has no locks")],
)
def test_what_cannot_be_locked_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: OSError, reason: str
) -> None:
    """Without locks nobody knows whether a process uses a directory."""

    def flock(*_: object) -> None:
        raise failure

    (tmp_path / _NAME).mkdir()
    monkeypatch.setattr("fcntl.flock", flock)
    assert sweep(tmp_path).kept == ((_NAME, reason),)


def test_a_file_system_without_locks_has_temporary_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are removed at their end, and stay if the process is killed."""

    def flock(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "no locks")

    monkeypatch.setattr("fcntl.flock", flock)
    with PrivateDirectory(tmp_path) as private:
        assert private.path.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_was_renamed_by_another_user_stays(tmp_path: Path) -> None:
    """Who may write in the parent may give any directory of the user the name of a leftover."""
    (tmp_path / _NAME).mkdir()
    (tmp_path / _NAME / "data").touch()
    assert sweep(tmp_path).kept == ((_NAME, "it was not created by cp-thirdparty"),)
    with PrivateDirectory(tmp_path):
        assert (tmp_path / _NAME / "data").exists()


def test_a_sweep_that_is_late_leaves_the_rest(tmp_path: Path) -> None:
    """The start of a worker does not wait for a leftover of any size."""
    (tmp_path / _NAME / "d").mkdir(parents=True)
    (tmp_path / _NAME / _MARKER).touch()
    assert sweep(tmp_path, seconds=0) == SweepResult((), ())
    with pytest.MonkeyPatch.context() as patch:
        _count_looks_at_the_clock(patch)
        assert sweep(tmp_path, seconds=2) == SweepResult((), ((_NAME, "it took too long"),))
    assert sweep(tmp_path).removed == (_NAME,)


def _count_looks_at_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second passes between two looks at the clock."""
    times = itertools.count()
    monkeypatch.setattr("cp_thirdparty.artifacts._temporary.time", SimpleNamespace(monotonic=lambda: next(times)))


def test_a_sweep_looks_at_a_limited_number_of_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other users may have put any number of files into the directory for temporary files."""
    seen: list[int] = []

    def endless(_: OpenDirectory) -> Generator[str]:
        for number in itertools.count():
            seen.append(number)
            yield f"other-{number}"

    monkeypatch.setattr(OpenDirectory, "names", endless)
    _count_looks_at_the_clock(monkeypatch)
    assert sweep(tmp_path, seconds=100) == SweepResult((), ())
    assert len(seen) == 100


@pytest.mark.parametrize("way", _WAYS)
def test_a_sweep_ends_with_the_job(parent: Path, way: str) -> None:
    """What a killed process has left is not removed in the time of a job that is over."""
    (parent / _NAME).mkdir()
    with pytest.raises(ArtifactTransferError, match="because the job was cancelled"):
        _WAYS[way](parent, None, is_cancelled=lambda: True)
    assert [path.name for path in parent.iterdir()] == [_NAME]
    _WAYS[way](parent, None)
    assert [path.name for path in parent.iterdir()] == ["out"]


def test_a_slow_function_of_the_caller_is_not_called_for_each_name(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory for temporary files may have thousands of names of other programs."""
    calls = 0

    def is_aborted() -> bool:
        nonlocal calls
        calls += 1
        return calls == 3

    seen: list[int] = []

    def names(_: OpenDirectory) -> Generator[str]:
        for number in range(5000):
            seen.append(number)
            yield f"other-{number}"

    monkeypatch.setattr(OpenDirectory, "names", names)
    with PrivateDirectory(parent, is_aborted=is_aborted):
        assert (calls, len(seen)) == (3, 2001)


def _race(monkeypatch: pytest.MonkeyPatch, function: str, tmp_path: Path, times: int) -> list[str]:
    """Sweep just before a new directory is opened or locked, as another process may."""
    original = getattr(os if function == "open" else fcntl, function)
    raced: list[str] = []

    def race(path: Any, *arguments: Any, **settings: Any) -> Any:
        is_new = function == "flock" or str(path).startswith(".cp-thirdparty-tmp-")
        if is_new and len(raced) < times:
            raced.append(str(path))
            with monkeypatch.context() as context:
                context.undo()
                for found in tmp_path.iterdir():
                    found.rmdir()
        return original(path, *arguments, **settings)

    monkeypatch.setattr(f"{'os' if function == 'open' else 'fcntl'}.{function}", race)
    return raced


@pytest.mark.parametrize("function", ["open", "flock"])
def test_a_sweep_may_take_a_new_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    """Then another one is created; after ten, that is an error."""
    raced = _race(monkeypatch, function, tmp_path, times=2)
    with PrivateDirectory(tmp_path) as private:
        assert private.path.is_dir()
        private.create_file("f").close()
    assert len(raced) == 2
    monkeypatch.undo()
    _race(monkeypatch, function, tmp_path, times=10)
    with pytest.raises(FileExistsError):
        PrivateDirectory(tmp_path)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


def test_a_new_directory_that_a_sweep_has_locked_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep removes it, so another one is created."""
    flock = fcntl.flock
    refusals = [BlockingIOError()]

    def refuse(descriptor: int, operation: int) -> None:
        if refusals:
            raise refusals.pop()
        flock(descriptor, operation)

    monkeypatch.setattr("fcntl.flock", refuse)
    with PrivateDirectory(tmp_path) as private:
        assert private.path.is_dir()
        assert len(list(tmp_path.iterdir())) == 1 + 1
    assert sweep(tmp_path).kept == ()


def test_a_directory_is_removed_once(tmp_path: Path) -> None:
    """A second call does nothing."""
    private = PrivateDirectory(tmp_path)
    assert private.close() == ""
    assert private.close() == ""
    assert list(tmp_path.iterdir()) == []


def test_a_tree_that_cannot_be_created_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The temporary directory around it is removed."""
    make = os.mkdir

    def refuse(name: str, *arguments: Any, **settings: Any) -> None:
        if name == "tree":
            raise OSError(errno.ENOSPC, "No space left on device")
        make(name, *arguments, **settings)

    (tmp_path / "a.zip").write_bytes(built(Record()))
    monkeypatch.setattr("os.mkdir", refuse)
    with pytest.raises(ArtifactFileError, match=r"^No space left on device: '.*/out'$"):
        extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_full_disk_ends_an_extraction_before_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sizes in the archive are known, so nothing is written in vain."""
    (tmp_path / "a.zip").write_bytes(built(Record(content=b"x" * 1000)))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=999))
    with pytest.raises(ArtifactFileError, match=r"^No space left on device: '.*/out'$") as caught:
        extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    assert extract_archive(tmp_path / "a.zip", to=tmp_path / "out").is_dir()


def _fail_to_read(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Let the disk fail below a file."""

    class Broken(io.FileIO):
        def read(self, _: int | None = -1, /) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    def replace(local: str, *arguments: Any, **settings: Any) -> Any:
        return Broken(local) if local == str(path) else open(local, *arguments, **settings)  # noqa: PTH123

    monkeypatch.setattr("cp_thirdparty.artifacts.create.open", replace, raising=False)


@pytest.mark.parametrize("way", ["missing", "broken"])
def test_an_error_names_the_file_of_a_source_in_a_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The source is inside of a temporary directory, too, and is not confused with that of the archive."""
    with PrivateDirectory(tmp_path, is_hidden=False) as workspace:
        source = workspace.path / "source"
        if way == "broken":
            source.mkdir()
            (source / "f").write_text("x")
            _fail_to_read(monkeypatch, source / "f")
        with pytest.raises(ArtifactFileError) as caught:
            create_archive(source, to=workspace.path / "out.zip")
        assert caught.value.filename == str(source if way == "missing" else source / "f")
