"""
Typed AWS CodePipeline third-party (partner) actions.

Every name is loaded when it is first used, so importing the package costs next to nothing.
"""

# Not typing's: importing that would be most of the cost.  Type checkers know the name.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from cp_thirdparty import exceptions
    from cp_thirdparty._version import __version__
    from cp_thirdparty.artifacts.store import ArtifactStore
    from cp_thirdparty.async_client import AsyncThirdPartyJobClient
    from cp_thirdparty.client import ThirdPartyJobClient
    from cp_thirdparty.configuration import Key, structure_configuration
    from cp_thirdparty.enums import (
        ActionCategory,
        ActionOwner,
        ArtifactLocationType,
        EncryptionKeyType,
        FailureType,
        JobStatus,
    )
    from cp_thirdparty.exceptions import CodePipelineJobError, JobFailedError, ThirdPartyError
    from cp_thirdparty.models import (
        ActionConfiguration,
        ActionContext,
        ActionTypeId,
        Artifact,
        ArtifactCredentials,
        ArtifactLocation,
        CurrentRevision,
        EncryptionKey,
        ExecutionDetails,
        FailureDetails,
        JobData,
        JobDetails,
        PipelineContext,
        S3Location,
        StageContext,
        ThirdPartyJob,
    )
    from cp_thirdparty.secrets import SecretStr
    from cp_thirdparty.worker import Continued, Job, JobWorker, Succeeded

__all__ = [
    "ActionCategory",
    "ActionConfiguration",
    "ActionContext",
    "ActionOwner",
    "ActionTypeId",
    "Artifact",
    "ArtifactCredentials",
    "ArtifactLocation",
    "ArtifactLocationType",
    "ArtifactStore",
    "AsyncThirdPartyJobClient",
    "CodePipelineJobError",
    "Continued",
    "CurrentRevision",
    "EncryptionKey",
    "EncryptionKeyType",
    "ExecutionDetails",
    "FailureDetails",
    "FailureType",
    "Job",
    "JobData",
    "JobDetails",
    "JobFailedError",
    "JobStatus",
    "JobWorker",
    "Key",
    "PipelineContext",
    "S3Location",
    "SecretStr",
    "StageContext",
    "Succeeded",
    "ThirdPartyError",
    "ThirdPartyJob",
    "ThirdPartyJobClient",
    "__version__",
    "exceptions",
    "structure_configuration",
]

_HOMES = {
    "ActionCategory": "enums",
    "ActionConfiguration": "models",
    "ActionContext": "models",
    "ActionOwner": "enums",
    "ActionTypeId": "models",
    "Artifact": "models",
    "ArtifactCredentials": "models",
    "ArtifactLocation": "models",
    "ArtifactLocationType": "enums",
    "ArtifactStore": "artifacts.store",
    "AsyncThirdPartyJobClient": "async_client",
    "CodePipelineJobError": "exceptions",
    "Continued": "worker",
    "CurrentRevision": "models",
    "EncryptionKey": "models",
    "EncryptionKeyType": "enums",
    "ExecutionDetails": "models",
    "FailureDetails": "models",
    "FailureType": "enums",
    "Job": "worker",
    "JobData": "models",
    "JobDetails": "models",
    "JobFailedError": "exceptions",
    "JobStatus": "enums",
    "JobWorker": "worker",
    "Key": "configuration",
    "PipelineContext": "models",
    "S3Location": "models",
    "SecretStr": "secrets",
    "StageContext": "models",
    "Succeeded": "worker",
    "ThirdPartyError": "exceptions",
    "ThirdPartyJob": "models",
    "ThirdPartyJobClient": "client",
    "__version__": "_version",
    "structure_configuration": "configuration",
}


if not TYPE_CHECKING:  # pragma: no branch - else type checkers would take any name for one of ours

    def __getattr__(name: str) -> object:
        from importlib import import_module  # noqa: PLC0415 - loaded when needed, like all else here

        if name == "exceptions":
            return import_module("cp_thirdparty.exceptions")
        if name not in _HOMES:
            raise AttributeError(f"module 'cp_thirdparty' has no attribute {name!r}")
        value = getattr(import_module(f"cp_thirdparty.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
