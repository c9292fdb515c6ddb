"""The removal of a job's workspace, whatever a handler has left in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from cp_thirdparty.worker._workspace import create_workspace, remove_workspace

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
def workspace() -> Iterator[Path]:
    """Give a workspace of a user without privileges."""
    with _without_privileges():
        created = create_workspace()
        yield created
        remove_workspace(created)


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
def test_everything_is_removed(workspace: Path, make: Callable[[Path], None]) -> None:
    """Read-only and unreadable directories, a great depth, and any names."""
    make(workspace)
    assert remove_workspace(workspace) == ""
    assert not workspace.exists()


def test_links_are_not_followed(workspace: Path) -> None:
    """What a link leads to keeps its content and its mode."""
    outside = create_workspace()
    (outside / "file").touch()
    outside.chmod(0o555)
    (workspace / "folder").symlink_to(outside)
    (workspace / "file").symlink_to(outside / "file")
    (workspace / "nowhere").symlink_to(workspace / "absent")
    assert remove_workspace(workspace) == ""
    assert (outside / "file").exists()
    assert outside.stat().st_mode & 0o777 == 0o555
    remove_workspace(outside)


def test_what_cannot_be_removed_is_left_and_reported(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the system keeps does not keep the others."""
    _make_wide(workspace)
    (workspace / "immutable").touch()

    def unlink(path: Path) -> None:
        if path.name == "immutable":
            raise PermissionError
        os.remove(path)  # noqa: PTH107 - `Path.unlink` is replaced

    monkeypatch.setattr(Path, "unlink", unlink)
    assert remove_workspace(workspace) == "PermissionError"
    assert [path.name for path in workspace.iterdir()] == ["immutable"]
    monkeypatch.undo()


def test_a_removal_has_an_end(workspace: Path) -> None:
    """When its time is over, the rest is left."""
    _make_wide(workspace)
    assert remove_workspace(workspace, seconds=0) == "it took too long"
    assert len(list(workspace.iterdir())) == 30


def test_a_removal_ends_within_a_directory(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory may have millions of files, so the time counts for each of them."""
    for number in range(10):
        (workspace / f"{number}").touch()
    times = iter(range(100))
    monkeypatch.setattr("cp_thirdparty.worker._workspace.time", SimpleNamespace(monotonic=lambda: next(times)))
    assert remove_workspace(workspace, seconds=6) == "it took too long"
    assert len(list(workspace.iterdir())) == 6
