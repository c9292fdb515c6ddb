"""
Read the two forms of events with which CodePipeline invokes a Lambda function.

The user guide documents the event of an invoke action on the page "AWS Lambda action reference", and the event of an
action type with a Lambda executor on the page "Integration model reference".
"""

from __future__ import annotations

from typing import Any, Final, cast

from cp_thirdparty.exceptions import ResponseDecodeError

INVOKE_ACTION: Final = "CodePipeline.job"
"""The member of an invoke action's event that contains the job."""

_JOB_ID: Final = "jobId"
_EXPIRY: Final = "credentialsExpireAt"

# The last second of the year 9999.
_LAST_SECOND: Final = 253_402_300_799

# The names of two members in the event of an action type; an invoke action's event has other names for them.
_CREDENTIALS: Final = "actionCredentials"
_EXECUTION_ID: Final = "actionExecutionId"

# The event of a job has one of these members.
_OF_JOB: Final = frozenset({INVOKE_ACTION, _JOB_ID, "data"})
_NO_JOB: Final = "the document: must be the event of a job, with CodePipeline.job, jobId or data"


def is_invoke_action(event: object) -> bool:
    """Return whether an event comes from an invoke action.  Its result must be reported by a call, and not returned."""
    return isinstance(event, dict) and INVOKE_ACTION in event


def find_job(event: object) -> object:
    """
    Return the job of an event of either form, with the member names of `cp_thirdparty.models.LambdaJobEvent`.

    A job of another form is returned unchanged, so that the converter reports the problem.

    Raises:
        ResponseDecodeError: The event is not about a job.
    """
    if not _has_job(event):
        raise ResponseDecodeError([_NO_JOB])
    job = _get_job(event)
    if not isinstance(job, dict):
        return job
    found: dict[str, Any] = {**cast("dict[str, Any]", job)}
    found["id"] = _find_id(found)
    data = found.get("data")
    found["data"] = {} if data is None else _find_data(data)
    if found.get(_EXPIRY) is None:
        found[_EXPIRY] = _find_expiry(found["data"])
    return found


def find_job_id(event: object) -> str | None:
    """Return the id of the job of an event, of which other parts may be wrong; ``None`` if it has none."""
    job = _get_job(event) if _has_job(event) else None
    job_id = _find_id(cast("dict[str, Any]", job)) if isinstance(job, dict) else None
    return job_id if isinstance(job_id, str) and job_id else None


def _has_job(event: object) -> bool:
    # An id alone does not show it: events of other services have one too, such as those of EventBridge.
    return isinstance(event, dict) and not _OF_JOB.isdisjoint(cast("dict[str, Any]", event))


def _get_job(event: Any) -> object:
    return event[INVOKE_ACTION] if is_invoke_action(event) else event


def _find_id(job: dict[str, Any]) -> object:
    job_id = job.get("id")
    return job.get(_JOB_ID) if job_id is None else job_id


def _find_data(data: Any) -> Any:
    if not isinstance(data, dict):
        return data
    found: dict[str, Any] = {**cast("dict[str, Any]", data)}
    found["actionConfiguration"] = _find_configuration(found.get("actionConfiguration"))
    if found.get("artifactCredentials") is None:
        found["artifactCredentials"] = found.get(_CREDENTIALS)
    if found.get("pipelineContext") is None and found.get(_EXECUTION_ID) is not None:
        found["pipelineContext"] = {"action": {_EXECUTION_ID: found[_EXECUTION_ID]}}
    return found


def _find_configuration(configuration: Any) -> Any:
    if not isinstance(configuration, dict):
        return configuration
    values: Any = cast("dict[str, Any]", configuration).get("configuration", "")
    if isinstance(values, str):
        values = configuration  # the members themselves, without a wrapper
    if not isinstance(values, dict):
        return {"configuration": values}
    given = {key: value for key, value in cast("dict[str, Any]", values).items() if value is not None}
    return {"configuration": given}


def _find_expiry(data: Any) -> float | None:
    """Return when the credentials expire, in seconds since 1970; ``None`` if the event does not have it."""
    credentials = data.get("artifactCredentials") if isinstance(data, dict) else None
    milliseconds = credentials.get("expirationTime") if isinstance(credentials, dict) else None
    # AWS does not document this member, so an unknown form of it must not make the job fail.
    if type(milliseconds) is not int or not 0 <= milliseconds <= _LAST_SECOND * 1000:
        return None
    return milliseconds / 1000
