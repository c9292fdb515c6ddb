"""Handlers on a Dask cluster of two processes: the same results, nothing secret, no job lost."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster
from support import handlers
from support.worker_service import ACTION_TYPE, CLIENT_ID, CLIENT_TOKEN, running, until

from cp_thirdparty import JobWorker
from cp_thirdparty.testing import LocalCodePipeline, Success
from cp_thirdparty.worker import JobEvent

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def service() -> Iterator[LocalCodePipeline]:
    """Give a running service with one customer, which the environment describes."""
    before = dict(os.environ)
    with LocalCodePipeline(redelivery_delay=1000.0, continuation_delay=0.0) as made:
        os.environ.update(made.environment())
        made.register_client(CLIENT_ID, CLIENT_TOKEN)
        yield made
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def cluster(service: LocalCodePipeline) -> Iterator[Client]:
    """Give a cluster of two processes that know the environment."""
    assert service.endpoint_url == os.environ["AWS_ENDPOINT_URL_CODEPIPELINE"]
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", host="127.0.0.1"
        ) as made,
        Client(made) as client,
    ):
        yield client


def _worker(service: LocalCodePipeline, cluster: Client, handler: Any, **settings: Any) -> JobWorker[Any]:
    every: dict[str, Any] = {"client_tokens": handlers.token_of, "poll_interval": 0.05, "concurrency": 4, **settings}
    return JobWorker(handlers.connect_to(service), ACTION_TYPE, handler, executor=cluster.get_executor, **every)


def test_handlers_run_on_the_cluster(
    service: LocalCodePipeline, cluster: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """Jobs are done in processes of the cluster; what Dask logs and names holds no secret."""
    caplog.set_level(logging.DEBUG)
    configuration = {"ApiKey": "xMARKERx-value"}
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID, configuration=configuration) for _ in range(4)]
    with running(_worker(service, cluster, handlers.tell_process)):
        until(lambda: all(action.status == "Succeeded" for action in actions))
    processes = set()
    for action in actions:
        assert isinstance(action.result, Success)
        assert action.result.execution_details is not None
        processes.add(action.result.execution_details.external_execution_id)
    assert processes <= {str(pid) for pid in _pids(cluster)}
    shown = f"{caplog.text} {cluster.run_on_scheduler(_all_that_it_knows)} {cluster.get_worker_logs()}"
    assert "run_in_executor" in shown
    assert "xMARKERx" not in shown


def test_coroutines_run_on_the_cluster(service: LocalCodePipeline, cluster: Client) -> None:
    """Their event loop runs outside of Dask's threads, and asks the scheduler whether they have begun before."""
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(4)]
    events: list[JobEvent] = []
    with running(_worker(service, cluster, handlers.describe_loop, on_event=events.append)):
        until(lambda: all(action.status == "Succeeded" for action in actions))
    assert "executor_failed" not in {event.name for event in events}
    places = {action.result.execution_details for action in actions if isinstance(action.result, Success)}
    numbers = {int(str(each.external_execution_id).partition("-")[0]) for each in places if each is not None}
    assert numbers <= set(_pids(cluster))


def test_the_error_of_a_handler_shows_no_secret(
    service: LocalCodePipeline, cluster: Client, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Dask logs the function, the arguments and the traceback of a task that raises, so no task of ours does."""
    caplog.set_level(logging.DEBUG)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID, configuration={"ApiKey": "xMARKERx-value"})
    with running(_worker(service, cluster, handlers.raise_secret)):
        until(lambda: action.status == "Failed")
    shown = (
        f"{caplog.text} {cluster.run_on_scheduler(_all_that_it_knows)} {cluster.get_worker_logs()} {capfd.readouterr()}"
    )
    assert "ValueError" in caplog.text  # the worker's own log has the class and the place
    assert "Compute Failed" not in shown
    assert "xMARKERx" not in shown


def _pids(client: Any) -> list[int]:
    return list(client.run(os.getpid).values())


def _all_that_it_knows(dask_scheduler: Any) -> str:
    tasks = [f"{key} {task} {getattr(task, 'run_spec', '')}" for key, task in dask_scheduler.tasks.items()]
    return f"{tasks} {dask_scheduler.get_logs()} {list(dask_scheduler.transition_log)}"


def test_a_continuation_goes_on_on_the_cluster(service: LocalCodePipeline, cluster: Client) -> None:
    """Each kind of result crosses."""
    going, failing = (service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(2))
    with running(_worker(service, cluster, handlers.in_steps)):
        until(lambda: going.status == failing.status == "Succeeded")


def test_a_process_of_the_cluster_that_dies_fails_its_job(service: LocalCodePipeline, cluster: Client) -> None:
    """The task is not run again, and its job is reported; the cluster goes on."""
    events: list[JobEvent] = []
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with running(_worker(service, cluster, handlers.die, on_event=events.append)):
        until(lambda: action.status == "Failed")
    assert "executor_failed" in [event.name for event in events]
    good = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with running(_worker(service, cluster, handlers.tell_process)):
        until(lambda: good.status == "Succeeded")


@pytest.mark.parametrize(
    "handler", [handlers.die_with_the_result, handlers.die_with_the_result_later], ids=["function", "coroutine"]
)
def test_a_process_of_the_cluster_that_dies_with_a_result_fails_its_job(
    service: LocalCodePipeline, cluster: Client, tmp_path: Path, capfd: pytest.CaptureFixture[str], handler: Any
) -> None:
    """Dask runs the task again in another process, which does not call the handler, and the worker is informed."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with running(_worker(service, cluster, partial(handler, path=str(tmp_path / "begun")))):
        until(lambda: action.status == "Failed")
    assert (tmp_path / "begun").read_text(encoding="utf-8").splitlines() == [action.jobs[0].id]
    assert "Compute Failed" not in f"{cluster.get_worker_logs()} {capfd.readouterr()}"


def test_an_idempotent_handler_runs_again_on_the_cluster(
    service: LocalCodePipeline, cluster: Client, tmp_path: Path
) -> None:
    """A job whose process was killed is run once more."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    handler = partial(handlers.die_once, directory=str(tmp_path))
    with running(_worker(service, cluster, handler, is_idempotent=True)):
        until(lambda: action.status == "Succeeded")


def test_a_scheduler_that_goes_away_loses_no_job(service: LocalCodePipeline) -> None:
    """Jobs that were running when the cluster ended are reported."""
    with LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0", host="127.0.0.1") as made:
        client = Client(made)
        actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(2)]
        worker = _worker(service, client, handlers.hang, job_timeout=5.0)
        with running(worker):
            until(lambda: all(action.status == "InProgress" for action in actions))
            time.sleep(0.5)
            for pid in _pids(client):
                os.kill(pid, signal.SIGKILL)
            client.close()
            until(lambda: all(action.status == "Failed" for action in actions))
