"""Commands for a single job: report its result by hand, check its configuration, and transfer its artifacts."""

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
from cp_thirdparty._cli.click_parts import Group, choice, command, flag, option
from cp_thirdparty._cli.commands import create_client, option_of, protect_logs
from cp_thirdparty._cli.errors import GENERAL_ERROR, CommandError, describe_errors_at
from cp_thirdparty._cli.formats import Printer
from cp_thirdparty._cli.operations import CLIENT_TOKEN, EXAMPLE_JOB, JOB_ID
from cp_thirdparty._cli.options import (
    Settings,
    auto_prompt_option,
    connection_options,
    kind_option,
    output_options,
    token_options,
)
from cp_thirdparty._cli.output import confirm, is_terminal, write
from cp_thirdparty._cli.parameters import find_token, load_object, read_one
from cp_thirdparty._structuring.strict_input import read_input
from cp_thirdparty.artifacts import ArtifactStore
from cp_thirdparty.configuration import structure_configuration
from cp_thirdparty.converter import unstructure
from cp_thirdparty.enums import FailureType, JobStatus
from cp_thirdparty.exceptions import ConfigurationError, InvalidRequestError, JobFailedError
from cp_thirdparty.models import AnyJobDetails, ExecutionDetails, FailureDetails
from cp_thirdparty.secrets import SecretStr
from cp_thirdparty.worker._kinds import KINDS, AnyClient, JobKind, restore_job
from cp_thirdparty.worker.results import Result, Succeeded


@attrs.frozen(kw_only=True)
class _Job:
    """The job that a command works on, with an open client."""

    kind: JobKind
    client: AnyClient
    client_token: SecretStr | None
    details: AnyJobDetails
    settings: Settings

    @property
    def name(self) -> str:
        """The id of the job and the path of its pipeline, in one line."""
        context = self.details.data.pipeline_context
        path = context.path if context is not None else ""
        return f"{show(self.details.id)} ({show(path)})" if path else show(self.details.id)

    def open_store(self, s3_endpoint_url: str | None) -> ArtifactStore:
        """Return the artifact store of the job."""
        client, token = self.client, self.client_token
        return ArtifactStore.for_job(client, self.details, client_token=token, endpoint_url=s3_endpoint_url)


def _command(name: str, *own: click.Parameter, example: str) -> Callable[[Callable[..., int | None]], click.Command]:
    """Return a decorator that creates a command from a function.  Its arguments are a `_Job` and its own options."""
    job_options = (kind_option(), option_of(JOB_ID), option_of(CLIENT_TOKEN), *token_options())

    def decorate(function: Callable[..., int | None]) -> click.Command:
        def run(*, kind: str, job_id: str | None, client_token: str | None, **options: Any) -> int | None:
            names = attrs.fields_dict(Settings).keys() & options.keys()
            settings = Settings(**{each: options.pop(each) for each in names})
            with _open_job(settings, KINDS[kind], job_id, client_token) as job:
                return function(job, **options)

        params = (*own, *job_options, *connection_options(), auto_prompt_option())
        return command(name, *params, help=function.__doc__, example=example)(run)

    return decorate


@contextmanager
def _open_job(
    settings: Settings, kind: JobKind, job_id: str | None, client_token: str | None
) -> Generator[_Job, None, None]:
    prompt = AwsSettings(settings.profile).prompts(option=settings.cli_auto_prompt)
    is_given, has_token = client_token is not None, kind.has_client_token
    token = find_token(settings.client_tokens, settings.client_id, is_token_given=is_given, has_client_token=has_token)
    name = read_one(JOB_ID, job_id, prompt=prompt)
    if has_token and token is None:
        token = read_one(CLIENT_TOKEN, client_token, prompt=prompt)
    with (
        protect_logs(debug=settings.debug),
        create_client(settings, kind.client_class) as client,
        describe_errors_at(client.endpoint_url),
    ):
        try:
            details = kind.read(client, name, token)
            yield _Job(kind=kind, client=client, client_token=token, details=details, settings=settings)
        except InvalidRequestError as error:
            parameter = error.parameter.replace("_", "-")
            parameter = "s3-endpoint-url" if parameter == "endpoint-url" else parameter
            raise CommandError(f"--{parameter}: {error.rule}") from None


