"""A machine with a set-up of its own for AWS, and a server in place of STS, SSO and the metadata services."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import attrs
import pytest
from botocore.credentials import SSOProvider
from botocore.tokens import SSOTokenProvider
from botocore.utils import ContainerMetadataFetcher

from support.marker_surfaces import ERROR_SURFACES, logged

MARKER = "xMARKERx"
REQUEST_ID = "11111111-2222-3333-4444-555555555555"

_DENIED = (
    f"<ErrorResponse><Error><Code>AccessDenied</Code><Message>{MARKER}</Message></Error>"
    f"<RequestId>{REQUEST_ID}</RequestId></ErrorResponse>"
)
# The first folder of a URL -> status and body of each response; ``None`` closes the connection.
RESPONSES: dict[str, tuple[int, str] | None] = {
    "dropped": None,
    "denied": (403, _DENIED),
    "echo": (403, _DENIED.replace("AccessDenied", MARKER).replace(REQUEST_ID, MARKER)),
    "garbage": (200, MARKER),
    "unavailable": (503, MARKER),
    "missing": (404, MARKER),
    "throttled": (400, _DENIED.replace("AccessDenied", "Throttling")),
    "no-identity": (400, _DENIED.replace("AccessDenied", "IDPCommunicationError")),
    "internal": (500, _DENIED.replace("AccessDenied", "InternalFailure")),
    "expired": (400, _DENIED.replace("AccessDenied", "ExpiredToken")),
    "role": (200, "role"),  # a name, and so no secret: botocore reads a URL with it
    "nothing": (200, json.dumps({"Message": MARKER})),
    "forbidden": (403, json.dumps({"__type": "ForbiddenException", "message": MARKER})),
    "unauthorized": (401, json.dumps({"__type": "UnauthorizedException", "message": MARKER})),
}


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        name = self.path.split("/")[1]
        response = RESPONSES[name]
        if response is None:
            return
        status, body = response
        self.send_response_only(status)
        self.send_header("x-amzn-RequestId", REQUEST_ID)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    do_GET = do_PUT = do_POST  # noqa: N815 - their names in http.server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in http.server
        """Keep quiet."""


@pytest.fixture(scope="module")
def aws_server() -> Iterator[str]:
    """Serve STS, SSO and the metadata services of instances and containers, each with any of the responses."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@attrs.frozen
class Setup:
    """
    What a machine has.  In each text ``{tmp}`` is a folder, and ``{server}`` the URL of the server.

    Attributes:
        env: Environment variables; ``None`` for one that is not set.

        config: The file AWS_CONFIG_FILE.

        credentials: The file AWS_SHARED_CREDENTIALS_FILE.

        program: A shell script ``{tmp}/program``.

        files: Other files in the folder.

        arguments: Arguments of `create()`.
    """

    env: Mapping[str, str | None] = {}
    config: str = ""
    credentials: str = ""
    program: str = ""
    files: Mapping[str, str] = {}
    arguments: Mapping[str, Any] = {}


class Machine(logging.Handler):
    """
    This machine without what it has of AWS, of proxies, and of a terminal.  It keeps all that is logged.

    Attributes:
        server: URL of the server, each of whose folders has a response of its own.
    """

    def __init__(self, folder: Path, server: str, patch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.server = server
        self._folder = folder
        self._patch = patch
        self._records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self._records.append(record)

    def fill(self, text: str) -> str:
        """Return the text with the folder and the URL of the server in it."""
        return text.replace("{tmp}", str(self._folder)).replace("{server}", self.server)

    def apply(self, setup: Setup) -> None:
        """Set variables and write files."""
        files = {"config": setup.config, "credentials": setup.credentials, "program": f"#!/bin/sh\n{setup.program}"}
        for name, text in {**files, **setup.files}.items():
            (self._folder / name).write_text(self.fill(text), encoding="utf-8")
        (self._folder / "program").chmod(0o755)
        for name, value in setup.env.items():
            if value is None:
                self._patch.delenv(name)
            else:
                self._patch.setenv(name, self.fill(value))

    def find_marker(self, raised: BaseException) -> list[str]:
        """Return where a secret can be seen."""
        shown = {**{name: show(raised) for name, show in ERROR_SURFACES.items()}, "log": logged(self._records)}
        return [name for name, text in shown.items() if MARKER in text]


@pytest.fixture
def machine(tmp_path: Path, aws_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Take away what this machine has; let no retry wait."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "REQUESTS_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for provider in (SSOProvider, SSOTokenProvider):
        monkeypatch.setattr(provider, "_SSO_TOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(ContainerMetadataFetcher, "SLEEP_TIME", 0)
    monkeypatch.setattr(sys, "stdin", None)
    machine, root = Machine(tmp_path, aws_server, monkeypatch), logging.getLogger()
    machine.apply(_BARE)
    monkeypatch.setattr(root, "level", logging.DEBUG)
    root.addHandler(machine)
    yield machine
    root.removeHandler(machine)


_BARE: Final = Setup(
    {
        "HOME": "{tmp}",
        "AWS_CONFIG_FILE": "{tmp}/config",
        "AWS_SHARED_CREDENTIALS_FILE": "{tmp}/credentials",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }
)
