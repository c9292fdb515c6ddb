"""`FolderArtifacts` does what `ArtifactStore` does with S3: the same results, the same errors, nothing left."""

from __future__ import annotations

import errno
import io
import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import pytest
from support.artifact_jobs import TOKEN, artifact, job
from support.scripted_s3 import ScriptedS3

from cp_thirdparty import Artifact, ArtifactCredentials, ArtifactStore, Job, SecretStr, Succeeded
from cp_thirdparty.artifacts import ArchiveLimits, create_archive, extract_archive
from cp_thirdparty.exceptions import (
    ArtifactError,
    ArtifactFileError,
    ArtifactTransferError,
    InvalidRequestError,
    ThirdPartyError,
)
from cp_thirdparty.testing import FolderArtifacts, LocalCodePipeline, samples
from cp_thirdparty.worker import JobProcessor

_BUCKET = "codepipeline-us-east-1-1"
_CREDENTIALS = ArtifactCredentials(access_key_id="ASIAJOB", secret_access_key="secret", session_token="token")
_LARGE = bytes(range(251)) * 34_000  # in S3, two ranges


def _zip(**files: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


_INPUTS = {"Source": _zip(**{"app/main.py": "print()"}), "Hostile": _zip(**{"../evil": "x"}), "Large": _LARGE}


@contextmanager
def _open(kind: str, folder: Path, **bounds: Any) -> Generator[ArtifactStore]:
    """Open a store with input artifacts, one of which does not exist, and output artifacts."""
    inputs = [artifact(name, name, bucket=_BUCKET) for name in [*_INPUTS, "Missing"]]
    inputs += [artifact("Express", "x", bucket="x--x-s3"), artifact("Dots", "../x", bucket=_BUCKET)]
    outputs = [artifact(name, name, bucket=_BUCKET) for name in ("Report", "Log")]
    with job(_CREDENTIALS, inputs=inputs, outputs=outputs) as (client, details):
        if kind == "S3":
            objects = {f"/{_BUCKET}/{name}": content for name, content in _INPUTS.items()}
            open_store: Callable[..., ArtifactStore] = ArtifactStore.for_job
            with ScriptedS3(objects) as s3:
                settings: dict[str, Any] = {"endpoint_url": s3.endpoint_url, "region_name": "us-east-1", **bounds}
                with open_store(client, details, client_token=TOKEN, **settings) as store:
                    yield store
            return
        bucket = FolderArtifacts(folder)
        for name, content in _INPUTS.items():
            bucket.put(name, content)
        with FolderArtifacts.for_job(client, details, client_token=TOKEN, folder=folder, **bounds) as store:
            yield store


# The store itself is also tested in tests/artifacts.
_KINDS = [pytest.param("S3", marks=pytest.mark.slow), "folder"]


@pytest.fixture(params=_KINDS)
def artifact_store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArtifactStore]:
    """Return the store and its double."""
    with _open(request.param, tmp_path_factory.mktemp("bucket")) as store:
        yield store


_Call: TypeAlias = Callable[[ArtifactStore, Path], Any]


def _read(store: ArtifactStore, name: str) -> bytes:
    with store.open(name) as stream:
        return stream.read()


def _make_fifo(to: Path) -> Path:
    os.mkfifo(to / "out")
    return to / "out"


def _read_pieces(store: ArtifactStore, *sizes: int) -> list[bytes]:
    with store.open("Source") as stream:
        return [stream.read(size) for size in sizes]


def _abilities(store: ArtifactStore) -> tuple[bool, bool, bool]:
    with store.open("Source") as stream:
        return stream.readable(), stream.seekable(), stream.writable()


