"""A record of each request to the local CodePipeline and its outcome, for assertions; secrets are hidden."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

import attrs

from cp_thirdparty.testing.faults import Fault

__all__ = ["RequestJournal", "RequestRecord"]


@attrs.frozen(kw_only=True)
class RequestRecord:
    """
    One request and its outcome.

    Attributes:
        operation_name: The service's name of the operation; ``None`` if the request names no operation of jobs.
        parameters: The parameters by the service's names, with the client token as a `SecretStr`; ``None`` if the
            request breaks a rule of the service's model.
        accepted: Whether the service executed the request, even if the response was lost.
        status_code: The HTTP status that was sent to the client; ``None`` if the response was lost.
        error_code: The error code that was sent to the client, or ``None``.
        fault: The fault that was injected, or ``None``.
    """

    operation_name: str | None
    parameters: Mapping[str, Any] | None
    accepted: bool
    status_code: int | None
    error_code: str | None
    fault: Fault | None


class RequestJournal:
    """
    The latest requests, at most ``size``.  Thread-safe.

    Raises:
        ValueError: ``size`` is less than 1.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError("journal_size: must be at least 1")
        self._lock = threading.Lock()
        self._records: deque[RequestRecord] = deque(maxlen=size)

    def add(self, record: RequestRecord) -> None:
        """Add a record; if the journal is full, remove the oldest record."""
        with self._lock:
            self._records.append(record)

    @property
    def records(self) -> tuple[RequestRecord, ...]:
        """The records, oldest first."""
        with self._lock:
            return tuple(self._records)
