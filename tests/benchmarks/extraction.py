"""Measure archives beside ``zipfile``, whose ``extractall()`` checks nearly nothing, and the memory that they take."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.measure import FEWEST_PAIRS, Target, choose_pairs, judge, main, print_table, seconds, take_turns
from cp_thirdparty.artifacts import create_archive, extract_archive

_Work = Callable[[Path, Path], object]


def run(*, short: bool) -> None:
    """Create the trees and print the tables."""
    count, size = (200, 10 << 20) if short else (20_000, 256 << 20)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "empty").mkdir()
        for title, source in (
            (f"{count:,} small files", _write_small_files(directory, count)),
            (f"one file of {size >> 20:,} MiB", _write_large_file(directory, size)),
        ):
            archive = directory / "a.zip"
            create_archive(source, to=archive)
            creation: dict[str, _Work] = {"zipfile": _write_zipfile, "create_archive": _create}
            _compare(f"archiving {title}", creation, source, limit=0.9, short=short)
            extraction: dict[str, _Work] = {"extractall": _extract_all, "extract_archive": _extract}
            _compare(f"extracting {title}", extraction, archive, limit=0.8, short=short)
            peaks = {"no file": partial(_measure_peak, directory / "empty"), title: partial(_measure_peak, source)}
            samples = take_turns(peaks, pairs=FEWEST_PAIRS)
            print_table("peak memory of a process that archives and extracts, MiB", "no file", samples)
            if source.name == "large":
                judge(f"{title} rather than none, MiB more", samples.difference(title, "no file"), "<=", 64)


def _compare(title: str, works: dict[str, _Work], source: Path, *, short: bool, limit: float) -> None:
    """Compare the speeds of two ways to read one source and write one target."""
    baseline, ours = works

    def speed_of(work: _Work) -> Callable[[], float]:
        def measure() -> float:
            to = source.parent / "out"
            taken = seconds(lambda: work(source, to))()
            shutil.rmtree(to) if to.is_dir() else to.unlink()
            return 60 / taken

        return measure

    print_table(
        f"{title}, times a minute",
        baseline,
        take_turns(
            {name: speed_of(work) for name, work in works.items()}, pairs=choose_pairs(FEWEST_PAIRS, short=short)
        ),
        {ours: Target(">=", limit)},
        is_judged=not short,
    )


def _extract_all(archive: Path, to: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(to)


def _extract(archive: Path, to: Path) -> None:
    extract_archive(archive, to=to)


def _write_zipfile(source: Path, to: Path) -> None:
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as opened:
        for path in sorted(source.rglob("*")):
            opened.write(path, path.relative_to(source))


def _create(source: Path, to: Path) -> None:
    create_archive(source, to=to)


_PEAK = """
import sys
from pathlib import Path
from benchmarks.measure import peak_memory
from cp_thirdparty.artifacts import create_archive, extract_archive

create_archive(Path(sys.argv[1]), to=Path(sys.argv[2]) / "peak.zip")
extract_archive(Path(sys.argv[2]) / "peak.zip", to=Path(sys.argv[2]) / "peak")
print(peak_memory())
"""


def _measure_peak(source: Path) -> float:
    """Archive and extract in a process of its own, and return its peak memory in MiB."""
    with tempfile.TemporaryDirectory(dir=source.parent) as to:
        command = [sys.executable, "-c", _PEAK, str(source), to]
        return float(subprocess.run(command, check=True, capture_output=True).stdout)


def _write_small_files(directory: Path, count: int) -> Path:
    chance = random.Random(1)
    for number in range(count):
        path = directory / "small" / str(number % 100) / f"{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(chance.choices("abcdefgh \n", k=chance.randrange(200, 4000))))
    return directory / "small"


def _write_large_file(directory: Path, size: int) -> Path:
    chance = random.Random(1)
    block = b"".join(chance.randbytes(64) * 4 for _ in range(1 << 12))  # compresses to about a third
    (directory / "large").mkdir()
    with (directory / "large" / "data.bin").open("wb") as file:
        for _ in range(size // len(block)):
            file.write(block)
    return directory / "large"


if __name__ == "__main__":
    main(run, __doc__)
