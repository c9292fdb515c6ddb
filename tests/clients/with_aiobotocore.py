"""Calls CodePipeline by aiobotocore, as each line of stdin asks: a JSON list of the operation and its parameters."""

import asyncio
import json
import sys

from aiobotocore.session import get_session  # type: ignore[import-not-found] # pyright: ignore[reportMissingImports]
from botocore import xform_name
from botocore.exceptions import ClientError


async def main() -> None:
    """Print a response for each line."""
    async with get_session().create_client("codepipeline") as client:
        while line := await asyncio.to_thread(sys.stdin.readline):
            operation, parameters = json.loads(line)
            try:
                response = await getattr(client, xform_name(operation))(**parameters)
                del response["ResponseMetadata"]
            except ClientError as error:
                response = {"error": error.response["Error"]["Code"]}
            print(json.dumps(response), flush=True)


asyncio.run(main())
