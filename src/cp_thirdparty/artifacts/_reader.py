"""A stream of an object that resumes after a dropped connection."""

from __future__ import annotations

import io
from contextlib import suppress
from functools import partial
from typing import Any, Final

from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

from cp_thirdparty.artifacts._bounds import TransferCall
from cp_thirdparty.artifacts._checksum import Comparison
from cp_thirdparty.artifacts._failures import call_s3
from cp_thirdparty.artifacts._place import ObjectLocation
from cp_thirdparty.artifacts._responses import Facts
from cp_thirdparty.artifacts._s3 import pin_object
from cp_thirdparty.exceptions import ArtifactTransferError

# How many requests in a row may end without a byte before the stream raises an error.
_ATTEMPTS: Final = 5
_TRUNCATED: Final = (IncompleteReadError, ReadTimeoutError, ResponseStreamingError, TimeoutError)


class ArtifactReader(io.RawIOBase):
    """Read one object from its first byte to its last.  The stream ends only if all bytes have the right checksum."""

    def __init__(self, s3: Any, location: ObjectLocation, facts: Facts, call: TransferCall) -> None:
        self._s3 = s3
        self._location = location
        self._facts = facts
        self._call = call
        self._position = 0
        self._body: Any = None
        self._comparison = Comparison(facts.checksums)

    def readable(self) -> bool:
        """Return ``True``: this stream can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read at least one byte into the buffer, and return how many; return 0 at the end of the object."""
        # Python 3.15 resizes the buffer after this call, which fails if a view of it exists.  The frames of a
        # suppressed error may keep a view, so all views are released here.
        with memoryview(buffer) as exported, exported.cast("B") as view:
            count, error = call_s3(partial(self._read_into, view), self._location, self._call)
        # `io` does not clear a new buffer, so it may contain earlier data of this process, such as a secret.  Without
        # this reference, the traceback of the error cannot show the buffer.
        del buffer
        if error is not None:
            raise error
        return count or 0

    def close(self) -> None:
        """Close the response, which frees its connection."""
        self._release()
        super().close()

    def _read_into(self, view: memoryview) -> int:
        if self._position == self._facts.size:
            return self._end()
        data = self._read_some(len(view))
        view[: len(data)] = data
        self._position += len(data)
        self._comparison.update(data)
        return len(data)

    def _read_some(self, most: int) -> bytes:
        for _ in range(_ATTEMPTS):
            if self._body is None:
                self._body = self._request_body()
            with suppress(*_TRUNCATED):
                data: bytes = self._body.read(most)
                if data:
                    return data
            self._release()  # the next request starts at the current position
        raise ArtifactTransferError(
            f"{self._location}: the connection was closed before the end of the response", is_retry_safe=True
        )

    def _request_body(self) -> Any:
        with pin_object(self._facts):
            response = self._s3.get_object(
                Bucket=self._location.bucket, Key=self._location.key, Range=f"bytes={self._position}-"
            )
        return response["Body"]

    def _end(self) -> int:
        self._release()
        if not self._comparison.is_equal():
            raise ArtifactTransferError(
                f"{self._location}: the bytes do not have the checksum that S3 reports", is_retry_safe=True
            )
        return 0

    def _release(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None
