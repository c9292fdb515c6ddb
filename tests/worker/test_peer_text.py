"""No string of a peer controls a log, a terminal or a notebook, or fills one: each string, on each surface."""

from __future__ import annotations

import functools
import io
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
import rich.console
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.scripted_server import ReceivedRequest, Response, ScriptedServer, error, ok
from support.worker_service import ACTION_TYPE

from cp_thirdparty import (
    ActionTypeId,
    ArtifactCredentials,
    JobDetails,
    JobWorker,
    Succeeded,
    ThirdPartyJob,
    ThirdPartyJobClient,
)
from cp_thirdparty._cli.aws_settings import FORMATS
from cp_thirdparty._cli.errors import describe_error
from cp_thirdparty._cli.formats import format_document
from cp_thirdparty.artifacts import ArtifactStore
from cp_thirdparty.converter import structure, unstructure
from cp_thirdparty.enums import ActionCategory, ActionOwner
from cp_thirdparty.exceptions import (
    AccessDeniedError,
    CodePipelineJobError,
    InvalidRequestError,
    ServiceError,
    WorkerStuckError,
)
from cp_thirdparty.telemetry import CallRecord
from cp_thirdparty.worker import JobEvent, JobScope, SqliteJournal, WorkerHealth
from cp_thirdparty.worker._child import Order
from cp_thirdparty.worker._child_logs import Levels
from cp_thirdparty.worker._emit import Emitter
from cp_thirdparty.worker._processes import _Child

# A line of its own would pass for one of ours.
_FORGED = "FORGED"
_CONTROLS = (
    "\x1b[2J\x1b]0;title\x07",  # ESC: clears the screen, sets the title
    "\x9b31m\x85",  # C1
    "\u202e\u2066\u200b\ufeff",  # bidirectional, and what nobody sees
    f"\n{_FORGED}\r{_FORGED}\u2028{_FORGED}",
    "\x00\x08\x7f%s%d{}",
)
_TEXTS = st.lists(st.one_of(st.sampled_from(_CONTROLS), st.text(max_size=5)), min_size=1, max_size=4).map("".join)
_LONG = "\x1b" + "x" * (20 << 20)

# A line of a log may have ten ids and messages; each has at most 1,000 characters, and an escape at most 10.
_LONGEST = 500_000


def _document(text: str) -> dict[str, Any]:
    """Return the details of a job with a string in each string."""
    artifact = {
        "name": text,
        "revision": text,
        "location": {"type": text, "s3Location": {"bucketName": text, "objectKey": text}},
    }
    return {
        "id": text,
        "nonce": text,
        "data": {
            "actionTypeId": {"category": text, "owner": text, "provider": text, "version": text},
            "actionConfiguration": {"configuration": {text: text}},
            "pipelineContext": {
                "pipelineName": text,
                "stage": {"name": text},
                "action": {"name": text, "actionExecutionId": text},
                "pipelineArn": text,
                "pipelineExecutionId": text,
            },
            "inputArtifacts": [artifact],
            "outputArtifacts": [artifact],
            "artifactCredentials": {"accessKeyId": "AKID", "secretAccessKey": "secret", "sessionToken": "token"},
            "continuationToken": text,
            "encryptionKey": {"id": text, "type": text},
        },
    }


def _assert_harmless(shown: str, longest: int = _LONGEST) -> None:
    assert shown.replace("\n", "").isprintable()
    assert [line for line in shown.split("\n") if line.lstrip().startswith(_FORGED)] == []
    assert len(shown) < longest


def _strings(value: Any) -> Iterator[str]:
    """Yield each string that a value is, or has as an attribute."""
    if isinstance(value, str):
        yield str.__str__(value)
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from _strings(each)
    elif isinstance(value, BaseException):
        yield from (str(value), repr(value), *_strings(value.args), *_strings(list(vars(value).values())))
    elif attrs.has(type(value)):
        yield repr(value)
        yield from _strings([getattr(value, field.name) for field in attrs.fields(type(value))])


def _rich(value: object) -> str:
    console = rich.console.Console(file=io.StringIO(), width=1000, color_system=None)
    console.print(value)
    console.print(repr(value), markup=False)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def _html(details: JobDetails) -> str:
    shown: str = getattr(details, "_repr_html_")()  # noqa: B009 - a decorator adds it
    return shown


