"""Tables of DynamoDB for tests of the journal: moto's in this process, or dynalite's behind HTTP."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import threading
import time
import weakref
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import botocore.session
from botocore.config import Config

from cp_thirdparty.worker import DynamoDBJournal, dynamodb_table
from cp_thirdparty.worker._lease import Lease

# The environment variable with the folder of Node.js, beside which npm has installed dynalite.
FOLDER = "CP_THIRDPARTY_DYNALITE"

# dynalite ends if a client is killed in the middle of a request.
_PROGRAM = """
process.on("uncaughtException", error => { if (error.code !== "ECONNRESET") throw error })
require(process.argv[1])
"""

# The table of worker processes.
TABLE_NAME = "jobs"

_TABLES = itertools.count(1)

# The leases of the journals that the tests of one module have opened; a lease may outlive its journal.
_LEASES: weakref.WeakSet[Lease] = weakref.WeakSet()


class Timer:
    """A timer that a test sets."""

    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@attrs.define
class Fleet:
    """
    The journals of several workers in one table, and the timer of their leases.

    The takeover takes so long that no thread beats within a test; a test moves the timer instead.
    """

    client: Any
    table_name: str = attrs.field(factory=lambda: f"jobs-{next(_TABLES)}")
    takeover_seconds: float = 60_000.0
    timer: Timer = attrs.field(factory=Timer)
    journals: list[DynamoDBJournal] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        create_table(self.client, self.table_name)

    def open(self, clock: Callable[[], float] = time.time, **settings: Any) -> DynamoDBJournal:
        """Open the journal of one more worker."""
        arguments: dict[str, Any] = {"takeover_seconds": self.takeover_seconds, "timer": self.timer, **settings}
        arguments.setdefault("client", self.client)
        journal = DynamoDBJournal(self.table_name, clock=clock, **arguments)
        self.journals.append(journal)
        _LEASES.add(journal._lease)
        return journal

    def crash(self, journal: DynamoDBJournal) -> None:
        """Let a worker beat no more, and let the others see it for long enough."""
        journal._lease.stop()
        self.wait(self.takeover_seconds)

    def wait(self, seconds: float) -> None:
        """Let time pass in which the workers that have begun to beat do so."""
        living = [journal for journal in self.journals if not journal._lease.is_stopped]
        for journal in living:
            list(journal.jobs(unfinished_only=True))  # sees the leases
        for _ in range(12):
            self.timer.now += seconds / 12
            for journal in living:
                if journal._lease.seconds_left():
                    journal._lease.beat()

    def items(self) -> list[dict[str, Any]]:
        """Return all items of the table."""
        items: list[dict[str, Any]] = self.client.scan(TableName=self.table_name, ConsistentRead=True)["Items"]
        return items


def create_table(client: Any, table_name: str = TABLE_NAME) -> None:
    """Create a table, and wait until it can be used."""
    client.create_table(**dynamodb_table(table_name))
    while client.describe_table(TableName=table_name)["Table"]["TableStatus"] != "ACTIVE":
        time.sleep(0.01)


class _Locked:
    """A client with one call at a time: moto's conditional writes are not atomic."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(**request: Any) -> Any:
            with self._lock:
                return method(**request)

        return call if callable(method) and name != "meta" else method


def create_client(**settings: Any) -> Any:
    """Create a client with made-up credentials."""
    return botocore.session.Session().create_client(
        "dynamodb",
        region_name="us-east-1",
        aws_access_key_id="made-up",
        aws_secret_access_key="made-up",
        **settings,
    )


@contextmanager
def moto_client() -> Generator[Any, None, None]:
    """Create a client of moto's tables."""
    from moto import mock_aws  # noqa: PLC0415 - takes half a second

    with mock_aws():
        yield _Locked(create_client())
        # Otherwise the leases would log that the tables are gone, while later tests look at the log.
        for lease in tuple(_LEASES):
            lease.stop()
        _LEASES.clear()


@contextmanager
def dynalite() -> Generator[str, None, None]:
    """Start dynalite, and return its URL."""
    folder = Path(os.environ[FOLDER])
    program = folder.parent / "node_modules/dynalite/cli.js"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ("--host", "127.0.0.1", "--port", str(port), "--createTableMs", "1")
    command = [str(folder / "bin/node"), "--eval", _PROGRAM, str(program), *options]
    # A group of its own: this program of the wheel starts the real Node.js, which would outlive it.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "listening" in line, f"dynalite did not start: {line}"
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def dynalite_client(url: str, **settings: Any) -> Any:
    """Create a client of dynalite."""
    config = Config(
        connect_timeout=2,
        read_timeout=4,
        max_pool_connections=50,
        retries={"total_max_attempts": 4, "mode": "standard"},
    )
    return create_client(**{"endpoint_url": url, "config": config, **settings})
