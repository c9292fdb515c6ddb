"""`ArtifactStore`: read and write the artifacts of one job by their names, with the credentials of the job."""

from __future__ import annotations

import io
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from botocore.config import Config
from typing_extensions import Self

from cp_thirdparty._base.frames import hide_arguments
from cp_thirdparty._base.lazy import is_installed, missing_extra
from cp_thirdparty._base.text import show
from cp_thirdparty.artifacts._bounds import Bounds, TransferCall
from cp_thirdparty.artifacts._credentials import NotRenewable, check_credentials, create_credentials
from cp_thirdparty.artifacts._extraction import extract_file
from cp_thirdparty.artifacts._failures import call_s3
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
from cp_thirdparty.artifacts._objects import ArtifactStorage, S3Objects, download
from cp_thirdparty.artifacts._place import (
    ObjectLocation,
    check_bucket_owner,
    check_endpoint,
    find_location,
    map_by_name,
)
from cp_thirdparty.artifacts._s3 import create_s3
from cp_thirdparty.artifacts._transfer import ProgressCallback, Reporter
from cp_thirdparty.artifacts.create import write_archive
from cp_thirdparty.artifacts.limits import MAX_BYTES, ArchiveLimits
from cp_thirdparty.client import CustomJobClient, ThirdPartyJobClient
from cp_thirdparty.exceptions import ArtifactError, ThirdPartyError
from cp_thirdparty.models import AnyJobDetails, Artifact
from cp_thirdparty.secrets import SecretStr

__all__ = ["ArtifactStore"]

_T = TypeVar("_T")

# The buffer of a stream of `open()`: how many bytes are read at once if the caller reads less.
_BUFFER_BYTES = 256 << 10


