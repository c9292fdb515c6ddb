"""Calls CodePipeline by the AWS CLI, as each line of stdin asks: a JSON list of the operation and its parameters."""

import json
import re
import subprocess
import sys
from pathlib import Path


def kebab(name: str) -> str:
    """Spell an operation or a member as the command line does."""
    return re.sub("(?<!^)([A-Z])", r"-\1", name).lower()


for line in sys.stdin:
    operation, parameters = json.loads(line)
    aws = Path(sys.executable).with_name("aws")
    command = [sys.executable, str(aws), "codepipeline", kebab(operation), "--output", "json"]
    for name, value in parameters.items():
        command += [f"--{kebab(name)}", value if isinstance(value, str) else json.dumps(value)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    refused = re.search(r"An error occurred \((\w+)\)", result.stderr)
    if result.returncode and not refused:
        sys.exit(result.stderr)
    print(json.dumps({"error": refused[1]} if refused else json.loads(result.stdout or "{}")), flush=True)