# --- results ---------------------------------------------------------------------------------------------------------

_REPORT = (
    option("--external-execution-id", "Id of the run in your system."),
    flag("--acknowledge", "Claim the job first, if no worker has claimed it."),
    option("--nonce", "Nonce of a custom job, for --acknowledge; `poll-for-jobs` shows it."),
    flag("--yes", "Do not ask for confirmation."),
)


def _report(job: _Job, result: Result, status: str, *, acknowledge: bool, nonce: str | None, yes: bool) -> None:
    kind, job_id = job.kind, job.details.id
    if nonce is not None and (not acknowledge or kind.has_client_token):
        raise CommandError("--nonce: has an effect with --acknowledge and --kind custom only")
    if nonce is None and acknowledge and not kind.has_client_token:
        raise CommandError("--nonce: is required with --acknowledge for a custom job; `poll-for-jobs` shows it")
    confirm(f"Report job {job.name} as {status}? This is final.", yes=yes)
    if acknowledge:
        offer = restore_job(job_id=job_id, client_id="", nonce=nonce)
        claimed = kind.acknowledge(job.client, offer, job.details, job.client_token)
        if claimed != JobStatus.IN_PROGRESS:
            raise CommandError(f"the job is {show(str(claimed))}, so it accepts no result", GENERAL_ERROR)
    kind.report(job.client, job_id, result, job.client_token)
    write(f"{job.name}: reported as {status}\n", done="; CodePipeline has accepted the result")


def _read(kind: type[Any], **members: str | None) -> Any:
    """Create a model from the values of options.  Each option has the name of a member of the model."""
    model, problems = read_input({name: text for name, text in members.items() if text is not None}, kind)
    if problems:
        name, _, problem = problems[0].partition(": ")
        raise CommandError(f"--{xform_name(name, '-')}: {problem}")
    return model


@_command(
    "fail",
    option("--message", "Why, in words for the customer.", required=True),
    choice(
        "--type",
        "What kind of failure it is.",
        [str(each.value) for each in FailureType],
        default="JobFailed",
    ),
    *_REPORT,
    example=f"cp-thirdparty fail {EXAMPLE_JOB} --message 'The scanner was down; run the pipeline again.'",
)
def fail(job: _Job, *, message: str, type: str, external_execution_id: str | None, **report: Any) -> None:  # noqa: A002 - the option's name
    """Report a job as failed, by hand.  Before, the pipeline is shown and you are asked for confirmation."""
    failure = _read(FailureDetails, type=type, message=message, externalExecutionId=external_execution_id)
    _report(job, failure, "failed", **report)


@_command(
    "succeed",
    option("--summary", "What the customer's console shows."),
    *_REPORT,
    example=f"cp-thirdparty succeed {EXAMPLE_JOB} --summary 'Checked by hand.'",
)
def succeed(job: _Job, *, summary: str | None, external_execution_id: str | None, **report: Any) -> None:
    """Report a job as succeeded, by hand.  Before, the pipeline is shown and you are asked for confirmation."""
    details = None
    if summary is not None or external_execution_id is not None:
        details = _read(ExecutionDetails, summary=summary, externalExecutionId=external_execution_id)
    _report(job, Succeeded(execution_details=details), "succeeded", **report)


# --- configuration ---------------------------------------------------------------------------------------------------