# What is called -> what it returns.
_RESULTS: dict[str, tuple[_Call, Any]] = {
    "size": (lambda store, _: store.size("Source"), len(_INPUTS["Source"])),
    "download": (lambda store, to: store.download("Source", to=str(to / "a")).read_bytes(), _INPUTS["Source"]),
    "download, large": (lambda store, to: store.download("Large", to=to / "a").read_bytes(), _LARGE),
    "open": (lambda store, _: _read(store, "Large"), _LARGE),
    "open, pieces": (lambda store, _: _read_pieces(store, 0, 2, 2), [b"", b"PK", b"\3\4"]),
    "open, abilities": (lambda store, _: _abilities(store), (True, False, False)),
    "extract": (
        lambda store, to: (store.extract("Source", to=to / "src") / "app" / "main.py").read_text(encoding="utf-8"),
        "print()",
    ),
    "inputs": (lambda store, _: list(store.inputs), [*_INPUTS, "Missing", "Express", "Dots"]),
    "outputs": (lambda store, _: list(store.outputs), ["Report", "Log"]),
    "upload": (lambda store, to: store.upload("Report", _file(to)), None),
    "archive": (lambda store, to: store.archive("Report", _file(to).parent), None),
}


def _file(to: Path) -> Path:
    (to / "out").mkdir()
    (to / "out" / "report.txt").write_bytes(_LARGE)
    return to / "out" / "report.txt"


def _interrupt(_count: int) -> None:
    raise KeyboardInterrupt("mine")


# What is called -> class and message of its error.
_ERRORS: dict[str, tuple[_Call, str, str]] = {
    "no such object": (
        lambda store, to: store.download("Missing", to=to / "a"),
        *("ArtifactNotFoundError", "input artifact 'Missing': S3 has no such object"),
    ),
    "no such object, size": (
        lambda store, _: store.size("Missing"),
        *("ArtifactNotFoundError", "input artifact 'Missing': S3 has no such object"),
    ),
    "no such object, open": (
        lambda store, _: store.open("Missing"),
        *("ArtifactNotFoundError", "input artifact 'Missing': S3 has no such object"),
    ),
    "no such input": (
        lambda store, _: store.open("Report"),
        "ArtifactNotFoundError",
        "the job has no input artifact 'Report'; it has 'Source', 'Hostile', 'Large', 'Missing', 'Express', 'Dots'",
    ),
    "no such output": (
        lambda store, to: store.upload("Source", to),
        *("ArtifactNotFoundError", "the job has no output artifact 'Source'; it has 'Report', 'Log'"),
    ),
    "bucket": (
        lambda store, _: store.size("Express"),
        "ArtifactError",
        (
            "input artifact 'Express': its bucket must have the name of a general purpose bucket, "
            "3 to 63 characters, and no ARN"
        ),
    ),
    "key": (
        lambda store, _: store.size("Dots"),
        "ArtifactError",
        "input artifact 'Dots': its object key must have no segment '.' or '..', which clients remove from URLs",
    ),
    "hostile": (
        lambda store, to: store.extract("Hostile", to=to / "a"),
        *("UnsafeArchiveError", "../evil: '..' in the name"),
    ),
    "not an archive": (
        lambda store, to: store.extract("Large", to=to / "a"),
        *("UnsafeArchiveError", "not a zip archive"),
    ),
    "too large": (
        lambda store, to: store.extract("Source", to=to / "a", limits=ArchiveLimits(max_total_bytes=9)),
        *("ArtifactTooLargeError", "input artifact 'Source': the object has more than 9 bytes"),
    ),
    "directory exists": (lambda store, to: store.extract("Source", to=to), "ArtifactError", "to: must not exist"),
    "no parent": (
        lambda store, to: store.download("Source", to=to / "no" / "a"),
        *("ArtifactFileError", "No such file or directory: '{to}/no/a'"),
    ),
    "no parent, extract": (
        lambda store, to: store.extract("Source", to=to / "no" / "a"),
        *("ArtifactFileError", "No such file or directory: '{to}/no'"),
    ),
    "download to a directory": (
        lambda store, to: store.download("Source", to=to),
        *("ArtifactFileError", "Is a directory: '{to}'"),
    ),
    "no such file": (
        lambda store, to: store.upload("Report", to / "no"),
        *("ArtifactFileError", "No such file or directory: '{to}/no'"),
    ),
    "no such directory": (
        lambda store, to: store.archive("Report", to / "no"),
        *("ArtifactFileError", "No such file or directory: '{to}/no'"),
    ),
    "upload of a directory": (
        lambda store, to: store.upload("Report", to),
        *("ArtifactFileError", "Is a directory: '{to}'"),
    ),
    "upload of a FIFO": (
        lambda store, to: store.upload("Report", _make_fifo(to)),
        *("ArtifactFileError", "Not a regular file: '{to}/out'"),
    ),
    "interrupted download": (
        lambda store, to: store.download("Source", to=to / "a", progress=_interrupt),
        *("KeyboardInterrupt", "mine"),
    ),
    "name": (lambda store, _: store.open(1), "TypeError", "name: must be a str, not int"),  # type: ignore[arg-type]
    "to": (
        lambda store, _: store.download("Source", to=1),  # type: ignore[arg-type]
        *("TypeError", "to: must be a str or an os.PathLike of str, not int"),
    ),
}