def _artifact_errors(details: JobDetails) -> str:
    with (
        ThirdPartyJobClient.create(region_name="us-east-1", session=_session()) as client,
        ArtifactStore.for_job(client, details, client_token="a token") as store,
    ):
        names = (details.data.input_artifacts[0].name or "", "no such artifact")
        errors = [_caught(functools.partial(store.download, name, to=Path("never"))) for name in names]
        return "\n".join([repr(store), *(text for each in errors for text in _strings(each))])


def _caught(call: Callable[[], object]) -> CodePipelineJobError:
    with pytest.raises(CodePipelineJobError) as caught:
        call()
    return caught.value


# What shows the details of a job.
_SURFACES: dict[str, Callable[[JobDetails], str]] = {
    "repr": repr,
    "str": str,
    "enumeration": lambda details: repr(details.data.action_type_id and details.data.action_type_id.category),
    "configuration": lambda details: repr(details.data.action_configuration),
    "rich": _rich,
    "notebook": _html,
    "offer": lambda details: repr(ThirdPartyJob(client_id=details.id, job_id=details.id)),
    "artifacts": _artifact_errors,
}


@pytest.mark.slow
@pytest.mark.parametrize("surface", _SURFACES)
@given(text=_TEXTS)
def test_details_are_shown_escaped(surface: str, text: str) -> None:
    """Nothing of a job that a person may look at has a character that nobody sees."""
    _assert_harmless(_SURFACES[surface](structure(_document(text), JobDetails)))


@pytest.mark.parametrize("surface", _SURFACES)
def test_long_strings_are_truncated(surface: str) -> None:
    """Strings of 20 MiB each are shown in less than half a megabyte for all of them."""
    _assert_harmless(_SURFACES[surface](structure(_document(_LONG), JobDetails)))


@pytest.mark.slow
@pytest.mark.parametrize("output", FORMATS)
@given(text=_TEXTS)
def test_the_command_line_escapes_each_string(output: str, text: str) -> None:
    """Tables and text show escapes, and JSON and YAML are the same document."""
    # A query of the user may make keys of any depth out of a configuration.
    nested = {text: {text: [text, text], "c": text, "b": [{text: text, "c": text}, {text: [{text: text}]}]}}
    document = {**_document(text), "nested": nested}
    shown = format_document(document, output, title="Details")
    assert shown.replace("\n", "").replace("\t", "").isprintable()
    if output in ("table", "text"):
        _assert_harmless(shown.replace("\t", " "))
    elif output == "json":
        assert json.loads(shown) == document
    else:
        assert yaml.safe_load(shown) == ([document] if output == "yaml-stream" else document)


@given(text=_TEXTS)
def test_facts_for_metrics_are_escaped(text: str) -> None:
    """Events, records of calls, the health and the errors of a program can be labels and log lines as they are."""
    ids: dict[str, Any] = dict.fromkeys(
        ("job_id", "client_id", "detail", "pipeline", "action_execution_id", "where"), text
    )
    lists: dict[str, Any] = dict.fromkeys(("uncertain", "undecodable", "overdue", "stalled"), (text,))
    facts = [
        JobEvent(name="gone", **ids),
        CallRecord(
            operation_name=text, job_id=text, request_id=text, status_code=None, attempts=1, seconds=0.1, error=None
        ),
        WorkerHealth(
            state="running",
            in_flight=1,
            seconds_since_poll=None,
            poll_error=None,
            oldest_unsent_result=None,
            **lists,
        ),
        ServiceError(text, code=text, job_id=text, request_id=text),
        AccessDeniedError(text, action=text, resource=text, code=text),
        InvalidRequestError(text, text),
        WorkerStuckError([text]),
    ]
    for each in facts:
        for shown in _strings(each):
            _assert_harmless(shown)
            assert "\n" not in shown
    _assert_harmless(describe_error(facts[3])[1])  # type: ignore[arg-type] # an error


class _Kept(logging.Handler):
    """Keeps records."""

    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__()
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self._records.append(record)


