"""Measure a new process up to the first details printed, and the import alone."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.constant_service import CREDENTIALS, Server
from benchmarks.measure import Target, choose_pairs, main, print_table, seconds, take_turns

# A program in each library that prints the id of the job; its argument is the endpoint.
_PROGRAMS = {
    "boto3": """
import sys, boto3
client = boto3.client("codepipeline", region_name="us-east-1", endpoint_url=sys.argv[1])
print(client.get_third_party_job_details(jobId="job-1", clientToken="t")["jobDetails"]["id"])
""",
    "botocore": """
import sys, botocore.session
client = botocore.session.Session().create_client("codepipeline", region_name="us-east-1", endpoint_url=sys.argv[1])
print(client.get_third_party_job_details(jobId="job-1", clientToken="t")["jobDetails"]["id"])
""",
    "cp-thirdparty": """
import sys
from cp_thirdparty import ThirdPartyJobClient
client = ThirdPartyJobClient.create(region_name="us-east-1", endpoint_url=sys.argv[1])
print(client.get_third_party_job_details("job-1", client_token="t").id)
""",
    "capo": """
import sys
from capo_codepipeline import CodePipelineClient
client = CodePipelineClient(region="us-east-1", endpoint=sys.argv[1])
print(client.get_third_party_job_details("job-1", "t")["job_details"]["id"])
""",
    "boto3 and aws-resource-validator": """
import sys, boto3
from aws_resource_validator.pydantic_models.codepipeline.codepipeline_classes import ThirdPartyJobDetailsTypeDef
client = boto3.client("codepipeline", region_name="us-east-1", endpoint_url=sys.argv[1])
response = client.get_third_party_job_details(jobId="job-1", clientToken="t")["jobDetails"]
print(ThirdPartyJobDetailsTypeDef.model_validate(response).id)
""",
    "boto3-dataclass": """
import sys, boto3
from boto3_dataclass_codepipeline.type_defs import ThirdPartyJobDetails
client = boto3.client("codepipeline", region_name="us-east-1", endpoint_url=sys.argv[1])
response = client.get_third_party_job_details(jobId="job-1", clientToken="t")["jobDetails"]
print(ThirdPartyJobDetails(boto3_raw_data=response).id)
""",
    "aiobotocore": """
import asyncio, sys
from aiobotocore.session import get_session
async def main():
    async with get_session().create_client("codepipeline", region_name="us-east-1", endpoint_url=sys.argv[1]) as client:
        response = await client.get_third_party_job_details(jobId="job-1", clientToken="t")
        print(response["jobDetails"]["id"])
asyncio.run(main())
""",
}
_IMPORT = "import time; begin = time.perf_counter(); import {}; print(time.perf_counter() - begin)"
_IMPORTED = ("botocore.session", "cp_thirdparty", "boto3", "pydantic", "aiobotocore.session", "capo_codepipeline")


def run(*, short: bool) -> None:
    """Print both tables."""
    server = Server()
    pairs = choose_pairs(25, short=short)
    starts = {
        name: partial(_milliseconds, [sys.executable, "-c", program, server.endpoint_url])
        for name, program in _PROGRAMS.items()
    }
    aws = Path(sysconfig.get_path("scripts")) / "aws"
    call = ["codepipeline", "get-third-party-job-details", "--job-id", "job-1", "--client-token", "t"]
    starts["AWS CLI"] = partial(
        _milliseconds, [str(aws), *call, "--endpoint-url", server.endpoint_url, "--query", "jobDetails.id"]
    )
    print_table(
        "process start to first details printed, ms",
        "boto3",
        take_turns(starts, pairs=pairs),
        {"cp-thirdparty": Target("<=", 0.95)},
        is_judged=not short,
    )
    imports = {name: partial(_import_milliseconds, name) for name in _IMPORTED}
    print_table(
        "import, ms",
        "botocore.session",
        take_turns(imports, pairs=pairs),
        {"cp_thirdparty": Target("<=", 0.35)},
        is_judged=not short,
    )
    server.close()


def _milliseconds(command: Sequence[str]) -> float:
    run_process = partial(subprocess.run, command, env=_environment(), stdout=subprocess.DEVNULL, check=True)
    return seconds(run_process)() * 1000


def _import_milliseconds(name: str) -> float:
    """Return the time that a new process needs to import a module, without the start of Python."""
    command = [sys.executable, "-c", _IMPORT.format(name)]
    return float(subprocess.run(command, env=_environment(), capture_output=True, check=True).stdout) * 1000


def _environment() -> Mapping[str, str]:
    """Return an environment with credentials for all libraries, in which none asks the network for them."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON"))}
    return {
        **environment,
        "AWS_ACCESS_KEY_ID": CREDENTIALS[0],
        "AWS_SECRET_ACCESS_KEY": CREDENTIALS[1],
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }


if __name__ == "__main__":
    main(run, __doc__)