@pytest.mark.parametrize("case", _RESULTS)
def test_a_result_is_the_same(artifact_store: ArtifactStore, tmp_path: Path, case: str) -> None:
    """A handler gets the same values from S3 and from a folder."""
    call, expected = _RESULTS[case]
    assert call(artifact_store, tmp_path) == expected
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("case", _ERRORS)
def test_an_error_is_the_same(artifact_store: ArtifactStore, tmp_path: Path, case: str) -> None:
    """A handler sees the same class and message, with the job, and nothing is left."""
    call, kind, message = _ERRORS[case]
    seen: tuple[str, str, object] | None = None
    try:
        call(artifact_store, tmp_path)
    except BaseException as failure:  # noqa: BLE001 - also KeyboardInterrupt
        seen = (type(failure).__name__, str(failure), failure.__context__)
    assert seen == (kind, message.format(to=tmp_path), None)
    assert [path.name for path in tmp_path.iterdir()] in ([], ["out"])


def test_a_missing_object_has_the_same_facts(artifact_store: ArtifactStore) -> None:
    """An error of S3 has the operation and the status; that of a folder has them too."""
    with pytest.raises(ThirdPartyError) as caught:
        artifact_store.open("Missing")
    error = caught.value
    assert (error.operation_name, error.status_code, error.attempts) == ("HeadObject", 404, 1)
    assert error.is_retry_safe is False
    assert repr(artifact_store) == f"<{type(artifact_store).__name__} of job {error.job_id}>"


@pytest.mark.parametrize("way", ["download", "upload", "extract", "archive"])
def test_progress_is_the_size(artifact_store: ArtifactStore, tmp_path: Path, way: str) -> None:
    """The counts of a transfer add up to the bytes of the object."""
    counts: list[int] = []
    source = _file(tmp_path)
    calls: dict[str, Callable[[], Any]] = {
        "download": lambda: artifact_store.download("Large", to=tmp_path / "a", progress=counts.append),
        "extract": lambda: artifact_store.extract("Source", to=tmp_path / "a", progress=counts.append),
        "upload": lambda: artifact_store.upload("Report", source, progress=counts.append),
        "archive": lambda: artifact_store.archive("Report", source.parent, progress=counts.append),
    }
    calls[way]()
    archived = create_archive(source.parent, to=tmp_path / "same.zip").stat().st_size
    sizes = {"download": len(_LARGE), "extract": len(_INPUTS["Source"]), "upload": len(_LARGE), "archive": archived}
    assert sum(counts) == sizes[way]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limits")