@given(text=_TEXTS)
def test_arguments_and_fields_of_log_records_are_escaped(text: str) -> None:
    """Whatever a worker logs: strings, lists of them, and messages of errors."""
    records: list[logging.LogRecord] = []
    logger = logging.getLogger("cp_thirdparty.worker")
    keep = _Kept(records)
    logger.addHandler(keep)
    try:
        emitter = Emitter()
        emitter.log(logging.ERROR, "%s %s %s %d", text, [text], ValueError(text), 1, field=text)
        assert emitter.flush()
    finally:
        logger.removeHandler(keep)
    (record,) = (record for record in records if hasattr(record, "field"))  # threads of other tests log too
    _assert_harmless(record.getMessage())
    _assert_harmless(vars(record)["field"])


@pytest.mark.parametrize("refusal", ["details", "wrong shape"])
def test_the_attributes_of_an_error_are_escaped(refusal: str) -> None:
    """Also those that are set after the error was created."""
    text = "".join(_CONTROLS)
    with ScriptedServer(_Peer(text, _refusals(text)[refusal]).respond) as server:
        settings: dict[str, Any] = {"endpoint_url": server.endpoint_url, "session": _session()}
        with ThirdPartyJobClient.create(region_name="us-east-1", **settings) as client:
            error = _caught(functools.partial(client.get_third_party_job_details, text, client_token="a token"))
    assert error.job_id is not None
    for shown in _strings(error):
        _assert_harmless(shown)


class _Peer:
    """A CodePipeline that has one job, with a string in each string of each response."""

    def __init__(self, text: str, refusals: Mapping[str, Response]) -> None:
        self._refusals = refusals
        sent_back = {"id": text[:500], "nonce": "1"}  # so the library checks them
        self._responses: dict[str, object] = {
            "PollForThirdPartyJobs": {"jobs": [{"clientId": text, "jobId": text[:500]}]},
            "GetThirdPartyJobDetails": {"jobDetails": {**_document(text), **sent_back}},
            "AcknowledgeThirdPartyJob": {"status": "InProgress"},
        }

    def respond(self, request: ReceivedRequest) -> Response:
        refusal = self._refusals.get(request.operation)
        return ok(self._responses.get(request.operation, {})) if refusal is None else refusal


def _refusals(text: str) -> dict[str, dict[str, Response]]:
    refused = error("AccessDeniedException", f"not authorized on resource: arn:aws:x{text}")
    return {
        "none": {},
        "details": {"GetThirdPartyJobDetails": error(text, text)},
        "status": {"AcknowledgeThirdPartyJob": ok({"status": text})},
        "acknowledgement": {"AcknowledgeThirdPartyJob": error("InvalidNonceException", text)},
        "denied poll": {"PollForThirdPartyJobs": refused},
        "result": {"PutThirdPartyJobSuccessResult": error("JobNotFoundException", text)},
        "wrong shape": {"GetThirdPartyJobDetails": ok({"jobDetails": {**_document(text), "nonce": [text], text: 1}})},
    }


_FORMAT = logging.Formatter(
    "%(levelname)s %(threadName)s %(job_id)s %(client_id)s %(pipeline)s %(action_execution_id)s %(message)s",
    defaults=dict.fromkeys(("job_id", "client_id", "pipeline", "action_execution_id")),
)