class ArtifactStore:
    """
    Read the input artifacts of a job from S3, and write its output artifacts there.

    Create a store with `for_job()`.  A store uses the credentials of its job and never the credentials of the machine.
    The credentials expire after 15 minutes.  The store renews them by reading the details of the job again.  So it can
    be used as long as CodePipeline returns the details of the job.

    The store accepts bytes only if S3 sent them, if they are complete, and if they belong to one version of the object.
    It compares them with each checksum of the full object that S3 reports and that this machine can compute.
    After an upload in parts, S3 may report a checksum of the parts' checksums.  Such a checksum is not compared.

    Thread-safe within one process.  Can be used as a context manager.

    Every method that sends a request to S3 may raise these errors, in addition to those in its own description:

    * `cp_thirdparty.exceptions.ArtifactTransferError`: the transfer did not complete.  ``is_retry_safe`` states whether
      it is safe to retry.
    * `cp_thirdparty.exceptions.ArtifactNotFoundError`: the job has no such artifact, or S3 has no such object.
    * `cp_thirdparty.exceptions.ArtifactError`: the bucket name or the object key breaks a rule, or the job's details
      had changed when they were read again to renew the credentials.
    * `cp_thirdparty.exceptions.AccessDeniedError`: the credentials of the job do not allow the operation.
    * `cp_thirdparty.exceptions.CredentialsError`: S3 does not accept the credentials of the job.
    * `cp_thirdparty.exceptions.ThrottledError`: S3 received too many requests.
    * `cp_thirdparty.exceptions.ClockSkewError`: the clock of this machine is wrong.
    * each error of `cp_thirdparty.ThirdPartyJobClient.get_third_party_job_details()`, when the credentials are renewed.
    * `cp_thirdparty.exceptions.ArtifactFileError`: a local file cannot be read or written.
    * ``TypeError``: an argument has the wrong type.
    """

    _job_id = ""  # for `__repr__`, if `__init__` has failed

    def __init__(self, objects: ArtifactStorage, details: AnyJobDetails, bounds: Bounds) -> None:
        self._objects = objects
        self._bounds = bounds
        self._job_id = details.id
        self._inputs = map_by_name(details.data.input_artifacts, "input")
        self._outputs = map_by_name(details.data.output_artifacts, "output")

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
        Create the store of a job.  No request is sent before a method reads or writes an artifact.

        Args:
            client: The client that reads the details of the job again, to renew the credentials before they expire.
            details: The details of the job.  Read them shortly before, because the store assumes that their credentials
                are valid for 15 minutes from now.
            client_token: The client token of the job; ``None`` for a custom job, which has no client token.
            expected_bucket_owner: Id of the AWS account, 12 digits, that must own the buckets.  S3 denies access to
                buckets of other accounts.
            endpoint_url: URL of another S3 server.  The URLs of requests to it have the bucket in the path.
            region_name: Region of the buckets; default: the region of the client.  If a bucket is in another region and
                S3 reports which one, that region is used.
            config: Botocore settings that override the settings of this library.  Two settings cannot be changed:
                requests are signed with Signature Version 4, and checksums are used.
            allow_http: Whether ``endpoint_url`` may be an ``http`` URL of another machine.  Everybody on the network
                between the machines can then read the artifacts and the session token of the job.

                .. versionadded:: 0.2.0

            deadline: The time at which each transfer, extraction and creation of an archive must end, in seconds since
                1970.  The worker passes the deadline of the job.  With ``None``, each transfer must end one hour after
                its start, and extractions and creations have no deadline.

                .. versionadded:: 0.2.0

            is_cancelled: Returns whether the job was cancelled, so that the work must stop.  It is called from several
                threads, for each piece of a transfer or a file.  The worker passes a function for its job.

                .. versionadded:: 0.2.0

            clock: Returns the current time in seconds since 1970.
            is_request_id_required: Whether a response must have the header ``x-amz-request-id``.  A response without it
                may come from a proxy instead of S3.  Moto does not send this header, so tests with moto need ``False``.

                .. versionadded:: 0.2.0

        Raises:
            ImportError: The extra ``artifacts`` is not installed.
            cp_thirdparty.exceptions.CredentialsError: At least one of the three credentials of the job is missing.
            cp_thirdparty.exceptions.InvalidRequestError: An argument is invalid; the message names it.
            cp_thirdparty.exceptions.ArtifactError: Two input artifacts, or two output artifacts, have the same name.
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
        del client_token  # tracebacks show this frame, so it must keep only the hidden form of the token
        refused = (
            check_credentials(details)
            or check_bucket_owner(expected_bucket_owner)
            or check_endpoint(endpoint_url, allow_http=allow_http)
        )
        if refused is not None:
            raise refused
        key = details.data.encryption_key
        key_id = None if key is None else key.id
        s3 = create_s3(
            create_credentials(client, details, token, clock),
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
        """The input artifacts of the job by name."""
        return self._inputs

    @property
    def outputs(self) -> Mapping[str, Artifact]:
        """The output artifacts of the job by name."""
        return self._outputs

    def open(self, name: str) -> BinaryIO:
        """
        Open one input artifact as a binary stream that cannot seek.  Close it, or use it in a ``with`` statement.

        After a dropped connection, the stream continues at the same position.  The checksum is compared at the end of
        the stream, so do not use the bytes before the stream has ended without an error.  Its methods for reading raise
        the errors in the description of `ArtifactStore`.

        Args:
            name: Name of an input artifact of this job.
        """
        location = self._find(self._inputs, name, "input")
        call = self._bounds.start()
        raw = self._attempt(lambda: self._objects.open(location, call), location, call)
        return io.BufferedReader(raw, _BUFFER_BYTES)

    def download(
        self, name: str, *, to: LocalPath, progress: ProgressCallback | None = None, max_bytes: int | None = MAX_BYTES
    ) -> Path:
        """
        Download one input artifact and return the path of its file.

        The file appears only when it is complete.  It replaces an existing file.

        Args:
            name: Name of an input artifact of this job.
            to: Path of the file to write.  Its directory must exist.
            progress: Called with the number of bytes transferred since the last call.  The number may be negative after
                a retry.  The calls come from other threads, one after another.  If it raises an exception, the download
                is aborted and this method raises that exception.
            max_bytes: Maximum size of the object in bytes; ``None`` for no limit.  The default, 5 GiB, is
                CodePipeline's quota for a source artifact in S3.

                .. versionadded:: 0.2.0

        Raises:
            cp_thirdparty.exceptions.ArtifactTooLargeError: The object has more than ``max_bytes`` bytes.  It is not
                downloaded.
            cp_thirdparty.exceptions.ArtifactFileError: The file cannot be written.  If the free space of the disk is
                too small for the object, nothing is downloaded.
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
        Return the size of one input artifact in bytes, without downloading it.

        Args:
            name: Name of an input artifact of this job.

        .. versionadded:: 0.2.0
        """
        location = self._find(self._inputs, name, "input")
        return self._attempt(lambda: self._objects.size(location), location, self._bounds.start())

    def extract(
        self, name: str, *, to: LocalPath, limits: ArchiveLimits | None = None, progress: ProgressCallback | None = None
    ) -> Path:
        """
        Download one input artifact, extract it into a new directory, and return the directory.

        The directory appears only when it is complete.

        Args:
            name: Name of an input artifact of this job.
            to: Path of the directory to create.  Its parent must exist.  Until the end of the extraction, the disk also
                needs space for the archive.
            limits: What the archive may contain; ``None`` for the defaults of `cp_thirdparty.artifacts.ArchiveLimits`.
                An archive of more than ``limits.max_total_bytes`` bytes is not downloaded.
            progress: Called with numbers of downloaded bytes, as described for `download()`.

                .. versionadded:: 0.2.0

        Raises:
            cp_thirdparty.exceptions.UnsafeArchiveError: The archive breaks a rule or a limit.
            cp_thirdparty.exceptions.ArtifactTooLargeError: The archive has more than ``limits.max_total_bytes`` bytes.
            cp_thirdparty.exceptions.ArtifactError: ``to`` already exists.  This is checked before the download.
        """
        target, checked = to_path(to, "to"), check_limits(limits)
        if os.path.lexists(target):
            raise ArtifactError("to: must not exist")
        location = self._find(self._inputs, name, "input")
        call = self._bounds.start()
        reporter = Reporter(progress, call.check_deadline)
        with create_private_file(target.parent, reporter.is_aborted) as archive:
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
        progress: ProgressCallback | None = None,
        on_skip: OnSkip | None = None,
    ) -> None:
        """
        Create a zip archive of a directory, and upload it as one output artifact in the same way as `upload()`.

        Directories with the same content give archives with the same bytes, as described for
        `cp_thirdparty.artifacts.create_archive()`.  Until the end of the upload, the archive is in the system's
        directory for temporary files.

        Args:
            name: Name of an output artifact of this job.
            directory: Path of the directory to archive.
            limits: See `cp_thirdparty.artifacts.create_archive()`.

                .. versionadded:: 0.2.0

            progress: Called with numbers of uploaded bytes, as described for `download()`.
            on_skip: See `cp_thirdparty.artifacts.create_archive()`.

                .. versionadded:: 0.2.0

        Raises:
            cp_thirdparty.exceptions.UnsafeArchiveError: The directory contains something that an archive may not
                contain.
        """
        location = self._find(self._outputs, name, "output")
        source, checked = to_path(directory, "directory"), check_limits(limits)
        reporter = Reporter(None, self._bounds.start("creation").check_deadline)
        temporary = Path(tempfile.gettempdir())
        with create_private_file(temporary, reporter.is_aborted) as archive:
            write_archive(source, temporary, checked, reporter, on_skip, file=archive)
            self._upload(location, lambda: nullcontext(archive), progress, temporary)

    def upload(self, name: str, path: LocalPath, *, progress: ProgressCallback | None = None) -> None:
        """
        Upload a file as one output artifact.

        S3 encrypts the object with the KMS key of the job, or with the AWS managed key if the job has no key.  A file
        of 8 MiB or more is uploaded in parts.  If one part fails, all parts are removed.

        Args:
            name: Name of an output artifact of this job.
            path: Path of the file to upload.
            progress: Called with numbers of uploaded bytes, as described for `download()`.

        Raises:
            cp_thirdparty.exceptions.ArtifactTransferError: The file was changed during the upload, so the object in S3
                may mix old and new content.  Not safe to retry.
        """
        source = to_path(path, "path")
        location = self._find(self._outputs, name, "output")
        self._upload(location, lambda: open_file(source), progress, source)

    def close(self) -> None:
        """Close the connections to S3."""
        self._objects.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
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
        progress: ProgressCallback | None,
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
        value, error = call_s3(work, location, call, local)
        if reporter is not None and reporter.failure is not None:
            error = reporter.failure
        if error is not None:
            raise error
        return cast("_T", value)
