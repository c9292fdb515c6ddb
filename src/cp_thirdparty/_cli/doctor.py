"""The command `doctor`: check what a worker needs, and print one line for each check, with a remedy if it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import attrs

from cp_thirdparty._cli.click_parts import command, option
from cp_thirdparty._cli.commands import create_client, protect_logs
from cp_thirdparty._cli.errors import GENERAL_ERROR, CommandError, describe_call, describe_error
from cp_thirdparty._cli.journal_sources import open_journal
from cp_thirdparty._cli.options import Settings, auto_prompt_option, connection_options, kind_option, token_options
from cp_thirdparty._cli.output import write
from cp_thirdparty._cli.parameters import find_token, read_model
from cp_thirdparty.exceptions import (
    AccessDeniedError,
    ActionTypeNotFoundException,
    ClockSkewError,
    CodePipelineJobError,
    CredentialsError,
    ServiceError,
)
from cp_thirdparty.models import ActionTypeId
from cp_thirdparty.secrets import SecretStr
from cp_thirdparty.worker._kinds import KINDS, AnyClient, JobKind, kind_of_type

_TYPE_OPTION = "--action-type-id"
# The name of a setting at the start of an error message -> the check that fails.  All other settings belong to the
# check "endpoint".
_CHECK_BY_SETTING = {
    **dict.fromkeys(("--region", "AWS_REGION", "AWS_DEFAULT_REGION", "region"), "region"),
    **dict.fromkeys(("--profile", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"), "credentials"),
}
# The checks that one call to CodePipeline includes, in the order of the call's steps.
_CALL_CHECKS = ("endpoint", "clock", "credentials", "iam", "action type")
_REMEDIES = {
    "region": "give --region, set AWS_DEFAULT_REGION, or set region in the profile",
    "credentials": "set AWS_PROFILE or other valid AWS credentials; `aws sts get-caller-identity` tests them",
    "endpoint": "check the network, the proxy variables, --ca-bundle, --endpoint-url and AWS_ENDPOINT_URL_CODEPIPELINE",
    "clock": "synchronise the clock of this machine with NTP",
    "iam": "attach the policy that `cp-thirdparty policy` prints to the role",
    "action type": "correct --action-type-id; compare it with `aws codepipeline list-action-types`",
    "token store": "add the client's token to the store, or correct --client-tokens and --client-id",
    "journal": "correct --journal to the worker's file or dynamodb://TABLE, and give this user read access",
}


@attrs.frozen
class _CheckResult:
    name: str
    status: Literal["ok", "FAIL", "skip"]
    text: str = ""
    is_from_service: bool = False

    def __str__(self) -> str:
        line = f"{self.status:<4}  {self.name:<11}  {self.text}".rstrip()
        return f"{line}. Remedy: {_REMEDIES[self.name]}" if self.status == "FAIL" else line


def _check_service(settings: Settings, kind: JobKind, action_type_id: ActionTypeId | None) -> Iterator[_CheckResult]:
    """Yield the results of the checks from region to action type.  One call to CodePipeline includes most of them."""
    try:
        client = create_client(settings, kind.client_class)
    except CommandError as error:
        name = _CHECK_BY_SETTING.get(str(error).partition(":")[0].partition(" ")[0], "endpoint")
        yield _CheckResult(name, "FAIL", str(error))
        yield from (_CheckResult(each, "skip", f"needs: {name}") for each in _CALL_CHECKS if each != name)
        return
    with client:
        yield _CheckResult("region", "ok", client.region_name)
        failure = _find_failure(client, kind, action_type_id)
        for index, name in enumerate(_CALL_CHECKS):
            if failure is not None and name == failure.name:
                yield failure
            elif failure is not None and (index > _CALL_CHECKS.index(failure.name) or not failure.is_from_service):
                yield _CheckResult(name, "skip", f"needs: {failure.name}")
            elif name == "action type" and action_type_id is None:
                yield _CheckResult(name, "skip", f"needs: {_TYPE_OPTION}")
            else:
                yield _CheckResult(name, "ok")


def _find_failure(client: AnyClient, kind: JobKind, action_type_id: ActionTypeId | None) -> _CheckResult | None:
    try:
        if action_type_id is None:
            # No job has this id.  CodePipeline returns an error about the id only if all its other checks pass.
            kind.read(client, "cp-thirdparty-doctor", SecretStr("none") if kind.has_client_token else None)
        else:
            kind.poll(client, action_type_id, 1)
    except CodePipelineJobError as error:
        name = _find_check(error)
        if name is not None:
            text = describe_call(error, client.endpoint_url)
            return _CheckResult(name, "FAIL", text, is_from_service=error.status_code is not None)
    return None


def _find_check(error: CodePipelineJobError) -> str | None:
    """Return the name of the check that fails with this error; ``None`` if the error is only about the job."""
    for error_class, name in (
        (ClockSkewError, "clock"),
        (CredentialsError, "credentials"),
        (AccessDeniedError, "iam"),
        (ActionTypeNotFoundException, "action type"),
    ):
        if isinstance(error, error_class):
            return name
    is_about_the_job = isinstance(error, ServiceError) and error.is_retry_safe is False
    return None if is_about_the_job else "endpoint"


def _check_tokens(client_tokens: str | None, client_id: str | None) -> str:
    find_token(client_tokens, client_id, is_token_given=False)
    return "has a client token for the client"


def _check_journal(name: str, settings: Settings) -> str:
    journal = open_journal(name, region=settings.region, profile=settings.profile)
    # An entry without a state cannot be read.
    states = [str(getattr(entry, "state", "SET_ASIDE")) for entry in journal.read(unfinished_only=True)]
    unresolved = sum(state.endswith(("UNCERTAIN", "SET_ASIDE")) for state in states)
    return f"{len(states)} unfinished jobs, {unresolved} of them to resolve by hand"


def _find_kind(name: str | None, action_type_id: ActionTypeId | None) -> JobKind:
    if action_type_id is None:
        return KINDS[name or "third-party"]
    kind = kind_of_type(action_type_id)
    if name not in (None, kind.name):
        raise CommandError(f"--kind: must be {kind.name} with this {_TYPE_OPTION}")
    return kind


def _run_check(name: str, check: Callable[[], str]) -> _CheckResult:
    try:
        return _CheckResult(name, "ok", check())
    except (CommandError, CodePipelineJobError) as error:
        return _CheckResult(name, "FAIL", describe_error(error)[1])


@command(
    "doctor",
    option(_TYPE_OPTION, "The action type, polled once. CodePipeline offers a waiting job again after about 30 s."),
    kind_option(None, "What kind of jobs the worker has. Default: the kind of the action type, or third-party."),
    option(
        "--journal",
        "Journal of the worker: a SQLite file, dynamodb://TABLE, or the ARN of a DynamoDB table.",
        "JOURNAL",
    ),
    *token_options(),
    *connection_options(),
    auto_prompt_option(),
    example="cp-thirdparty doctor --action-type-id category=Test,owner=ThirdParty,provider=ExampleScan,version=1 "
    "--client-tokens examplescan.worker:tokens --client-id CLIENT_ID --journal jobs.db",
)
def doctor(action_type_id: str | None, journal: str | None, kind: str | None, **options: Any) -> int:
    """
    Check what a worker needs.

    The checks are region, endpoint, clock, credentials, IAM, action type, token store and journal.  The line of a
    failed check contains a remedy.  The exit code is 255 if a check fails.
    """
    settings = Settings(**options)
    action_type = None if action_type_id is None else read_model(ActionTypeId, action_type_id, _TYPE_OPTION)
    job_kind = _find_kind(kind, action_type)
    token_source = (settings.client_tokens, settings.client_id)
    if any(token_source) and not job_kind.has_client_token:
        raise CommandError("--client-tokens, --client-id: custom jobs have no client token")
    with protect_logs(debug=settings.debug):
        checks = [*_check_service(settings, job_kind, action_type)]
    if any(token_source):
        checks.append(_run_check("token store", lambda: _check_tokens(*token_source)))
    else:
        needs_store = "needs: --client-tokens and --client-id"
        reason = needs_store if job_kind.has_client_token else "custom jobs have no client token"
        checks.append(_CheckResult("token store", "skip", reason))
    if journal is not None:
        checks.append(_run_check("journal", lambda: _check_journal(journal, settings)))
    else:
        checks.append(_CheckResult("journal", "skip", "needs: --journal"))
    write("".join(f"{check}\n" for check in checks))
    return GENERAL_ERROR if any(check.status == "FAIL" for check in checks) else 0
