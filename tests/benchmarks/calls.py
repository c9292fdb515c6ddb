"""
Measure a call on an open connection: typed details over loopback with 1, 8 and 32 threads, or as many tasks.

The server sends constant responses from a process of its own.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from botocore.config import Config

from benchmarks.constant_service import CREDENTIAL_VARIABLES, CREDENTIALS, DOCUMENT, TOKEN, Server
from benchmarks.measure import Target, choose_pairs, main, print_table, take_turns
from cp_thirdparty import ThirdPartyJobClient

_ID = DOCUMENT["jobDetails"]["id"]
_Call = Callable[[], object]
# How to open a client, and how to call it.
_Opened = tuple[Callable[[], Any], Callable[[Any], Awaitable[object]]]


def run(*, short: bool) -> None:
    """Print the tables."""
    os.environ.update(CREDENTIAL_VARIABLES)
    server = Server()
    _print_processor_time(server, short=short)
    pairs, calls = choose_pairs(12, short=short), 64 if short else 1024
    loop = asyncio.new_event_loop()
    for width in (1, 8, 32):
        candidates: dict[str, Callable[[], float]] = {
            # capo's sync client waits 40 ms in each call: it sends a request in two pieces, with Nagle's algorithm on.
            name: partial(_call_in_threads, call, width, max(calls // 16, width) if name == "capo" else calls)
            for name, call in _blocking(server).items()
        }
        for name, client in _asynchronous(server).items():
            candidates[name] = partial(_call_in_tasks, loop, client, width, calls)
        targets = {"cp-thirdparty": Target(">=", 1.0), "cp-thirdparty, asyncio": Target(">=", 1.0, to="aiobotocore")}
        samples = take_turns(candidates, pairs=pairs)
        print_table(f"calls a second, {width} at a time", "boto3", samples, targets, is_judged=not short)
    loop.close()
    server.close()


# --- the processor time of a call, which hardly depends on what else the machine does


def _print_processor_time(server: Server, *, short: bool) -> None:
    """Print the processor time of each operation with details, an acknowledgement or a result."""
    raw, ours = _raw(server), _ours(server)
    job: Any = {"jobId": _ID, "clientToken": TOKEN}
    token: Any = {"client_token": TOKEN}
    works: dict[str, tuple[_Call, _Call]] = {
        "details": (
            partial(raw.get_third_party_job_details, **job),
            partial(ours.get_third_party_job_details, _ID, **token),
        ),
        "acknowledgement": (
            partial(raw.acknowledge_third_party_job, nonce="1", **job),
            partial(ours.acknowledge_third_party_job, _ID, nonce="1", **token),
        ),
        "success": (
            partial(raw.put_third_party_job_success_result, **job),
            partial(ours.put_third_party_job_success_result, _ID, **token),
        ),
    }
    for name, (plain, typed) in works.items():
        candidates = {"boto3": partial(_processor_time, plain), "cp-thirdparty": partial(_processor_time, typed)}
        samples = take_turns(candidates, pairs=choose_pairs(100, short=short))
        title, targets = f"µs of processor time, {name}", {"cp-thirdparty": Target("<=", 1.0)}
        print_table(title, "boto3", samples, targets, is_judged=not short)


def _processor_time(call: _Call, calls: int = 50) -> float:
    begin = time.process_time()
    for _ in range(calls):
        call()
    return (time.process_time() - begin) / calls * 1e6


# --- the libraries; each gets details once per call


def _raw(server: Server) -> Any:
    return importlib.import_module("boto3").client(
        "codepipeline",
        region_name="us-east-1",
        endpoint_url=server.endpoint_url,
        config=Config(proxies={}, max_pool_connections=64),
    )


def _ours(server: Server) -> ThirdPartyJobClient:
    return ThirdPartyJobClient.create(
        region_name="us-east-1", endpoint_url=server.endpoint_url, config=Config(proxies={})
    )


def _blocking(server: Server) -> dict[str, _Call]:
    validator = importlib.import_module("aws_resource_validator.pydantic_models.codepipeline.codepipeline_classes")
    dataclass = importlib.import_module("boto3_dataclass_codepipeline.type_defs").ThirdPartyJobDetails
    capo = importlib.import_module("capo_codepipeline")
    raw, ours = _raw(server), _ours(server)
    other = capo.CodePipelineClient(region="us-east-1", endpoint=server.endpoint_url, credentials=_capo_credentials())

    def details() -> Any:
        return raw.get_third_party_job_details(jobId=_ID, clientToken=TOKEN)["jobDetails"]

    return {
        "boto3": details,
        "cp-thirdparty": lambda: ours.get_third_party_job_details(_ID, client_token=TOKEN),
        "boto3 and aws-resource-validator": lambda: validator.ThirdPartyJobDetailsTypeDef.model_validate(details()),
        "boto3-dataclass, not read": lambda: dataclass(boto3_raw_data=details()),
        "capo": lambda: other.get_third_party_job_details(_ID, TOKEN),
    }


def _asynchronous(server: Server) -> dict[str, _Opened]:
    """Return how to open a client of each library, and how to call it."""
    aiobotocore = importlib.import_module("aiobotocore.session")
    capo = importlib.import_module("capo_codepipeline")
    where = {"region_name": "us-east-1", "endpoint_url": server.endpoint_url}

    def theirs() -> Any:
        key, secret = CREDENTIALS
        config = importlib.import_module("aiobotocore.config").AioConfig(proxies={}, max_pool_connections=64)
        return aiobotocore.get_session().create_client(
            "codepipeline", **where, aws_access_key_id=key, aws_secret_access_key=secret, config=config
        )

    def ours() -> Any:
        session = aiobotocore.get_session()
        session.set_credentials(*CREDENTIALS)
        client = importlib.import_module("cp_thirdparty").AsyncThirdPartyJobClient
        return client.create(**where, session=session, config=Config(proxies={}))

    def other() -> Any:
        return capo.AsyncCodePipelineClient(
            region="us-east-1", endpoint=server.endpoint_url, credentials=_capo_credentials()
        )

    return {
        "aiobotocore": (theirs, lambda client: client.get_third_party_job_details(jobId=_ID, clientToken=TOKEN)),
        "cp-thirdparty, asyncio": (
            ours,
            lambda client: client.get_third_party_job_details(_ID, client_token=TOKEN),
        ),
        "capo, asyncio": (other, lambda client: client.get_third_party_job_details(_ID, TOKEN)),
    }


def _capo_credentials() -> Any:
    key, secret = CREDENTIALS
    return importlib.import_module("capo_codepipeline._auth._identity").Credentials(access_key=key, secret_key=secret)


# --- how many in a second


def _call_in_threads(call: _Call, threads: int, calls: int) -> float:
    def several() -> None:
        for _ in range(calls // threads):
            call()

    with ThreadPoolExecutor(threads) as pool:
        begin = time.perf_counter()
        for done in [pool.submit(several) for _ in range(threads)]:
            done.result()
        return calls // threads * threads / (time.perf_counter() - begin)


def _call_in_tasks(loop: asyncio.AbstractEventLoop, opened: _Opened, tasks: int, calls: int) -> float:
    make, call = opened

    async def main() -> float:
        async with make() as client:
            await call(client)

            async def several() -> None:
                for _ in range(calls // tasks):
                    await call(client)

            begin = time.perf_counter()
            await asyncio.gather(*(several() for _ in range(tasks)))
            return calls // tasks * tasks / (time.perf_counter() - begin)

    return loop.run_until_complete(main())


if __name__ == "__main__":
    main(run, __doc__)
