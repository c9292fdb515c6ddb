"""A worker that loses requests or responses runs and reports each claimed job once, and runs no other job."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import botocore.session
import pytest
from botocore.config import Config
from support import lossy_network as net
from support.lossy_network import AUTHORITY, Behaviour, Peer, Server
from support.worker_service import ACTION_TYPE, CLIENT_ID, CLIENT_TOKEN, TOKENS, claim

from cp_thirdparty import Job, JobWorker, Succeeded, ThirdPartyJobClient
from cp_thirdparty.testing import LocalCodePipeline
from cp_thirdparty.worker import LostRace, MemoryJournal, Rejected, Reported

_ACKNOWLEDGE = b"AcknowledgeThirdPartyJob"
_SUCCESS = b"PutThirdPartyJobSuccessResult"
_DETAILS = b"GetThirdPartyJobDetails"


@attrs.define
class Gateway:
    """
    Pass requests on to the service, but lose one response, or refuse one connection.

    Attributes:
        service: The service.
        lost_operation: The operation whose first response is lost.
        lose: What to do in place of this response; the service has handled the request.
        refuse: What to do, in place of a TLS handshake, with the first connection after the details were read.
        before_refusal: Called before `refuse`.
    """

    service: LocalCodePipeline
    lost_operation: bytes = b""
    lose: Behaviour | None = None
    refuse: Behaviour | None = None
    before_refusal: Callable[[], object] = lambda: None
    _has_read_details: bool = False
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    def __call__(self, peer: Peer) -> None:
        """Handle one connection, which has one request."""
        with self._lock:
            is_after_details, self._has_read_details = self._has_read_details, False
        if is_after_details and self.refuse is not None:
            refuse, self.refuse = self.refuse, None
            self.before_refusal()
            refuse(peer)
            return
        peer.handshake()
        request = peer.read_request()
        response = self._forward(request)
        if _DETAILS in request:
            self._has_read_details = True
        if self.lost_operation and self.lost_operation in request and self.lose is not None:
            lose, self.lose = self.lose, None
            lose(peer)
        else:
            peer.send(response)

    def _forward(self, request: bytes) -> bytes:
        port = int(self.service.endpoint_url.rpartition(":")[2])
        head, _, body = request.partition(b"\r\n\r\n")
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(head + b"\r\nConnection: close\r\n\r\n" + body)
            with connection.makefile("rb") as stream:
                return stream.read()


def _run_once(
    stack: ExitStack,
    service: LocalCodePipeline,
    gateway: Gateway,
    *,
    proxy: Callable[[int], list[Behaviour]] | None = None,
    read_timeout: float = 10,
    profile: str | None = None,
) -> tuple[Any, list[str], MemoryJournal]:
    """Run a worker behind the gateway; return its outcomes, the ids of the jobs that were run, and its journal."""
    port = stack.enter_context(Server(gateway)).port
    proxies = {}
    if proxy is not None:
        proxies["https"] = f"http://127.0.0.1:{stack.enter_context(Server(*proxy(port))).port}"

    def connect() -> ThirdPartyJobClient:
        session = botocore.session.Session(profile=profile)
        if profile is None:
            session.set_credentials(service.access_key_id, service.secret_access_key.get_secret_value())
        return ThirdPartyJobClient.create(
            region_name=service.region_name,
            endpoint_url=f"https://127.0.0.1:{port}",
            verify=AUTHORITY,
            session=session,
            read_timeout=read_timeout,
            config=Config(proxies=proxies),
        )

    ran: list[str] = []

    def handle(job: Job[Any]) -> Succeeded:
        ran.append(job.id)
        return Succeeded()

    journal = MemoryJournal()
    worker = JobWorker(connect, ACTION_TYPE, handle, client_tokens=TOKENS, journal=journal, poll_interval=0.05)
    return worker.run_once(), ran, journal


def _send_error_page(peer: Peer) -> None:
    peer.send(net.http(b"<html>", status="502 Bad Gateway", headers="Connection: close\r\n"))


def _send_garbage(peer: Peer) -> None:
    peer.send_below_tls(b"garbage" * 20)
    peer.wait()


def _close(_: Peer) -> None:
    """Do nothing: the server closes the connection."""


def _truncate_body(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: r\r\nContent-Length: 400\r\nConnection: close\r\n\r\n{")


# Ways to lose the response to a request that the service has handled.
_LOSSES: dict[str, Behaviour] = {
    "closed": _close,
    "reset": lambda peer: peer.reset(),
    "TLS garbage": _send_garbage,
    "page of a gateway": _send_error_page,
    "truncated body": _truncate_body,
    "500": lambda peer: peer.send(net.service_error("InternalFailure", "500 Oops")),
    "silence": lambda peer: peer.wait(),
}


@pytest.mark.slow
@pytest.mark.parametrize("through", ["directly", "through a proxy"])
@pytest.mark.parametrize("operation", [_ACKNOWLEDGE, _SUCCESS], ids=["acknowledgement", "result"])
@pytest.mark.parametrize("loss", _LOSSES)
def test_a_job_with_a_lost_response_is_run_and_reported_once(
    loss: str, operation: bytes, through: str, service: LocalCodePipeline
) -> None:
    """The response to an acknowledgement or a result is lost: the job is run once, and gets one result."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    gateway = Gateway(service, lost_operation=operation, lose=_LOSSES[loss])
    with ExitStack() as stack:
        outcomes, ran, journal = _run_once(
            stack,
            service,
            gateway,
            proxy=None if through == "directly" else lambda port: [net.tunnel(port)],
            read_timeout=1.0 if loss == "silence" else 10.0,
        )
    (outcome,) = outcomes
    assert isinstance(outcome, Reported)
    assert outcome.is_confirmed == (operation == _ACKNOWLEDGE)  # the service refuses the second report of a result
    assert ran == [outcome.job.job_id]
    assert action.status == "Succeeded"
    assert [entry for entry in journal.jobs() if entry.outcome != "reported"] == []
    assert gateway.lose is None


