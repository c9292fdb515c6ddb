"""`ArtifactStore`: the artifacts of one job, by name, with the job's own credentials."""

from __future__ import annotations

import functools
import io
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import BinaryIO, TypeVar, cast

from botocore.config import Config
from typing_extensions import Self

from cp_thirdparty._base.frames import hide_arguments
from cp_thirdparty._base.lazy import is_installed, missing_extra
from cp_thirdparty._base.text import show, show_repr
from cp_thirdparty.artifacts._bounds import Bounds, TransferCall
from cp_thirdparty.artifacts._credentials import JobCredentials, NotRenewable, check_credentials
from cp_thirdparty.artifacts._extraction import extract_file
from cp_thirdparty.artifacts._failures import attempt
from cp_thirdparty.artifacts._local_files import (
    LocalPath,
    OnSkip,
    check_limits,
    check_max_bytes,
    check_unchanged,
    create_private_file,
    open_file,
    to_path,
)
from cp_thirdparty.artifacts._objects import Objects, S3Objects, download
from cp_thirdparty.artifacts._place import ObjectLocation, find_location, is_private_endpoint
from cp_thirdparty.artifacts._s3 import create_s3
from cp_thirdparty.artifacts._transfer import Progress, Reporter
from cp_thirdparty.artifacts.create import write_archive
from cp_thirdparty.artifacts.limits import MAX_BYTES, ArchiveLimits
from cp_thirdparty.client import CustomJobClient, ThirdPartyJobClient
from cp_thirdparty.exceptions import ArtifactError, InvalidRequestError, ThirdPartyError
from cp_thirdparty.models import AnyJobDetails, Artifact
from cp_thirdparty.secrets import SecretStr

__all__ = ["ArtifactStore"]

_T = TypeVar("_T")

_ACCOUNT_ID = re.compile(r"[0-9]{12}")
# What is read at once of an opened artifact, unless the caller asks for more.
_BUFFER_BYTES = 256 << 10


