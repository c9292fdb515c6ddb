"""The removal of a job's workspace, whatever a handler has left in it."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cp_thirdparty.worker._workspace import Workspace, sweep_workspaces

_NOBODY = 65534


@contextmanager
def _without_privileges() -> Generator[None, None, None]:
    """Run as another user if the tests run as root, for whom no directory is read-only."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    """Give a workspace of a user without privileges."""
    with _without_privileges():
        created = Workspace()
        yield created
        created.remove()


def _make_go_cache(root: Path) -> None:
    cache = root / "pkg" / "mod" / "example.org"
    cache.mkdir(parents=True)
    (cache / "go.mod").write_text("module x")
    for folder in (cache, *cache.parents):
        (cache / "go.mod").chmod(0o444)
        folder.chmod(0o555)
        if folder == root:
            break


def _make_deep(root: Path, levels: int = 1500) -> None:
    descriptor = os.open(root, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d" * 20, dir_fd=descriptor)
        below = os.open("d" * 20, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, 0o400, dir_fd=descriptor))
    os.close(descriptor)


def _make_wide(root: Path) -> None:
    for number in range(30):
        (root / f"{number}" / "a" / "b").mkdir(parents=True)
        (root / f"{number}" / "a" / "b" / "file").touch()


def _make_closed(root: Path) -> None:
    (root / "closed" / "inner").mkdir(parents=True)
    (root / "closed" / "inner").chmod(0)
    (root / "closed").chmod(0)


def _make_names(root: Path) -> None:
    os.mkfifo(root / "pipe")
    Path(os.fsdecode(os.fsencode(root) + b"/\xff\n")).mkdir()


@pytest.mark.parametrize(
    "make", [_make_go_cache, _make_deep, _make_wide, _make_closed, _make_names], ids=lambda make: make.__name__[6:]
)
def test_everything_is_removed(workspace: Workspace, make: Callable[[Path], None]) -> None:
    """Read-only and unreadable directories, a great depth, and any names."""
    make(workspace.path)
    assert workspace.remove() == ""
    assert not workspace.path.parent.exists()


@pytest.mark.parametrize("change", [lambda path: path.chmod(0), Path.rmdir, lambda path: path.rename(f"{path}-2")])
def test_a_handler_may_do_anything_with_its_workspace(workspace: Workspace, change: Callable[[Path], object]) -> None:
    """Close it, remove it, rename it: nothing stays."""
    change(workspace.path)
    assert workspace.remove() == ""
    assert not workspace.path.parent.exists()


@pytest.mark.parametrize("mask", [0, 0o022, 0o777])
def test_a_workspace_is_private_whatever_the_umask_is(mask: int) -> None:
    """Neither the workspace nor what is around it can be entered by other users."""
    before = os.umask(mask)
    try:
        created = Workspace()
    finally:
        os.umask(before)
    assert created.path.stat().st_mode & 0o077 == 0
    assert created.path.parent.stat().st_mode & 0o777 == 0o700
    assert created.remove() == ""


def test_links_are_not_followed(workspace: Workspace) -> None:
    """What a link leads to keeps its content and its mode."""
    outside = Workspace()
    (outside.path / "file").touch()
    outside.path.chmod(0o555)
    (workspace.path / "folder").symlink_to(outside.path)
    (workspace.path / "file").symlink_to(outside.path / "file")
    (workspace.path / "nowhere").symlink_to(workspace.path / "absent")
    assert workspace.remove() == ""
    assert (outside.path / "file").exists()
    assert outside.path.stat().st_mode & 0o777 == 0o555
    outside.remove()


@pytest.mark.parametrize("problem", [ValueError("no follow_symlinks"), NotImplementedError(), PermissionError()])
def test_read_only_directories_are_removed_by_every_c_library(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    """Before version 2.32, and without /proc, glibc cannot change the mode of what may be a link."""
    chmod = os.chmod

    def refuse(*arguments: Any, **settings: Any) -> None:
        if settings.get("follow_symlinks") is False:
            raise problem
        chmod(*arguments, **settings)

    _make_go_cache(workspace.path)
    monkeypatch.setattr("os.chmod", refuse)
    assert workspace.remove() == ""
    assert not workspace.path.parent.exists()


@pytest.mark.parametrize(("function", "mode"), [("open", 0o700), ("chmod", 0)])
def test_a_link_in_place_of_a_directory_is_not_followed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, function: str, mode: int
) -> None:
    """A process that the handler has left may exchange them at any moment; the place outside keeps its mode."""
    outside = Workspace()
    outside.path.chmod(0o555)
    (workspace.path / "folder").mkdir(mode)
    called = getattr(os, function)

    def exchange(name: Any, *arguments: Any, **settings: Any) -> Any:
        if name == "folder":
            (folder,) = workspace.path.parent.glob("*/folder")
            folder.rmdir()
            folder.symlink_to(outside.path)
        return called(name, *arguments, **settings)

    monkeypatch.setattr(os, function, exchange)
    assert workspace.remove() == "NotADirectoryError"
    monkeypatch.undo()
    assert outside.path.stat().st_mode & 0o777 == 0o555
    assert [path.is_symlink() for path in workspace.path.parent.rglob("[!.]*")].count(True) == 1
    shutil.rmtree(workspace.path.parent)
    outside.remove()


def test_what_cannot_be_removed_is_left_and_reported(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the system keeps does not keep the others."""
    _make_wide(workspace.path)
    (workspace.path / "immutable").touch()
    unlink = os.unlink

    def refuse(name: str, **settings: int) -> None:
        if name == "immutable":
            raise PermissionError
        unlink(name, **settings)

    monkeypatch.setattr("os.unlink", refuse)
    assert workspace.remove() == "PermissionError"
    monkeypatch.undo()
    assert [path.name for path in workspace.path.parent.rglob("[!.]*") if not path.is_dir()] == ["immutable"]
    shutil.rmtree(workspace.path.parent)


@pytest.mark.parametrize("seconds", [0, 6])
def test_a_removal_has_an_end(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    """A directory may have millions of files, so the time counts for each of them; the rest is left."""
    for number in range(10):
        (workspace.path / f"{number}").touch()
    times = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: next(times))
    monkeypatch.setattr("cp_thirdparty.artifacts._temporary.time", clock)
    assert workspace._outer.close(seconds=seconds) == "it took too long"
    monkeypatch.undo()
    left = [path for path in workspace.path.parent.rglob("[!.]*") if path.is_file()]
    assert len(left) == {0: 10, 6: 7}[seconds]
    shutil.rmtree(workspace.path.parent)


def test_a_workspace_that_cannot_be_created_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The temporary directory around it is removed."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("cp_thirdparty.worker._workspace._NAME", "no/where")
    with pytest.raises(FileNotFoundError):
        Workspace()
    assert list(tmp_path.iterdir()) == []


def test_leftovers_are_swept_and_a_directory_that_is_missing_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The start of a worker does not fail without a directory for temporary files."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "cp-thirdparty-tmp-1-dead" / "workspace").mkdir(parents=True)
    (tmp_path / "cp-thirdparty-tmp-1-dead" / ".cp-thirdparty-tmp").touch()
    assert sweep_workspaces() == ("cp-thirdparty-tmp-1-dead",)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    assert sweep_workspaces() == ()
