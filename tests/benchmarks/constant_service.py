"""A server with constant responses, in a process of its own: the local CodePipeline would be the limit."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import uuid
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config

from cp_thirdparty import ThirdPartyJobClient

DOCUMENT = json.loads((Path(__file__).parents[1] / "data" / "job_details.json").read_text(encoding="utf-8"))
CREDENTIALS = ("AKIDEXAMPLE", "made up")
CREDENTIAL_VARIABLES: dict[str, str] = {"AWS_ACCESS_KEY_ID": CREDENTIALS[0], "AWS_SECRET_ACCESS_KEY": CREDENTIALS[1]}
TOKEN = "2f0a8b1c-6d5e-4f3a-9b7c-1d2e3f4a5b6c"


class _Service(asyncio.Protocol):
    """One connection of the server."""

    left = 0
    puts = 0

    def __init__(self) -> None:
        self._received = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        if end and len(body) >= length:
            self._received = b""
            self._transport.write(_response(head, body))


def _response(head: bytes, body: bytes) -> bytes:
    operation = head.partition(b"CodePipeline_20150709.")[2].partition(b"\r\n")[0]
    document: Any = None
    if operation == b"PollForThirdPartyJobs":
        count = min(json.loads(body).get("maxBatchSize", 1), _Service.left)
        _Service.left -= count
        document = {"jobs": [{"clientId": str(uuid.uuid4()), "jobId": str(uuid.uuid4())} for _ in range(count)]}
    elif operation == b"GetThirdPartyJobDetails":
        job_id = json.loads(body)["jobId"]
        document = {"jobDetails": {**DOCUMENT["jobDetails"], "id": job_id}}
    elif operation == b"AcknowledgeThirdPartyJob":
        document = {"status": "InProgress"}
    else:
        _Service.puts += 1
    text = b"" if document is None else json.dumps(document).encode()
    return (
        b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: req-0001\r\nContent-Type: application/x-amz-json-1.1\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(text), text)
    )


def _serve(pipe: Connection) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(_Service, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        while True:
            order = await asyncio.to_thread(pipe.recv)
            if order is None:
                return
            _Service.left, _Service.puts = (order, 0) if isinstance(order, int) else (_Service.left, _Service.puts)
            pipe.send(_Service.puts)

    asyncio.run(main())


class Server:
    """The server in its process."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()  # recv() raises EOFError if the process ends first, instead of a wait without end
        self.endpoint_url = f"http://127.0.0.1:{self._pipe.recv()}"

    def offer(self, jobs: int) -> None:
        """Set the number of jobs that wait."""
        self._pipe.send(jobs)
        self._pipe.recv()

    def puts(self) -> int:
        """Return the number of results since the last `offer()`."""
        self._pipe.send("puts")
        return int(self._pipe.recv())

    def close(self) -> None:
        """Stop the process."""
        self._pipe.send(None)
        self._process.join(10)

    def config(self, threads: int) -> Config:
        """Return settings that let a number of threads call at a time."""
        return Config(proxies={}, max_pool_connections=threads + 2)

    def client(self, threads: int) -> ThirdPartyJobClient:
        """Create a client of this library; it takes the credentials of the environment, as most programs do."""
        os.environ.update(CREDENTIAL_VARIABLES)
        return ThirdPartyJobClient.create(
            region_name="us-east-1", endpoint_url=self.endpoint_url, config=self.config(threads)
        )

    def raw(self, threads: int) -> Any:
        """Create a client of botocore."""
        return _session().create_client(
            "codepipeline", region_name="us-east-1", endpoint_url=self.endpoint_url, config=self.config(threads)
        )


def _session() -> botocore.session.Session:
    session = botocore.session.Session()
    session.set_credentials(*CREDENTIALS)
    return session
