"""
Measure transfers of artifacts beside boto3's own with the same server, and the memory that they take.

S3 sends a checksum of all bytes of an object that was stored by one request.  This library verifies it, which takes a
tenth of the time; boto3 does not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from support.artifact_jobs import artifact, kms_key, open_store
from support.seaweedfs import BUCKET, Seaweed

from benchmarks.measure import (
    FEWEST_PAIRS,
    Target,
    choose_pairs,
    exit_status,
    judge,
    peak_memory,
    print_table,
    seconds,
    take_turns,
)
from cp_thirdparty import ArtifactCredentials

_MIB = 1 << 20
_KEY_ID = "test-key-1"
_ENCRYPTED = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": _KEY_ID}
_FIELDS = ("access_key_id", "secret_access_key", "session_token")


def main() -> int:
    """Run all benchmarks, or move one artifact in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="little data")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _print_peak(**json.loads(arguments.child), **json.loads(sys.stdin.read()))
        return 0
    for benchmark in (speed, partial(memory, way="upload"), partial(memory, way="download")):
        # Each benchmark has its own server, because the server keeps the space of an object that was replaced.
        with Seaweed() as seaweed, tempfile.TemporaryDirectory() as directory:
            benchmark(seaweed, Path(directory), short=arguments.short)
    return exit_status()


def speed(seaweed: Seaweed, directory: Path, *, short: bool) -> None:
    """Compare the time to move one artifact with boto3's."""
    source, target = directory / "source", directory / "target"
    size = (16 if short else 256) * _MIB  # the server has space for about 12 GiB, and keeps replaced objects
    _write(source, size)
    credentials = seaweed.assume_role()
    boto = _boto(seaweed, credentials)
    with _open_store(seaweed.endpoint_url, credentials) as artifact_store:
        uploads: dict[str, Callable[[], object]] = {
            "boto3": lambda: boto.upload_file(str(source), BUCKET, "bench", ExtraArgs=_ENCRYPTED),
            "ArtifactStore": lambda: artifact_store.upload("Bench", source),
        }
        downloads: dict[str, Callable[[], object]] = {
            "boto3": lambda: boto.download_file(BUCKET, "bench", str(target)),
            "ArtifactStore": lambda: artifact_store.download("Bench", to=target),
        }
        print_speeds = partial(_print_speeds, size // _MIB, short=short)
        print_speeds("upload", uploads)
        print_speeds("download of an object stored in parts", downloads)
        with source.open("rb") as file:
            boto.put_object(Bucket=BUCKET, Key="bench", Body=file, ChecksumAlgorithm="CRC32", **_ENCRYPTED)
        print_speeds("download of an object stored by one request", downloads, is_checksum_verified=True)


def _print_speeds(
    size: int, title: str, works: dict[str, Callable[[], object]], *, short: bool, is_checksum_verified: bool = False
) -> None:
    def speed_of(work: Callable[[], object]) -> Callable[[], float]:
        measure = seconds(work)
        return lambda: size / measure()

    candidates = {name: speed_of(work) for name, work in works.items()}
    print_table(
        f"{title}, MiB a second",
        "boto3",
        take_turns(candidates, pairs=choose_pairs(FEWEST_PAIRS, short=short)),
        {} if is_checksum_verified else {"ArtifactStore": Target(">=", 0.95)},
        is_judged=not short,
    )


def memory(seaweed: Seaweed, directory: Path, *, way: str, short: bool) -> None:
    """Compare the peak memory of a process that moves a large artifact with one that moves 1 MiB."""
    credentials = seaweed.assume_role()
    large = (64 if short else 1024) * _MIB
    candidates = {
        f"{size // _MIB:,} MiB": partial(_measure_peak, seaweed, credentials, way, directory, size)
        for size in (_MIB, large)
    }
    small_name, large_name = candidates
    samples = take_turns(candidates, pairs=FEWEST_PAIRS)
    print_table(f"peak memory of a process, {way}, MiB", small_name, samples)
    growth = samples.difference(large_name, small_name)
    judge(f"{way} of {large_name} rather than {small_name}, MiB more", growth, "<=", 64)


def _measure_peak(seaweed: Seaweed, credentials: ArtifactCredentials, way: str, directory: Path, size: int) -> float:
    path = directory / "memory"
    _write(path, size)
    if way == "download":
        with _open_store(seaweed.endpoint_url, credentials) as artifact_store:
            artifact_store.upload("Bench", path)
    facts = json.dumps({"way": way, "path": str(path), "endpoint_url": seaweed.endpoint_url})
    secrets = json.dumps({name: getattr(credentials, name).get_secret_value() for name in _FIELDS})
    command = [sys.executable, "-m", "benchmarks.artifacts", "--child", facts]
    result = subprocess.run(command, input=secrets, stdout=subprocess.PIPE, text=True, check=True)
    return float(result.stdout)


def _print_peak(*, way: str, path: str, endpoint_url: str, **secrets: str) -> None:
    with _open_store(endpoint_url, ArtifactCredentials(**secrets)) as artifact_store:
        if way == "upload":
            artifact_store.upload("Bench", Path(path))
        else:
            artifact_store.download("Bench", to=Path(path))
    print(peak_memory())


def _open_store(endpoint_url: str, credentials: ArtifactCredentials) -> Any:
    place = [artifact("Bench", "bench", bucket=BUCKET)]
    return open_store(credentials, endpoint_url, inputs=place, outputs=place, encryption_key=kms_key(_KEY_ID))


def _boto(seaweed: Seaweed, credentials: ArtifactCredentials) -> Any:
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    keys = {name: getattr(credentials, field).get_secret_value() for name, field in zip(names, _FIELDS, strict=True)}
    settings = Config(s3={"addressing_style": "path"}, proxies={})
    make: Any = partial(boto3.client, "s3", region_name="us-east-1", endpoint_url=seaweed.endpoint_url)
    return make(config=settings, **keys)


def _write(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for _ in range(size // _MIB):
            file.write(os.urandom(_MIB))


if __name__ == "__main__":
    sys.exit(main())
