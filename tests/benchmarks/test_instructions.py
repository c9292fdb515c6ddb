"""The check of instruction counts and the program that runs all benchmarks, on counts that are made up."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks import counted_work, instructions, run
from benchmarks.constant_service import DOCUMENT
from benchmarks.measure import Samples


def _write_counts(directory: Path, counts: list[int]) -> None:
    for number, count in enumerate(counts, 1):
        (directory / f"count.{number}").write_text(f"version: 1\nevents: Ir\nsummary: {count}\n\nfn=(1) f\n")


def test_counts_are_read_block_by_block(tmp_path: Path) -> None:
    """The file before the first marker is left out, and a block's count is divided by its calls."""
    blocks = [(name, 10) for _ in range(8) for name in ("structuring", "plain reading")]
    _write_counts(tmp_path, [999_999, *(10 * block for block in range(16))])
    samples = instructions.read_counts(tmp_path, blocks)
    assert samples.figures == {"structuring": [*range(0, 16, 2)], "plain reading": [*range(1, 16, 2)]}


def test_a_marker_that_callgrind_did_not_see_is_an_error(tmp_path: Path) -> None:
    """Counts are not attributed to blocks if one file is missing."""
    _write_counts(tmp_path, [999_999, 1_500])
    with pytest.raises(RuntimeError, match="1 blocks of 2"):
        instructions.read_counts(tmp_path, [("structuring", 10), ("plain reading", 10)])


@pytest.mark.parametrize(
    ("ratio", "status", "verdict"),
    [
        (1.000, 0, "+0.0%: holds"),
        (1.029, 0, "+2.9%: holds"),
        (0.971, 0, "-2.9%: holds"),
        (1.031, 1, "+3.1%: missed; if this is intended: "),
        (0.969, 1, "-3.1%: missed; if this is intended: "),
    ],
)
def test_a_ratio_must_stay_within_3_percent(
    ratio: float, status: int, verdict: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """More instructions fail, and so do fewer, until the new ratio is stored."""
    stored = {"structuring": 1.0, "client call": 1.0}
    assert instructions.compare({"structuring": ratio, "client call": 1.0}, stored) == status
    output = capsys.readouterr().out
    assert f"structuring: {ratio:.4f} x plain reading, stored 1.0000, {verdict}" in output
    assert "client call: 1.0000 x botocore call, stored 1.0000, +0.0%: holds" in output


@pytest.mark.parametrize(("ci", "status"), [("true", 1), ("1", 1), ("false", 0), ("0", 0), ("", 0), (None, 0)])
def test_the_check_cannot_disappear_from_ci(
    ci: str | None, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without valgrind the program prints that nothing was checked, and fails in CI."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.argv", ["instructions"])
    monkeypatch.delenv("CI", raising=False)
    if ci is not None:
        monkeypatch.setenv("CI", ci)
    assert instructions.main() == status
    assert "INSTRUCTIONS WERE NOT CHECKED: valgrind is not installed" in capsys.readouterr().out


def _play_valgrind(monkeypatch: pytest.MonkeyPatch, stored: Path, *options: str, structuring: float = 110) -> None:
    """Let the program find valgrind and counts that are made up."""
    figures = {"plain reading": 100.0, "structuring": structuring, "botocore call": 100.0, "client call": 98.0}
    counts = Samples({name: [figure] * 8 for name, figure in figures.items()})
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/valgrind")
    monkeypatch.setattr("platform.python_version", lambda: "3.99.1")
    monkeypatch.setattr("platform.machine", lambda: "z80")
    monkeypatch.setattr("sys.argv", ["instructions", *options])
    monkeypatch.setattr(instructions, "count_instructions", lambda: counts)
    monkeypatch.setattr(instructions, "_STORED", stored)


def test_ratios_are_stored_for_each_python_and_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python without stored ratios fails in CI; after recording, the same counts hold and others do not."""
    stored = tmp_path / "instructions.json"
    stored.write_text('{"3.11 x86_64": {}}', encoding="utf-8")
    monkeypatch.setenv("CI", "true")
    _play_valgrind(monkeypatch, stored, "--short")
    assert instructions.main() == 1
    _play_valgrind(monkeypatch, stored, "--record")
    assert instructions.main() == 0
    recorded = {"structuring": 1.1, "client call": 0.98}
    assert json.loads(stored.read_text(encoding="utf-8")) == {"3.11 x86_64": {}, "3.99 z80": recorded}
    _play_valgrind(monkeypatch, stored)
    assert instructions.main() == 0
    _play_valgrind(monkeypatch, stored, structuring=115)
    assert instructions.main() == 1


def test_every_stored_entry_has_both_ratios() -> None:
    """No entry lets a check pass by leaving out its ratio."""
    stored: dict[str, dict[str, float]] = json.loads(instructions._STORED.read_text(encoding="utf-8"))
    names = set(instructions._REFERENCES)
    assert {key: set(ratios) for key, ratios in stored.items()} == dict.fromkeys(stored, names)


def test_the_reference_reads_the_complete_document() -> None:
    """The plain reading, with which structuring is compared, reads every member and checks its type."""
    document = DOCUMENT["jobDetails"]
    read = counted_work._plain_reader(document)
    details = read(document, None)
    assert details.id == document["id"]
    assert [each.location.s3Location.objectKey for each in details.data.inputArtifacts] == [
        each["location"]["s3Location"]["objectKey"] for each in document["data"]["inputArtifacts"]
    ]
    changes: tuple[dict[str, Any], ...] = (
        {"id": 1},
        {"data": []},
        {"data": {**document["data"], "inputArtifacts": {}}},
    )
    for change in changes:
        with pytest.raises(TypeError, match="must be"):
            read({**document, **change}, None)


def test_the_documented_command_stores_ratios(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`run.py` passes `--record` to the benchmark that stores ratios, and refuses it for others."""
    started: list[list[str]] = []

    def start(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        started.append(command[2:])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("subprocess.run", start)
    monkeypatch.setattr(run, "version", lambda _: "1.0")
    monkeypatch.setattr("sys.argv", ["run.py", "instructions", "--record"])
    assert run.main() == 0
    assert started == [["benchmarks.instructions", "--record"]]
    monkeypatch.setattr("sys.argv", ["run.py", "--record"])
    with pytest.raises(SystemExit):
        run.main()
    assert "--record: only `instructions` stores ratios" in capsys.readouterr().err


@pytest.mark.parametrize(("returncode", "status"), [(0, 0), (1, 1)])
def test_a_run_fails_if_one_benchmark_fails(
    returncode: int, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The remaining benchmarks run after a failure, and the last line names those that failed."""
    started: list[str] = []

    def start(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        started.append(command[2])
        assert command[3:] == ["--short"]
        return subprocess.CompletedProcess(command, returncode if command[2] == "benchmarks.calls" else 0)

    monkeypatch.setattr("subprocess.run", start)
    monkeypatch.setattr(run, "version", lambda _: "1.0")
    monkeypatch.setattr("sys.argv", ["run.py", "--short", "calls", "documents"])
    assert run.main() == status
    assert started == ["benchmarks.calls", "benchmarks.documents"]
    last = "failed: calls" if status else "no target was missed"
    assert capsys.readouterr().out.splitlines()[-1] == last
