"""`Job`: what a handler is given, and what is left of it afterwards."""

from __future__ import annotations

import logging
import pickle
import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cp_thirdparty import ActionTypeId, Job, JobData, JobDetails, ThirdPartyJob

_OFFER = ThirdPartyJob(client_id="client-1", job_id="job-1")


class _Store:
    """What stands for an artifact store: the job only makes and closes it."""

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class _Broken(_Store):
    """A store whose end fails."""

    def __init__(self, raised: BaseException) -> None:
        super().__init__()
        self._raised = raised

    def close(self) -> None:
        raise self._raised


def _job(**more: Any) -> Job[int]:
    details = JobDetails(
        id="job-1",
        data=JobData(
            action_type_id=ActionTypeId(category="Test", owner="ThirdParty", provider="X", version="1"),
            continuation_token="go on",
        ),
        nonce="1",
    )
    events = {"cancelled": threading.Event(), "stopping": threading.Event()}
    settings: dict[str, Any] = {"open_artifacts": _Store, "seconds_left": 60.0, **events, **more}
    return Job(_OFFER, details, 7, **settings)


def test_a_job_shows_what_it_is() -> None:
    """Ids, details, configuration, token and time are there."""
    before = time.time()
    job = _job()
    assert (job.id, job.client_id, job.configuration, job.continuation_token) == ("job-1", "client-1", 7, "go on")
    assert job.details.id == "job-1"
    assert before + 60 <= job.deadline <= time.time() + 60
    assert repr(job) == "<Job job-1>"


@pytest.mark.parametrize("name", ["cancelled", "stopping"])
def test_a_job_shows_its_events(name: str) -> None:
    """The handler sees at once that its result is no longer wanted, or that the worker stops."""
    event = threading.Event()
    job = _job(**{name: event})
    assert getattr(job, name) is False
    event.set()
    assert getattr(job, name) is True


def test_the_workspace_exists_as_long_as_the_job() -> None:
    """It is one empty directory, made when asked for and removed with all that is in it."""
    job = _job()
    workspace = job.workspace
    assert workspace is job.workspace
    assert list(workspace.iterdir()) == []
    (workspace / "deep").mkdir()
    (workspace / "deep" / "file").write_text("x")
    assert job.close() == ()
    assert not workspace.exists()


def test_a_workspace_that_cannot_be_removed_is_a_problem(tmp_path: Path) -> None:
    """It is not an error: the result counts."""
    job = _job()
    job._workspace = cast("Any", SimpleNamespace(path=tmp_path, remove=lambda: "PermissionError"))
    assert job.close() == (f"the workspace could not be removed completely (PermissionError): {tmp_path}",)


def test_the_artifacts_are_opened_once_and_closed() -> None:
    """The store is made at its first use, and closed with the job."""
    made: list[_Store] = []

    def make() -> Any:
        made.append(_Store())
        return made[-1]

    _job(open_artifacts=make).close()
    assert made == []
    job = _job(open_artifacts=make)
    assert job.artifacts is job.artifacts
    job.close()
    job.close()
    assert [store.closed for store in made] == [1]


@pytest.mark.parametrize("name", ["artifacts", "workspace"])
def test_a_thread_that_a_handler_leaves_behind_opens_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the end of the handler nobody would close it or remove it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made: list[_Store] = []

    def make() -> Any:
        made.append(_Store())
        return made[-1]

    job = _job(open_artifacts=make)
    getattr(job, name)
    job.close()
    with pytest.raises(RuntimeError, match="the handler of this job has ended"):
        getattr(job, name)
    assert all(store.closed for store in made)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("raised", [OSError("xMARKERx"), SystemExit(), GeneratorExit()], ids=repr)
def test_artifacts_that_cannot_be_closed_are_a_problem(raised: BaseException) -> None:
    """It is named by its type, and the workspace is removed."""
    job = _job(open_artifacts=partial(_Broken, raised))
    assert isinstance(job.artifacts, _Broken)
    workspace = job.workspace
    assert job.close() == (f"the artifacts could not be closed: {type(raised).__name__}",)
    assert not workspace.exists()


def test_ctrl_c_while_a_job_is_closed_leaves_no_workspace() -> None:
    """It goes on to the caller."""
    job = _job(open_artifacts=partial(_Broken, KeyboardInterrupt()))
    assert isinstance(job.artifacts, _Broken)
    workspace = job.workspace
    with pytest.raises(KeyboardInterrupt):
        job.close()
    assert not workspace.exists()


def test_a_job_that_asked_for_nothing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a look at it there is no workspace."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    _job().close()
    assert list(tmp_path.iterdir()) == []


def test_the_logger_names_the_job(caplog: pytest.LogCaptureFixture) -> None:
    """Each message begins with the id, each record has it, and the handler's own ``extra`` stays."""
    caplog.set_level(logging.INFO)
    _job().logger.info("found %d", 3, extra={"findings": 3})
    (record,) = caplog.records
    assert record.name == "cp_thirdparty.job"
    assert record.getMessage() == "[job-1] found 3"
    assert (record.__dict__["job_id"], record.__dict__["findings"]) == ("job-1", 3)


def test_a_job_cannot_be_pickled() -> None:
    """It names the alternative."""
    with pytest.raises(TypeError, match="send the values that you need"):
        pickle.dumps(_job())
