"""What the tests of the worker share: a service with customers, handlers, and a worker that runs while a test looks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from cp_thirdparty import ActionTypeId, CustomJobClient, Job, JobWorker, Succeeded, ThirdPartyJobClient
from cp_thirdparty.models import ActionConfiguration
from cp_thirdparty.testing import LocalCodePipeline
from cp_thirdparty.worker import JobScope, MemoryJournal

if TYPE_CHECKING:
    from cp_thirdparty.testing._wire import Response

ACTION_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")
CUSTOM_TYPE = ActionTypeId(category="Test", owner="Custom", provider="ExampleScan", version="1")
CLIENT_ID = "client-1"
CLIENT_TOKEN = "xMARKERx-token"
TOKENS = {CLIENT_ID: CLIENT_TOKEN}

AnyJob = Job[ActionConfiguration | None]

# Seconds after which a test that waits for something has failed; far more than it takes on a busy machine.
_PATIENCE = 60.0


def succeed(_job: AnyJob) -> Succeeded:
    """Do nothing, and well."""
    return Succeeded()


def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def scope_of(client: ThirdPartyJobClient | CustomJobClient) -> JobScope:
    """Return the scope of a worker with this client."""
    return JobScope(region_name=client.region_name, endpoint_url=client.endpoint_url, action_type_id=ACTION_TYPE)


class SharedJournal(MemoryJournal):
    """A journal in memory that stands for one that other workers share."""

    @property
    def is_durable(self) -> bool:
        """Whether it survives its process: the test keeps it."""
        return True

    @property
    def is_shared(self) -> bool:
        """Whether others can take jobs over: the test is the others."""
        return True


def make_worker(service: LocalCodePipeline, handler: Any = succeed, **settings: Any) -> JobWorker[Any]:
    """Make a worker of the service that polls often."""
    every: dict[str, Any] = {"client_tokens": TOKENS, "poll_interval": 0.05, "concurrency": 4, **settings}
    return JobWorker(service.client, ACTION_TYPE, handler, **every)


@attrs.define
class Running:
    """A worker that runs in a thread, and how it ended."""

    worker: JobWorker[Any]
    thread: threading.Thread = attrs.field(init=False)
    is_clean: bool | None = None
    failure: BaseException | None = None

    def __attrs_post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.is_clean = self.worker.run()
        except BaseException as failure:  # noqa: BLE001 - the test looks at it
            self.failure = failure

    def join(self) -> None:
        """Wait for its end."""
        self.thread.join(_PATIENCE)
        assert not self.thread.is_alive(), "the worker did not end"


@contextmanager
def running(worker: JobWorker[Any]) -> Generator[Running, None, None]:
    """Let a worker run, and stop it at the end."""
    started = Running(worker)
    try:
        yield started
    finally:
        worker.stop()
        started.join()


@attrs.frozen
class Before:
    """A fault: something happens before the service sees the request."""

    happen: Callable[[], object]

    def play(self, serve: Callable[[], Response]) -> Response:
        """Let it happen, and serve."""
        self.happen()
        return serve()


@attrs.frozen
class Instead:
    """A fault: the service returns something else, and the request takes no effect."""

    response: Response

    def play(self, serve: Callable[[], Response]) -> Response:  # noqa: ARG002 - it takes no effect
        """Return that."""
        return self.response


def claim(client: ThirdPartyJobClient, job_id: str) -> None:
    """Be another worker, who is quicker."""
    nonce = client.get_third_party_job_details(job_id, client_token=CLIENT_TOKEN).nonce
    client.acknowledge_third_party_job(job_id, nonce=nonce, client_token=CLIENT_TOKEN)
