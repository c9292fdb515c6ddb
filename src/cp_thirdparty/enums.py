"""The service's enumerations.  Those that the service sends also keep unknown values."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Literal, TypeAlias, overload

from cp_thirdparty._base.text import show_repr

if TYPE_CHECKING:
    from typing_extensions import deprecated

__all__ = [
    "ActionCategory",
    "ActionOwner",
    "ArtifactLocationType",
    "Delivery",
    "EncryptionKeyType",
    "FailureType",
    "JobStatus",
]

ActionCategoryName: TypeAlias = Literal["Source", "Build", "Deploy", "Test", "Invoke", "Approval", "Compute"]
"""The values of `ActionCategory`.  ``ActionCategory("New")`` names a value that this version does not know."""

ActionOwnerName: TypeAlias = Literal["AWS", "ThirdParty", "Custom"]
"""The values of `ActionOwner`."""

ArtifactLocationTypeName: TypeAlias = Literal["S3"]
"""The value of `ArtifactLocationType`."""

EncryptionKeyTypeName: TypeAlias = Literal["KMS"]
"""The value of `EncryptionKeyType`."""

FailureTypeName: TypeAlias = Literal[
    "JobFailed",
    "ConfigurationError",
    "PermissionError",
    "RevisionOutOfSync",
    "RevisionUnavailable",
    "SystemUnavailable",
]
"""The values of `FailureType`."""

JobStatusName: TypeAlias = Literal["Created", "Queued", "Dispatched", "InProgress", "TimedOut", "Succeeded", "Failed"]
"""The values of `JobStatus`."""

_UNKNOWN = "UNKNOWN"


class _OpenEnum(str, Enum):
    """
    A ``str`` enumeration that keeps unknown values.

    An unknown value becomes a member named ``UNKNOWN`` that keeps the value and compares by ``==``.  Such members are
    not cached, so a server that invents values cannot fill the memory.
    """

    @classmethod
    def _missing_(cls, value: object) -> _OpenEnum | None:
        if not isinstance(value, str):
            return None
        member = str.__new__(cls, value)
        member._name_ = _UNKNOWN
        member._value_ = str.__str__(value)
        return member

    @property
    def is_known(self) -> bool:
        """Whether this version of the library knows the value."""
        return self._name_ != _UNKNOWN

    # Python 3.10 and 3.11 differ in format() of a str enumeration, so these methods are those of `str`.
    __str__ = str.__str__
    __format__ = str.__format__  # type: ignore[assignment] # typeshed names the parameter of one and not of the other

    def __repr__(self) -> str:
        return f"<{type(self).__name__}.{self._name_}: {show_repr(self._value_)}>"

    def __reduce_ex__(self, protocol: object) -> tuple[type[_OpenEnum], tuple[str]]:
        return type(self), (self._value_,)


class ActionCategory(_OpenEnum):
    """What kind of action a stage runs."""

    SOURCE = "Source"
    BUILD = "Build"
    DEPLOY = "Deploy"
    TEST = "Test"
    INVOKE = "Invoke"
    APPROVAL = "Approval"
    COMPUTE = "Compute"


class ActionOwner(_OpenEnum):
    """Who created the action type.  Jobs of a partner's action have `THIRD_PARTY`."""

    AWS = "AWS"
    THIRD_PARTY = "ThirdParty"
    CUSTOM = "Custom"


class ArtifactLocationType(_OpenEnum):
    """Where an artifact is stored."""

    S3 = "S3"


class EncryptionKeyType(_OpenEnum):
    """The service that stores an encryption key."""

    KMS = "KMS"


class JobStatus(_OpenEnum):
    """The state of a job.  Work on a job only if its acknowledgement returns `IN_PROGRESS`."""

    CREATED = "Created"
    QUEUED = "Queued"
    DISPATCHED = "Dispatched"
    IN_PROGRESS = "InProgress"
    TIMED_OUT = "TimedOut"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"

    if TYPE_CHECKING:  # `if client.acknowledge_third_party_job(...)` is a mistake, because each status is true

        def __bool__(self) -> None: ...

        # A comparison with another string is always false.

        @overload
        def __eq__(self, other: JobStatus | JobStatusName) -> bool: ...

        @overload
        @deprecated("not a value of JobStatus; compare with a member, such as JobStatus.IN_PROGRESS")
        def __eq__(self, other: object) -> bool: ...

        def __eq__(self, other: object) -> bool:
            return str.__eq__(self, other)

        @overload
        def __ne__(self, other: JobStatus | JobStatusName) -> bool: ...

        @overload
        @deprecated("not a value of JobStatus; compare with a member, such as JobStatus.IN_PROGRESS")
        def __ne__(self, other: object) -> bool: ...

        def __ne__(self, other: object) -> bool:
            return str.__ne__(self, other)

        def __hash__(self) -> int: ...


class FailureType(str, Enum):
    """Why a job failed.  The service refuses any other value."""

    JOB_FAILED = "JobFailed"
    CONFIGURATION_ERROR = "ConfigurationError"
    PERMISSION_ERROR = "PermissionError"
    REVISION_OUT_OF_SYNC = "RevisionOutOfSync"
    REVISION_UNAVAILABLE = "RevisionUnavailable"
    SYSTEM_UNAVAILABLE = "SystemUnavailable"

    __str__ = str.__str__
    __format__ = str.__format__  # type: ignore[assignment] # typeshed names the parameter of one and not of the other


class Delivery(Enum):
    """
    How much of a request and its response was transferred.

    If a call has several attempts, its delivery is that of the worst attempt: `SENT` is worse than `RESPONDED`, and
    `RESPONDED` is worse than `NOT_SENT`.

    .. versionadded:: 0.2.0
    """

    NOT_SENT = "not sent"
    """No byte of the request has left this machine."""
    SENT = "sent"
    """At least one byte has left, but no complete response has arrived.  The service may have acted on the request."""
    RESPONDED = "responded"
    """A complete response has arrived."""