@pytest.mark.parametrize("way", ["download", "extract", "archive", "create_archive", "extract_archive"])
def test_a_file_that_cannot_grow_is_one_class(artifact_store: ArtifactStore, tmp_path: Path, way: str) -> None:
    """A full disk, here a limit of the process, is an error with its number and a path, and nothing is left."""
    import resource  # noqa: PLC0415 - Windows has none

    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_bytes(random.Random(1).randbytes(2 << 20))
    create_archive(source, to=tmp_path / "a.zip")
    calls: dict[str, Callable[[], Any]] = {
        "download": lambda: artifact_store.download("Large", to=tmp_path / "to"),
        "extract": lambda: artifact_store.extract("Large", to=tmp_path / "to"),
        "archive": lambda: artifact_store.archive("Report", source),
        "create_archive": lambda: create_archive(source, to=tmp_path / "to"),
        "extract_archive": lambda: extract_archive(tmp_path / "a.zip", to=tmp_path / "to"),
    }
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(ArtifactFileError, match=r"^File too large: '") as caught:
            calls[way]()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (caught.value.errno, caught.value.strerror) == (errno.EFBIG, "File too large")
    assert caught.value.filename is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "source"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limits")
@pytest.mark.parametrize("way", ["archive", "extract"])
def test_a_disk_that_is_full_at_the_last_bytes_is_the_same_class(tmp_path: Path, way: str) -> None:
    """Closing the temporary file writes them again, which fails again."""
    import resource  # noqa: PLC0415 - Windows has none

    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_bytes(b"a")
    calls: dict[str, Callable[[ArtifactStore], object]] = {
        "archive": lambda store: store.archive("Report", tmp_path / "source"),
        "extract": lambda store: store.extract("Source", to=tmp_path / "to"),
    }
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with _open("folder", tmp_path / "bucket") as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
        try:
            with pytest.raises(ArtifactFileError, match=r"^File too large: '"):
                calls[way](store)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


_TRANSFERS: dict[str, _Call] = {
    "size": lambda store, _: store.size("Source"),
    "open": lambda store, _: _read(store, "Source"),
    "download": lambda store, to: store.download("Source", to=to / "a"),
    "extract": lambda store, to: store.extract("Source", to=to / "a"),
    "upload": lambda store, _: store.upload("Report", Path(__file__)),
    "archive": lambda store, _: store.archive("Report", Path(__file__).parent),
}


@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("way", _TRANSFERS)
@pytest.mark.parametrize(
    ("bounds", "reason"),
    [
        ({"deadline": 100.0, "clock": lambda: 101.0}, "the deadline of the {} was reached"),
        ({"is_cancelled": lambda: True}, "the {} was stopped because the job was cancelled"),
    ],
    ids=["deadline", "cancelled"],
)
def test_a_transfer_that_must_end_is_the_same_error(
    tmp_path: Path, kind: str, way: str, bounds: dict[str, Any], reason: str
) -> None:
    """Nothing is transferred after the deadline of the job, and nothing for a cancelled job."""
    with _open(kind, tmp_path / "bucket", **bounds) as store, pytest.raises(ArtifactTransferError) as caught:
        _TRANSFERS[way](store, tmp_path)
    # The archive of a directory is created before its transfer.
    assert str(caught.value).endswith(reason.format("creation" if way == "archive" else "transfer"))
    assert caught.value.is_retry_safe is False
    assert [path.name for path in tmp_path.iterdir() if path.name != "bucket"] == []
    assert not (tmp_path / "bucket" / "Report").exists()


@pytest.mark.parametrize("kind", _KINDS)
def test_a_transfer_ends_between_two_pieces(tmp_path: Path, kind: str) -> None:
    """A job that is cancelled while an artifact is read gets no more bytes."""
    job_state = SimpleNamespace(is_cancelled=False)

    def cancel(_count: int) -> None:
        job_state.is_cancelled = True

    with _open(kind, tmp_path / "bucket", is_cancelled=lambda: job_state.is_cancelled) as store:
        with store.open("Large") as stream:
            assert len(stream.read(10)) == 10
            job_state.is_cancelled = True
            with pytest.raises(ArtifactTransferError, match=r"the job was cancelled$"):
                stream.read()
        job_state.is_cancelled = False
        with pytest.raises(ArtifactTransferError, match=r"the job was cancelled$"):
            store.download("Large", to=tmp_path / "a", progress=cancel)
    assert not (tmp_path / "a").exists()


