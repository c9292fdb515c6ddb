"""Convert results to JSON strings and back, for journals."""

from __future__ import annotations

import json
from typing import Any

from cp_thirdparty.converter import structure, unstructure
from cp_thirdparty.exceptions import JournalError, ThirdPartyError
from cp_thirdparty.models import CurrentRevision, ExecutionDetails, FailureDetails
from cp_thirdparty.worker.results import Continued, Result, Succeeded


def text_of(result: Result) -> str:
    """Return a result as a JSON string."""
    if isinstance(result, FailureDetails):
        return json.dumps({"failure": unstructure(result)})
    document: dict[str, Any] = {}
    if isinstance(result, Continued):
        document["continuationToken"] = result.continuation_token
    if result.current_revision is not None:
        document["currentRevision"] = unstructure(result.current_revision)
    if result.execution_details is not None:
        document["executionDetails"] = unstructure(result.execution_details)
    if isinstance(result, Succeeded) and result.output_variables:
        document["outputVariables"] = dict(result.output_variables)
    return json.dumps({"success": document})


def result_of(text: str) -> Result:
    """
    Return the result from a JSON string of `text_of`.

    Raises:
        cp_thirdparty.exceptions.JournalError: The string is not such a result.
    """
    try:
        document = json.loads(text)
        if "failure" in document:
            return structure(document["failure"], FailureDetails)
        return _success_of(document["success"])
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError, ThirdPartyError):
        pass  # the error is raised below, so that its `__context__` cannot contain a part of the result
    raise JournalError("the journal has a result that cannot be read")


def _success_of(document: dict[str, Any]) -> Result:
    revision, details = document.get("currentRevision"), document.get("executionDetails")
    parts: dict[str, Any] = {
        "current_revision": None if revision is None else structure(revision, CurrentRevision),
        "execution_details": None if details is None else structure(details, ExecutionDetails),
    }
    token = document.get("continuationToken")
    if token is not None:
        return Continued(continuation_token=token, **parts)
    return Succeeded(**parts, output_variables=document.get("outputVariables"))
