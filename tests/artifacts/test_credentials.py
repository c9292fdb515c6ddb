"""The job's own credentials sign every request and no others do, and they are renewed before and when they age."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from support.artifact_jobs import TOKEN, artifact, job, kms_key, s3_client
from support.scripted_s3 import ReceivedRequest, Response, ScriptedS3, failed
from support.seaweedfs import BUCKET, Seaweed
from support.worker_service import until

from cp_thirdparty import Artifact, ArtifactCredentials, ArtifactStore, JobDetails, ThirdPartyJobClient
from cp_thirdparty.artifacts._credentials import JobCredentials
from cp_thirdparty.exceptions import (
    ArtifactError,
    ArtifactTransferError,
    CredentialsError,
    InvalidRequestError,
    JobNotFoundException,
    ThirdPartyError,
    TransportError,
)

_PATH = f"/{BUCKET}/MyApp"
_LARGE = bytes(range(251)) * 34_000


def _credentials(generation: int) -> ArtifactCredentials:
    return ArtifactCredentials(
        access_key_id=f"ASIA{generation}", secret_access_key=f"secret{generation}", session_token=f"token{generation}"
    )


class _Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class _Service:
    """Reads details that a test changes."""

    def __init__(self, client: ThirdPartyJobClient, details: JobDetails) -> None:
        self.region_name = client.region_name
        self.details = attrs.evolve(details, data=attrs.evolve(details.data, artifact_credentials=_credentials(0)))
        self.reads = 0
        self.change: Callable[[JobDetails], JobDetails] = lambda given: given

    def get_third_party_job_details(self, job_id: str, *, client_token: object) -> JobDetails:
        assert (job_id, client_token) == (self.details.id, TOKEN)
        self.reads += 1
        data = attrs.evolve(self.details.data, artifact_credentials=_credentials(self.reads))
        return self.change(attrs.evolve(self.details, data=data, nonce=f"nonce {self.reads}"))


@contextmanager
def _opened(
    s3: ScriptedS3, clock: _Clock, *, before: Callable[[], None] | None = None
) -> Generator[tuple[ArtifactStore, _Service]]:
    inputs = [artifact("MyApp", "MyApp", bucket=BUCKET)]
    outputs = [artifact("Report", "Report", bucket=BUCKET)]
    with job(None, inputs=inputs, outputs=outputs, encryption_key=kms_key("test-key-1")) as (client, details):
        service: Any = _Service(client, details)
        if before is not None:
            before()
        with ArtifactStore.for_job(
            service,
            service.details,
            client_token=TOKEN,
            endpoint_url=s3.endpoint_url,
            config=Config(proxies={}),
            clock=clock,
        ) as store:
            yield store, service


def _signers(s3: ScriptedS3) -> list[str]:
    """Return the access key ids that have signed the requests, as they changed, with their tokens."""
    signed = [
        f"{re.findall('Credential=([^/]*)/', request.headers['authorization'])[0]} "
        f"{request.headers['x-amz-security-token']}"
        for request in s3.requests
    ]
    return [each for index, each in enumerate(signed) if signed[:index][-1:] != [each]]


# --- renewal ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "reads"), [(0, 0), (719, 0), (721, 1), (839, 1), (841, 1), (5000, 1)])
def test_credentials_are_renewed_at_12_of_15_minutes(seconds: float, reads: int, tmp_path: Path) -> None:
    """Young credentials are used as they are; from 12 minutes on new ones are read, once."""
    clock = _Clock()
    with ScriptedS3({_PATH: b"bytes"}) as s3, _opened(s3, clock) as (store, service):
        clock.now += seconds
        for _ in range(3):
            store.download("MyApp", to=tmp_path / "x")
        assert service.reads == reads
        assert _signers(s3) == [f"ASIA{reads} token{reads}"]


def test_new_credentials_live_15_minutes_too(tmp_path: Path) -> None:
    """Each renewal is good for another 12 minutes."""
    clock = _Clock()
    with ScriptedS3({_PATH: b"bytes"}) as s3, _opened(s3, clock) as (store, service):
        for expected in (0, 1, 1, 2):
            store.download("MyApp", to=tmp_path / "x")
            assert service.reads == expected
            clock.now += 500 if expected else 800


@pytest.mark.slow
@pytest.mark.parametrize("method", ["HEAD", "GET", "PUT", "POST"])
@pytest.mark.parametrize("code", ["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"])
def test_expired_credentials_are_renewed_unnoticed(code: str, method: str, tmp_path: Path) -> None:
    """When S3 calls the credentials expired, new ones are read and the request is resent."""

    def expire(request: ReceivedRequest, right: Response) -> Response:
        if request.method == method and request.headers["x-amz-security-token"] == "token0":
            return failed(code).with_headers(x_amz_request_id="req-0001", connection="close")
        return right

    path = tmp_path / "report"
    path.write_bytes(_LARGE)
    with ScriptedS3({_PATH: _LARGE}, expire) as s3, _opened(s3, _Clock()) as (store, service):
        assert store.download("MyApp", to=tmp_path / "x").read_bytes() == _LARGE
        store.upload("Report", path)
        assert s3.objects[f"/{BUCKET}/Report"] == _LARGE
        assert service.reads == 1


def _expire_first(request: ReceivedRequest, right: Response) -> Response:
    """Refuse to send an object to the first credentials."""
    if request.method == "GET" and request.headers["x-amz-security-token"] == "token0":
        return failed("ExpiredToken").with_headers(x_amz_request_id="req-0001")
    return right


def test_many_threads_renew_once(tmp_path: Path) -> None:
    """Credentials that expire under many requests at a time are read once."""
    with ScriptedS3({_PATH: _LARGE * 2}, _expire_first) as s3, _opened(s3, _Clock()) as (store, service):
        threads = [
            threading.Thread(target=lambda number=number: store.download("MyApp", to=tmp_path / str(number)))
            for number in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [(tmp_path / str(number)).read_bytes() == _LARGE * 2 for number in range(3)] == [True] * 3
        assert service.reads == 1


class _InterruptedClock(_Clock):
    """Runs a function once, at the first question for the time after a condition holds."""

    def __init__(self) -> None:
        super().__init__()
        self.is_time: Callable[[], bool] = lambda: False
        self.run: Callable[[], object] = lambda: None

    def __call__(self) -> float:
        if self.is_time():
            self.is_time = lambda: False
            self.run()
        return self.now


def test_a_request_during_a_renewal_renews_nothing(tmp_path: Path) -> None:
    """Credentials are read once when a request is signed with the old ones while the new ones are put in place."""
    clock = _InterruptedClock()

    def send_another() -> None:
        sent_before = len(s3.requests)
        other.start()
        until(lambda: len(s3.requests) >= sent_before + 2)  # HEAD, and the GET that S3 refuses

    with ScriptedS3({_PATH: b"bytes"}, _expire_first) as s3, _opened(s3, clock) as (store, service):
        other = threading.Thread(target=lambda: store.download("MyApp", to=tmp_path / "other"))
        clock.is_time, clock.run = (lambda: service.reads == 1), send_another
        store.download("MyApp", to=tmp_path / "x")
        other.join()
        assert (tmp_path / "x").read_bytes() == (tmp_path / "other").read_bytes() == b"bytes"
        assert service.reads == 1


def test_credentials_that_stay_expired_are_an_error(tmp_path: Path) -> None:
    """When new credentials are refused as well, the call is an error."""
    expired = failed("ExpiredToken").with_headers(x_amz_request_id="req-0001")
    with ScriptedS3({_PATH: b"bytes"}, lambda _, __: expired) as s3, _opened(s3, _Clock()) as (store, service):
        with pytest.raises(ThirdPartyError, match="MyApp"):
            store.download("MyApp", to=tmp_path / "x")
        assert service.reads == 1


def _raise(error: ThirdPartyError) -> Callable[[JobDetails], JobDetails]:
    def change(_: JobDetails) -> JobDetails:
        raise error

    return change


_GONE = JobNotFoundException("gone", code="JobNotFoundException", operation_name="GetThirdPartyJobDetails")
_DOWN = TransportError("no response", operation_name="GetThirdPartyJobDetails")


def test_a_renewal_that_fails_early_waits(tmp_path: Path) -> None:
    """Between minute 12 and 14 a job that cannot be read costs nothing; after that its error comes out."""
    clock = _Clock()
    with ScriptedS3({_PATH: b"bytes"}) as s3, _opened(s3, clock) as (store, service):
        service.change = _raise(_DOWN)
        clock.now += 730
        store.download("MyApp", to=tmp_path / "x")
        clock.now += 120
        with pytest.raises(TransportError) as caught:
            store.download("MyApp", to=tmp_path / "x")
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)
        service.change = lambda given: given
        store.download("MyApp", to=tmp_path / "x")
        assert _signers(s3)[-1].startswith("ASIA")


def test_a_job_that_is_gone_ends_its_store(tmp_path: Path) -> None:
    """When expired credentials cannot be renewed because the job is over, that is the error."""
    expired = failed("ExpiredToken").with_headers(x_amz_request_id="req-0001")
    with ScriptedS3({_PATH: b"bytes"}, lambda _, __: expired) as s3, _opened(s3, _Clock()) as (store, service):
        service.change = _raise(_GONE)
        with pytest.raises(JobNotFoundException):
            store.download("MyApp", to=tmp_path / "x")


def _with_data(**changes: Any) -> Callable[[JobDetails], JobDetails]:
    return lambda given: attrs.evolve(given, data=attrs.evolve(given.data, **changes))


_CHANGES: dict[str, Callable[[JobDetails], JobDetails]] = {
    "id": lambda given: attrs.evolve(given, id="another"),
    "data.input_artifacts": _with_data(input_artifacts=[artifact("MyApp", "other", bucket=BUCKET)]),
    "data.output_artifacts": _with_data(output_artifacts=[]),
    "data.encryption_key": _with_data(encryption_key=None),
    "data.continuation_token": _with_data(continuation_token="another"),
}


@pytest.mark.parametrize("seconds", [730, 850], ids=["early", "late"])
@pytest.mark.parametrize("changed", _CHANGES)
def test_only_credentials_may_change(changed: str, seconds: float, tmp_path: Path) -> None:
    """When the details have another job's artifacts, nothing is sent any more."""
    clock = _Clock()
    with ScriptedS3({_PATH: b"bytes"}) as s3, _opened(s3, clock) as (store, service):
        service.change = _CHANGES[changed]
        clock.now += seconds
        for _ in range(2):
            with pytest.raises(ArtifactError, match=f"the details of the job have changed: {changed}"):
                store.download("MyApp", to=tmp_path / "x")
        assert s3.requests == []


