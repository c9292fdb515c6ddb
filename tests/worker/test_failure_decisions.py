"""Nothing in the worker but the failure policy decides by the kind of an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.failure_decisions import find_decisions

import cp_thirdparty.worker

# What may be there, by file.
_ALLOWED = {
    "_clients.py": {"TransportError", "delivery", "is_retry_safe"},  # creates one for a call whose outcome a hook hides
    "_dynamodb_table.py": {"BotoCoreError", "ClientError", "response"},  # of the journal's table, made a JournalError
    "_handler_failures.py": {"exceptions"},  # knows all errors of this library, to show their messages
    "_isolation.py": {"code"},  # of SystemExit
    "_sqlite_file.py": {"ArtifactError"},  # of the private directory with a copy to read
    "_sqlite_rows.py": {"ArtifactError"},  # of the private directory with a copy to read, made a JournalError
    "_start_permit.py": {"ArtifactError"},  # of the private directory that it creates
    "_steps.py": {"NoTokenError"},  # returns it in place of a token
    "lambda_handler.py": {"ResponseDecodeError"},  # of the event, before there is a job
    "policy.py": {"BotoCoreError", "InvalidRequestError"},  # botocore does not know a region; raises it
    "token_sources.py": {"BotoCoreError", "ClientError", "CredentialsError"},  # of the secret store, made ours
    "tokens.py": {"NoTokenError"},  # defines it
}


def _find(folder: Path) -> dict[str, set[str]]:
    return {
        path.relative_to(folder).as_posix(): found
        for path in sorted(folder.rglob("*.py"))
        if (found := find_decisions(path.read_text(encoding="utf-8")))
    }


def test_only_the_failure_policy_decides_by_errors() -> None:
    """A decision that depends on an error belongs into the table."""
    found = _find(Path(next(iter(cp_thirdparty.worker.__path__))))
    assert found.pop("_failure_policy.py") > {"FATAL", "InvalidNonceException", "ValidationException", "is_retry_safe"}
    assert found == _ALLOWED


def test_files_in_folders_are_found(tmp_path: Path) -> None:
    """A part of the worker may become a package."""
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps" / "claim.py").write_text("from cp_thirdparty.exceptions import InvalidNonceException\n")
    assert _find(tmp_path) == {"steps/claim.py": {"InvalidNonceException"}}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from cp_thirdparty.exceptions import InvalidNonceException as X", {"InvalidNonceException"}),
        ("from cp_thirdparty.exceptions import ClockSkewError", {"ClockSkewError"}),
        ("from cp_thirdparty.exceptions import ConfigurationError", {"ConfigurationError"}),
        ("from cp_thirdparty.worker.tokens import NoTokenError as X", {"NoTokenError"}),
        ("from cp_thirdparty.exceptions import *", {"cp_thirdparty.exceptions.*"}),
        ("from cp_thirdparty import exceptions as e", {"exceptions"}),
        ("import cp_thirdparty.exceptions as e", {"cp_thirdparty.exceptions"}),
        ("import cp_thirdparty\ncp_thirdparty.exceptions.ThrottledError", {"ThrottledError"}),
        ("import cp_thirdparty\nX = cp_thirdparty.TransportError", {"TransportError"}),
        ("from . import other", {"."}),
        # Classes in other modules.
        ("from botocore.exceptions import ClientError as X", {"ClientError"}),
        ("from botocore.exceptions import EndpointConnectionError as X", {"EndpointConnectionError"}),
        ("import botocore.exceptions", {"botocore.exceptions"}),
        ("import botocore.session\nX = botocore.session.ProfileNotFound", {"ProfileNotFound"}),
        ("from s3transfer.exceptions import RetriesExceededError as X", {"RetriesExceededError"}),
        # Values that hold classes.
        ("from cp_thirdparty._core.backoff import FATAL as X", {"FATAL"}),
        ("from cp_thirdparty._core import backoff\nX = backoff.FATAL", {"FATAL"}),
        ("import cp_thirdparty._core.backoff as b\nX = b.FATAL", {"FATAL"}),
        ("import cp_thirdparty._core.backoff\nX = cp_thirdparty._core.backoff.FATAL", {"FATAL"}),
        ("from cp_thirdparty.worker._failure_policy import _CREDENTIALS as X", {"_CREDENTIALS"}),
        ("from cp_thirdparty.worker._failure_policy import TABLE", {"TABLE"}),
        ("from cp_thirdparty._core.responses import MODELLED", {"MODELLED"}),
        # Names in strings, and ways around names.
        ("x = type(y).__name__ == 'InvalidNonceException'", {"InvalidNonceException"}),
        ("x = y in ('ok', b'ThrottledError')", {"ThrottledError"}),
        ("x = f'{y}:JobNotFoundException' == z", {"JobNotFoundException"}),
        ("x = getattr(y, 'code', None) == z", {"code"}),
        ("x = getattr(y, 'status_code') == 400", {"status_code"}),
        ("import importlib\nx = importlib.import_module(y)", {"import_module"}),
        ("import sys\nx = sys.modules[y]", {"modules"}),
        ("x = eval(y)", {"eval"}),
        # The facts of an error about its call.
        ("x = y.status_code == 400", {"status_code"}),
        ("x = y.is_retry_safe is None", {"is_retry_safe"}),
        ("x = y.delivery", {"delivery"}),
        ("x = y.code == z", {"code"}),
        ("x = y.response['Error']", {"response"}),
        ("match x:\n    case object(status_code=400): pass", {"status_code"}),
        (
            "import cp_thirdparty.exceptions as e\nmatch x:\n    case e.ThrottledError(): pass",
            {"cp_thirdparty.exceptions", "ThrottledError"},
        ),
        # What decides nothing.
        ("def f(x: 'ThrottledError') -> 'TransportError': 'Raise ThrottledError.'", set()),
        ("x: 'ThrottledError'", set()),
        ("from cp_thirdparty.exceptions import CodePipelineJobError, JournalError", set()),
        ("import os\nx = os.path.join('a', 'b')", set()),
    ],
)
def test_each_way_to_decide_is_found(source: str, found: set[str]) -> None:
    """A decision is found by the class, by a value that holds it, by its name, and by what is known about the call."""
    assert find_decisions(source) == found
