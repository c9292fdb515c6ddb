"""Convert wire dictionaries to models and back.  No error of this module contains a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

from cp_thirdparty import models
from cp_thirdparty._base.frames import hide_arguments
from cp_thirdparty._structuring.converter import read, write
from cp_thirdparty._structuring.lambda_event import find_job
from cp_thirdparty.exceptions import ResponseDecodeError
from cp_thirdparty.models import CustomJobDetails, JobDetails, LambdaJobEvent

if TYPE_CHECKING:
    from cp_thirdparty.configuration import Key, structure_configuration

__all__ = ["Key", "structure", "structure_configuration", "unstructure"]

_T = TypeVar("_T")

_MODELS = frozenset(getattr(models, name) for name in models.__all__)

# Listed one by one, because some type checkers accept any object as an `attrs.AttrsInstance`.
_Model = (
    models.ActionConfiguration
    | models.ActionContext
    | models.ActionTypeId
    | models.Artifact
    | models.ArtifactCredentials
    | models.ArtifactLocation
    | models.CurrentRevision
    | models.CustomJob
    | models.CustomJobDetails
    | models.EncryptionKey
    | models.ExecutionDetails
    | models.FailureDetails
    | models.JobData
    | models.JobDetails
    | models.LambdaJobEvent
    | models.PipelineContext
    | models.S3Location
    | models.StageContext
    | models.ThirdPartyJob
)

if not TYPE_CHECKING:  # pragma: no branch - otherwise type checkers would accept any name
    from cp_thirdparty._base import lazy as _lazy

    # Calls do not need these two names, so their module is loaded at the first use of a name.
    __getattr__, __dir__ = _lazy.attach(__name__, __all__, {"configuration": ("Key", "structure_configuration")})


@hide_arguments
def structure(data: object, model: type[_T]) -> _T:
    """
    Read a model from a dictionary with the service's member names.

    Unknown members are ignored, unknown enum values are kept, ``None`` counts as an absent member.  `JobDetails` and
    `CustomJobDetails` can also be read from the complete output of the AWS CLI, which has ``jobDetails``.
    `LambdaJobEvent` is read from the complete event of a Lambda function.

    Args:
        data: What `json.loads` returns: dictionaries, lists, strings, numbers.
        model: A class of `cp_thirdparty.models`.

    Raises:
        cp_thirdparty.exceptions.ResponseDecodeError: The data does not match CodePipeline's API.  The error
            lists each problem with its path.
        TypeError: ``model`` is not a class of `cp_thirdparty.models`.
    """
    if not (isinstance(model, type) and model in _MODELS):
        raise TypeError("structure() takes a class of cp_thirdparty.models")
    if model in (JobDetails, CustomJobDetails) and isinstance(data, dict) and "jobDetails" in data:
        data = data["jobDetails"]
    if model is LambdaJobEvent:
        data = find_job(data)
    value, problems = read(data, model)
    if value is None:
        raise ResponseDecodeError(problems)
    return value


@hide_arguments
def unstructure(model: _Model, *, secrets: Literal["mask", "reveal"] = "mask") -> dict[str, Any]:
    """
    Write a model as a dictionary with the service's member names, ready for `json.dumps`.

    Absent members and empty lists are left out; times become ISO 8601 strings in UTC.

    Args:
        model: An instance of a class of `cp_thirdparty.models`.
        secrets: ``"mask"`` to write a mask for each secret, ``"reveal"`` to write its value.

    Raises:
        TypeError: The model is not of a class of `cp_thirdparty.models`, or ``secrets`` is another string.
    """
    if type(model) not in _MODELS:
        raise TypeError("unstructure() takes an instance of a class of cp_thirdparty.models")
    if secrets not in ("mask", "reveal"):
        raise TypeError('secrets must be "mask" or "reveal"')
    return write(model, is_masked=secrets == "mask")