class ArtifactStore:
    """
    Read the input artifacts of a job from S3, and write its output artifacts there.

    Make one with `for_job()`.  It uses the job's own credentials and never those of the machine.  They live 15 minutes;
    it renews them by reading the job's details again, so it can be used as long as the job can be read.

    Bytes count only when they are S3's, complete, and of one version of the object.  They are compared with each
    checksum of the full object that S3 reports, if this machine has its algorithm.  A checksum of the checksums of
    parts is not compared.

    Thread-safe, within one process.  A context manager.

    Every method that asks S3 raises, besides what it names itself:

    * `cp_thirdparty.exceptions.ArtifactTransferError`: the bytes were not moved completely.  Safe to retry.
    * `cp_thirdparty.exceptions.ArtifactNotFoundError`: the job has no such artifact, or S3 has no such object.
    * `cp_thirdparty.exceptions.ArtifactError`: the place of the artifact breaks a rule, or, when the credentials were
      renewed, the job was no longer the same.
    * `cp_thirdparty.exceptions.AccessDeniedError`: the job's credentials do not allow it.
    * `cp_thirdparty.exceptions.CredentialsError`: S3 does not accept them.
    * `cp_thirdparty.exceptions.ThrottledError`, `cp_thirdparty.exceptions.ClockSkewError`: by their names.
    * what `cp_thirdparty.ThirdPartyJobClient.get_third_party_job_details()` raises, when the credentials are renewed.
    * `cp_thirdparty.exceptions.ArtifactFileError`: a local file cannot be read or written.
    * ``TypeError``: an argument has the wrong type.
    """

    _job_id = ""  # of one whose creation has failed

    def __init__(self, objects: Objects, details: AnyJobDetails, bounds: Bounds) -> None:
        self._objects = objects
        self._bounds = bounds
        self._job_id = details.id
        self._inputs = _by_name(details.data.input_artifacts, "input")
        self._outputs = _by_name(details.data.output_artifacts, "output")

    @classmethod
    @hide_arguments
    def for_job(
        cls,
        client: ThirdPartyJobClient | CustomJobClient,
        details: AnyJobDetails,
        *,
        client_token: str | SecretStr | None = None,
        expected_bucket_owner: str | None = None,
        endpoint_url: str | None = None,
        region_name: str | None = None,
        config: Config | None = None,
        allow_http: bool = False,
        deadline: float | None = None,
        is_cancelled: Callable[[], bool] | None = None,
        clock: Callable[[], float] = time.time,
        is_request_id_required: bool = True,
    ) -> Self:
        """
        Create the store of a job.  Nothing is sent before an artifact is asked for.

        Args:
            client: Reads the details again when the credentials age.
            details: The details of the job, best read just now.
            client_token: The token that belongs to the job's client id; ``None`` for a custom job, which has none.
            expected_bucket_owner: Account id, 12 digits, that must own the buckets; S3 refuses others.
            endpoint_url: URL of another S3, which is asked with the bucket in the path.
            region_name: Region of the buckets; default: the client's.  One bucket may be elsewhere: S3 names it.
            config: Botocore settings that override this library's, except for the signature, which is always version 4,
                and the checksums, which are always on.
            allow_http: Whether ``endpoint_url`` may be an ``http`` URL of another machine.  The artifacts and the
                session token of the job are readable on the way.

                .. versionadded:: 0.2.0

            deadline: When each transfer, extraction and creation of an archive must end, by the clock; a job of a
                worker gives its own.  ``None`` for an hour after a transfer has begun.

                .. versionadded:: 0.2.0

            is_cancelled: Returns whether the artifacts are not wanted any more; it is called for each piece of a
                transfer or a file, from several threads.  A job of a worker gives its own.

                .. versionadded:: 0.2.0

            clock: Returns the time in seconds since the epoch.
            is_request_id_required: Whether a response of S3 must have the header ``x-amz-request-id``, without which it
                may come from a proxy.  Moto's S3 sends none, so tests with moto need ``False``.

                .. versionadded:: 0.2.0

        Raises:
            ImportError: The extra ``artifacts`` is not installed.
            cp_thirdparty.exceptions.CredentialsError: The job has no credentials, or not all three.
            cp_thirdparty.exceptions.InvalidRequestError: A setting breaks a rule.
            cp_thirdparty.exceptions.ArtifactError: Two input or two output artifacts have one name.
            TypeError: ``deadline`` or ``is_cancelled`` has the wrong type, or a client token is missing or given to a
                client of custom jobs.
        """
        if isinstance(client, (CustomJobClient, NotRenewable)) is not (client_token is None):
            del client_token
            raise TypeError("client_token: must be given with a ThirdPartyJobClient, and not with a CustomJobClient")
        bounds = Bounds(deadline=deadline, clock=clock, is_cancelled=is_cancelled)
        if not is_installed("s3transfer"):
            del client_token
            raise missing_extra("s3transfer")
        token = None if client_token is None else SecretStr.wrap(client_token)
        del client_token  # from here on it is hidden: this frame is in every traceback
        refused = (
            check_credentials(details)
            or _check_owner(expected_bucket_owner)
            or _check_endpoint(endpoint_url, allow_http=allow_http)
        )
        if refused is not None:
            raise refused
        if isinstance(client, NotRenewable):
            credentials = JobCredentials(details, None, clock, client.credentials_expire_at)
        else:
            credentials = JobCredentials(details, _reader(client, details.id, token), clock)
        key = details.data.encryption_key
        key_id = None if key is None else key.id
        s3 = create_s3(
            credentials,
            key_id=key_id,
            region_name=client.region_name if region_name is None else region_name,
            endpoint_url=endpoint_url,
            expected_bucket_owner=expected_bucket_owner,
            config=config,
            is_request_id_required=is_request_id_required,
        )
        if isinstance(s3, ThirdPartyError):
            raise s3
        return cls(S3Objects(s3, key_id), details, bounds)

    @property
    def inputs(self) -> Mapping[str, Artifact]:
        """The input artifacts by name."""
        return self._inputs

    @property
    def outputs(self) -> Mapping[str, Artifact]:
        """The output artifacts by name."""
        return self._outputs

    def open(self, name: str) -> BinaryIO:
        """
        Read one input artifact as a stream of bytes, which cannot seek.  Close it, or use it in a ``with`` statement.

        After a dropped connection it resumes.  The checksum is known at the end only: bytes that were read must not be
        relied on before the stream has ended.  Reading raises the errors that the class names.

        Args:
            name: Name of an input artifact of this job.
        """
        location = self._find(self._inputs, name, "input")
        call = self._bounds.start()
        raw = self._attempt(lambda: self._objects.open(location, call), location, call)
        return io.BufferedReader(raw, _BUFFER_BYTES)

    def download(
        self, name: str, *, to: LocalPath, progress: Progress | None = None, max_bytes: int | None = MAX_BYTES
    ) -> Path:
        """
        Download one input artifact and return the path of its file.

        The file appears only when it is complete, and takes the place of one that is there.

        Args:
            name: Name of an input artifact of this job.
            to: File to write.  Its directory must exist.
            progress: Called with the number of bytes moved since the last call; it may be negative after a retry.  It
                is called from other threads, from one at a time.  An exception that it raises aborts the download.
            max_bytes: The most bytes that the object may have; ``None`` for any number.  The default, 5 GiB, is
                CodePipeline's quota for a source artifact in S3.

                .. versionadded:: 0.2.0

        Raises:
            cp_thirdparty.exceptions.ArtifactTooLargeError: The object has more bytes.  It is not downloaded.
            cp_thirdparty.exceptions.ArtifactFileError: The file cannot be written.  If the disk has not enough space,
                nothing is downloaded.
        """
        target = to_path(to, "to")
        check_max_bytes(max_bytes)
        location = self._find(self._inputs, name, "input")
        call = self._bounds.start()
        reporter = Reporter(progress, call.check_deadline)
        return self._attempt(
            lambda: download(self._objects, location, target, reporter, max_bytes), location, call, reporter, target
        )

    def size(self, name: str) -> int:
        """
        Return the number of bytes of one input artifact, without downloading it.

        Args:
            name: Name of an input artifact of this job.

        .. versionadded:: 0.2.0
        """
        location = self._find(self._inputs, name, "input")
        return self._attempt(lambda: self._objects.size(location), location, self._bounds.start())

    def extract(
        self, name: str, *, to: LocalPath, limits: ArchiveLimits | None = None, progress: Progress | None = None
    ) -> Path:
        """
        Download one input artifact and extract it into a new directory, all or nothing; return the directory.

        Args:
            name: Name of an input artifact of this job.
            to: Directory to create.  Its parent must exist, and needs space for the archive as well until it is
                extracted.
            limits: What the archive may contain; ``None`` for the defaults of `cp_thirdparty.artifacts.ArchiveLimits`.
                An object that is larger than all its files may be is not downloaded.
            progress: As for `download()`: it counts the bytes of the download.

                .. versionadded:: 0.2.0

        Raises:
            cp_thirdparty.exceptions.UnsafeArchiveError: The archive breaks a rule or a limit.
            cp_thirdparty.exceptions.ArtifactTooLargeError: The archive itself is larger than its files may be.
            cp_thirdparty.exceptions.ArtifactError: ``to`` exists.  This is checked before the download.
        """
        target, checked = to_path(to, "to"), check_limits(limits)
        if os.path.lexists(target):
            raise ArtifactError("to: must not exist")
        location = self._find(self._inputs, name, "input")
        call = self._bounds.start()
        reporter = Reporter(progress, call.check_deadline)
        with create_private_file(target.parent, reporter.is_over) as archive:
            self._attempt(
                lambda: self._objects.fetch(location, archive, reporter, max_bytes=checked.max_total_bytes),
                location,
                call,
                reporter,
                target,
            )
            extract_file(archive, target, checked, Reporter(None, self._bounds.start("extraction").check_deadline))
        return target

    def archive(
        self,
        name: str,
        directory: LocalPath,
        *,
        limits: ArchiveLimits | None = None,
        progress: Progress | None = None,
        on_skip: OnSkip | None = None,
    ) -> None:
        """
        Create a zip archive of a directory and upload it as one output artifact, as `upload()` does.

        The same tree gives the same bytes.  Until the upload is complete, the archive is in the system's directory for
        temporary files.

        Args:
            name: Name of an output artifact of this job.
            directory: What to archive.
            limits: As for `cp_thirdparty.artifacts.create_archive()`.

                .. versionadded:: 0.2.0

            progress: As for `download()`: it counts the bytes of the upload.
            on_skip: As for `cp_thirdparty.artifacts.create_archive()`.

                .. versionadded:: 0.2.0

        Raises:
            cp_thirdparty.exceptions.UnsafeArchiveError: The directory has something that no archive may contain.
        """
        location = self._find(self._outputs, name, "output")
        source, checked = to_path(directory, "directory"), check_limits(limits)
        reporter = Reporter(None, self._bounds.start("creation").check_deadline)
        temporary = Path(tempfile.gettempdir())
        with create_private_file(temporary, reporter.is_over) as archive:
            write_archive(source, temporary, checked, reporter, on_skip, file=archive)
            self._upload(location, lambda: nullcontext(archive), progress, temporary)

    def upload(self, name: str, path: LocalPath, *, progress: Progress | None = None) -> None:
        """
        Upload a file as one output artifact, encrypted with KMS: with the job's key, or else the AWS managed one.

        A file of 8 MiB or more goes in parts; when one fails they are all removed.

        Args:
            name: Name of an output artifact of this job.
            path: The file.
            progress: As for `download()`.

        Raises:
            cp_thirdparty.exceptions.ArtifactTransferError: The file was changed while it was read, so what S3 has may
                be a mixture.  Not safe to retry.
        """
        source = to_path(path, "path")
        location = self._find(self._outputs, name, "output")
        self._upload(location, lambda: open_file(source), progress, source)

    def close(self) -> None:
        """Close the connections."""
        self._objects.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of job {show(self._job_id)}>"

    def __getstate__(self) -> None:
        raise TypeError(
            "an ArtifactStore cannot be pickled, because it holds credentials; "
            "send the ThirdPartyJob, and make one in each process"
        )

    def _find(self, artifacts: Mapping[str, Artifact], name: str, direction: str) -> ObjectLocation:
        location = find_location(artifacts, name, direction, self._job_id, self._objects.partition)
        if isinstance(location, ThirdPartyError):
            raise location
        return location

    def _upload(
        self,
        location: ObjectLocation,
        open_source: Callable[[], AbstractContextManager[BinaryIO]],
        progress: Progress | None,
        local: Path,
    ) -> None:
        def work() -> None:
            with open_source() as file:
                before = os.fstat(file.fileno())
                self._objects.upload(location, file, reporter)
                check_unchanged(file, before)

        call = self._bounds.start()
        reporter = Reporter(progress, call.check_deadline)
        self._attempt(work, location, call, reporter, local)

    def _attempt(
        self,
        work: Callable[[], _T],
        location: ObjectLocation,
        call: TransferCall,
        reporter: Reporter | None = None,
        local: Path | None = None,
    ) -> _T:
        value, error = attempt(work, location, call, local)
        if reporter is not None and reporter.failure is not None:
            error = reporter.failure
        if error is not None:
            raise error
        return cast("_T", value)


