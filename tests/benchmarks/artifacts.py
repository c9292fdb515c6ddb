"""
Prints what moving artifacts costs, as ratios to boto3's own transfers with the same server, and its memory.

``python tests/benchmarks/artifacts.py`` moves 512 MiB seven times each way, and 2 GiB for the memory; ``--short`` moves
16 MiB once and 64 MiB, to see that it runs.  Candidates take turns.  Of a large object that came at once S3 tells a
checksum of all its bytes: this library looks at it, which takes a tenth of the time, and boto3 does not.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.artifact_jobs import artifact, kms_key, store
from support.seaweedfs import BUCKET, Seaweed

from cp_thirdparty import ArtifactCredentials

_MIB = 1 << 20
_KEY_ID = "test-key-1"
_ENCRYPTED = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": _KEY_ID}
_FIELDS = ("access_key_id", "secret_access_key", "session_token")


def main() -> None:
    """Run all benchmarks and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="little data, once")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _print_peak(**json.loads(arguments.child), **json.loads(sys.stdin.read()))
        return
    size, large, rounds = (16 * _MIB, 64 * _MIB, 1) if arguments.short else (512 * _MIB, 2048 * _MIB, 7)
    for benchmark, amount in ((speed, (size, rounds)), (memory, (large,))):
        # Each on a server of its own, which does not give back the room of what was replaced.
        with Seaweed() as seaweed, tempfile.TemporaryDirectory() as directory:
            benchmark(seaweed, Path(directory), *amount)


def speed(seaweed: Seaweed, directory: Path, size: int, rounds: int) -> None:
    """Time to move one artifact; at least 0.95 of boto3's speed is wanted."""
    source, target = directory / "source", directory / "target"
    _write(source, size)
    credentials = seaweed.assume_role()
    boto = _boto(seaweed, credentials)
    with _opened(seaweed.endpoint_url, credentials) as opened:
        uploads: dict[str, Callable[[], object]] = {
            "boto3": lambda: boto.upload_file(str(source), BUCKET, "bench", ExtraArgs=_ENCRYPTED),
            "ArtifactStore": lambda: opened.upload("Bench", source),
        }
        downloads: dict[str, Callable[[], object]] = {
            "boto3": lambda: boto.download_file(BUCKET, "bench", str(target)),
            "ArtifactStore": lambda: opened.download("Bench", to=target),
        }
        print_speeds = partial(_print_speeds, size // _MIB)
        print_speeds("upload", _interleaved(uploads, rounds))
        print_speeds("download of what came in parts", _interleaved(downloads, rounds))
        # Only of an object that came at once does S3 tell a checksum of all its bytes.
        with source.open("rb") as file:
            boto.put_object(Bucket=BUCKET, Key="bench", Body=file, ChecksumAlgorithm="CRC32", **_ENCRYPTED)
        print_speeds("download of what came at once", _interleaved(downloads, rounds))


def memory(seaweed: Seaweed, directory: Path, large: int) -> None:
    """Peak memory of a process that moves one artifact; at most 64 MiB more than for 1 MiB is wanted."""
    credentials = seaweed.assume_role()
    peaks = {
        (way, size): _peak(seaweed, credentials, way, directory, size)
        for size in (_MIB, large)
        for way in ("upload", "download")
    }
    for way in ("upload", "download"):
        first, second = (peaks[way, size] for size in (_MIB, large))
        print(f"\npeak memory of a process, {way}, MiB")
        print(f"  {'1 MiB':<24}{first:>12.1f}")
        print(f"  {f'{large // _MIB} MiB':<24}{second:>12.1f}   {second - first:+.1f} MiB")


def _peak(seaweed: Seaweed, credentials: ArtifactCredentials, way: str, directory: Path, size: int) -> float:
    path = directory / "memory"
    if way == "upload":
        _write(path, size)
    facts = json.dumps({"way": way, "path": str(path), "endpoint_url": seaweed.endpoint_url})
    secrets = json.dumps({name: getattr(credentials, name).get_secret_value() for name in _FIELDS})
    result = subprocess.run(
        [sys.executable, __file__, "--child", facts], input=secrets, stdout=subprocess.PIPE, text=True, check=True
    )
    return float(result.stdout)


def _print_peak(*, way: str, path: str, endpoint_url: str, **secrets: str) -> None:
    with _opened(endpoint_url, ArtifactCredentials(**secrets)) as opened:
        if way == "upload":
            opened.upload("Bench", Path(path))
        else:
            opened.download("Bench", to=Path(path))
    # Not getrusage(), whose peak is inherited from the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    print(int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024)


def _opened(endpoint_url: str, credentials: ArtifactCredentials) -> Any:
    place = [artifact("Bench", "bench", bucket=BUCKET)]
    return store(credentials, endpoint_url, inputs=place, outputs=place, encryption_key=kms_key(_KEY_ID))


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


def _interleaved(candidates: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(rounds):
        for name, candidate in sorted(candidates.items(), reverse=bool(turn % 2)):
            begin = time.perf_counter()
            candidate()
            times[name].append(time.perf_counter() - begin)
    return times


def _print_speeds(size: int, title: str, times: dict[str, list[float]]) -> None:
    print(f"\n{title}, {size} MiB, seconds", flush=True)
    for word, pick in (("median", statistics.median), ("best", min)):
        for name in ("boto3", "ArtifactStore"):
            seconds = pick(times[name])
            print(f"  {name:<16}{word:<8}{seconds:>12.2f}   {pick(times['boto3']) / seconds:.2f} x boto3's speed")


if __name__ == "__main__":
    main()
