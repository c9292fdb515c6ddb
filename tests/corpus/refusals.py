"""
Count what is refused of folders of archives, by rule.

    PYTHONPATH=tests python -m corpus.refusals FOLDER...

Each file that begins as a zip archive does is extracted.  A refused one is harmless if at least two other programs
extract it to a tree without a way out; if there is one, the program fails.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs
from corpus.readers import find_harmless
from support.trees import find_ways_out

from cp_thirdparty.artifacts import extract_archive
from cp_thirdparty.exceptions import UnsafeArchiveError


@attrs.define
class Count:
    """
    What one rule refused.

    Attributes:
        refused: How many archives.

        harmless: Those of them that are harmless.
    """

    refused: int = 0
    harmless: list[str] = attrs.field(factory=list)


def find_archives(folders: list[Path]) -> Iterator[Path]:
    """Return the files that begin as a zip archive does."""
    for folder in folders:
        for path in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
            if path.is_file() and not path.is_symlink():
                with path.open("rb") as file:
                    if file.read(4) in (b"PK\3\4", b"PK\5\6"):
                        yield path


def count_refusals(archives: Iterator[Path]) -> tuple[int, dict[str, Count]]:
    """Extract archives, and return how many there are and what each rule refused."""
    total = 0
    counts: dict[str, Count] = {}
    for archive in archives:
        total += 1
        with tempfile.TemporaryDirectory(prefix="corpus-") as directory:
            try:
                tree = extract_archive(archive, to=Path(directory) / "out")
            except UnsafeArchiveError as error:
                count = counts.setdefault(error.rule, Count())
                count.refused += 1
                readers = find_harmless(archive)
                if len(readers) > 1:
                    count.harmless.append(f"{archive}: {error}: extracted by {', '.join(readers)}")
            else:
                found = find_ways_out(tree, most=1_000_000)
                if found:
                    raise AssertionError(f"{archive}: {found[0]}")
    return total, counts


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    total, counts = count_refusals(find_archives(parser.parse_args().folders))
    print("| rule | refused | % | harmless |\n| --- | ---: | ---: | ---: |")
    for rule, count in sorted(counts.items(), key=lambda item: -item[1].refused):
        print(f"| {rule} | {count.refused} | {100 * count.refused / total:.2f} | {len(count.harmless)} |")
    harmless = [line for count in counts.values() for line in count.harmless]
    refused = sum(count.refused for count in counts.values())
    print(f"\n{total} archives: {refused} refused, {len(harmless)} of them harmless", *harmless, sep="\n")
    sys.exit(bool(harmless) or not total)


if __name__ == "__main__":
    main()