@_command(
    "explain",
    option("--configuration", "Your class, as MODULE:CLASS.", required=True),
    *output_options(),
    example=f"cp-thirdparty explain {EXAMPLE_JOB} --configuration examplescan.worker:ScanConfiguration",
)
def explain(job: _Job, *, configuration: str) -> int:
    """Apply your class to a job.  The keys of the configuration and every problem are shown; values are masked."""
    example = "examplescan.worker:ScanConfiguration"
    model = load_object(configuration, "--configuration", kind="class", example=example)
    given = job.details.data.action_configuration
    problems = _find_problems(given, model)
    keys = {} if given is None else unstructure(given, secrets="mask")["configuration"]
    Printer(job.settings).print({"job": job.name, "configuration": keys, "problems": problems}, "Job")
    return GENERAL_ERROR if problems else 0


def _find_problems(given: Any, model: Any) -> list[str]:
    try:
        structure_configuration(given, model)
    except ConfigurationError as error:
        return list(error.problems)
    except JobFailedError as error:
        return [show(str(error))]
    except (TypeError, NameError) as error:  # these errors are about the user's class, and contain no value of the job
        raise CommandError(f"--configuration: {error}") from None
    except SystemExit:
        raise CommandError("--configuration: the class raises SystemExit") from None
    return []


# --- artifacts -------------------------------------------------------------------------------------------------------

_S3 = option("--s3-endpoint-url", "URL of another S3, such as a VPC endpoint. Default: that of the region.")
_NAME = click.Argument(["name"], metavar="NAME")


@contextmanager
def _progress() -> Generator[Callable[[int], None], None, None]:
    """Return a callback that shows the number of transferred bytes, if standard error is a terminal."""
    total = 0

    def count(more: int) -> None:
        nonlocal total
        total += more
        if is_terminal(sys.stderr):
            click.echo(f"\r{total / 1e6:,.1f} MB", nl=False, err=True)

    try:
        yield count
    finally:
        if total and is_terminal(sys.stderr):
            click.echo(err=True)


@_command("list", *output_options(), example=f"cp-thirdparty artifact list {EXAMPLE_JOB}")
def _list_artifacts(job: _Job) -> None:
    """List the artifacts of a job with their places in S3.  Credentials are masked."""
    document = unstructure(job.details, secrets="mask")["data"]
    names = ("inputArtifacts", "outputArtifacts", "artifactCredentials", "encryptionKey")
    Printer(job.settings).print({name: document[name] for name in names if name in document}, "Job")


@_command(
    "get",
    _NAME,
    option("--to", "File to write, or with --extract the directory to create.", required=True),
    flag("--extract", "Extract the zip archive."),
    _S3,
    example=f"cp-thirdparty artifact get MyApp {EXAMPLE_JOB} --to app.zip",
)
def _get_artifact(job: _Job, *, name: str, to: str, extract: bool, s3_endpoint_url: str | None) -> None:
    """Download an input artifact, by its NAME.  The job's own credentials are used."""
    with job.open_store(s3_endpoint_url) as store, _progress() as progress:
        path = (store.extract if extract else store.download)(name, to=Path(to), progress=progress)
    write(f"{escape(str(path))}\n", done="; the artifact is downloaded")


@_command(
    "put",
    _NAME,
    click.Argument(["path"], metavar="PATH"),
    flag("--yes", "Do not ask for confirmation."),
    _S3,
    example=f"cp-thirdparty artifact put Report report.zip {EXAMPLE_JOB}",
)
def _put_artifact(job: _Job, *, name: str, path: str, yes: bool, s3_endpoint_url: str | None) -> None:
    """Upload PATH as the output artifact NAME.  PATH is a file, or a directory to archive."""
    confirm(f"Write output artifact {show(name)} of job {job.name}?", yes=yes)
    with job.open_store(s3_endpoint_url) as store, _progress() as progress:
        (store.archive if Path(path).is_dir() else store.upload)(name, Path(path), progress=progress)
    write(f"{show(name)}: uploaded\n", done="; the artifact is uploaded")


artifact = Group(
    "artifact",
    commands={"get": _get_artifact, "list": _list_artifacts, "put": _put_artifact},
    help="List, get or put a job's artifacts.",
    epilog=f"Example: cp-thirdparty artifact list {EXAMPLE_JOB}",
    no_args_is_help=False,
)
