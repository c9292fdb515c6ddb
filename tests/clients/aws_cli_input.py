"""
What the AWS CLI does with the inputs of `support.typed_inputs`: what it refuses, our command line refuses too.

``nox -s clients`` runs this file and installs the AWS CLI.  Our side of the same table is in
``tests/cli/test_strict_input.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from support.client_environments import ForkedProgram
from support.typed_inputs import ACCEPTED, REFUSED, Accepted, Refused

from cp_thirdparty.testing import LocalCodePipeline


@pytest.fixture(scope="module")
def service() -> Iterator[LocalCodePipeline]:
    """Serve a local CodePipeline without jobs."""
    with LocalCodePipeline() as service:
        yield service


def _call(aws: ForkedProgram, service: LocalCodePipeline, arguments: tuple[str, ...]) -> None:
    env = {**os.environ, **service.environment(), "AWS_PAGER": ""}
    env.pop("AWS_PROFILE", None)
    aws.run("codepipeline", *arguments, env=env, check=False)


@pytest.mark.parametrize("row", [row for row in REFUSED if row.aws_refuses is not None], ids=lambda row: row.error)
def test_the_aws_cli_refuses_what_the_table_refuses(
    row: Refused, aws: ForkedProgram, service: LocalCodePipeline
) -> None:
    """The AWS CLI sends the input exactly when the table expects it."""
    before = len(service.requests)
    _call(aws, service, row.arguments)
    assert (len(service.requests) == before) == row.aws_refuses


@pytest.mark.parametrize("row", [row for row in ACCEPTED if row.aws_sends_the_same is not None], ids=str)
def test_the_aws_cli_sends_what_we_send(row: Accepted, aws: ForkedProgram, service: LocalCodePipeline) -> None:
    """The AWS CLI sends the same parameters exactly when the table expects it."""
    before = len(service.requests)
    _call(aws, service, row.arguments)
    assert len(service.requests) == before + 1
    parameters = service.requests[-1].parameters or {}
    sent = {name: value for name, value in parameters.items() if name not in ("jobId", "clientToken")}
    assert (sent == row.sent) == row.aws_sends_the_same