@pytest.mark.parametrize("seconds", [730, 850], ids=["early", "late"])
def test_renewed_credentials_must_be_complete(seconds: float, tmp_path: Path) -> None:
    """When the credentials have gaps after a renewal, nothing is sent any more."""
    clock = _Clock()
    with ScriptedS3({_PATH: b"bytes"}) as s3, _opened(s3, clock) as (store, service):
        service.change = _with_data(artifact_credentials=None)
        clock.now += seconds
        with pytest.raises(CredentialsError, match="the job has no artifact credentials"):
            store.download("MyApp", to=tmp_path / "x")
        assert s3.requests == []


# --- only the job's --------------------------------------------------------------------------------------------------

_PARTIAL: dict[str, tuple[ArtifactCredentials | None, str]] = {
    "none": (None, "the job has no artifact credentials"),
    "empty": (ArtifactCredentials(), "lack access_key_id, secret_access_key, session_token"),
    "no key id": (ArtifactCredentials(secret_access_key="s", session_token="t"), "lack access_key_id"),
    "no secret": (ArtifactCredentials(access_key_id="a", session_token="t"), "lack secret_access_key"),
    "no token": (ArtifactCredentials(access_key_id="a", secret_access_key="s"), "lack session_token"),
    "an empty token": (
        ArtifactCredentials(access_key_id="a", secret_access_key="s", session_token=""),
        "lack session_token",
    ),
}


