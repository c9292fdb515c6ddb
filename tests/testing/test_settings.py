"""What AWS does not document: each setting of the local CodePipeline does what its page describes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cp_thirdparty import ActionTypeId, ArtifactCredentials, ThirdPartyJobClient, exceptions
from cp_thirdparty.testing import LocalCodePipeline, ManualClock
from cp_thirdparty.testing._artifact_credentials import CredentialIssuer

_ACTION_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")
_OTHER_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="2")
_TOKEN = "xMARKERx-token"
_PAGE = (Path(__file__).parents[2] / "docs/explanation/local-codepipeline.md").read_text(encoding="utf-8")


def _service(**settings: Any) -> LocalCodePipeline:
    made = LocalCodePipeline(**settings)
    made.register_client("client-1", _TOKEN)
    return made


def _claim_job(service: LocalCodePipeline, client: ThirdPartyJobClient, **options: Any) -> str:
    job = service.start_action(_ACTION_TYPE, client_id="client-1", **options).jobs[0]
    client.acknowledge_third_party_job(job.id, nonce=job.nonce, client_token=_TOKEN)
    return job.id


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_has_each_setting_with_its_default() -> None:
    """The table of the page is the constructor's signature: the same names with the same defaults."""
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", _PAGE, flags=re.MULTILINE))
    parameters = inspect.signature(LocalCodePipeline).parameters
    not_about_aws = {"clock", "wall_clock", "region_name", "port", "journal_size", "verify_signatures"}
    not_about_aws |= {"access_key_id", "secret_access_key", "session_token"}
    assert rows == {name: repr(each.default) for name, each in parameters.items() if name not in not_about_aws}


def test_each_setting_is_described() -> None:
    """The class's docstring describes each setting."""
    text = inspect.getdoc(LocalCodePipeline) or ""
    described = re.findall(r"^    (\w+): ", text.split("Attributes:")[0], flags=re.MULTILINE)
    assert described == list(inspect.signature(LocalCodePipeline).parameters)


# --- the settings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "redelivery_delay",
        "continuation_delay",
        "job_timeout",
        "custom_job_timeout",
        "credential_lifetime",
        "default_batch_size",
    ],
)
def test_a_setting_out_of_its_range_is_refused(name: str) -> None:
    """A negative time and an empty batch are ValueErrors that name the setting."""
    settings: dict[str, Any] = {name: 0 if name == "default_batch_size" else -0.1}
    with pytest.raises(ValueError, match=f"{name}: must be at least"):
        LocalCodePipeline(**settings)


@pytest.mark.parametrize(
    "name",
    [
        "redelivery_delay",
        "continuation_delay",
        "job_timeout",
        "custom_job_timeout",
        "credential_lifetime",
        "default_batch_size",
    ],
)
@pytest.mark.parametrize("number", [10**400, 1e308, float("inf")])
def test_a_number_of_any_size_is_accepted(name: str, number: float) -> None:
    """A time that no float can have is never."""
    service = _service(**{name: number})
    service.start_action(_ACTION_TYPE, client_id="client-1")
    with service.client(in_process=True) as client:
        (job,) = client.poll_for_third_party_jobs(_ACTION_TYPE)
        assert client.get_third_party_job_details(job.job_id, client_token=_TOKEN).id == job.job_id


def test_a_poll_without_a_size_returns_the_default() -> None:
    """The default batch size is settable."""
    service = _service(default_batch_size=2)
    for _ in range(3):
        service.start_action(_ACTION_TYPE, client_id="client-1")
    with service.client(in_process=True) as client:
        assert [len(client.poll_for_third_party_jobs(_ACTION_TYPE)) for _ in range(2)] == [2, 1]


def test_action_types_can_be_listed() -> None:
    """With a list, a poll for another type is the service's error, and no action of another type can start."""
    service = _service(action_types=[_ACTION_TYPE])
    service.start_action(_ACTION_TYPE, client_id="client-1")
    with service.client(in_process=True) as client:
        assert len(client.poll_for_third_party_jobs(_ACTION_TYPE)) == 1
        with pytest.raises(exceptions.ActionTypeNotFoundException):
            client.poll_for_third_party_jobs(_OTHER_TYPE)
    with pytest.raises(ValueError, match="action_type_id: must be one of the action_types"):
        service.start_action(_OTHER_TYPE, client_id="client-1")


@pytest.mark.parametrize("after_acknowledgement", [True, False])
@pytest.mark.parametrize("after_end", [True, False])
def test_details_can_become_unreadable(*, after_acknowledgement: bool, after_end: bool) -> None:
    """A job that waits can be read; one in progress and one that has ended only as they are set."""
    service = _service(readable_after_acknowledgement=after_acknowledgement, readable_after_end=after_end)
    with service.client(in_process=True) as client:

        def is_readable() -> bool:
            try:
                return client.get_third_party_job_details(job.id, client_token=_TOKEN).id == job.id
            except exceptions.InvalidJobException:
                return False

        action = service.start_action(_ACTION_TYPE, client_id="client-1")
        (job,) = action.jobs
        seen = [is_readable()]
        client.acknowledge_third_party_job(job.id, nonce=job.nonce, client_token=_TOKEN)
        seen.append(is_readable())
        client.put_third_party_job_success_result(job.id, client_token=_TOKEN)
        seen.append(is_readable())
    assert seen == [True, after_acknowledgement, after_end]


