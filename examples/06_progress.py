"""
Show the progress of a download, with tqdm and with rich.

Runs offline: the local CodePipeline replaces the service, and SeaweedFS replaces S3.
"""

import sys
import tempfile
from pathlib import Path

from rich.progress import Progress
from tqdm import tqdm

from cp_thirdparty import ArtifactStore

# Where the S3 of the tests is.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.artifact_jobs import artifact, store
from support.seaweedfs import BUCKET, Seaweed

MIB = 1 << 20


def with_tqdm(artifacts: ArtifactStore, to: Path) -> None:
    """Move the bar by the bytes of each call; after a retry it moves back."""
    with tqdm(total=32 * MIB, unit="B", unit_scale=True, desc="tqdm") as bar:
        artifacts.download("MyApp", to=to, progress=bar.update)


def with_rich(artifacts: ArtifactStore, to: Path) -> None:
    """Move a bar of rich, which needs the task of the bar too."""
    with Progress() as progress:
        bar = progress.add_task("rich", total=32 * MIB)
        artifacts.download(
            "MyApp", to=to, progress=lambda count: progress.advance(bar, count)
        )


def main() -> None:
    """Download the same artifact twice."""
    with Seaweed() as seaweed, tempfile.TemporaryDirectory() as directory:
        seaweed.put("demo/MyApp", bytes(32 * MIB))
        inputs = [artifact("MyApp", "demo/MyApp", bucket=BUCKET)]
        with store(
            seaweed.assume_role, seaweed.endpoint_url, inputs=inputs
        ) as artifacts:
            with_tqdm(artifacts, Path(directory) / "MyApp.zip")
            with_rich(artifacts, Path(directory) / "MyApp.zip")


if __name__ == "__main__":
    main()
