"""A process that is killed while it moves or packs an artifact: nothing half-written is visible, and all is swept."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from support.artifact_jobs import artifact, open_store
from support.scripted_s3 import ScriptedS3
from support.zip_records import Record, built

from cp_thirdparty import ArtifactCredentials, ArtifactStore
from cp_thirdparty.artifacts._temporary import sweep

_BUCKET = "codepipeline-us-east-1-1"
_CREDENTIALS = ArtifactCredentials(access_key_id="AKID", secret_access_key="secret", session_token="token")

# s3transfer reports progress for each 256 KiB, and uploads in parts from 8 MiB on.
_SIZES = {"upload": 3 << 20, "upload in parts": 9 << 20}

# It calls `wait` in the middle of its work, and waits until it is killed.
_CHILD = """
import os, sys, threading
from pathlib import Path
from artifacts.test_killed_processes import open_store_with_places

endpoint_url, way, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])

def wait(_):
    os.write(1, b"in the middle\\n")
    threading.Event().wait()

with open_store_with_places(endpoint_url) as store:
    if way == "download":
        store.download("In", to=folder / "out", progress=wait)
    elif way == "extract":
        store.extract("In", to=folder / "out", progress=wait)
    elif way == "pack":
        store.archive("Out", folder / "source", on_skip=wait)
    else:
        store.archive("Out", folder / "source", progress=wait)
"""


def open_store_with_places(endpoint_url: str) -> AbstractContextManager[ArtifactStore]:
    """Return the store of a job with one input and one output."""
    return open_store(
        _CREDENTIALS,
        endpoint_url,
        inputs=[artifact("In", "in.zip", bucket=_BUCKET)],
        outputs=[artifact("Out", "out.zip", bucket=_BUCKET)],
    )


@pytest.mark.slow
@pytest.mark.parametrize("way", ["download", "extract", "pack", "upload", "upload in parts"])
def test_a_killed_process_leaves_nothing_that_is_not_swept(tmp_path: Path, way: str) -> None:
    """No file, directory or object of its final name exists, and a sweep removes what is left."""
    folder, temporary = tmp_path / "folder", tmp_path / "temporary"
    source = folder / "source"
    for directory in (folder, temporary, source):
        directory.mkdir()
    if way == "pack":
        os.mkfifo(source / "pipe")  # it is skipped when the files before it are packed
    (source / "f").write_bytes(random.Random(1).randbytes(_SIZES.get(way, 1_000)))
    objects = {f"/{_BUCKET}/in.zip": built(Record(name=b"f", content=b"x" * 100_000))}
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": os.pathsep.join(sys.path)}
    with ScriptedS3(objects) as s3:
        command = [sys.executable, "-c", _CHILD, s3.endpoint_url, way, str(folder)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            line = child.stdout.readline()
            child.kill()
        assert line == b"in the middle\n"
    assert s3.objects == objects
    used = folder if way in ("download", "extract") else temporary
    left = [path.name for path in used.iterdir() if path != source]
    assert left
    assert sorted(sweep(used).removed) == sorted(left)
    assert [path.name for path in folder.iterdir()] == ["source"]
    assert list(temporary.iterdir()) == []
