"""Fuzzers of documents: `structure`, the input of the command line, and scenarios of the local service."""

from __future__ import annotations

import io
import json
import os
import random
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import yaml
from support.worker_service import ACTION_TYPE, CLIENT_ID

from cp_thirdparty import models
from cp_thirdparty.__main__ import main
from cp_thirdparty.converter import structure, unstructure
from cp_thirdparty.testing import LocalCodePipeline
from cp_thirdparty.testing._scenario import ScenarioError, load
from long.fuzz_checks import MARKER, Case, Hidden, ending_of, junk, mutate_bytes, mutate_document

_ARTIFACT = {
    "name": f"{MARKER}-name",
    "revision": f"{MARKER}-revision",
    "location": {"type": "S3", "s3Location": {"bucketName": f"{MARKER}-bucket", "objectKey": f"{MARKER}/key"}},
}
DETAILS: dict[str, Any] = {
    "id": "job-1",
    "nonce": "1",
    "data": {
        "actionTypeId": {"category": "Test", "owner": "ThirdParty", "provider": f"{MARKER}-provider", "version": "1"},
        "actionConfiguration": {"configuration": {f"{MARKER}-key": f"{MARKER}-value", "Level": f"{MARKER}-level"}},
        "pipelineContext": {
            "pipelineName": f"{MARKER}-pipeline",
            "stage": {"name": f"{MARKER}-stage"},
            "action": {"name": f"{MARKER}-action", "actionExecutionId": f"{MARKER}-execution"},
        },
        "inputArtifacts": [_ARTIFACT],
        "outputArtifacts": [_ARTIFACT, _ARTIFACT],
        "artifactCredentials": {
            "accessKeyId": f"{MARKER}-id",
            "secretAccessKey": f"{MARKER}-secret",
            "sessionToken": f"{MARKER}-token",
        },
        "continuationToken": f"{MARKER}-continuation",
        "encryptionKey": {"id": f"{MARKER}-kms", "type": "KMS"},
    },
}
_REVISION = {
    "revision": f"{MARKER}-revision",
    "changeIdentifier": f"{MARKER}-change",
    "created": "2026-01-02T03:04:05Z",
    "revisionSummary": f"{MARKER}-summary",
}
_EXECUTION = {"summary": f"{MARKER}-summary", "externalExecutionId": f"{MARKER}-external", "percentComplete": 50}
_FAILURE = {"type": "JobFailed", "message": f"{MARKER}-message", "externalExecutionId": f"{MARKER}-external"}
_TYPE = unstructure(ACTION_TYPE)
_CUSTOM = {**DETAILS, "accountId": "111122223333"}
_INVOKE_EVENT = {"CodePipeline.job": {"id": "job-1", "accountId": "111122223333", "data": DETAILS["data"]}}
_EXECUTOR_EVENT = {
    "jobId": "job-1",
    "accountId": "111122223333",
    "data": {
        "actionConfiguration": DETAILS["data"]["actionConfiguration"]["configuration"],
        "actionCredentials": {**DETAILS["data"]["artifactCredentials"], "expirationTime": 1_767_323_045_000},
        "actionExecutionId": f"{MARKER}-execution",
        "inputArtifacts": [_ARTIFACT],
    },
}

_DOCUMENTS: tuple[tuple[type[Any], Any], ...] = (
    (models.JobDetails, DETAILS),
    (models.JobDetails, {"jobDetails": DETAILS}),
    (models.JobData, DETAILS["data"]),
    (models.Artifact, _ARTIFACT),
    (models.ThirdPartyJob, {"clientId": f"{MARKER}-client", "jobId": f"{MARKER}-job"}),
    (models.CurrentRevision, _REVISION),
    (models.ExecutionDetails, _EXECUTION),
    (models.FailureDetails, _FAILURE),
    (models.ActionTypeId, _TYPE),
    (models.CustomJob, _CUSTOM),
    (models.CustomJobDetails, _CUSTOM),
    (models.LambdaJobEvent, _INVOKE_EVENT),
    (models.LambdaJobEvent, _EXECUTOR_EVENT),
)


@contextmanager
def structures(_directory: Path) -> Generator[Case]:
    """Open the cases: a mutated document of a model for each."""

    def case(chance: random.Random) -> str:
        model, document = chance.choice(_DOCUMENTS)
        hidden = Hidden(junk(chance) if chance.random() < 0.02 else mutate_document(chance, document))
        found = Hidden(None)

        def read() -> None:
            found.value = structure(hidden.value, model)

        ending = ending_of(read)
        if found.value is not None:
            assert structure(unstructure(found.value, secrets="reveal"), model) == found.value
        return ending

    yield case


