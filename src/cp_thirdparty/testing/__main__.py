"""
``python -m cp_thirdparty.testing``: the local CodePipeline for clients in any language.

It prints the settings that a client needs, with generated secrets.  ``cp-thirdparty local`` is the same program.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cp_thirdparty._base.text import show
from cp_thirdparty.converter import unstructure
from cp_thirdparty.models import FailureDetails
from cp_thirdparty.testing._scenario import RunningScenario, Scenario, ScenarioError, load
from cp_thirdparty.testing.actions import Action
from cp_thirdparty.testing.server import LocalCodePipeline

OUTPUTS = ("env", "json")

_LAST_PORT = 65535
# Seconds between two checks of the actions.
_CHECK_INTERVAL = 0.1


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C, and return 0; return 1 if the port is in use, 2 if the scenario is not valid."""
    options = _create_parser().parse_args(arguments)
    try:
        serve(options.port, options.scenario, options.output)
    except ScenarioError as error:
        return _print_error(str(error), 2)
    except OSError as error:
        return _print_error(f"cannot listen: {error.strerror}", 1)
    return 0


def _write(text: str) -> None:
    try:
        print(text, end="", flush=True)  # noqa: T201 - the purpose of the program
    except OSError as error:
        raise SystemExit(_print_error(f"standard output cannot be written: {error.strerror}", 1)) from None


def serve(port: int, path: Path | None, output: str, *, write: Callable[[str], object] = _write) -> None:
    """
    Serve a local CodePipeline until SIGTERM or Ctrl-C, and write each change of an action to standard error.

    Args:
        port: The port to listen on; 0 for a free port.
        path: The file of the scenario; ``None`` for one client with one job.
        output: ``"json"`` for one line that a program reads, ``"env"`` for lines that a shell runs.
        write: Writes these lines.

    Raises:
        ScenarioError: The file of the scenario cannot be used.
        OSError: The port is in use.
    """
    scenario = Scenario.create_default() if path is None else load(path)
    service = LocalCodePipeline(port=port, **scenario.settings)
    running = scenario.start(service)
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        _serve(service, running, output, write)
    except KeyboardInterrupt:
        return


def _serve(service: LocalCodePipeline, running: RunningScenario, output: str, write: Callable[[str], object]) -> None:
    with service:
        lines = [_json_line(service, running)] if output == "json" else _shell_lines(service, running)
        write("".join(f"{line}\n" for line in lines))
        shown = [_describe(action) for action in running.actions]
        try:
            while True:
                time.sleep(_CHECK_INTERVAL)
                shown = _report_changes(running.actions, shown)
        finally:
            _report_changes(running.actions, shown)


def _report_changes(actions: Sequence[Action], before: list[str]) -> list[str]:
    now = [_describe(action) for action in actions]
    for index, text in enumerate(now):
        if text != before[index]:
            print(f"action {index + 1}, {text}", file=sys.stderr, flush=True)  # noqa: T201 - the purpose of the program
    return now


def _describe(action: Action) -> str:
    result = action.result
    text = f"job {action.jobs[-1].id}: {action.status}"
    return f"{text}: {result.type}: {show(result.message)}" if isinstance(result, FailureDetails) else text


def _shell_lines(service: LocalCodePipeline, running: RunningScenario) -> Iterator[str]:
    variables = service.environment()
    variables["CP_THIRDPARTY_CLIENT_TOKEN"] = running.client_token.get_secret_value()
    yield from (f"export {name}={shlex.quote(value)}" for name, value in variables.items())
    members = unstructure(running.action_type_id).items()
    shorthand = ",".join(f"{name}={value}" for name, value in members)
    yield f"# cp-thirdparty poll-for-third-party-jobs --action-type-id {shlex.quote(shorthand)}"
    for action in running.actions[:1]:
        yield f"# cp-thirdparty get-third-party-job-details --job-id {action.jobs[0].id}"


def _json_line(service: LocalCodePipeline, running: RunningScenario) -> str:
    token = service.session_token
    return json.dumps(
        {
            "endpointUrl": service.endpoint_url,
            "region": service.region_name,
            "accessKeyId": service.access_key_id,
            "secretAccessKey": service.secret_access_key.get_secret_value(),
            "sessionToken": None if token is None else token.get_secret_value(),
            "clientId": running.client_id,
            "clientToken": running.client_token.get_secret_value(),
            "actionTypeId": unstructure(running.action_type_id),
        }
    )


def _print_error(text: str, code: int) -> int:
    print(f"cp_thirdparty.testing: {text}", file=sys.stderr)  # noqa: T201 - the purpose of the program
    return code


def _create_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cp_thirdparty.testing",
        description="Serve a local CodePipeline for third-party actions on 127.0.0.1.  Prints the endpoint, "
        "region, made-up credentials, a client with its token, and an action type, and then on standard error each "
        "change of an action.  Ends at SIGTERM.",
    )
    parser.add_argument("--port", type=_read_port, default=0, help="where to listen; 0, the default, is a free port")
    parser.add_argument("--output", choices=OUTPUTS, default="json", help="json, the default, or env for a shell")
    parser.add_argument("--scenario", type=Path, help="a JSON file of settings, clients and actions to begin with")
    return parser


def _read_port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= _LAST_PORT:
        raise argparse.ArgumentTypeError(f"must be from 0 to {_LAST_PORT}")
    return port


if __name__ == "__main__":
    sys.exit(main())
