"""The `repr` of a worker and of the local service shows what they are, and shows no secret."""

from __future__ import annotations

from support.worker_service import ACTION_TYPE, CLIENT_TOKEN, make_worker, running, until

from cp_thirdparty.testing import LocalCodePipeline


def test_a_worker_shows_its_action_type_and_state(service: LocalCodePipeline) -> None:
    """A worker shows its action type, and whether it runs."""
    worker = make_worker(service)
    assert repr(worker) == f"JobWorker({ACTION_TYPE!r}, stopped)"
    with running(worker):
        until(lambda: worker.health().state == "running")
        assert repr(worker) == f"JobWorker({ACTION_TYPE!r}, running)"
    assert CLIENT_TOKEN not in repr(worker)


def test_a_local_service_shows_its_url() -> None:
    """A local service shows its URL if it runs, and neither its key nor a token."""
    service = LocalCodePipeline(secret_access_key="xMARKERx")
    assert repr(service) == "LocalCodePipeline(not running)"
    with service:
        assert repr(service) == f"LocalCodePipeline({service.endpoint_url})"
