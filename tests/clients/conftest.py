"""The two command lines that the tests compare, each in one process."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from support.client_environments import ForkedProgram, find_program, start_forked

_SKELETON = ("get-third-party-job-details", "--generate-cli-skeleton")  # needs no service


@pytest.fixture(scope="session")
def aws() -> Iterator[ForkedProgram]:
    """The AWS CLI."""
    with start_forked(find_program("awscli", "python"), "awscli.clidriver", "codepipeline", *_SKELETON) as program:
        yield program


@pytest.fixture(scope="session")
def ours() -> Iterator[ForkedProgram]:
    """The command line of this library."""
    with start_forked(sys.executable, "cp_thirdparty.__main__", *_SKELETON) as program:
        yield program
