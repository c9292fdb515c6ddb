"""
What a safe extraction costs, beside ``zipfile.extractall()``, which checks nearly nothing.

``python tests/benchmarks/extraction.py`` extracts 20,000 small files and one of 1 GiB; ``--short`` a hundredth of it.
The two take turns; the figures are medians.  At least 0.8 x the speed of ``extractall()`` is wanted, and memory that
does not grow with the size of a file.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from cp_thirdparty.artifacts import create_archive, extract_archive


def _extractall(archive: Path, to: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(to)


def _ours(archive: Path, to: Path) -> None:
    extract_archive(archive, to=to)


def _zipfile_write(source: Path, to: Path) -> None:
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as made:
        for path in sorted(source.rglob("*")):
            made.write(path, path.relative_to(source))


def _our_create(source: Path, to: Path) -> None:
    create_archive(source, to=to)


def _compared(title: str, candidates: dict[str, Callable[[Path, Path], None]], source: Path, rounds: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            to = source.parent / "out"
            begin = time.perf_counter()
            run(source, to)
            seconds[name].append(time.perf_counter() - begin)
            shutil.rmtree(to) if to.is_dir() else to.unlink()
    base = statistics.median(next(iter(seconds.values())))
    print(f"\n{title}, median of {rounds}")
    for name, taken in seconds.items():
        median = statistics.median(taken)
        print(f"  {name:24} {median:8.2f} s  {base / median:5.2f} x")


_PEAK = """
import resource, sys
from pathlib import Path
from cp_thirdparty.artifacts import create_archive, extract_archive

create_archive(Path(sys.argv[1]), to=Path(sys.argv[2]) / "peak.zip")
extract_archive(Path(sys.argv[2]) / "peak.zip", to=Path(sys.argv[2]) / "peak")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def _peak(source: Path) -> float:
    """Archive and extract in a process of its own, and tell how many MiB it took at most."""
    with tempfile.TemporaryDirectory(dir=source.parent) as to:
        command = [sys.executable, "-c", _PEAK, str(source), to]
        return int(subprocess.run(command, check=True, capture_output=True).stdout) / 1024


def _small_files(directory: Path, count: int) -> Path:
    chance = random.Random(1)
    for number in range(count):
        path = directory / "small" / str(number % 100) / f"{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(chance.choices("abcdefgh \n", k=chance.randrange(200, 4000))))
    return directory / "small"


def _large_file(directory: Path, size: int) -> Path:
    chance = random.Random(1)
    block = b"".join(chance.randbytes(64) * 4 for _ in range(1 << 12))  # deflates to about a third
    (directory / "large").mkdir()
    with (directory / "large" / "data.bin").open("wb") as file:
        for _ in range(size // len(block)):
            file.write(block)
    return directory / "large"


def main() -> None:
    """Make the trees and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a hundredth of it")
    short = parser.parse_args().short
    count, size, rounds = (200, 10 << 20, 1) if short else (20_000, 1 << 30, 3)
    print(f"Python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        nothing = directory / "nothing"
        nothing.mkdir()
        for title, source in (
            (f"{count:,} small files", _small_files(directory, count)),
            (f"one file of {size >> 20:,} MiB", _large_file(directory, size)),
        ):
            _compared(f"archiving {title}", {"zipfile": _zipfile_write, "create_archive": _our_create}, source, 1)
            archive = directory / "a.zip"
            create_archive(source, to=archive)
            _compared(f"extracting {title}", {"extractall": _extractall, "extract_archive": _ours}, archive, rounds)
            print(f"\npeak memory, both ways: {_peak(source):.0f} MiB; {_peak(nothing):.0f} MiB for no file")
            shutil.rmtree(source)


if __name__ == "__main__":
    main()
