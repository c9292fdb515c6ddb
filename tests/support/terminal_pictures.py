"""
Create pictures of what a terminal shows; the command is ``PYTHONPATH=tests python -m support.terminal_pictures``.

Each is the real output of a program, as an SVG file with colours for light and dark pages.  Ids that the local
CodePipeline invents, and the time, are the same in each run.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Final

from cp_thirdparty import ExecutionDetails, Succeeded
from cp_thirdparty.testing import LocalCodePipeline, samples
from cp_thirdparty.worker import JobScope, SqliteJournal
from support.diagrams import _DARK, _LIGHT, _variables

FOLDER: Final = Path(__file__).parents[2] / "docs" / "pictures"

_JOB: Final = "5f0c9a34-job1"
_EXECUTION: Final = "5f0c9a34-2222-4000-8000-000000000002"
_WIDTH: Final = 76  # characters
_CHARACTER: Final = 8.6  # pixels of a monospaced font of 14 pixels
_LINE: Final = 19
_OPTIONS: Final = {"ProjectName": "demo", "ApiKey": "k-12345", "TimeoutMinutes": "45"}


def _run(*arguments: str, **environment: str) -> str:
    """Run the command line, and return what it prints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    settings = {"AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "COLUMNS": str(_WIDTH), "TZ": "UTC"}
    command = [sys.executable, "-m", "cp_thirdparty", *arguments]
    done = subprocess.run(
        command, env={**kept, **settings, **environment}, capture_output=True, text=True, check=True, encoding="utf-8"
    )
    return done.stdout


def show_details() -> str:
    """Return the details of a job as the command line prints them."""
    with LocalCodePipeline() as service, service.client() as client:
        service.register_client("client-1", "token")
        service.start_action(samples.action_type_id(), client_id="client-1", configuration=_OPTIONS)
        (job,) = client.poll_for_third_party_jobs(samples.action_type_id())
        output = _run(
            *("get-third-party-job-details", "--job-id", job.job_id, "--client-token", "token", "--output", "yaml"),
            AWS_ACCESS_KEY_ID=service.access_key_id,
            AWS_SECRET_ACCESS_KEY=service.secret_access_key.get_secret_value(),
            AWS_ENDPOINT_URL=service.endpoint_url,
        )
    output = re.sub(r"(?<=actionExecutionId: )\S+", _EXECUTION, output.replace(job.job_id, _JOB))
    command = f"cp-thirdparty get-third-party-job-details --job-id {_JOB} --output yaml"
    return f"$ {command}\n{output}"


def show_tree() -> str:
    """Return the details of a job as rich prints them."""
    from rich.console import Console  # noqa: PLC0415 - the extra `cli`

    console = Console(width=_WIDTH, file=io.StringIO(), record=True, color_system=None, force_terminal=False)
    console.print(samples.job_details(configuration=_OPTIONS))
    return f">>> rich.print(details)\n{console.export_text()}"


def show_journal() -> str:
    """Return the jobs of a journal as the command line prints them."""
    scope = JobScope(
        region_name="us-east-1",
        endpoint_url="https://codepipeline.us-east-1.amazonaws.com",
        action_type_id=samples.action_type_id(),
    )
    with tempfile.TemporaryDirectory() as folder:
        journal = SqliteJournal(f"{folder}/jobs.db", clock=lambda: 1_795_694_400.0)
        for number in (1, 2):
            job = samples.third_party_job(client_id=f"client-{number}", job_id=f"5f0c9a34-job{number}")
            journal.claim(job, scope)
            journal.running(job.job_id)
        journal.result("5f0c9a34-job2", Succeeded(execution_details=ExecutionDetails(summary="no findings")))
        journal.finish("5f0c9a34-job2", "reported")
        output = _run("jobs", f"{folder}/jobs.db", "--output", "yaml")
        journal.close()
    return f"$ cp-thirdparty jobs jobs.db --output yaml\n{output}"


PICTURES: Final[Mapping[str, tuple[str, Callable[[], str]]]] = {
    "terminal-details": ("The command line prints the details of a job; each secret is ten asterisks.", show_details),
    "terminal-rich": ("rich prints the details of a job as a tree; each secret is ten asterisks.", show_tree),
    "terminal-jobs": ("The command line prints the jobs of a journal with state, result and owner.", show_journal),
}


def draw(title: str, text: str) -> str:
    """Return a terminal with this text as an SVG document."""
    lines = [line.rstrip() for line in text.rstrip().splitlines()]
    width = round(max(map(len, lines)) * _CHARACTER) + 40
    height = len(lines) * _LINE + 34
    rows = "\n".join(
        f'  <text class="{"typed" if line.startswith(("$", ">>>")) else "shown"}" x="20" y="{30 + _LINE * number}">'
        f"{escape(line, quote=False)}</text>"
        for number, line in enumerate(lines)
        if line
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' role="img">\n  <title>{escape(title)}</title>\n  <style>\n    svg {{ {_variables(_LIGHT)} }}\n'
        f"    @media (prefers-color-scheme: dark) {{ svg {{ {_variables(_DARK)} }} }}\n"
        "    text { font: 14px ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace; white-space: pre }\n"
        "    .page { fill: var(--page); stroke: var(--line) }\n"
        "    .typed { fill: var(--text); font-weight: 700 }\n    .shown { fill: var(--text) }\n  </style>\n"
        f'  <rect class="page" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>\n{rows}\n</svg>\n'
    )


def create(folder: Path) -> None:
    """Write each picture to its file."""
    for name, (title, show) in PICTURES.items():
        (folder / f"{name}.svg").write_text(draw(title, show()), encoding="utf-8")


if __name__ == "__main__":
    create(FOLDER)
