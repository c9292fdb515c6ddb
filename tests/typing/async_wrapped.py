"""A client and a session of aiobotocore in ours, with its stubs.  Checked by mypy and pyright, never run."""

# pyright: reportMissingModuleSource=false

from __future__ import annotations

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from types_aiobotocore_codepipeline import CodePipelineClient
from typing_extensions import assert_type

from cp_thirdparty import AsyncThirdPartyJobClient


async def wrapped(of_aiobotocore: CodePipelineClient, session: AioSession) -> None:
    """Wrap what a session of aiobotocore gives, and give it one."""
    assert_type(AsyncThirdPartyJobClient(of_aiobotocore), AsyncThirdPartyJobClient)
    assert_type(AsyncThirdPartyJobClient(of_aiobotocore, deadline=None, on_call=print), AsyncThirdPartyJobClient)
    config = AioConfig(max_pool_connections=2)
    assert_type(AsyncThirdPartyJobClient.create(session=session, config=config), AsyncThirdPartyJobClient)
