"""
Show the progress of a download, with tqdm and with rich.

Runs offline: a local folder replaces S3.

Requires: cp-thirdparty[artifacts], rich, tqdm
"""

import tempfile
from pathlib import Path

from rich.progress import Progress
from tqdm import tqdm

from cp_thirdparty import ArtifactStore
from cp_thirdparty.testing import samples

MIB = 1 << 20


def with_tqdm(artifacts: ArtifactStore, to: Path) -> None:
    """Show a bar of tqdm; after a retry it moves back."""
    total = artifacts.size("MyApp")
    with tqdm(total=total, unit="B", unit_scale=True, desc="tqdm") as bar:
        artifacts.download("MyApp", to=to, progress=bar.update)


def with_rich(artifacts: ArtifactStore, to: Path) -> None:
    """Show a bar of rich, which needs the id of its task."""
    with Progress() as progress:
        bar = progress.add_task("rich", total=artifacts.size("MyApp"))
        artifacts.download(
            "MyApp", to=to, progress=lambda count: progress.advance(bar, count)
        )


def main() -> None:
    """Download the same artifact twice."""
    artifacts = samples.job(inputs={"MyApp": bytes(32 * MIB)}).artifacts
    with tempfile.TemporaryDirectory() as directory:
        with_tqdm(artifacts, Path(directory) / "MyApp.zip")
        with_rich(artifacts, Path(directory) / "MyApp.zip")
        print(Path(directory, "MyApp.zip").stat().st_size, "bytes")


if __name__ == "__main__":
    main()