@pytest.mark.parametrize("which", _PARTIAL)
def test_partial_credentials_are_refused(which: str) -> None:
    """Without all three credentials there is no store, so that botocore cannot look for others."""
    given, text = _PARTIAL[which]
    with job(given) as (client, details), pytest.raises(CredentialsError, match=text):
        ArtifactStore.for_job(client, details, client_token=TOKEN)


@pytest.mark.parametrize("mode", ["environment", "profile"])
def test_no_ambient_credential_is_used(mode: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever the machine offers, each signature is of version 4 and by the job's credentials."""
    trap = ScriptedS3()  # what plays a metadata service

    def before() -> None:
        _be_hostile(mode, monkeypatch, tmp_path, trap)

    path = tmp_path / "report"
    path.write_bytes(_LARGE)
    with trap, ScriptedS3({_PATH: _LARGE}) as s3, _opened(s3, _Clock(), before=before) as (store, _):
        store.download("MyApp", to=tmp_path / "x")
        with store.open("MyApp") as stream:
            assert stream.read() == _LARGE
        store.upload("Report", path)
        assert _signers(s3) == ["ASIA0 token0"]
        assert {request.headers["authorization"].split()[0] for request in s3.requests} == {"AWS4-HMAC-SHA256"}
        assert {request.method for request in s3.requests} == {"HEAD", "GET", "PUT", "POST"}
        assert trap.requests == []


def _be_hostile(mode: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trap: ScriptedS3) -> None:
    hostile = {
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": trap.endpoint_url,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{trap.endpoint_url}/credentials",
        "AWS_DEFAULTS_MODE": "auto",
        "AWS_EC2_METADATA_DISABLED": "false",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        "AWS_AUTH_SCHEME_PREFERENCE": "noAuth",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
    }
    if mode == "environment":
        hostile.update(
            AWS_ACCESS_KEY_ID="AKIAHOSTILE",
            AWS_SECRET_ACCESS_KEY="hostile",
            AWS_SESSION_TOKEN="hostile",
            AWS_BEARER_TOKEN_S3="hostile",
        )
    else:
        hostile["AWS_PROFILE"] = "hostile"
    for name, value in hostile.items():
        monkeypatch.setenv(name, value)
    keys = "aws_access_key_id = AKIAHOSTILE\naws_secret_access_key = hostile\n"
    (tmp_path / "credentials").write_text(f"[hostile]\n{keys}", encoding="utf-8")
    (tmp_path / "config").write_text(
        f"[profile hostile]\n{keys}signature_version = s3\ns3 =\n  signature_version = s3\n"
        f"credential_process = touch {tmp_path / 'ran'}\n",
        encoding="utf-8",
    )


def test_a_caller_cannot_turn_signatures_off(tmp_path: Path) -> None:
    """Settings of the caller change neither the signature nor the checksums."""
    with job(_credentials(0), inputs=[artifact("MyApp", "MyApp", bucket=BUCKET)]) as (client, details):
        config = Config(signature_version=UNSIGNED, proxies={})
        with (
            ScriptedS3({_PATH: b"bytes"}) as s3,
            ArtifactStore.for_job(
                client, details, client_token=TOKEN, endpoint_url=s3.endpoint_url, config=config
            ) as store,
        ):
            store.download("MyApp", to=tmp_path / "x")
            assert _signers(s3) == ["ASIA0 token0"]


# --- settings --------------------------------------------------------------------------------------------------------


def test_every_request_names_the_expected_owner(tmp_path: Path) -> None:
    """S3 is asked to refuse buckets of other accounts, in each request."""
    path = tmp_path / "report"
    path.write_bytes(_LARGE)

    def change(request: ReceivedRequest, right: Response) -> Response:
        return failed("InternalError", 500) if request.query.get("partNumber") == "2" else right

    inputs, outputs = [artifact("MyApp", "MyApp", bucket=BUCKET)], [artifact("Report", "Report", bucket=BUCKET)]
    with (
        ScriptedS3({_PATH: _LARGE}, change) as s3,
        job(_credentials(0), inputs=inputs, outputs=outputs) as (client, details),
        ArtifactStore.for_job(
            client,
            details,
            client_token=TOKEN,
            expected_bucket_owner="123456789012",
            endpoint_url=s3.endpoint_url,
            config=Config(proxies={}),
        ) as store,
    ):
        store.download("MyApp", to=tmp_path / "x")
        with pytest.raises(ArtifactError):
            store.upload("Report", path)
    assert {request.headers.get("x-amz-expected-bucket-owner") for request in s3.requests} == {"123456789012"}
    assert s3.operations()[-1] == "DELETE uploadId"


@pytest.mark.parametrize("owner", ["", "12345678901", "1234567890123", "arn:aws:iam::123456789012", "١٢٣٤٥٦٧٨٩٠١٢"])
def test_an_owner_is_an_account_id(owner: str) -> None:
    """What is not an account id is refused before anything is sent."""
    with job(_credentials(0)) as (client, details), pytest.raises(InvalidRequestError, match="12 digits"):
        ArtifactStore.for_job(client, details, client_token=TOKEN, expected_bucket_owner=owner)


def test_a_bad_setting_is_refused() -> None:
    """What botocore refuses to make a client of is an error of this library."""
    with job(_credentials(0)) as (client, details), pytest.raises(InvalidRequestError, match="region_name"):
        ArtifactStore.for_job(client, details, client_token=TOKEN, region_name="not a region")


@pytest.mark.parametrize(
    ("endpoint_url", "region_name", "expected"),
    [
        (None, None, f"https://{BUCKET}.s3.amazonaws.com/a"),
        (None, "eu-west-1", f"https://{BUCKET}.s3.eu-west-1.amazonaws.com/a"),
        ("https://bucket.vpce-1.s3.us-east-1.vpce.amazonaws.com", None, f".vpce.amazonaws.com/{BUCKET}/a"),
        ("http://localhost:1", None, f"http://localhost:1/{BUCKET}/a"),
    ],
)
def test_a_bucket_is_in_the_path_of_a_given_endpoint(
    endpoint_url: str | None, region_name: str | None, expected: str
) -> None:
    """AWS is asked by a name for each bucket, in the client's region or another; any other endpoint in the path."""
    with (
        job(_credentials(0), inputs=[artifact("A", "a", bucket=BUCKET)]) as (client, details),
        ArtifactStore.for_job(
            client, details, client_token=TOKEN, endpoint_url=endpoint_url, region_name=region_name
        ) as store,
    ):
        urls: list[str] = []

        def look(request: Any, **_: object) -> None:
            urls.append(request.url)
            raise ConnectionError

        s3_client(store).meta.events.register("before-send.s3", look)
        with pytest.raises(ArtifactTransferError, match="the connection failed"):
            store.download("A", to=Path("nowhere"))
        assert expected in urls[0]


# --- the real server -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_seaweed_sees_renewed_credentials(seaweed: Seaweed, tmp_path: Path) -> None:
    """With a real STS, a store goes on with credentials of a second role session when the first ages."""
    seaweed.put("renewed", _LARGE)
    clock = _Clock()
    inputs = [artifact("MyApp", "renewed", bucket=BUCKET)]
    used: list[str] = []
    with (
        job(seaweed.assume_role, inputs=inputs) as (client, details),
        ArtifactStore.for_job(
            client, details, client_token=TOKEN, endpoint_url=seaweed.endpoint_url, clock=clock
        ) as store,
    ):
        s3_client(store).meta.events.register("before-send.s3", lambda request, **_: used.append(_signer(request)))
        with store.open("MyApp") as stream:
            begin = stream.read(1000)
            clock.now += 800
            assert begin + stream.read() == _LARGE
            assert store.download("MyApp", to=tmp_path / "x").read_bytes() == _LARGE
    assert len(set(used)) == 2


def _signer(request: Any) -> str:
    return str(re.findall("Credential=([^/]*)/", request.headers["Authorization"].decode())[0])


# --- names -----------------------------------------------------------------------------------------------------------


def test_artifacts_are_known_by_name() -> None:
    """A store lists its artifacts by name, and shows neither secrets nor more than its job."""
    unnamed = Artifact(name=None)
    inputs = [artifact("A", "a", bucket=BUCKET), unnamed, unnamed]
    with (
        job(_credentials(0), inputs=inputs, outputs=[artifact("B", "b", bucket=BUCKET)]) as (client, details),
        ArtifactStore.for_job(client, details, client_token=TOKEN) as store,
    ):
        assert (list(store.inputs), list(store.outputs)) == (["A"], ["B"])
        assert store.inputs["A"] == inputs[0]
        assert repr(store) == f"<ArtifactStore of job {details.id}>"


def test_two_artifacts_of_one_name_are_refused() -> None:
    """A name that means two artifacts is an error, not one of them."""
    twins = [artifact("A", "a", bucket=BUCKET), artifact("A", "b", bucket=BUCKET)]
    with (
        job(_credentials(0), outputs=twins) as (client, details),
        pytest.raises(ArtifactError, match="the job has two output artifacts 'A'"),
    ):
        ArtifactStore.for_job(client, details, client_token=TOKEN)


def test_credentials_know_how_often_they_were_renewed() -> None:
    """A thread that saw an older generation does not renew again."""
    numbers = itertools.count()
    with job(lambda: _credentials(next(numbers))) as (client, details):
        credentials = JobCredentials(
            details, lambda: client.get_third_party_job_details(details.id, client_token=TOKEN), _Clock()
        )
        credentials.renew(0)
        credentials.renew(0)
        assert credentials.generation == 1
        assert [each.get_secret_value() for each in credentials.secrets] == [
            *("ASIA0", "secret0", "token0"),
            *("ASIA1", "secret1", "token1"),
        ]
