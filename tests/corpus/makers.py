"""Programs that make archives, with their unusual options."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipapp
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

import pytest
from corpus.readers import HERE, build_go

# Where the nox session `corpus` has installed Node.js and its packages.
_NODE = "CP_THIRDPARTY_CORPUS_NODE"
_ENVIRONMENT = {**os.environ, "LC_ALL": "C.UTF-8"}
# Of LZMA, bsdtar is the only reader that keeps modes and links, and it takes the backslash of this file for a slash.
_BACKSLASH = "dev-disk-by*"

Maker = Callable[[Path, Path], object]


def _run(source: Path, *command: str | Path, output: Path | None = None, text: str | None = None) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(
        command,
        cwd=source,
        env=_ENVIRONMENT,
        check=True,
        capture_output=True,
        input=text and text.encode(),
        timeout=120,
    )
    if output is not None:
        output.write_bytes(done.stdout)


def _zip(*options: str) -> Maker:
    return lambda source, archive: _run(source, "zip", "-q", "-r", *options, archive, ".")


def _zip_to_pipe(source: Path, archive: Path) -> None:
    _run(source, "zip", "-q", "-r", "-", ".", output=archive)


def _zip_from_pipe(source: Path, archive: Path) -> None:
    _run(source, "zip", "-q", archive, "-", text="from a pipe")


def _zip_twice(source: Path, archive: Path) -> None:
    _run(source, "zip", "-q", "-r", archive, "README.md", "src")
    _run(source, "zip", "-q", "-r", "-y", archive, ".")
    _run(source, "zip", "-q", "-d", archive, "empty.txt")


def _zip_with_comment(source: Path, archive: Path) -> None:
    _run(source, "zip", "-q", "-r", "-z", archive, ".", text="a comment")


def _zip_with_script(source: Path, archive: Path, *, is_adjusted: bool) -> None:
    _zip("-y")(source, archive)
    archive.write_bytes(b"#!/bin/sh\nexec java -jar $0\n" + archive.read_bytes())
    if is_adjusted:
        _run(source, "zip", "-q", "-A", archive)


def _bsdtar(*options: str, what: str = ".") -> Maker:
    return lambda source, archive: _run(source, "bsdtar", "--format", "zip", *options, "-cf", archive, what)


def _bsdtar_to_pipe(source: Path, archive: Path) -> None:
    _run(source, "bsdtar", "--format", "zip", "-cf", "-", ".", output=archive)


def _7zip(*options: str) -> Maker:
    return lambda source, archive: _run(source, "7zz", "a", "-bd", "-tzip", *options, archive, ".")


def _jar(options: str) -> Maker:
    return lambda source, archive: _run(source, "jar", options, archive, ".")


def _jar_update(source: Path, archive: Path) -> None:
    _run(source, "jar", "-cf", archive, "README.md")
    _run(source, "jar", "-uf", archive, "src")


def _go(way: str) -> Maker:
    return lambda source, archive: _run(source, build_go("create"), way, source, archive)


def _node(way: str) -> Maker:
    def make(source: Path, archive: Path) -> None:
        folder = os.environ.get(_NODE)
        if folder is None:
            pytest.skip(f"{_NODE} is not set: run these tests with `python3 noxfile.py corpus`")
        node = Path(folder) / ("Scripts" if os.name == "nt" else "bin") / "node"
        _run(Path(folder), node, HERE / "create.mjs", way, source, archive)

    return make


def _git(*options: str) -> Maker:
    def make(source: Path, archive: Path) -> None:
        settings = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "core.autocrlf=false")
        for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
            _run(source, "git", *settings, *arguments)
        _run(source, "git", "archive", "--format=zip", *options, "-o", archive, "HEAD")
        shutil.rmtree(source / ".git")

    return make


def _zipfile(source: Path, archive: Path, *, method: int, is_streaming: bool) -> None:
    left_out = set(source.glob(_BACKSLASH)) if method == zipfile.ZIP_LZMA else set()
    with archive.open("wb") as file:
        if is_streaming:
            file.seekable = lambda: False  # type: ignore[method-assign]
        with zipfile.ZipFile(file, "w", method) as made:
            for path in sorted(set(source.rglob("*")) - left_out):
                made.write(path, path.relative_to(source))


def _make_archive(source: Path, archive: Path) -> None:
    shutil.make_archive(str(archive.with_suffix("")), "zip", source)


def _zipapp(source: Path, archive: Path) -> None:
    zipapp.create_archive(source, archive, interpreter=sys.executable, main="a:b", compressed=True)


MAKERS: Mapping[str, Maker] = MappingProxyType(
    {
        "zip": _zip(),
        "zip, links": _zip("-y"),
        "zip, stored": _zip("-y", "-0"),
        "zip, best": _zip("-y", "-9", "-X"),
        "zip, no directories": _zip("-y", "-D"),
        "zip, descriptors": _zip("-fd"),
        "zip, ZIP64": _zip("-y", "-fz"),
        "zip, to a pipe": _zip_to_pipe,
        "zip, from a pipe": _zip_from_pipe,
        "zip, updated": _zip_twice,
        "zip, bzip2": _zip("-y", "-Z", "bzip2"),
        "zip, comment": _zip_with_comment,
        "zip, script before it": partial(_zip_with_script, is_adjusted=False),
        "zip, script before it, adjusted": partial(_zip_with_script, is_adjusted=True),
        "bsdtar": _bsdtar(),
        "bsdtar, one folder": _bsdtar(what="src"),
        "bsdtar, stored": _bsdtar("--options", "zip:compression=store"),
        "bsdtar, ZIP64": _bsdtar("--options", "zip:zip64"),
        "bsdtar, to a pipe": _bsdtar_to_pipe,
        "7-Zip": _7zip(),
        "7-Zip, links": _7zip("-snl"),
        "7-Zip, stored": _7zip("-mx=0", "-mcu=on"),
        "7-Zip, best": _7zip("-mx=9", "-mtc=on"),
        "7-Zip, bzip2": _7zip("-mm=BZip2"),
        "7-Zip, LZMA": _7zip("-mm=LZMA", f"-x!{_BACKSLASH}"),
        "7-Zip, LZMA with end markers": _7zip("-mm=LZMA", "-meos", "-mx=9", f"-x!{_BACKSLASH}"),
        "jar": _jar("-cf"),
        "jar, no manifest": _jar("-cfM"),
        "jar, stored": _jar("-0cf"),
        "jar, updated": _jar_update,
        "Go, deflated": _go("deflate"),
        "Go, stored": _go("store"),
        "Go, names": _go("names"),
        **{
            f"Node.js, {way}": _node(way)
            for way in (
                *("archiver", "archiver, stored", "archiver, ZIP64", "yazl", "yazl, ZIP64"),
                *("jszip", "jszip, streaming", "jszip, DOS"),
            )
        },
        "git": _git(),
        "git, stored": _git("-0", "--prefix=project-1.0/"),
        "zipfile": partial(_zipfile, method=zipfile.ZIP_DEFLATED, is_streaming=False),
        "zipfile, stored": partial(_zipfile, method=zipfile.ZIP_STORED, is_streaming=False),
        "zipfile, bzip2": partial(_zipfile, method=zipfile.ZIP_BZIP2, is_streaming=False),
        "zipfile, bzip2, streaming": partial(_zipfile, method=zipfile.ZIP_BZIP2, is_streaming=True),
        "zipfile, LZMA": partial(_zipfile, method=zipfile.ZIP_LZMA, is_streaming=False),
        "zipfile, LZMA, streaming": partial(_zipfile, method=zipfile.ZIP_LZMA, is_streaming=True),
        "zipfile, streaming": partial(_zipfile, method=zipfile.ZIP_DEFLATED, is_streaming=True),
        "make_archive": _make_archive,
        "zipapp": _zipapp,
    }
)
