"""Read the details of a job, and return them as the same document that the AWS CLI prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

from cp_thirdparty._core.operations import Outcome
from cp_thirdparty._structuring.converter import member_name
from cp_thirdparty.client import CustomJobClient, ThirdPartyJobClient
from cp_thirdparty.converter import unstructure
from cp_thirdparty.models import JobData
from cp_thirdparty.secrets import SecretStr

_LISTS = ("inputArtifacts", "outputArtifacts")


def details_document(
    client: ThirdPartyJobClient | CustomJobClient,
    job_id: str,
    client_token: SecretStr | None,
    secrets: Literal["mask", "reveal"],
) -> dict[str, Any]:
    """Read the details of a job as a document, with the empty lists that the AWS CLI prints and a model omits."""
    inside: Any = client  # the public method returns a model, which does not keep the response
    request = inside._operations.request_details(job_id, client_token=client_token)  # noqa: SLF001 - see above
    decode = request.decode
    empty: list[str] = []

    def note_empty(response: Mapping[str, Any]) -> Outcome[Any]:
        details, error = decode(response)
        if details is not None:
            empty.extend(name for name in _LISTS if response["jobDetails"]["data"].get(name) == [])
        return details, error

    details: Any = inside._call(attrs.evolve(request, decode=note_empty))  # noqa: SLF001 - see above
    document = unstructure(details, secrets=secrets)
    data = {**document["data"], **{name: [] for name in empty}}
    members = [member_name(field.name) for field in attrs.fields(JobData)]
    document["data"] = {name: data[name] for name in members if name in data}
    return {"jobDetails": document}
