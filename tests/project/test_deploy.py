"""The files of the page "Run in production": they fit together, and the worker runs as a container runs it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml
from prometheus_client import CollectorRegistry
from support.worker_service import ACTION_TYPE, CLIENT_ID, CLIENT_TOKEN, Instead, make_worker, until

from cp_thirdparty.observability import prometheus_metrics
from cp_thirdparty.testing import Action, LocalCodePipeline
from cp_thirdparty.testing._wire import error_response
from cp_thirdparty.worker import EnvironmentTokens, JournalEntry, JournalState
from cp_thirdparty.worker._sqlite_rows import read_journal

_DEPLOY = Path(__file__).parents[2] / "docs" / "deploy"

_GRACE = 20 + 5 + 2  # of the worker, for the last reports, for events


def _load(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((_DEPLOY / name).read_text(encoding="utf-8")))


def test_each_stop_leaves_time_for_the_grace() -> None:
    """The worker ends before systemd and Kubernetes send SIGKILL."""
    deployment, budget = _load("kubernetes.yaml")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= _GRACE
    unit = (_DEPLOY / "example-scan.service").read_text(encoding="utf-8")
    assert int(re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[0]) >= _GRACE
    assert "\nKillMode=mixed\n" in unit
    assert budget["spec"]["selector"] == deployment["spec"]["selector"]
    container = pod["containers"][0]
    probes = {name: container[name]["httpGet"]["path"] for name in ("livenessProbe", "readinessProbe")}
    assert probes == {"livenessProbe": "/live", "readinessProbe": "/ready"}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {entry["name"] for entry in container["env"]} >= {"EXAMPLE_REGIONS", "EXAMPLE_TABLE"}


def test_alerts_are_about_metrics_that_exist() -> None:
    """A renamed metric would silence an alert."""
    registry = CollectorRegistry()
    metrics = prometheus_metrics(registry)
    make_worker(LocalCodePipeline(), metrics=metrics)
    names = {family.name for family in registry.collect()}
    (group,) = _load("alerts.yaml")[0]["groups"]
    used = {name for rule in group["rules"] for name in re.findall(r"cp_thirdparty_\w+", rule["expr"])}
    assert {name.removesuffix("_total") for name in used} <= names


@pytest.mark.slow
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """`systemd-analyze verify` finds nothing; the program is replaced, because it is not on this machine."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze comes with systemd")
    text = (_DEPLOY / "example-scan.service").read_text(encoding="utf-8")
    unit = tmp_path / "example-scan.service"
    unit.write_text(re.sub(r"ExecStart=\S+", f"ExecStart={sys.executable}", text), encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if "example-scan" in line]
    assert (lines, done.returncode) == ([], 0)
    unit.write_text(text.replace("KillMode=mixed", "KillMode=some"), encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert "kill mode" in done.stderr


# --- as a process


def _run_worker(service: LocalCodePipeline, directory: Path, **variables: str) -> subprocess.Popen[str]:
    settings = {
        **os.environ,
        **service.environment(),
        EnvironmentTokens().variable(CLIENT_ID): CLIENT_TOKEN,
        "EXAMPLE_REGIONS": service.region_name,
        "EXAMPLE_FILE": str(directory / "jobs.db"),
        "EXAMPLE_PORT": "0",
        **variables,
    }
    command = [sys.executable, str(_DEPLOY / "worker.py")]
    return subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _read_log(child: subprocess.Popen[str]) -> list[dict[str, str]]:
    output, _ = child.communicate(timeout=60)
    return [json.loads(line) for line in output.splitlines()]


def test_a_port_in_use_is_the_last_line_of_the_log(service: LocalCodePipeline, tmp_path: Path) -> None:
    """The exit code is 1, and no worker has run."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        child = _run_worker(service, tmp_path, EXAMPLE_PORT=str(port))
        lines = _read_log(child)
    assert child.returncode == 1
    assert lines[-1]["level"] == "CRITICAL"
    assert f"127.0.0.1:{port} cannot be used for probes: " in lines[-1]["message"]
    assert not [line for line in lines if line["logger"] == "cp_thirdparty.worker"]


def test_a_worker_that_ends_with_an_error_ends_the_program(service: LocalCodePipeline, tmp_path: Path) -> None:
    """The running job ends, the log has the error in its own format, and the exit code is 1."""
    child = _run_worker(service, tmp_path, EXAMPLE_PROVIDERS="ExampleScan,ExampleTest")
    action = _start_action(service)
    service.faults.add("PollForThirdPartyJobs", Instead(error_response("ActionTypeNotFoundException", "no")))
    lines = _read_log(child)
    assert (child.returncode, action.status) == (1, "Succeeded")
    (error,) = [line for line in lines if line["logger"] == "example_scan"]
    assert error["level"] == "ERROR"
    assert "has ended with ActionTypeNotFoundException; all workers stop" in error["message"]
    assert "Traceback" in error["exception"]
    assert [line["message"] for line in lines].count("the worker has ended: clean") == 1


@attrs.define
class _Worker:
    """What `run_all` uses of a worker."""

    act: Callable[[_Worker], bool]
    stops: int = 0

    def run(self) -> bool:
        """Do what the test wants."""
        return self.act(self)

    def stop(self) -> None:
        """Count it."""
        self.stops += 1


def test_a_first_signal_after_an_error_does_not_end_the_grace() -> None:
    """A supervisor sends SIGTERM to a program that is about to end; only a second signal ends the grace."""
    spec = importlib.util.spec_from_file_location("deploy_worker", _DEPLOY / "worker.py")
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)

    def fail(_worker: _Worker) -> bool:
        raise ZeroDivisionError

    def drain(worker: _Worker) -> bool:
        until(lambda: worker.stops == 1)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        until(lambda: worker.stops > 1)
        return True

    workers = {"failing": _Worker(fail), "other": _Worker(drain)}
    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        assert program.run_all(workers) is False
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    assert workers["other"].stops == 2


# --- as PID 1 of an unprivileged user with a read-only root

_CONTAINER = (
    "mount --bind {directory} {directory} && mount -o remount,bind,ro / && cd {directory} && "
    "exec setpriv --reuid 65534 --regid 65534 --clear-groups {python} {worker}"
)


@pytest.fixture
def service() -> Iterator[LocalCodePipeline]:
    """Give a service with one customer."""
    with LocalCodePipeline(redelivery_delay=0.3) as created:
        created.register_client(CLIENT_ID, CLIENT_TOKEN)
        yield created


def _start_container(service: LocalCodePipeline, directory: Path, seconds: float) -> subprocess.Popen[str]:
    for path in (directory, *directory.parents):
        if path.owner() == "root" and path != Path("/tmp") and path != Path("/"):
            path.chmod(0o755)
    directory.chmod(0o777)
    script = _CONTAINER.format(directory=directory, python=sys.executable, worker=_DEPLOY / "worker.py")
    variables = {
        **service.environment(),
        EnvironmentTokens().variable(CLIENT_ID): CLIENT_TOKEN,
        "EXAMPLE_REGIONS": service.region_name,
        "EXAMPLE_FILE": str(directory / "jobs.db"),
        "EXAMPLE_SECONDS": str(seconds),
        "EXAMPLE_PORT": "0",
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(directory),
        "HOME": str(directory),
    }
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    settings = [f"{name}={value}" for name, value in variables.items()]
    unshare = ["unshare", "--pid", "--fork", "--mount", "--mount-proc", "--kill-child", "sh", "-c", script]
    return subprocess.Popen([*as_root, "env", *settings, *unshare], stdout=subprocess.PIPE, text=True)


def _find_worker(child: subprocess.Popen[str]) -> int:
    """Return the process id, outside, of the worker."""
    path = Path(f"/proc/{child.pid}/task/{child.pid}/children")
    until(lambda: bool(path.read_text(encoding="utf-8").split()))
    return int(path.read_text(encoding="utf-8").split()[0])


def _start_action(service: LocalCodePipeline) -> Action:
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    until(lambda: action.status == "InProgress")
    return action


@pytest.mark.slow
def test_the_worker_runs_as_in_a_container(service: LocalCodePipeline, tmp_path: Path) -> None:
    """SIGTERM lets the job end and the exit code is 0; after SIGKILL the next container goes on with the job."""
    if sys.platform != "linux" or (os.geteuid() != 0 and subprocess.call(["sudo", "-n", "true"]) != 0):
        pytest.skip("only root can create the namespaces of a container")
    child = _start_container(service, tmp_path, 2.0)
    action = _start_action(service)
    os.kill(_find_worker(child), signal.SIGTERM)
    output, _ = child.communicate(timeout=60)
    lines = [json.loads(line) for line in output.splitlines()]
    assert (child.returncode, action.status) == (0, "Succeeded")
    assert {"time", "level", "logger", "message", "job_id"} <= next(line for line in lines if "job_id" in line).keys()
    killed = _start_container(service, tmp_path, 1000.0)
    action = _start_action(service)
    path = tmp_path / "jobs.db"
    until(
        lambda: JournalState.RUNNING in {entry.state for entry in read_journal(path) if isinstance(entry, JournalEntry)}
    )
    os.kill(_find_worker(killed), signal.SIGKILL)
    killed.communicate(timeout=60)
    following = _start_container(service, tmp_path, 0.0)
    until(lambda: action.status == "Failed")  # its handler may not run again, and the customer reads why
    os.kill(_find_worker(following), signal.SIGTERM)
    following.communicate(timeout=60)
    assert "ended unexpectedly" in str(action.result)
