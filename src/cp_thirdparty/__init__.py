"""
Typed AWS CodePipeline actions of partners (third-party) and of your own (custom).

Each name is loaded at its first use, so importing the package takes almost no time.
"""

# Type checkers know this name.  It is not imported, because importing `typing` would take most of the time.
# Because of the annotation, jedi, which completes names in editors, reads the imports below.
TYPE_CHECKING: bool = False

if TYPE_CHECKING:
    from cp_thirdparty import artifacts as artifacts
    from cp_thirdparty import async_client as async_client
    from cp_thirdparty import client as client
    from cp_thirdparty import configuration as configuration
    from cp_thirdparty import converter as converter
    from cp_thirdparty import enums as enums
    from cp_thirdparty import exceptions as exceptions
    from cp_thirdparty import models as models
    from cp_thirdparty import observability as observability
    from cp_thirdparty import secrets as secrets
    from cp_thirdparty import telemetry as telemetry
    from cp_thirdparty import testing as testing
    from cp_thirdparty import worker as worker
    from cp_thirdparty._base.version import __version__
    from cp_thirdparty.artifacts.store import ArtifactStore
    from cp_thirdparty.async_client import AsyncCustomJobClient, AsyncThirdPartyJobClient
    from cp_thirdparty.client import CustomJobClient, ThirdPartyJobClient
    from cp_thirdparty.configuration import (
        ConfigurationKey,
        Key,
        action_type_properties,
        structure_configuration,
    )
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
        CustomJob,
        CustomJobDetails,
        EncryptionKey,
        ExecutionDetails,
        FailureDetails,
        JobData,
        JobDetails,
        LambdaJobEvent,
        PipelineContext,
        S3Location,
        StageContext,
        ThirdPartyJob,
    )
    from cp_thirdparty.secrets import SecretStr
    from cp_thirdparty.worker import Continued, Job, JobWorker, LambdaHandler, Succeeded

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
    "AsyncCustomJobClient",
    "AsyncThirdPartyJobClient",
    "CodePipelineJobError",
    "ConfigurationKey",
    "Continued",
    "CurrentRevision",
    "CustomJob",
    "CustomJobClient",
    "CustomJobDetails",
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
    "LambdaHandler",
    "LambdaJobEvent",
    "PipelineContext",
    "S3Location",
    "SecretStr",
    "StageContext",
    "Succeeded",
    "ThirdPartyError",
    "ThirdPartyJob",
    "ThirdPartyJobClient",
    "__version__",
    "action_type_properties",
    "exceptions",
    "structure_configuration",
]

# Module -> the names that this package provides from it.
_NAMES = {
    "_base.version": ("__version__",),
    "artifacts.store": ("ArtifactStore",),
    "async_client": ("AsyncCustomJobClient", "AsyncThirdPartyJobClient"),
    "client": ("CustomJobClient", "ThirdPartyJobClient"),
    "configuration": ("ConfigurationKey", "Key", "action_type_properties", "structure_configuration"),
    "enums": ("ActionCategory", "ActionOwner", "ArtifactLocationType", "EncryptionKeyType", "FailureType", "JobStatus"),
    "exceptions": ("CodePipelineJobError", "JobFailedError", "ThirdPartyError"),
    "models": (
        *("ActionConfiguration", "ActionContext", "ActionTypeId", "Artifact", "ArtifactCredentials"),
        *("ArtifactLocation", "CurrentRevision", "CustomJob", "CustomJobDetails", "EncryptionKey"),
        *("ExecutionDetails", "FailureDetails", "JobData", "JobDetails", "LambdaJobEvent", "PipelineContext"),
        *("S3Location", "StageContext", "ThirdPartyJob"),
    ),
    "secrets": ("SecretStr",),
    "worker": ("Continued", "Job", "JobWorker", "LambdaHandler", "Succeeded"),
}

# Public modules, which can be used as attributes without importing them.
_MODULES = (
    "artifacts",
    "async_client",
    "client",
    "configuration",
    "converter",
    "enums",
    "exceptions",
    "models",
    "observability",
    "secrets",
    "telemetry",
    "testing",
    "worker",
)

if not TYPE_CHECKING:  # pragma: no branch - otherwise type checkers would accept any name
    from cp_thirdparty._base import lazy as _lazy

    __getattr__, __dir__ = _lazy.attach(
        __name__,
        __all__,
        _NAMES,
        modules=_MODULES,
        needs={
            "ArtifactStore": "s3transfer",
            "AsyncCustomJobClient": "aiobotocore",
            "AsyncThirdPartyJobClient": "aiobotocore",
            "async_client": "aiobotocore",
        },
    )
    # `__getattr__` returns `__all__` without names whose extra is not installed, because a star import loads each name.
    del __all__
