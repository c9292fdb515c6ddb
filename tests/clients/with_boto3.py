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
        response = getattr(client, xform_name(operation))(**parameters)
        del response["ResponseMetadata"]
    except ClientError as error:
        response = {"error": error.response["Error"]["Code"]}
    print(json.dumps(response), flush=True)
