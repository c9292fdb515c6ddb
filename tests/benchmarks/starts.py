"""
What a start costs: a new process up to the first details printed, and the import alone.

``python tests/benchmarks/starts.py``; ``--short`` takes 3 rounds rather than 25.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from constant_service import CREDENTIALS, Server
from measure import table, turns

# A program in each library that prints the id of the job; it is told the endpoint.
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
answer = client.get_third_party_job_details(jobId="job-1", clientToken="t")["jobDetails"]
print(ThirdPartyJobDetailsTypeDef.model_validate(answer).id)
""",
    "boto3-dataclass": """
import sys, boto3
from boto3_dataclass_codepipeline.type_defs import ThirdPartyJobDetails
client = boto3.client("codepipeline", region_name="us-east-1", endpoint_url=sys.argv[1])
answer = client.get_third_party_job_details(jobId="job-1", clientToken="t")["jobDetails"]
print(ThirdPartyJobDetails(boto3_raw_data=answer).id)
""",
    "aiobotocore": """
import asyncio, sys
from aiobotocore.session import get_session
async def main():
    async with get_session().create_client("codepipeline", region_name="us-east-1", endpoint_url=sys.argv[1]) as client:
        answer = await client.get_third_party_job_details(jobId="job-1", clientToken="t")
        print(answer["jobDetails"]["id"])
asyncio.run(main())
""",
}
_IMPORT = "import time; begin = time.perf_counter(); import {}; print(time.perf_counter() - begin)"
_IMPORTED = ("botocore.session", "cp_thirdparty", "boto3", "pydantic", "aiobotocore.session", "capo_codepipeline")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="3 rounds")
    run(short=parser.parse_args().short)


def run(*, short: bool) -> None:
    """Print both tables."""
    server = Server()
    rounds = 3 if short else 25
    starts = {
        name: partial(_seconds, [sys.executable, "-c", program, server.endpoint_url])
        for name, program in _PROGRAMS.items()
    }
    aws = Path(sysconfig.get_path("scripts")) / "aws"
    call = ["codepipeline", "get-third-party-job-details", "--job-id", "job-1", "--client-token", "t"]
    starts["AWS CLI"] = partial(
        _seconds, [str(aws), *call, "--endpoint-url", server.endpoint_url, "--query", "jobDetails.id"]
    )
    table("process start to first details printed, ms", "boto3", turns(starts, rounds), {"cp-thirdparty": ("<=", 0.95)})
    imports = {name: partial(_printed, [sys.executable, "-c", _IMPORT.format(name)]) for name in _IMPORTED}
    table("import, ms", "botocore.session", turns(imports, rounds), {"cp_thirdparty": ("<=", 0.35)})
    server.close()


def _seconds(command: Sequence[str]) -> float:
    """Tell the milliseconds of a process."""
    begin = time.perf_counter()
    subprocess.run(command, env=_environment(), stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - begin) * 1000


def _printed(command: Sequence[str]) -> float:
    """Tell the milliseconds that a process prints as seconds."""
    return float(subprocess.run(command, env=_environment(), capture_output=True, check=True).stdout) * 1000


def _environment() -> Mapping[str, str]:
    """Make an environment in which all libraries find credentials and compiled files, and no network is asked."""
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
    main()
