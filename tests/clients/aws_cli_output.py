"""
The command line against the AWS CLI: the same response, the same bytes.

``nox -s clients`` runs this file and installs the AWS CLI.  Version 1 of it comes from PyPI; of the formats
that only version 2 has, the documents are compared.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.client_environments import ForkedProgram, find_program

from cp_thirdparty import ActionTypeId, Artifact, ArtifactLocation, ArtifactLocationType, S3Location
from cp_thirdparty.testing import LocalCodePipeline

_AWS = find_program("awscli", "aws")
_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")
_SHORTHAND = "category=Test,owner=ThirdParty,provider=ExampleScan,version=1"
_CLIENT_ID = "00000000-0000-4000-8000-000000000001"
_TOKEN = "example-token"
_D = "jobDetails.data"

_QUERIES = (
    "jobDetails",
    "jobDetails.id",
    "jobDetails.nonce",
    "jobDetails.[id, nonce]",
    "jobDetails.{Id: id, Nonce: nonce}",
    "nothing",
    "jobDetails.data",
    f"{_D}.actionTypeId",
    f"{_D}.actionTypeId.*",
    f"{_D}.actionTypeId.provider",
    f"keys({_D})",
    f"length({_D}.inputArtifacts)",
    f"{_D}.inputArtifacts",
    f"{_D}.inputArtifacts[0]",
    f"{_D}.inputArtifacts[-1].name",
    f"{_D}.inputArtifacts[].name",
    f"{_D}.inputArtifacts[*].location.s3Location",
    f"{_D}.inputArtifacts[*].location.s3Location.[bucketName, objectKey]",
    f"{_D}.inputArtifacts[?name=='MyApp']",
    f"{_D}.inputArtifacts[?name=='none']",
    f"{_D}.inputArtifacts[?contains(name, 'App')].name | [0]",
    f"sort_by({_D}.inputArtifacts, &name)[].name",
    f"max_by({_D}.inputArtifacts, &name).revision",
    f"{_D}.[inputArtifacts, outputArtifacts][]",
    f"{_D}.[inputArtifacts, outputArtifacts]",
    f"{_D}.inputArtifacts[].{{Name: name, Bucket: location.s3Location.bucketName}}",
    f"{_D}.actionConfiguration",
    f"{_D}.actionConfiguration.configuration",
    f"{_D}.actionConfiguration.configuration.ApiKey",
    f"values({_D}.actionConfiguration.configuration)",
    f"to_number({_D}.actionConfiguration.configuration.Minutes)",
    f"{_D}.actionConfiguration.configuration.Minutes == '45'",
    f"join(',', {_D}.inputArtifacts[].name)",
    f"{_D}.artifactCredentials.[accessKeyId]",
    f"{_D}.pipelineContext",
    f"{_D}.pipelineContext.stage.name",
    f"type({_D}.continuationToken)",
    f"not_null({_D}.continuationToken, 'none')",
    f"to_string({_D}.actionTypeId)",
    f"{_D}.pipelineContext.*.name",
    f'merge({_D}.actionTypeId, `{{"version": 2, "floats": [1.5, null, true]}}`)',
    '`[[1, 2], ["a", ["b"]]]`',
    '`[{"a": 1}, {"b": {"c": [1]}}]`',
    "`{}`",
    "`[]`",
    '`""`',
)
# A table of the AWS CLI cannot have these: it fails, or loses values.
_NO_TABLE = (f"{_D}.[inputArtifacts, outputArtifacts]", '`[[1, 2], ["a", ["b"]]]`')

Call = Callable[..., tuple[bytes, bytes]]


def _artifact(name: str) -> Artifact:
    place = S3Location(bucket_name="codepipeline-us-east-1-1", object_key=f"demo/{name}/ü.zip")
    return Artifact(
        name=name, revision=f"rev-{name}", location=ArtifactLocation(type=ArtifactLocationType.S3, s3_location=place)
    )


@pytest.fixture(scope="module")
def service() -> Iterator[tuple[dict[str, str], str]]:
    """Serve one job, and give the environment to call it with and its id."""
    with LocalCodePipeline() as service:
        service.register_client(_CLIENT_ID, _TOKEN)
        action = service.start_action(
            _TYPE,
            client_id=_CLIENT_ID,
            configuration={"ProjectName": "démo ✓", "ApiKey": 'a"b\\c', "Minutes": "45", "Answer": "yes", "Empty": ""},
            input_artifacts=[_artifact("MyApp"), _artifact("Another"), Artifact(name="Bare")],
            output_artifacts=[_artifact("Report")],
            artifact_credentials=_credentials(),
        )
        env = {**os.environ, **service.environment(), "PYTHONUTF8": "1", "AWS_PAGER": ""}
        env.pop("AWS_PROFILE", None)
        yield env, action.jobs[0].id


def _credentials() -> Any:
    from cp_thirdparty import ArtifactCredentials, SecretStr  # noqa: PLC0415 - as little as the fixture

    return ArtifactCredentials(
        access_key_id=SecretStr("ASIAEXAMPLE"),
        secret_access_key=SecretStr("secret+/="),
        session_token=SecretStr("token" * 50),
    )


def _ask(job_id: str, *options: str) -> tuple[str, ...]:
    return ("get-third-party-job-details", "--job-id", job_id, "--client-token", _TOKEN, *options)


@pytest.fixture(name="both")
def _both(service: tuple[dict[str, str], str], aws: ForkedProgram, ours: ForkedProgram) -> Call:
    """Return a function that gives the output of the AWS CLI and of ours."""
    env, job_id = service

    def call(*options: str) -> tuple[bytes, bytes]:
        asked = _ask(job_id, *options)
        theirs = aws.run("codepipeline", *asked, env=env)
        return theirs.stdout, ours.run(*asked, "--reveal-secrets", env=env).stdout

    return call


def _cells(table: bytes) -> list[list[str]]:
    """Return what stands between the bars of each line, in order."""
    lines = [[cell.strip() for cell in line.split("|")] for line in table.decode().splitlines() if "|" in line]
    shown = [[cell for cell in line if cell.strip("+-")] for line in lines]
    return [line for line in shown if line]


@pytest.mark.parametrize("output", ["json", "text"])
@pytest.mark.parametrize("query", [None, *_QUERIES])
def test_the_bytes_are_the_same(both: Call, query: str | None, output: str) -> None:
    """JSON and text are those of the AWS CLI, with and without a query."""
    theirs, ours = both("--output", output, *(() if query is None else ("--query", query)))
    assert theirs == ours


@pytest.mark.parametrize("query", [None, *(query for query in _QUERIES if query not in _NO_TABLE)])
def test_tables_have_the_same_cells(both: Call, query: str | None) -> None:
    """A table has the cells of the AWS CLI under the same headings."""
    theirs, ours = both("--output", "table", *(() if query is None else ("--query", query)))
    assert _cells(theirs) == _cells(ours)


@pytest.mark.parametrize("query", [None, *_QUERIES[:12]])
def test_yaml_has_the_same_document(
    service: tuple[dict[str, str], str], aws: ForkedProgram, ours: ForkedProgram, query: str | None
) -> None:
    """YAML reads as the JSON of the AWS CLI does; a stream has it as its only item."""
    env, job_id = service
    asked = _ask(job_id, *(() if query is None else ("--query", query)))
    expected = yaml.safe_load(aws.run("codepipeline", *asked, env=env).stdout)  # JSON is YAML
    for output, document in (("yaml", expected), ("yaml-stream", [expected])):
        written = ours.run(*asked, "--output", output, "--reveal-secrets", env=env).stdout
        assert yaml.safe_load(written) == document


@pytest.mark.parametrize(
    "command",
    [
        "acknowledge-third-party-job",
        "get-third-party-job-details",
        "put-third-party-job-success-result",
    ],
)
def test_skeletons_are_the_same(
    service: tuple[dict[str, str], str], aws: ForkedProgram, ours: ForkedProgram, command: str
) -> None:
    """The sample input is that of the AWS CLI, byte for byte, where it does not choose at random."""
    env, _ = service
    asked = (command, "--generate-cli-skeleton")
    assert aws.run("codepipeline", *asked, env=env).stdout == ours.run(*asked, env=env).stdout


@pytest.mark.parametrize("output", ["json", "text"])
@pytest.mark.parametrize(
    ("asked", "codes"),
    [
        (["poll-for-third-party-jobs", "--action-type-id", _SHORTHAND.replace("ExampleScan", "Other")], (0, 0)),
        # Version 1 has 255 for all that fails; version 2 documents 254 for an error of the service.
        (["put-third-party-job-success-result", "--job-id", "none", "--client-token", _TOKEN], (255, 254)),
    ],
)
def test_the_other_operations_return_the_same(
    service: tuple[dict[str, str], str], asked: list[str], codes: tuple[int, int], output: str
) -> None:
    """A poll without jobs has the bytes of the AWS CLI, and so has a refusal, which is none."""
    env, _ = service
    theirs, ours = (
        subprocess.run([*start, *asked, "--output", output], env=env, capture_output=True, check=False)
        for start in ([_AWS, "codepipeline"], [sys.executable, "-m", "cp_thirdparty"])
    )
    assert codes == (theirs.returncode, ours.returncode)
    assert theirs.stdout == ours.stdout


_CONFIG = (
    "[default]\noutput = text\nregion = us-east-1\ncli_pager =\n[profile other]\noutput = table\nregion = us-east-1\n"
)


@pytest.mark.parametrize(
    ("variables", "before", "behind"),
    [
        ({}, (), ()),
        ({"AWS_DEFAULT_OUTPUT": "json"}, (), ()),
        ({"AWS_DEFAULT_OUTPUT": "json"}, ("--output", "text"), ()),
        ({"AWS_DEFAULT_OUTPUT": "table"}, (), ("--output", "json")),
        ({"AWS_DEFAULT_REGION": None, "AWS_REGION": None}, ("--no-paginate",), ()),
        ({}, ("--region", "us-east-1", "--output", "json"), ("--query", "jobDetails.id")),
        ({}, ("--query=jobDetails.data.inputArtifacts[].name",), ("--color=off",)),
    ],
    ids=str,
)
def test_settings_have_the_same_effect(
    service: tuple[dict[str, str], str],
    tmp_path: Path,
    variables: dict[str, str | None],
    before: tuple[str, ...],
    behind: tuple[str, ...],
) -> None:
    """Variables, keys of the profile, and options before or behind the command give the same bytes."""
    env, job_id = service
    (tmp_path / "config").write_text(_CONFIG, encoding="utf-8")
    changed = {**env, "AWS_CONFIG_FILE": str(tmp_path / "config"), **variables}
    used = {name: value for name, value in changed.items() if value is not None}
    call = ("get-third-party-job-details", "--job-id", job_id, "--client-token", _TOKEN, *behind)
    theirs = subprocess.run([_AWS, *before, "codepipeline", *call], env=used, capture_output=True, check=True)
    ours = subprocess.run(
        [sys.executable, "-m", "cp_thirdparty", *before, *call, "--reveal-secrets"],
        env=used,
        capture_output=True,
        check=True,
    )
    assert theirs.stdout == ours.stdout


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("output", ["json", "text"])
def test_encodings_give_the_same_bytes_where_the_aws_cli_gives_any(
    service: tuple[dict[str, str], str], output: str, encoding: str
) -> None:
    """The AWS CLI fails if a letter is not in the encoding; ours is the same JSON document then."""
    env, job_id = service
    used = {**env, "PYTHONUTF8": "0", "PYTHONIOENCODING": encoding}
    for query, has_all in ((f"{_D}.actionTypeId", True), (_D, encoding == "utf-8")):
        call = ("get-third-party-job-details", "--job-id", job_id, "--client-token", _TOKEN)
        asked = [*call, "--output", output, "--query", query]
        theirs = subprocess.run([_AWS, "codepipeline", *asked], env=used, capture_output=True, check=False)
        ours = subprocess.run(
            [sys.executable, "-m", "cp_thirdparty", *asked, "--reveal-secrets"],
            env=used,
            capture_output=True,
            check=True,
        ).stdout
        assert (theirs.returncode == 0) == has_all
        if has_all:
            assert theirs.stdout == ours
        elif output == "json":
            document = json.loads(ours.decode(encoding))
            assert document["actionConfiguration"]["configuration"]["ProjectName"] == "d\xe9mo \u2713"
