"""Calls CodePipeline by boto3, as each line of stdin asks: a JSON list of the operation and its parameters."""

import json
import sys

import boto3
from botocore import xform_name
from botocore.exceptions import ClientError

client = boto3.client("codepipeline")
for line in sys.stdin:
    operation, parameters = json.loads(line)
    try:
        answer = getattr(client, xform_name(operation))(**parameters)
        del answer["ResponseMetadata"]
    except ClientError as error:
        answer = {"error": error.response["Error"]["Code"]}
    print(json.dumps(answer), flush=True)
