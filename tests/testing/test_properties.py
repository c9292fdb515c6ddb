"""What botocore's service model allows goes from botocore to the local CodePipeline and back unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import botocore.session
import pytest
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.loaders import Loader
from botocore.model import ServiceModel
from hypothesis import given
from hypothesis import strategies as st

from cp_thirdparty import JobStatus
from cp_thirdparty._core.operations import OPERATION_NAMES
from cp_thirdparty.converter import structure
from cp_thirdparty.models import JobDetails, ThirdPartyJob
from cp_thirdparty.secrets import SecretStr
from cp_thirdparty.testing import LocalCodePipeline

_SERVICE = ServiceModel(Loader().load_service_model("codepipeline", "service-2"), "codepipeline")

# The service is one for all examples: what they look at is the latest request only.
_characters = st.characters(exclude_categories=["Cs"])


def _values(shape: Any) -> st.SearchStrategy[Any]:
    """Make values that the service's model allows, at the ends of its limits too."""
    if shape.type_name == "structure":
        members = {name: _values(member) for name, member in shape.members.items()}
        return st.fixed_dictionaries(
            {name: members[name] for name in shape.required_members},
            optional={name: member for name, member in members.items() if name not in shape.required_members},
        )
    if shape.type_name == "list":  # the library writes no empty ones
        return st.lists(_values(shape.member), min_size=1, max_size=3)
    if shape.type_name == "map":
        return st.dictionaries(
            _values(shape.key), _values(shape.value), min_size=1, max_size=shape.metadata.get("max", 3)
        )
    return _scalars(shape)


def _scalars(shape: Any) -> st.SearchStrategy[Any]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if shape.type_name == "timestamp":  # botocore sends seconds without a fraction
        ages = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(timezone.utc))  # noqa: DTZ001
        return ages.map(lambda time: time.replace(microsecond=0))
    if shape.type_name == "integer":
        first, last = -(1 << 31) if least is None else least, (1 << 31) - 1 if most is None else most
        return st.sampled_from([first, last]) | st.integers(first, last)
    assert shape.type_name == "string"
    if getattr(shape, "enum", []):
        return st.sampled_from(shape.enum)
    if "pattern" in shape.metadata:
        texts = st.from_regex(shape.metadata["pattern"], fullmatch=True)
        return texts.filter(lambda text: (least or 0) <= len(text) <= (most or len(text)))
    longest = most or 30
    short = st.text(_characters, min_size=least or 0, max_size=min(longest, 30))
    return short | _characters.map(lambda character: character * longest)


@pytest.fixture(scope="module")
def service() -> Iterator[LocalCodePipeline]:
    """A service that keeps the latest request only."""
    with LocalCodePipeline(journal_size=1) as service:
        yield service


@pytest.fixture(scope="module")
def client(service: LocalCodePipeline) -> Iterator[BaseClient]:
    """Botocore's own client, which knows nothing of this library."""
    session = botocore.session.Session()
    session.set_credentials(service.access_key_id, service.secret_access_key.get_secret_value())
    client = session.create_client(
        "codepipeline",
        region_name=service.region_name,
        endpoint_url=service.endpoint_url,
        config=Config(proxies={}, retries={"total_max_attempts": 1}),
    )
    yield client
    client.close()


def _call(client: BaseClient, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
    response: dict[str, Any] = getattr(client, botocore.xform_name(operation))(**parameters)
    del response["ResponseMetadata"]
    return response


def _plain(value: Any) -> Any:
    """Put what the service understood as botocore's callers write it."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return {name: _plain(member) for name, member in value.items()} if isinstance(value, dict) else value


def _seconds(value: Any) -> Any:
    """Put times as the wire does."""
    if isinstance(value, datetime):
        return int(value.timestamp())
    return {name: _seconds(member) for name, member in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize("operation", OPERATION_NAMES)
@given(data=st.data())
def test_inputs_arrive_as_they_were_sent(
    service: LocalCodePipeline, client: BaseClient, operation: str, data: st.DataObject
) -> None:
    """Whatever input the model allows is allowed here, and understood as it was meant."""
    parameters = data.draw(_values(_SERVICE.operation_model(operation).input_shape))
    try:
        _call(client, operation, parameters)
    except ClientError as refused:  # there is no such job, or the owner of the action type is that of the other kind
        expected = "ActionTypeNotFoundException" if operation.startswith("Poll") else "JobNotFoundException"
        assert refused.response.get("Error", {}).get("Code") == expected  # noqa: PT017 - or nothing is raised
    assert service.requests[-1].operation_name == operation
    assert _plain(service.requests[-1].parameters) == _seconds(parameters)


def _response_values(shape_of: str) -> st.SearchStrategy[Any]:
    return _values(_SERVICE.operation_model(shape_of).output_shape)


@given(
    response=_response_values("GetThirdPartyJobDetails").filter(lambda response: _is_whole(response.get("jobDetails")))
)
def test_details_arrive_as_they_were_served(service: LocalCodePipeline, client: BaseClient, response: Any) -> None:
    """Details that the model allows reach botocore's caller as the states have them."""
    details = structure(response["jobDetails"], JobDetails)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service._states, "details", lambda *_: details)
        assert _call(client, "GetThirdPartyJobDetails", {"jobId": "1", "clientToken": "t"}) == response


def _is_whole(details: Any) -> bool:
    """Whether details have what the library asks for beyond the model, which makes every member optional."""
    return details is not None and {"id", "data", "nonce"} <= set(details)


@given(response=_response_values("PollForThirdPartyJobs"))
def test_jobs_arrive_as_they_were_served(service: LocalCodePipeline, client: BaseClient, response: Any) -> None:
    """The jobs of a poll reach botocore's caller as the states have them."""
    jobs = tuple(
        ThirdPartyJob(client_id=job.get("clientId", ""), job_id=job.get("jobId", ""))
        for job in response.get("jobs", [])
    )
    action_type = {"category": "Test", "owner": "ThirdParty", "provider": "P", "version": "1"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service._states, "poll", lambda *_: jobs)
        polled = _call(client, "PollForThirdPartyJobs", {"actionTypeId": action_type})
    assert polled == {"jobs": [{"clientId": job.client_id, "jobId": job.job_id} for job in jobs]}


@pytest.mark.parametrize("status", _SERVICE.shape_for("JobStatus").metadata["enum"])
def test_a_status_arrives_as_it_was_served(service: LocalCodePipeline, client: BaseClient, status: str) -> None:
    """Each status of the model reaches botocore's caller."""
    parameters = {"jobId": "1", "nonce": "1", "clientToken": "t"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service._states, "acknowledge", lambda *_: JobStatus(status))
        assert _call(client, "AcknowledgeThirdPartyJob", parameters) == {"status": status}


@pytest.mark.parametrize(
    ("operation", "method", "result"),
    [
        ("PutThirdPartyJobSuccessResult", "put_success", {}),
        (
            "PutThirdPartyJobFailureResult",
            "put_failure",
            {"failureDetails": {"type": "JobFailed", "message": "no"}},
        ),
    ],
)
def test_a_result_gets_an_empty_response(
    service: LocalCodePipeline, client: BaseClient, operation: str, method: str, result: dict[str, Any]
) -> None:
    """The two operations without an output return nothing."""
    assert _SERVICE.operation_model(operation).output_shape is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service._states, method, lambda *_: None)
        assert _call(client, operation, {"jobId": "1", "clientToken": "t", **result}) == {}