# Ways to close the connection before anything of the acknowledgement is sent.
_REFUSALS: dict[str, Behaviour] = {
    "closed in the handshake": net.close_at_once,
    "reset in the handshake": net.reset_in_handshake,
}


@pytest.mark.parametrize("refusal", _REFUSALS)
def test_a_job_that_another_worker_has_is_not_run(refusal: str, service: LocalCodePipeline) -> None:
    """If another worker claims the job before the acknowledgement is sent, the outcome is `LostRace`."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with ExitStack() as stack, service.client() as other:
        gateway = Gateway(service, refuse=_REFUSALS[refusal], before_refusal=lambda: claim(other, action.jobs[0].id))
        outcomes, ran, _ = _run_once(stack, service, gateway)
    (outcome,) = outcomes
    assert isinstance(outcome, LostRace)
    assert (ran, action.status, gateway.refuse) == ([], "InProgress", None)


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "403 Forbidden", "302 Found"])
def test_a_job_is_not_run_if_a_proxy_refuses_the_acknowledgement(status: str, service: LocalCodePipeline) -> None:
    """The outcome is `Rejected`, and the job, which another worker claims meanwhile, is not run."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with ExitStack() as stack, service.client() as other:

        def refuse(peer: Peer) -> None:
            claim(other, action.jobs[0].id)
            net.refuse(status)(peer)

        # Poll, details, and the acknowledgement each have a connection.
        outcomes, ran, _ = _run_once(
            stack, service, Gateway(service), proxy=lambda port: [net.tunnel(port), net.tunnel(port), refuse]
        )
    (outcome,) = outcomes
    assert isinstance(outcome, Rejected)
    assert (ran, action.status) == ([], "InProgress")


# How STS responds to the first request for the credentials of the acknowledgement (to a second one, it returns them);
# whether another worker claims the job before this response; the outcome; and the status of the action.
_SIGNING: list[tuple[Behaviour, bool, type, str]] = [
    (net.close_after_head, True, LostRace, "InProgress"),
    (net.close_after_head, False, Reported, "Succeeded"),
    (net.sts("<html>", "503 Busy"), False, Reported, "Succeeded"),
    (net.sts(net.DENIED, "403 Forbidden"), False, Rejected, "Dispatched"),
]


@pytest.mark.parametrize(("respond", "is_claimed", "kind", "status"), _SIGNING)
def test_an_acknowledgement_is_retried_unless_sts_denies_its_credentials(
    respond: Behaviour, kind: type, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_claimed: bool
) -> None:
    """It is retried after a failure of STS, and not after a denial; a job that another worker claims is not run."""
    with ExitStack() as stack:
        service = stack.enter_context(LocalCodePipeline(verify_signatures=False))
        service.register_client(CLIENT_ID, CLIENT_TOKEN)
        action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        other = stack.enter_context(service.client())

        def fail(peer: Peer) -> None:
            if is_claimed:
                claim(other, action.jobs[0].id)
            respond(peer)

        # The client that polls and the one that acknowledges each assume the role.
        good = net.sts(net.credentials_of())
        port = stack.enter_context(Server(good, fail, good)).port
        net.use_role(tmp_path, monkeypatch, port)
        outcomes, ran, _ = _run_once(stack, service, Gateway(service), profile="partner")
    (outcome,) = outcomes
    assert type(outcome) is kind
    assert (len(ran), action.status) == (int(kind is Reported), status)
