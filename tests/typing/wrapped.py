"""Clients of botocore and boto3 in ours, with the stubs of both.  Checked by mypy and pyright, never run."""

from __future__ import annotations

import boto3
from botocore.client import BaseClient
from botocore.config import Config
from botocore.session import Session
from types_boto3_codepipeline import CodePipelineClient
from typing_extensions import assert_type

from cp_thirdparty import ThirdPartyJobClient


def wrapped(of_boto3: CodePipelineClient, of_botocore: BaseClient, session: Session) -> None:
    """Wrap what ``boto3.client("codepipeline")`` and ``session.create_client("codepipeline")`` give."""
    assert_type(ThirdPartyJobClient(of_boto3), ThirdPartyJobClient)
    assert_type(ThirdPartyJobClient(of_botocore), ThirdPartyJobClient)
    assert_type(ThirdPartyJobClient(session.create_client("codepipeline")), ThirdPartyJobClient)
    assert_type(ThirdPartyJobClient(of_boto3, deadline=None, wire_logs=True, on_call=print), ThirdPartyJobClient)


def created(session: Session, of_boto3: boto3.Session) -> None:
    """Give what botocore takes, and a session of boto3."""
    assert_type(ThirdPartyJobClient.create(session=of_boto3), ThirdPartyJobClient)
    config = Config(max_pool_connections=2)
    assert_type(ThirdPartyJobClient.create(session=session, config=config), ThirdPartyJobClient)
