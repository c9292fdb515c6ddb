"""`samples.job()` is what a handler is given: a handler is tested without S3 and without a service."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from pathlib import Path

import attrs
import pytest

from cp_thirdparty import ActionConfiguration, Continued, ExecutionDetails, Job, SecretStr, Succeeded
from cp_thirdparty.exceptions import ConfigurationError, InvalidRequestError, UnsafeArchiveError
from cp_thirdparty.testing import samples


@attrs.frozen
class _Configuration:
    project_name: str
    api_key: SecretStr


def _handle(job: Job[_Configuration]) -> Succeeded | Continued:
    if job.cancelled or job.stopping:
        return Continued(continuation_token="later")
    source = job.artifacts.extract("Source", to=job.workspace / "source")
    report = job.workspace / "report"
    report.mkdir()
    names = sorted(path.name for path in source.rglob("*"))
    (report / "files.txt").write_text(f"{job.configuration.project_name}: {names}", encoding="utf-8")
    job.artifacts.archive("Report", report)
    return Succeeded()


_CONFIGURATION = {"ProjectName": "demo", "ApiKey": "xMARKERx"}


def _make(**settings: object) -> samples.SampleJob[_Configuration]:
    arguments: dict[str, object] = {
        "configuration": _CONFIGURATION,
        "configuration_class": _Configuration,
        "inputs": {"Source": {"app.py": "print()"}},
        "outputs": ["Report"],
    }
    return samples.job(**{**arguments, **settings})  # type: ignore[arg-type]


def test_a_handler_is_tested_in_three_lines() -> None:
    """The handler reads its inputs, and the test reads what it wrote."""
    job = samples.job(
        configuration=_CONFIGURATION,
        configuration_class=_Configuration,
        inputs={"Source": {"app.py": "print()"}},
        outputs=["Report"],
    )
    assert _handle(job) == Succeeded()
    assert job.artifacts.files("Report") == {"files.txt": b"demo: ['app.py']"}


def test_an_asynchronous_handler_is_awaited() -> None:
    """The job is the same for both kinds of handlers."""

    async def handle(job: Job[_Configuration]) -> Succeeded:
        await asyncio.sleep(0)
        return Succeeded(execution_details=ExecutionDetails(summary=job.configuration.project_name))

    assert asyncio.run(handle(_make())) == Succeeded(execution_details=ExecutionDetails(summary="demo"))


@pytest.mark.parametrize("kind", ["directory", "file", "bytes"])
def test_an_input_is_a_directory_a_file_or_bytes(tmp_path: Path, kind: str) -> None:
    """Whatever the test has is what the handler extracts."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "main.py").write_bytes(b"")
    archive = _make(inputs={"Source": tmp_path / "source"}, folder=tmp_path / "bucket").artifacts.folder / "Source"
    contents = {"directory": str(tmp_path / "source"), "file": archive, "bytes": archive.read_bytes()}
    job = _make(inputs={"Source": contents[kind]})
    assert _handle(job) == Succeeded()
    assert job.artifacts.files("Report") == {"files.txt": b"demo: ['main.py']"}


def test_an_unsafe_input_is_refused_as_with_s3() -> None:
    """A test can give a hostile archive to a handler."""
    with pytest.raises(UnsafeArchiveError, match=r"'\.\.' in the name"):
        _handle(_make(inputs={"Source": {"../evil": "x"}}))


def test_a_wrong_configuration_is_an_error() -> None:
    """The customer would read this message; no frame of the error has the values."""
    with pytest.raises(ConfigurationError, match="ProjectName") as caught:
        _make(configuration={"ApiKey": "xMARKERx"})
    assert "xMARKERx" not in str(caught.value)
    with pytest.raises(InvalidRequestError, match=r"^name: must have "):
        _make(inputs={"a/b": b""})
    with pytest.raises(TypeError, match=r"^outputs: must be a list of names, not one string$"):
        _make(outputs="Report")
    with pytest.raises(TypeError, match=r"^content: must be a str or an os.PathLike of str, not int$"):
        _make(inputs={"Source": 1})


def test_without_a_class_the_configuration_is_strings() -> None:
    """As a worker without a configuration class gives it."""
    job = samples.job(configuration={"ProjectName": "demo"})
    assert isinstance(job.configuration, ActionConfiguration)
    assert job.configuration.configuration["ProjectName"].get_secret_value() == "demo"
    assert (dict(job.artifacts.inputs), dict(job.artifacts.outputs)) == ({}, {})
    assert (job.continuation_token, job.cancelled, job.stopping) == (None, False, False)
    assert job.deadline > time.time() + 3000


def test_each_argument_is_what_the_handler_sees(tmp_path: Path) -> None:
    """A test names what it is about."""
    cancelled, stopping = threading.Event(), threading.Event()
    context = samples.pipeline_context(pipeline_name="p")
    job = _make(
        folder=tmp_path,
        client_id="client-1",
        context=context,
        continuation_token="run-1",
        seconds_left=-1.0,
        cancelled=cancelled,
        stopping=stopping,
    )
    assert (job.client_id, job.continuation_token, job.details.data.pipeline_context) == ("client-1", "run-1", context)
    assert (job.id, job.artifacts.folder) == (samples.third_party_job().job_id, tmp_path)
    assert job.deadline < time.time()
    stopping.set()
    assert _handle(job) == Continued(continuation_token="later")
    cancelled.set()
    assert job.cancelled


def test_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the test is over, workspace and artifacts are removed, and a folder of the caller stays."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    job = _make()
    _handle(job)
    assert job.workspace.parent.parent == tmp_path
    del job
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    mine = tmp_path / "mine"
    job = _make(folder=mine)
    _handle(job)
    del job
    gc.collect()
    assert list(tmp_path.iterdir()) == [mine]
    assert sorted(path.name for path in mine.iterdir()) == ["Report", "Source"]


def test_the_artifacts_may_outlive_their_job() -> None:
    """A test often needs only them."""
    store = samples.job(inputs={"Source": {"a.py": "x"}}).artifacts
    gc.collect()
    assert store.size("Source") > 0


def test_a_job_that_is_closed_keeps_its_artifacts() -> None:
    """A worker closes each job; a test can still read what it wrote."""
    job = _make()
    _handle(job)
    before = job.workspace
    job.close()
    assert not before.exists()
    assert list(job.artifacts.files("Report")) == ["files.txt"]