def test_a_nonce_may_change_with_each_reading() -> None:
    """When nonces are not stable, only the one of the latest reading claims the job, and claiming ends the changes."""
    service = _service(stable_nonce=False)
    job = service.start_action(_ACTION_TYPE, client_id="client-1").jobs[0]
    with service.client(in_process=True) as client:

        def nonce() -> str:
            return client.get_third_party_job_details(job.id, client_token=_TOKEN).nonce

        first, second = nonce(), nonce()
        assert len({job.nonce, first, second}) == 3
        with pytest.raises(exceptions.InvalidNonceException):
            client.acknowledge_third_party_job(job.id, nonce=first, client_token=_TOKEN)
        client.acknowledge_third_party_job(job.id, nonce=second, client_token=_TOKEN)
        assert nonce() == second


def test_a_nonce_is_stable_by_default() -> None:
    """Two readings bring one nonce."""
    service = _service()
    job = service.start_action(_ACTION_TYPE, client_id="client-1").jobs[0]
    with service.client(in_process=True) as client:
        read = [client.get_third_party_job_details(job.id, client_token=_TOKEN).nonce for _ in range(2)]
    assert read == [job.nonce, job.nonce]


# --- artifact credentials --------------------------------------------------------------------------------------------


def _read(client: ThirdPartyJobClient, job_id: str) -> Any:
    return client.get_third_party_job_details(job_id, client_token=_TOKEN).data.artifact_credentials


def test_made_up_credentials_are_renewed_by_reading_again() -> None:
    """Each reading brings new credentials, which hold 15 minutes, and those of before hold for their time."""
    clock = ManualClock()
    service = _service(clock=clock)
    with service.client(in_process=True) as client:
        job_id = _claim_job(service, client)
        first = _read(client, job_id)
        assert None not in (first.access_key_id, first.secret_access_key, first.session_token)
        clock.advance(600)
        second = _read(client, job_id)
        assert first != second
        clock.advance(299.9)
        assert [service.credentials_are_valid(each) for each in (first, second)] == [True, True]
        clock.advance(0.1)
        assert [service.credentials_are_valid(each) for each in (first, second)] == [False, True]
        clock.advance(600)
        assert not service.credentials_are_valid(second)
        assert service.credentials_are_valid(_read(client, job_id))


def test_the_lifetime_is_settable() -> None:
    """Credentials hold as long as they are set to."""
    clock = ManualClock()
    service = _service(clock=clock, credential_lifetime=5)
    with service.client(in_process=True) as client:
        credentials = _read(client, _claim_job(service, client))
    clock.advance(4.9)
    assert service.credentials_are_valid(credentials)
    clock.advance(0.1)
    assert not service.credentials_are_valid(credentials)


def test_fixed_credentials_hold_again_after_each_reading() -> None:
    """Fixed credentials come out as they are, hold from the latest reading on, and are unknown before the first."""
    clock = ManualClock()
    service = _service(clock=clock)
    fixed = ArtifactCredentials(access_key_id="a", secret_access_key="s", session_token="t")
    with service.client(in_process=True) as client:
        job_id = _claim_job(service, client, artifact_credentials=fixed)
        assert not service.credentials_are_valid(fixed)
        assert _read(client, job_id) == fixed
        clock.advance(899)
        assert _read(client, job_id) == fixed
        clock.advance(899)
        assert service.credentials_are_valid(fixed)
        clock.advance(1)
        assert not service.credentials_are_valid(fixed)


def test_a_function_makes_the_credentials() -> None:
    """A function is called at each reading, also of the next job of a continued action, and may leave them out."""
    made = [ArtifactCredentials(access_key_id=str(number)) for number in range(2)]
    source = iter([*made, None])
    clock = ManualClock()
    service = _service(clock=clock)
    with service.client(in_process=True) as client:
        job_id = _claim_job(service, client, artifact_credentials=lambda: next(source))
        assert _read(client, job_id) == made[0]
        client.put_third_party_job_success_result(job_id, client_token=_TOKEN, continuation_token="run-1")
        clock.advance(30)
        (job,) = client.poll_for_third_party_jobs(_ACTION_TYPE)
        assert [_read(client, job.job_id) for _ in range(2)] == [made[1], None]
    assert [service.credentials_are_valid(each) for each in made] == [True, True]


def test_a_function_may_call_the_service() -> None:
    """Credentials are made outside of any lock: a function that waits for another call does not hang."""
    service = _service()
    with service.client(in_process=True) as client:

        def make() -> ArtifactCredentials:
            client.poll_for_third_party_jobs(_ACTION_TYPE)
            return ArtifactCredentials(access_key_id="a")

        assert _read(client, _claim_job(service, client, artifact_credentials=make)) is not None


def _fails() -> ArtifactCredentials:
    raise LookupError("xMARKERx")


def _is_no_credentials() -> Any:
    return "xMARKERx"


@pytest.mark.parametrize(("source", "error"), [(_fails, "LookupError"), (_is_no_credentials, "TypeError")])
def test_a_function_that_fails_is_an_internal_failure(source: Callable[[], Any], error: str) -> None:
    """What goes wrong in the function reaches the caller by its type, and nothing else of it."""
    service = _service()
    with service.client(in_process=True) as client:
        job_id = _claim_job(service, client, artifact_credentials=source)
        with pytest.raises(exceptions.ServiceError, match=f"The local CodePipeline failed with {error}") as caught:
            _read(client, job_id)
    assert caught.value.code == "InternalFailure"
    assert "xMARKERx" not in str(caught.value)


def test_credentials_that_have_expired_are_forgotten() -> None:
    """A service that runs for long does not grow with each reading, though some credentials are renewed all along."""
    clock = ManualClock()
    desk = CredentialIssuer(clock=clock, lifetime=10)
    fixed = ArtifactCredentials(access_key_id="a")
    for _ in range(100):
        desk.issue(fixed)
        desk.issue(None)
        clock.advance(1)
    assert len(desk._expiry) == 11