def _see_bounds(job: Job[Any], *, seen: list[tuple[bool, bool]]) -> Succeeded:
    bounds = job.artifacts._bounds
    seen.append((bounds.deadline is not None, bounds.is_cancelled is not None))
    return Succeeded()


def test_a_worker_gives_the_bounds_of_the_job(local_codepipeline: LocalCodePipeline, tmp_path: Path) -> None:
    """The double gets the deadline and the cancellation that the store gets."""
    seen: list[tuple[bool, bool]] = []
    local_codepipeline.register_client("client-1", "token-1")
    local_codepipeline.start_action(samples.action_type_id(), client_id="client-1")
    processor = JobProcessor(
        local_codepipeline.client,
        partial(_see_bounds, seen=seen),
        client_tokens={"client-1": "token-1"},
        artifacts=partial(FolderArtifacts.for_job, folder=tmp_path),
    )
    list(processor.poll(samples.action_type_id()))
    assert seen == [(True, True)]


@pytest.mark.parametrize("bounds", [{"deadline": "soon"}, {"is_cancelled": True}])
def test_bounds_of_the_wrong_type_are_refused(tmp_path: Path, bounds: dict[str, Any]) -> None:
    """The double refuses what the store refuses."""
    with pytest.raises(TypeError, match=rf"^{next(iter(bounds))}: must be a "):
        FolderArtifacts(tmp_path, **bounds)


def test_the_methods_are_those_of_the_store() -> None:
    """Whatever a handler calls on a store, it can call on the double with the same arguments."""
    own = {name for name in vars(FolderArtifacts) if not name.startswith("_")}
    assert own == {"for_job", "folder", "put", "files"}
    given = set(signature(ArtifactStore.for_job).parameters)
    accepted = signature(FolderArtifacts.for_job).parameters
    assert {"client", "details", "client_token"} <= set(accepted) & given
    assert "settings" in accepted


def _details(**artifacts: Any) -> Any:
    settings: dict[str, Any] = {"input_artifacts": [], **artifacts}
    return samples.job_details(**settings)


def test_two_artifacts_of_one_name_are_refused(tmp_path: Path) -> None:
    """The double refuses the jobs that the store refuses."""
    details = _details(output_artifacts=[samples.artifact("Twin"), samples.artifact("Twin", object_key="b")])
    with pytest.raises(ArtifactError, match=r"^the job has two output artifacts 'Twin'$"):
        FolderArtifacts(tmp_path, details)


def test_an_artifact_without_a_name_cannot_be_asked_for(tmp_path: Path) -> None:
    """The service documents every member of an artifact as optional."""
    details = _details(input_artifacts=[Artifact(), Artifact(), samples.artifact("Source")])
    assert list(FolderArtifacts(tmp_path, details).inputs) == ["Source"]


@pytest.mark.parametrize("name", ["../x", "a/b", "a b", ".", "", "x" * 101])
def test_a_name_is_not_a_path(tmp_path: Path, name: str) -> None:
    """CodePipeline has no such names, and a file outside the folder is neither read nor written."""
    rule = "must have 1 to 100 letters, digits, '-' or '_'"
    (tmp_path / "bucket").mkdir()
    named = [samples.artifact(name, object_key="key")]
    bucket = FolderArtifacts(tmp_path / "bucket", _details(input_artifacts=named, output_artifacts=named))
    for call in (lambda: bucket.put(name, b"x"), lambda: bucket.files(name)):
        with pytest.raises(InvalidRequestError) as refused:
            call()
        assert (refused.value.parameter, str(refused.value)) == ("name", f"name: {rule}")
    with pytest.raises(ArtifactError) as caught:
        bucket.size(name)
    assert str(caught.value) == f"input artifact {name!r}: its name {rule}"
    with pytest.raises(ArtifactError, match=f"its name {rule}"):
        bucket.upload(name, _file(tmp_path))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["bucket", "out", "report.txt"]


