"""
Extract 10,000 archives that were changed at random.

    PYTHONPATH=tests python -m long.mutated_archives [--count N] [--seed N]

Each must end in success or in one typed error, and leave nothing on the disk.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

from artifacts.test_archives_unsafe import mutate, seeds, survive


def main() -> None:
    """Run, and tell how many were taken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    chance = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory() as directory:
        taken = sum(survive(Path(directory), mutate(chance, chance.choice(seeds()))) for _ in range(chosen.count))
    print(f"{chosen.count} archives: {taken} taken, {chosen.count - taken} refused")


if __name__ == "__main__":
    main()
