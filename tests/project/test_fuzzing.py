"""The fuzzers find a defect, and in their short form they find none."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest

if sys.platform != "linux":
    pytest.skip("the fuzzers count the resources of a process in /proc", allow_module_level=True)

from long import fuzz_checks, fuzzing

from cp_thirdparty.exceptions import ServiceError

# Cases of the short form.  Those of S3 take longest.
_COUNTS = {"archives": 100, "structure": 400, "codepipeline": 150, "s3": 25, "service": 100}


@pytest.mark.slow
@pytest.mark.parametrize("name", fuzzing.FUZZERS)
def test_no_input_ends_in_a_foreign_error(name: str, tmp_path: Path) -> None:
    """Each case ends in a value or an error of this library, with no secret, thread, socket or file left behind."""
    count = _COUNTS.get(name, 30)
    summary = fuzzing.run(name, cases=range(count), seed=0, directory=tmp_path)
    assert sum(summary.endings.values()) == count
    assert name != "scenarios" or summary.endings["started"]


def _leave_a_file(directory: Path) -> str:
    (directory / "left").touch()
    return "accepted"


def _leave_a_descriptor(directory: Path) -> str:
    _KEPT.append(directory.joinpath("..").resolve().joinpath("kept").open("w"))
    return "accepted"


def _raise(error: Exception) -> str:
    def call() -> None:
        raise error

    return fuzz_checks.ending_of(call, is_peer_shown=True)


_KEPT: list[TextIO] = []
_DEFECTS: dict[str, tuple[Callable[[Path], str], str]] = {
    "a foreign error": (lambda _: _raise(ValueError("no")), "case 7.*ValueError"),
    "a secret": (lambda _: _raise(ServiceError(f"{fuzz_checks.SECRET}token", code="No")), "case 7"),
    "a file": (_leave_a_file, "left"),
    "a descriptor": (_leave_a_descriptor, "left behind"),
}


@pytest.mark.parametrize("defect", _DEFECTS)
def test_a_defect_is_found(defect: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure names the case, which can then be run alone."""
    happen, expected = _DEFECTS[defect]
    opened: list[object] = []
    directory = tmp_path / "cases"
    directory.mkdir()

    @contextmanager
    def start(directory: Path) -> Generator[fuzz_checks.Case]:
        opened.append(directory)
        # The first time is the warm-up.
        yield (lambda _: "accepted") if len(opened) == 1 else (lambda _: happen(directory))

    monkeypatch.setattr(fuzzing, "_MAX_SECONDS", 0.1)
    monkeypatch.setitem(fuzzing.FUZZERS, "defect", fuzzing.Fuzzer(1, start))
    with pytest.raises(AssertionError, match=expected):
        fuzzing.run("defect", cases=[7], seed=1, directory=directory)
    while _KEPT:
        _KEPT.pop().close()


@pytest.mark.parametrize(
    "mutate", [fuzz_checks.mutate_bytes, lambda chance, _: fuzz_checks.mutate_document(chance, {"a": [1]})]
)
def test_a_case_can_be_repeated(mutate: Callable[[random.Random, bytes], object]) -> None:
    """The same number gives the same input."""
    made = [[repr(mutate(random.Random(f"x {number}"), b"some bytes")) for number in range(50)] for _ in range(2)]
    assert made[0] == made[1]
    assert len(set(made[0])) > 25