def test_an_artifact_is_written_in_four_ways(tmp_path: Path) -> None:
    """A directory, a file, bytes, or files by name; the same files give the same bytes."""
    source = _file(tmp_path).parent
    bucket = FolderArtifacts(tmp_path / "bucket")
    assert bucket.folder == tmp_path / "bucket"
    assert bucket.put("Directory", str(source)) == bucket.folder / "Directory"
    assert bucket.files("Directory") == {"report.txt": _LARGE}
    assert bucket.put("File", source / "report.txt").read_bytes() == _LARGE
    assert bucket.put("Bytes", b"x").read_bytes() == b"x"
    first = bucket.put("Files", {"d/": "", "d/a": "ä", "b": b"\0"}).read_bytes()
    assert bucket.files("Files") == {"d/a": "ä".encode(), "b": b"\0"}
    assert bucket.put("Files", {"d/": "", "d/a": "ä", "b": b"\0"}).read_bytes() == first
    with pytest.raises(TypeError, match=r"^content: must be a str or an os.PathLike of str, not int$"):
        bucket.put("Wrong", 1)  # type: ignore[arg-type]


def test_an_interrupted_upload_leaves_nothing(tmp_path: Path) -> None:
    """An artifact appears when it is complete."""
    report = [samples.artifact("Report")]
    bucket = FolderArtifacts(tmp_path / "bucket", _details(output_artifacts=report))
    with pytest.raises(KeyboardInterrupt, match="mine"):
        bucket.upload("Report", _file(tmp_path), progress=_interrupt)
    assert list(bucket.folder.iterdir()) == []


def test_what_was_not_written_is_named(tmp_path: Path) -> None:
    """A test that reads too early gets the path."""
    bucket = FolderArtifacts(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="Report") as caught:
        bucket.files("Report")
    assert caught.value.errno == errno.ENOENT
    bucket.put("Report", b"no zip")
    with pytest.raises(zipfile.BadZipFile):
        bucket.files("Report")


def test_a_worker_opens_them_for_each_job(local_codepipeline: LocalCodePipeline, tmp_path: Path) -> None:
    """With the local CodePipeline, the handler reads what the test has written, and the test reads the report."""
    local_codepipeline.register_client("client-1", "t")
    bucket = FolderArtifacts(tmp_path / "bucket")
    bucket.put("Source", {"app.py": "print()"})
    action = local_codepipeline.start_action(
        samples.action_type_id(),
        client_id="client-1",
        input_artifacts=[samples.artifact("Source")],
        output_artifacts=[samples.artifact("Report")],
    )

    def handle(job: Any) -> Any:
        source = job.artifacts.extract("Source", to=job.workspace / "source")
        job.artifacts.archive("Report", source)
        return Succeeded()

    processor = JobProcessor(
        local_codepipeline.client,
        handle,
        client_tokens={"client-1": SecretStr("t")},
        artifacts=partial(FolderArtifacts.for_job, folder=bucket.folder),
    )
    list(processor.poll(samples.action_type_id()))
    assert action.status == "Succeeded"
    assert bucket.files("Report") == {"app.py": b"print()"}


_WITHOUT_EXTRA = """
import sys
sys.modules["s3transfer"] = None
from cp_thirdparty.exceptions import ArtifactNotFoundError
from cp_thirdparty.testing import samples
job = samples.job(inputs={"Source": {"a": "b"}}, outputs=["Report"])
print((job.artifacts.extract("Source", to=job.workspace / "s") / "a").read_text())
job.artifacts.archive("Report", job.workspace / "s")
print(job.artifacts.files("Report"))
(job.artifacts.folder / "Source").unlink()
try:
    job.artifacts.open("Source")
except ArtifactNotFoundError as error:
    print(error)
"""


def test_it_needs_no_extra() -> None:
    """Without s3transfer, a handler can be tested, errors included."""
    done = subprocess.run([sys.executable, "-c", _WITHOUT_EXTRA], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "b",
        "{'a': b'b'}",
        "input artifact 'Source': S3 has no such object",
    ]
