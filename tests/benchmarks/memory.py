"""
Measure the peak memory of a process during the call with a long response, in times the length of the response.

The server sends constant responses from this process, and each call runs in a process of its own.
"""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from functools import partial
from typing import Any, ClassVar

from benchmarks.constant_service import CREDENTIAL_VARIABLES
from benchmarks.measure import Target, choose_pairs, main, print_table, take_turns

_MIB = 1 << 20
_CALLS = ("boto3", "cp-thirdparty", "aiobotocore", "cp-thirdparty, asyncio")

# Each child makes a call with a short response first, which imports, connects and fills caches.
_CHILD = """
import asyncio, sys
from pathlib import Path
from botocore.config import Config
from benchmarks.measure import peak_memory

name, endpoint_url = sys.argv[1:]
where = {"region_name": "us-east-1", "endpoint_url": endpoint_url}
settings = {"proxies": {}, "retries": {"total_max_attempts": 1}}
plain = {"jobId": "job-1", "clientToken": "token-1"}
typed = {"job_id": "job-1", "client_token": "token-1"}

def measure(run):
    run()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins again
    before = peak_memory()
    try:
        run()
    except Exception as failure:
        print(type(failure).__name__, file=sys.stderr)
    print(peak_memory() - before)

if name == "boto3":
    import boto3
    client = boto3.client("codepipeline", config=Config(**settings), **where)
    measure(lambda: client.get_third_party_job_details(**plain))
elif name == "cp-thirdparty":
    from cp_thirdparty import ThirdPartyJobClient
    client = ThirdPartyJobClient.create(config=Config(**settings), **where)
    measure(lambda: client.get_third_party_job_details(**typed))
else:
    if name == "aiobotocore":
        from aiobotocore.config import AioConfig
        from aiobotocore.session import get_session
        opened, arguments = get_session().create_client("codepipeline", config=AioConfig(**settings), **where), plain
    else:
        from cp_thirdparty import AsyncThirdPartyJobClient
        opened, arguments = AsyncThirdPartyJobClient.create(config=Config(**settings), **where), typed
    loop = asyncio.new_event_loop()
    client = loop.run_until_complete(opened.__aenter__())
    measure(lambda: loop.run_until_complete(client.get_third_party_job_details(**arguments)))
"""


def run(*, short: bool) -> None:
    """Print the tables."""
    size = (4 if short else 30) * _MIB
    for title, status, body in (
        ("details with one value", 200, _details({"Key": "v" * size})),
        (
            "details with 1,000 values",
            200,
            _details({f"Key{number}": "v" * (size // 1_000) for number in range(1_000)}),
        ),
        ("an error", 400, json.dumps({"__type": "JobNotFoundException", "message": "x" * size}).encode()),
    ):
        server = _serve(status, body)
        url = f"http://127.0.0.1:{server.server_address[1]}"
        candidates = {name: partial(_measure_peak, name, url, len(body)) for name in _CALLS}
        samples = take_turns(candidates, pairs=choose_pairs(8, short=short))
        heading = f"peak memory of {title}, {len(body) / _MIB:.0f} MiB, times the response"
        targets = {name: Target("<=", 1.02) for name in ("cp-thirdparty", "cp-thirdparty, asyncio")}
        print_table(heading, "boto3", samples, targets, is_judged=not short)
        server.shutdown()
        server.server_close()


def _details(configuration: dict[str, str]) -> bytes:
    data = {"actionConfiguration": {"configuration": configuration}}
    return json.dumps({"jobDetails": {"id": "job-1", "nonce": "1", "data": data}}).encode()


def _measure_peak(name: str, endpoint_url: str, length: int) -> float:
    command = [sys.executable, "-c", _CHILD, name, endpoint_url]
    environment = {**os.environ, **CREDENTIAL_VARIABLES}
    result = subprocess.run(command, env=environment, check=True, capture_output=True)
    return float(result.stdout) * _MIB / length


class _Service(http.server.BaseHTTPRequestHandler):
    """Sends a short response first on each connection, and the long one after that."""

    protocol_version = "HTTP/1.1"
    status: ClassVar[int]
    body: ClassVar[bytes]

    def setup(self) -> None:
        """Begin with the short response."""
        super().setup()
        self._next = 200, _details({})

    def do_POST(self) -> None:
        """Send the next response."""
        self.rfile.read(int(self.headers["content-length"]))
        (status, body), self._next = self._next, (self.status, self.body)
        self.send_response(status)
        self.send_header("x-amzn-requestid", "request-1")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name that http.server has
        """Log nothing."""


def _serve(status: int, body: bytes) -> http.server.ThreadingHTTPServer:
    handler = type("Service", (_Service,), {"status": status, "body": body})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


if __name__ == "__main__":
    main(run, __doc__)
