"""The details of a job as the document that the AWS CLI shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

from cp_thirdparty._core import operations
from cp_thirdparty._core.operations import Outcome
from cp_thirdparty.client import ThirdPartyJobClient
from cp_thirdparty.converter import unstructure
from cp_thirdparty.models import JobDetails
from cp_thirdparty.secrets import SecretStr

__all__ = ["details_document"]

_LISTS = ("inputArtifacts", "outputArtifacts")
_ORDER = (
    "actionTypeId",
    "actionConfiguration",
    "pipelineContext",
    "inputArtifacts",
    "outputArtifacts",
    "artifactCredentials",
    "continuationToken",
    "encryptionKey",
)


def details_document(
    client: ThirdPartyJobClient, job_id: str, client_token: SecretStr, secrets: Literal["mask", "reveal"]
) -> dict[str, Any]:
    """Read the details of a job, with the empty lists that a model does not have and the AWS CLI shows."""
    request = operations.get_third_party_job_details(job_id, client_token=client_token)
    decode = request.decode
    empty: list[str] = []

    def noting(answer: Mapping[str, Any]) -> Outcome[JobDetails]:
        details, error = decode(answer)
        if details is not None:
            empty.extend(name for name in _LISTS if answer["jobDetails"]["data"].get(name) == [])
        return details, error

    # The public method has no document.
    call = client._call  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    details = call(attrs.evolve(request, decode=noting))
    document = unstructure(details, secrets=secrets)
    data = {**document["data"], **{name: [] for name in empty}}
    document["data"] = {name: data[name] for name in _ORDER if name in data}
    return {"jobDetails": document}
