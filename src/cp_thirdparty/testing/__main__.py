"""
``python -m cp_thirdparty.testing``: the local CodePipeline for clients in any language.

It prints one line of JSON with all that a client needs.  The line shows made-up secrets, because a client needs them.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cp_thirdparty.converter import unstructure
from cp_thirdparty.testing._scenario import Introduction, Scenario, ScenarioError, load
from cp_thirdparty.testing.server import LocalCodePipeline

_LAST_PORT = 65535


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C; return 0 then, 1 when the port is taken, 2 for a bad file."""
    options = _parser().parse_args(arguments)
    try:
        scenario = Scenario.create_default() if options.scenario is None else load(options.scenario)
        service = LocalCodePipeline(port=options.port, **scenario.settings)
        introduction = scenario.play(service)
    except ScenarioError as error:
        return _print_error(f"{options.scenario}: {error}", 2)
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        return _serve(service, introduction)
    except KeyboardInterrupt:
        return 0


def _serve(service: LocalCodePipeline, introduction: Introduction) -> int:
    try:
        service.start()
    except OSError as error:
        return _print_error(f"cannot listen: {error.strerror}", 1)
    try:
        print(_line(service, introduction), flush=True)  # noqa: T201 - it is what the program is for
        while True:
            time.sleep(3600)
    finally:
        service.close()


def _line(service: LocalCodePipeline, introduction: Introduction) -> str:
    token = service.session_token
    return json.dumps(
        {
            "endpointUrl": service.endpoint_url,
            "region": service.region_name,
            "accessKeyId": service.access_key_id,
            "secretAccessKey": service.secret_access_key.get_secret_value(),
            "sessionToken": None if token is None else token.get_secret_value(),
            "clientId": introduction.client_id,
            "clientToken": introduction.client_token.get_secret_value(),
            "actionTypeId": unstructure(introduction.action_type_id),
        }
    )


def _print_error(text: str, code: int) -> int:
    print(f"cp_thirdparty.testing: {text}", file=sys.stderr)  # noqa: T201 - a command prints
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cp_thirdparty.testing",
        description="Serve a local CodePipeline for third-party actions on 127.0.0.1.  Prints one line of JSON with "
        "the endpoint, region, made-up credentials, a client with its token, and an action type; ends at SIGTERM.",
    )
    parser.add_argument("--port", type=_port, default=0, help="where to listen; 0, the default, is a free port")
    parser.add_argument("--scenario", type=Path, help="a JSON file of settings, clients and actions to begin with")
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= _LAST_PORT:
        raise argparse.ArgumentTypeError(f"must be from 0 to {_LAST_PORT}")
    return port


if __name__ == "__main__":
    sys.exit(main())
