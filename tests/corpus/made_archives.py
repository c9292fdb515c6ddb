"""
What other programs make is extracted, and is what another program extracts.

``nox -s corpus`` installs the packages of Node.js and runs this file; pytest does not collect it by default.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from artifacts.test_archives_good import LAYOUTS as FAST_LAYOUTS
from corpus.makers import MAKERS
from corpus.readers import READERS, extract_by, find_harmless
from support.trees import find_ways_out, read_tree
from support.zip_records import DIRECTORY, Record, built

from cp_thirdparty.artifacts import create_archive, extract_archive


@pytest.fixture(autouse=True)
def _readers() -> None:
    """Require the programs that judge."""
    for name in set(READERS) - {"python"}:
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")


def _make_tree(root: Path) -> Path:
    """Create a tree with everything that is usual and that was refused once."""
    for name, content in {
        "README.md": b"# A project\n" * 100,
        "readme.md": b"a twin in case\n",
        "src/main.py": b"print('hello')\n",
        "src/deep/er/data.bin": bytes(range(256)) * 40,
        "empty.txt": b"",
        "name with blanks .txt": b"x",
        "ends in a dot.": b"x",
        "aux.c": b"int x;\n",
        "key:value": b"colon\n",
        "dev-disk-by\\x2duuid.swap": b"systemd\n",
        "\u00fcmlaut-\u65e5\u672c.txt": b"y",
        "zeros.bin": bytes(2_100_000),
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (root / "run.sh").write_bytes(b"#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "void" / "er").mkdir(parents=True)
    (root / "lib.so").symlink_to("lib.so.1")
    (root / "lib.so.1").symlink_to("src/deep/er/data.bin")
    (root / "folder").symlink_to("src/deep")
    (root / "src" / "up").symlink_to("../README.md")
    return root


@pytest.mark.parametrize("maker", MAKERS)
def test_an_archive_of_another_program_is_extracted(tmp_path: Path, maker: str) -> None:
    """The tree has the same names, data, links and executable files as that of another program."""
    archive = tmp_path / "a.zip"
    MAKERS[maker](_make_tree(tmp_path / "source"), archive)
    assert _compare(tmp_path, archive)


_MANY = (Record(name=b"%d/" % (number % 100), content=b"", attributes=DIRECTORY) for number in range(65_537))
# unzip and Python make files of them, of which those of DOS are executable with unzip; bsdtar and Go make directories.
_WITHOUT_AGREEMENT = {"attributes of a directory, no slash and nothing below"}
LAYOUTS = {
    **{name: data for name, (data, _) in FAST_LAYOUTS.items() if name not in _WITHOUT_AGREEMENT},
    "Archive Utility of macOS, count of 16 bits": built(*_MANY, end={"count": 1}),
}
# Layouts with names that each program decodes by its own rules.
_OTHER_NAMES = {"no UTF-8 on Unix", "old code page"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_harmless(tmp_path: Path, layout: str) -> None:
    """What is forged here is what other programs extract too."""
    archive = tmp_path / "a.zip"
    archive.write_bytes(LAYOUTS[layout])
    assert _compare(tmp_path, archive) or layout in _OTHER_NAMES


def test_an_archive_of_ours_is_extracted_by_others(tmp_path: Path) -> None:
    """Every program extracts what `create_archive` has made, and it is the tree."""
    source = _make_tree(tmp_path / "source")
    archive = create_archive(source, to=tmp_path / "a.zip")
    assert find_harmless(archive) == list(READERS)
    for name in ("unzip", "go"):  # bsdtar takes a backslash in a name for a slash
        assert extract_by(name, archive, tmp_path / name)
        assert read_tree(tmp_path / name) == read_tree(source), name


def _compare(tmp_path: Path, archive: Path) -> list[str]:
    """Extract a harmless archive, and return the programs that extract the same tree."""
    harmless = find_harmless(archive)
    assert len(harmless) >= 2, f"only {harmless} extract it"
    ours = extract_archive(archive, to=tmp_path / "ours")
    assert find_ways_out(ours) == []
    tree = read_tree(ours)
    # unzip decodes UTF-8 of Java and Go by the code page of DOS, and bsdtar takes each backslash for a slash.
    others = {name: tmp_path / name for name in ("unzip", "bsdtar", "go")}
    trees = {name: read_tree(to) for name, to in others.items() if extract_by(name, archive, to)}
    assert sorted(tree.values()) in [sorted(other.values()) for other in trees.values()]
    return [name for name, other in trees.items() if other == tree]
