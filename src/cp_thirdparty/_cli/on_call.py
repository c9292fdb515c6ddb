"""Commands for one job by hand: report a result, check the configuration, and transfer artifacts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import click
from botocore import xform_name

from cp_thirdparty._base.text import escape, show
from cp_thirdparty._cli.aws_settings import AwsSettings
from cp_thirdparty._cli.click_parts import Group, single
from cp_thirdparty._cli.commands import create_client, protect_logs
from cp_thirdparty._cli.errors import OTHER, CommandError, describe_errors_at
from cp_thirdparty._cli.imports import load_object
from cp_thirdparty._cli.operations import CLIENT_TOKEN, JOB_ID
from cp_thirdparty._cli.options import (
    Settings,
    flag_option,
    kind_option,
    option_of,
    pick_options,
    text_option,
    token_options,
)
from cp_thirdparty._cli.output import confirm, write
from cp_thirdparty._cli.parameters import find_token, read_one
from cp_thirdparty._cli.printer import Printer
from cp_thirdparty._structuring.strict_input import read_input
from cp_thirdparty.artifacts import ArtifactStore
from cp_thirdparty.configuration import structure_configuration
from cp_thirdparty.converter import unstructure
from cp_thirdparty.enums import FailureType, JobStatus
from cp_thirdparty.exceptions import ConfigurationError, InvalidRequestError, JobFailedError
from cp_thirdparty.models import AnyJobDetails, ExecutionDetails, FailureDetails
from cp_thirdparty.secrets import SecretStr
from cp_thirdparty.worker._kinds import KINDS, AnyClient, JobKind, job_of
from cp_thirdparty.worker.results import Result, Succeeded

__all__ = ["artifact", "explain", "fail", "succeed"]

_CONNECTION = (
    *("--debug", "--endpoint-url", "--no-verify-ssl", "--profile", "--region", "--no-sign-request", "--ca-bundle"),
    *("--cli-read-timeout", "--cli-connect-timeout", "--cli-auto-prompt"),
)
_SHOWN = ("--output", "--query", "--color", "--no-cli-pager")


@attrs.frozen(kw_only=True)
class _Job:
    """A job that a command is about."""

    kind: JobKind
    client: AnyClient
    client_token: SecretStr | None
    details: AnyJobDetails
    settings: Settings

    @property
    def name(self) -> str:
        """The job and its pipeline, in one line."""
        context = self.details.data.pipeline_context
        path = context.path if context is not None else ""
        return f"{show(self.details.id)} ({show(path)})" if path else show(self.details.id)

    def open_store(self, s3_endpoint_url: str | None) -> ArtifactStore:
        """Return the store of its artifacts."""
        client, token = self.client, self.client_token
        return ArtifactStore.for_job(client, self.details, client_token=token, endpoint_url=s3_endpoint_url)

    def acknowledge(self, nonce: str | None) -> JobStatus:
        """Claim it.  A custom job needs the nonce, because only a poll returns it."""
        offer = job_of(job_id=self.details.id, client_id="", nonce=nonce)
        return self.kind.acknowledge(self.client, offer, self.details, self.client_token)

    def report(self, result: Result) -> None:
        """Report the result."""
        self.kind.report(self.client, self.details.id, result, self.client_token)


def _command(
    name: str, *own: click.Parameter, summary: str, example: str, shown: tuple[str, ...] = ()
) -> Callable[[Callable[..., int | None]], click.Command]:
    """Create the command of a function that takes a `_Job` and its own options."""

    def decorate(function: Callable[..., int | None]) -> click.Command:
        def run(**options: Any) -> int | None:
            names = attrs.fields_dict(Settings).keys() & options.keys()
            settings = Settings(**{each: options.pop(each) for each in names})
            # Some versions of click convert the name of a member to lower case.
            job_id, token = (options.pop(each, options.pop(each.lower(), None)) for each in ("jobId", "clientToken"))
            with _open_job(settings, KINDS[options.pop("kind")], job_id, token) as job:
                return function(job, **options)

        return click.Command(
            name,
            callback=run,
            params=[
                *own,
                kind_option(),
                *(option_of(parameter) for parameter in (JOB_ID, CLIENT_TOKEN)),
                *token_options(),
                *pick_options(*_CONNECTION, *shown),
            ],
            help=summary,
            epilog=f"Example: cp-thirdparty {example}",
        )

    return decorate


@contextmanager
def _open_job(
    settings: Settings, kind: JobKind, job_id: str | None, client_token: str | None
) -> Generator[_Job, None, None]:
    prompt = AwsSettings(settings.profile).prompts(option=settings.cli_auto_prompt)
    is_given, has_token = client_token is not None, kind.has_client_token
    token = find_token(settings.client_tokens, settings.client_id, is_given=is_given, has_client_token=has_token)
    name = read_one(JOB_ID, job_id, prompt=prompt)
    if has_token and token is None:
        token = read_one(CLIENT_TOKEN, client_token, prompt=prompt)
    with (
        protect_logs(debug=settings.debug),
        create_client(settings, kind.client_class) as client,
        describe_errors_at(client.endpoint_url),
    ):
        problem: str | None = None
        try:
            details = kind.read(client, name, token)
            yield _Job(kind=kind, client=client, client_token=token, details=details, settings=settings)
        except InvalidRequestError as error:
            option = error.parameter.replace("_", "-")
            problem = f"--{'s3-endpoint-url' if option == 'endpoint-url' else option}: {error.rule}"
    if problem is not None:
        raise CommandError(problem)


_EXTERNAL = "--external-execution-id"
_REPORT = (
    flag_option("--acknowledge", "Claim the job first, if no worker has claimed it."),
    text_option("--nonce", "Nonce of a custom job, for --acknowledge; `poll-for-jobs` shows it."),
    flag_option("--yes", "Do not ask for confirmation."),
)
_EXAMPLE_JOB = "--job-id 11111111-2222-4333-8444-555555555555"


def _report(job: _Job, result: Result, status: str, *, acknowledge: bool, nonce: str | None, yes: bool) -> None:
    if nonce is not None and (not acknowledge or job.kind.has_client_token):
        raise CommandError("--nonce: has an effect with --acknowledge and --kind custom only")
    if nonce is None and acknowledge and not job.kind.has_client_token:
        raise CommandError("--nonce: is required with --acknowledge for a custom job; `poll-for-jobs` shows it")
    confirm(f"Report job {job.name} as {status}? This is final.", yes=yes)
    if acknowledge:
        claimed = job.acknowledge(nonce)
        if claimed != JobStatus.IN_PROGRESS:
            raise CommandError(f"the job is {show(str(claimed))}, so it accepts no result", OTHER)
    job.report(result)
    write(f"{job.name}: reported as {status}\n")


def _read(kind: type[Any], **members: str | None) -> Any:
    """Create a model from options, each of which is named after its member."""
    model, problems = read_input({name: text for name, text in members.items() if text is not None}, kind)
    if problems:
        name, _, problem = problems[0].partition(": ")
        raise CommandError(f"--{xform_name(name, '-')}: {problem}")
    return model


@_command(
    "fail",
    text_option("--message", "Why, in words for the customer.", required=True),
    click.Option(
        ["--type"],
        type=click.Choice([str(each.value) for each in FailureType]),
        show_default=True,
        help="What kind of failure it is.",
        **single("JobFailed"),
    ),
    text_option(_EXTERNAL, "Id of the run in your system."),
    *_REPORT,
    summary="Report a job as failed, by hand.  A confirmation shows the pipeline before.",
    example=f"fail {_EXAMPLE_JOB} --message 'The scanner was down; run the pipeline again.'",
)
def fail(job: _Job, *, message: str, type: str, external_execution_id: str | None, **report: Any) -> None:  # noqa: A002 - the option's name
    failure = _read(FailureDetails, type=type, message=message, externalExecutionId=external_execution_id)
    _report(job, failure, "failed", **report)


@_command(
    "succeed",
    text_option("--summary", "What the customer's console shows."),
    text_option(_EXTERNAL, "Id of the run in your system."),
    *_REPORT,
    summary="Report a job as succeeded, by hand.  A confirmation shows the pipeline before.",
    example=f"succeed {_EXAMPLE_JOB} --summary 'Checked by hand.'",
)
def succeed(job: _Job, *, summary: str | None, external_execution_id: str | None, **report: Any) -> None:
    details = None
    if summary is not None or external_execution_id is not None:
        details = _read(ExecutionDetails, summary=summary, externalExecutionId=external_execution_id)
    _report(job, Succeeded(execution_details=details), "succeeded", **report)


@_command(
    "explain",
    text_option("--configuration", "Your class, as MODULE:CLASS.", required=True),
    shown=_SHOWN,
    summary="Apply your class to a job.  The keys of the configuration and every problem are shown; values are masked.",
    example=f"explain {_EXAMPLE_JOB} --configuration examplescan.worker:ScanConfiguration",
)
def explain(job: _Job, *, configuration: str) -> int:
    option = "--configuration"
    model = load_object(configuration, option, kind="class", example="examplescan.worker:ScanConfiguration")
    data = job.details.data
    problems = _find_problems(data.action_configuration, model, option)
    given = data.action_configuration
    keys = {} if given is None else unstructure(given, secrets="mask")["configuration"]
    Printer(job.settings).print({"job": job.name, "configuration": keys, "problems": problems}, "Job")
    return OTHER if problems else 0


def _find_problems(given: Any, model: Any, option: str) -> list[str]:
    try:
        structure_configuration(given, model)
    except ConfigurationError as error:
        return list(error.problems)
    except JobFailedError as error:
        return [show(str(error))]
    except (TypeError, NameError) as error:  # about the class, never about a value
        problem = str(error)
    else:
        return []
    raise CommandError(f"{option}: {problem}")


# --- artifacts -------------------------------------------------------------------------------------------------------

_S3 = text_option("--s3-endpoint-url", "URL of another S3, such as a VPC endpoint. Default: that of the region.")
_NAME = click.Argument(["name"], metavar="NAME")


@contextmanager
def _progress() -> Generator[Callable[[int], None], None, None]:
    """Show on a terminal how many bytes were transferred."""
    total = 0

    def count(more: int) -> None:
        nonlocal total
        total += more
        if sys.stderr.isatty():
            click.echo(f"\r{total / 1e6:,.1f} MB", nl=False, err=True)

    try:
        yield count
    finally:
        if total and sys.stderr.isatty():
            click.echo(err=True)


@_command(
    "list",
    shown=_SHOWN,
    summary="List the artifacts of a job with their places in S3.  Credentials are masked.",
    example=f"artifact list {_EXAMPLE_JOB}",
)
def _list_artifacts(job: _Job) -> None:
    document = unstructure(job.details, secrets="mask")["data"]
    names = ("inputArtifacts", "outputArtifacts", "artifactCredentials", "encryptionKey")
    Printer(job.settings).print({name: document[name] for name in names if name in document}, "Job")


@_command(
    "get",
    _NAME,
    text_option("--to", "File to write, or with --extract the directory to create.", required=True),
    flag_option("--extract", "Extract the zip archive."),
    _S3,
    summary="Download an input artifact, by its NAME.  The job's own credentials are used.",
    example=f"artifact get MyApp {_EXAMPLE_JOB} --to app.zip",
)
def _get_artifact(job: _Job, *, name: str, to: str, extract: bool, s3_endpoint_url: str | None) -> None:
    with job.open_store(s3_endpoint_url) as store, _progress() as progress:
        path = (store.extract if extract else store.download)(name, to=Path(to), progress=progress)
    write(f"{escape(str(path))}\n")


@_command(
    "put",
    _NAME,
    click.Argument(["path"], metavar="PATH"),
    flag_option("--yes", "Do not ask for confirmation."),
    _S3,
    summary="Upload PATH as the output artifact NAME.  PATH is a file, or a directory to archive.",
    example=f"artifact put Report report.zip {_EXAMPLE_JOB}",
)
def _put_artifact(job: _Job, *, name: str, path: str, yes: bool, s3_endpoint_url: str | None) -> None:
    confirm(f"Write output artifact {show(name)} of job {job.name}?", yes=yes)
    with job.open_store(s3_endpoint_url) as store, _progress() as progress:
        (store.archive if Path(path).is_dir() else store.upload)(name, Path(path), progress=progress)
    write(f"{show(name)}: uploaded\n")


artifact = Group(
    "artifact",
    commands={"get": _get_artifact, "list": _list_artifacts, "put": _put_artifact},
    help="List, get or put a job's artifacts.",
    epilog=f"Example: cp-thirdparty artifact list {_EXAMPLE_JOB}",
    no_args_is_help=False,
)