@pytest.mark.slow
@pytest.mark.parametrize("refusal", _refusals(""))
@pytest.mark.parametrize("text", ["".join(_CONTROLS), "\x1b" + "x" * 30_000], ids=["controls", "long"])
def test_a_worker_logs_and_reports_escaped_strings(
    text: str, refusal: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Log records with all their attributes, events, outcomes, errors and the name of a handler's thread."""
    caplog.set_level(logging.DEBUG)
    events: list[JobEvent] = []
    calls: list[CallRecord] = []
    raised: list[BaseException] = []

    def handle(job: Any) -> Succeeded:
        job.logger.info("%s works", "it")
        raised.append(_caught(lambda: job.artifacts.download("no such artifact", to=Path("never"))))
        logging.getLogger("partner").info("%r", job)
        return Succeeded()

    with ScriptedServer(_Peer(text, _refusals(text)[refusal]).respond) as server:
        client = ThirdPartyJobClient.create(
            region_name="us-east-1", endpoint_url=server.endpoint_url, session=_session(), on_call=calls.append
        )
        with client:
            worker: JobWorker[Any] = JobWorker(
                lambda: client, ACTION_TYPE, handle, client_tokens={text: "a token"}, on_event=events.append
            )
            try:
                outcomes = worker.run_once()
            except CodePipelineJobError as failure:
                outcomes = ()
                raised.append(failure)
        health = worker.health()
    shown = [
        *(_FORMAT.format(record) for record in caplog.records if record.name.startswith(("cp_thirdparty", "partner"))),
        *(text for each in (*events, *calls, *raised, health) for text in _strings(each)),
        *map(repr, outcomes),
        *capfd.readouterr(),
    ]
    assert calls
    assert raised if refusal in ("none", "denied poll") else True
    assert [line for line in shown if "--- Logging error ---" in line] == []
    for line in shown:
        _assert_harmless(line, longest=25_000)  # an error of more than 64 KiB is not read at all


def test_the_thread_that_waits_for_a_process_has_an_escaped_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs, tracebacks and the system's list of threads show it."""

    class NoThread(threading.Thread):
        def start(self) -> None:
            _assert_harmless(self.name, longest=2_000)
            raise RuntimeError("can't start new thread")

    job_id = "".join(_CONTROLS) + _LONG
    offer = ThirdPartyJob(client_id="client-1", job_id=job_id)
    order = Order(runner=b"", offer=offer, deadline=0.0, folder=None, levels=Levels.read())
    child = _Child(None, order, on_record=repr, on_start=list)
    monkeypatch.setattr(threading, "Thread", NoThread)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        child.start()


def _session() -> Any:
    import botocore.session  # noqa: PLC0415 - slow to import

    session = botocore.session.Session()
    session.set_credentials("AKID", "secret", "token")
    return session


@pytest.mark.parametrize("output", ["table", "text"])
def test_a_journal_is_shown_escaped(output: str, tmp_path: Path) -> None:
    """Ids in a journal come from a peer too."""
    from support.command_line import run_program  # noqa: PLC0415 - for this test

    text = "".join(_CONTROLS).replace("\x00", "")
    path = tmp_path / "jobs.db"
    journal = SqliteJournal(path)
    scope = JobScope(
        region_name="us-east-1",
        endpoint_url="http://127.0.0.1",
        action_type_id=ActionTypeId(
            category=ActionCategory(text), owner=ActionOwner(text), provider=text, version=text
        ),
    )
    journal.recover(scope)
    journal.claim(ThirdPartyJob(client_id=text, job_id=text), scope)
    journal.close()
    shown = run_program("jobs", str(path), "--output", output, "--no-cli-pager")
    assert shown.code == 0
    _assert_harmless(shown.out.replace("\t", " "))
    assert shown.err == ""


class _Terminal(io.StringIO):
    """A terminal on which the user confirms."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    "arguments",
    [
        ("fail", "--message", "no"),
        ("succeed", "--acknowledge"),
        ("explain", "--configuration", "cp_thirdparty.models:S3Location", "--output", "table"),
        ("artifact", "list", "--output", "text"),
        ("artifact", "get", "none", "--to", "never"),
        ("artifact", "put", "none", "never"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_commands_about_a_job_show_escaped_strings(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Questions, results and errors, with the pipeline, the stage, the action and the artifacts of a job."""
    from support.command_line import run_command  # noqa: PLC0415 - for this test

    text = "".join(_CONTROLS)
    monkeypatch.setattr("sys.stdin", _Terminal("y\n"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "CP_THIRDPARTY_CLIENT_TOKEN"):
        monkeypatch.setenv(name, "xMARKERx")
    with ScriptedServer(_Peer(text, {}).respond) as server:
        connection = ("--endpoint-url", server.endpoint_url, "--region", "us-east-1")
        shown = run_command(capsys, *arguments, "--job-id", text, *connection)
    for stream in (shown.out, shown.err):
        _assert_harmless(stream.replace("\t", " "))
    assert "\\x1b[2J" in shown.out + shown.err


def test_a_model_survives_the_round_trip() -> None:
    """Only what is shown is escaped: values of models stay as the service has sent them."""
    document = _document("".join(_CONTROLS))
    details = structure(document, JobDetails)
    assert unstructure(details, secrets="reveal") == document
    assert isinstance(details.data.artifact_credentials, ArtifactCredentials)