_CLIENT_TOKEN = f"{MARKER}-client-token"
_RESULT = {"jobId": "job-1", "clientToken": _CLIENT_TOKEN}
_INPUTS: dict[str, Any] = {
    "poll-for-third-party-jobs": {"actionTypeId": _TYPE, "maxBatchSize": 1},
    "get-third-party-job-details": _RESULT,
    "acknowledge-third-party-job": {**_RESULT, "nonce": f"{MARKER}-nonce"},
    "put-third-party-job-success-result": {
        **_RESULT,
        "currentRevision": _REVISION,
        "continuationToken": f"{MARKER}-continuation",
        "executionDetails": _EXECUTION,
    },
    "put-third-party-job-failure-result": {**_RESULT, "failureDetails": _FAILURE},
}

# The exit codes of the command line: 0, and those of `cp_thirdparty._cli.errors`.
_CODES = (0, 130, 252, 253, 254, 255)


@contextmanager
def command_line_documents(directory: Path) -> Generator[Case]:
    """Open the cases: a command with a mutated document of parameters for each."""
    path = directory / "input"
    with LocalCodePipeline() as service:
        service.register_client(CLIENT_ID, _CLIENT_TOKEN)
        environment = {**service.environment(), "AWS_PAGER": "", "COLUMNS": "80"}
        environment["AWS_CONFIG_FILE"] = environment["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
        with mock.patch.dict(os.environ, environment):
            yield lambda chance: _command(chance, path)
    path.unlink(missing_ok=True)


def _command(chance: random.Random, path: Path) -> str:
    command, document = chance.choice(list(_INPUTS.items()))
    document = mutate_document(chance, document) if chance.random() < 0.9 else document
    kind = chance.choice(("json", "yaml"))
    data = (
        _to_yaml(document)
        if kind == "yaml"
        else json.dumps(document, ensure_ascii=chance.random() < 0.5).encode(errors="surrogatepass")
    )
    path.write_bytes(mutate_bytes(chance, data) if chance.random() < 0.3 else data)
    output = chance.choice(("json", "text", "table", "yaml"))
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([command, f"--cli-input-{kind}", f"file://{path}", "--output", output])
    assert code in _CODES, code
    shown = err.getvalue()
    assert len(shown.splitlines()) == (0 if code == 0 else 1), shown
    assert shown.removesuffix("\n").isprintable()
    assert len(shown) < 25_000
    assert MARKER not in shown
    assert "unexpected error" not in shown, shown
    assert code == 0 or out.getvalue() == ""
    return f"exit code {code}"


def _to_yaml(document: Any) -> bytes:
    try:
        return yaml.safe_dump(document, allow_unicode=True).encode(errors="surrogatepass")
    except (yaml.YAMLError, RecursionError, ValueError):  # a document that has no form in YAML
        return repr(document).encode(errors="surrogatepass")


_SCENARIO: dict[str, Any] = {
    "settings": {"redeliveryDelay": 1, "jobTimeout": 60.5, "defaultBatchSize": 3, "stableNonce": False},
    "clients": [
        {"clientId": "client-1", "clientToken": _CLIENT_TOKEN},
        {"clientId": "client-2", "clientToken": f"{_CLIENT_TOKEN}-2"},
    ],
    "actions": [
        {
            "clientId": "client-1",
            "actionTypeId": _TYPE,
            "configuration": DETAILS["data"]["actionConfiguration"]["configuration"],
            "inputArtifacts": [_ARTIFACT],
            "outputArtifacts": [_ARTIFACT],
            "artifactCredentials": DETAILS["data"]["artifactCredentials"],
            "encryptionKey": DETAILS["data"]["encryptionKey"],
            "pipelineContext": DETAILS["data"]["pipelineContext"],
        },
        {"clientId": "client-2", "actionTypeId": _TYPE},
    ],
}


@contextmanager
def scenarios(directory: Path) -> Generator[Case]:
    """Open the cases: a mutated scenario for each, which is started if it can be read."""
    path = directory / "scenario.json"

    def case(chance: random.Random) -> str:
        document = mutate_document(chance, _SCENARIO) if chance.random() < 0.9 else _SCENARIO
        try:
            data = json.dumps(document).encode()
        except RecursionError:  # several mutations have nested it, each inside of another one
            data = b"[" * 100_000
        path.write_bytes(mutate_bytes(chance, data) if chance.random() < 0.3 else data)
        return _play(lambda: load(path))

    yield case
    path.unlink(missing_ok=True)


def _play(read: Callable[[], Any]) -> str:
    try:
        scenario = read()
    except ScenarioError as error:
        shown = str(error)
        assert MARKER not in shown
        assert shown.isprintable()
        assert len(shown) < 25_000
        return "refused"
    service = LocalCodePipeline(**scenario.settings)
    with service:
        scenario.start(service)
    return "started"
