"""What many names, deep trees and useless records cost: not more for each than for the first."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import attrs
import pytest
from support.artifact_jobs import TOKEN, artifact, job
from support.zip_records import Record, built

from cp_thirdparty import Artifact, ArtifactCredentials, ArtifactStore, JobDetails
from cp_thirdparty.artifacts import _zip_records, extract_archive
from cp_thirdparty.exceptions import ArtifactError, ArtifactNotFoundError, UnsafeArchiveError

_CREDENTIALS = ArtifactCredentials(access_key_id="ASIAJOB", secret_access_key="secret", session_token="token")


class _Name(str):
    """A name that counts how often it is compared."""

    __slots__ = ()
    comparisons = 0

    def __eq__(self, other: object) -> bool:
        _Name.comparisons += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def _with_artifacts(details: JobDetails, count: int) -> JobDetails:
    one = artifact("A", "key", bucket="bucket")
    many = tuple(Artifact(name=_Name(f"A{number}"), location=one.location) for number in range(count))
    return attrs.evolve(details, data=attrs.evolve(details.data, input_artifacts=many, output_artifacts=many))


def test_many_artifacts_are_compared_once() -> None:
    """20,000 names would else take 400 million comparisons."""
    with job(_CREDENTIALS) as (client, details):
        many = _with_artifacts(details, 2000)
        _Name.comparisons = 0
        with ArtifactStore.for_job(client, many, client_token=TOKEN) as store:
            assert _Name.comparisons <= 10 * 2000
            with pytest.raises(ArtifactNotFoundError, match=r"it has 'A0', .*, 'A9' and 1,990 more$") as caught:
                store.size("other")
            assert len(str(caught.value)) < 1000


def test_two_artifacts_of_one_name_are_found_among_many() -> None:
    """Also if they are the last ones."""
    with job(_CREDENTIALS) as (client, details):
        many = _with_artifacts(details, 100)
        twice = (*many.data.output_artifacts, many.data.output_artifacts[99])
        wrong = attrs.evolve(many, data=attrs.evolve(many.data, output_artifacts=twice))
        with pytest.raises(ArtifactError, match=r"^the job has two output artifacts 'A99'$"):
            ArtifactStore.for_job(client, wrong, client_token=TOKEN)


def _count_opened(tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> int:
    deep = "/".join(f"d{number}" for number in range(60))
    data = built(*[Record(name=f"{deep}/{number}/f".encode(), content=b"") for number in range(count)])
    archive = tmp_path / f"{count}.zip"
    archive.write_bytes(data)
    opened: list[object] = []
    original = os.open

    def count_one(path: Any, *arguments: Any, **settings: Any) -> int:
        opened.append(path)
        return original(path, *arguments, **settings)

    with monkeypatch.context() as context:
        context.setattr("os.open", count_one)
        extract_archive(archive, to=tmp_path / f"{count}")
    return len(opened)


def test_a_deep_tree_costs_as_much_as_a_flat_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory is opened from the one around it, and not from the root: 60 steps for each of 100,000."""
    fifty, hundred = (_count_opened(tmp_path, count, monkeypatch) for count in (50, 100))
    assert hundred - fifty == 2 * 50  # a directory and a file for each
    assert fifty < 60 + 2 * 50 + 20


class _Counting:
    """A layout that counts how often it is used."""

    size = 4

    def __init__(self) -> None:
        self.count = 0

    def unpack_from(self, data: bytes, at: int) -> tuple[Any, ...]:
        self.count += 1
        return struct.unpack_from("<2H", data, at)


_EMPTY = struct.pack("<2H", 0x7777, 0)


@pytest.mark.parametrize(
    ("extra", "rule", "reads"),
    [
        (b"\0" * 64_000, "", 0),
        (b"\0" * 63_999, "", 0),
        (_EMPTY + b"\0" * 64_000, "", 1),
        (b"\0" * 64_000 + _EMPTY, "", 1),
        (_EMPTY * 100, "", 100),
        (_EMPTY * 101, "a damaged extra field", 101),
        (_EMPTY * 16_000, "a damaged extra field", 101),
        ((_EMPTY + b"\0" * 400) * 150, "a damaged extra field", 101),
        (b"\0" * 6 + _EMPTY, "", 1),
    ],
    ids=lambda value: str(len(value)) if isinstance(value, bytes) else str(value),
)
def test_extra_fields_are_read_up_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: bytes, rule: str, reads: int
) -> None:
    """100,000 local headers may have 16,000 empty fields each; zeros that align data are one step."""
    counting = _Counting()
    monkeypatch.setattr(_zip_records, "_EXTRA", counting)
    (tmp_path / "a.zip").write_bytes(built(Record(local={"extra": extra})))
    found = ""
    try:
        extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
    except UnsafeArchiveError as error:
        found = error.rule
    assert found == rule
    assert counting.count == reads