def _reader(
    client: ThirdPartyJobClient | CustomJobClient, job_id: str, client_token: SecretStr | None
) -> Callable[[], AnyJobDetails]:
    """Return what reads the details of a job again."""
    if isinstance(client, CustomJobClient):
        return functools.partial(client.get_job_details, job_id)
    return functools.partial(client.get_third_party_job_details, job_id, client_token=client_token or "")


def _by_name(artifacts: Iterable[Artifact], direction: str) -> Mapping[str, Artifact]:
    """Return the artifacts by name; raise an error if two have one name."""
    found: dict[str, Artifact] = {}
    for artifact in artifacts:
        if artifact.name in found:
            raise ArtifactError(f"the job has two {direction} artifacts {show_repr(artifact.name)}")
        if artifact.name is not None:
            found[artifact.name] = artifact
    return MappingProxyType(found)


def _check_owner(expected_bucket_owner: str | None) -> InvalidRequestError | None:
    if expected_bucket_owner is None or _ACCOUNT_ID.fullmatch(expected_bucket_owner):
        return None
    return InvalidRequestError("expected_bucket_owner", "must be an account id of 12 digits")


def _check_endpoint(endpoint_url: str | None, *, allow_http: bool) -> InvalidRequestError | None:
    if not isinstance(endpoint_url, str) or allow_http or is_private_endpoint(endpoint_url):
        return None
    return InvalidRequestError("endpoint_url", "must be an https URL; allow_http=True accepts http to another machine")
