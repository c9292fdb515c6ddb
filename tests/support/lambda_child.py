"""
An environment of a Lambda function, as a process that a test kills.

Usage: ``python -m support.lambda_child URL NOTE STEP``, where the step is ``claim`` to stand still before the handler
begins, or ``handler`` to stand still in the handler, which writes the file NOTE.
"""

from __future__ import annotations

import sys
import threading
from functools import partial
from typing import Any

from cp_thirdparty import LambdaHandler
from cp_thirdparty.testing import LambdaContext
from cp_thirdparty.worker import DynamoDBJournal
from support import lambda_functions as functions
from support.dynamodb import TABLE_NAME, dynalite_client
from support.lambda_functions import FakeClient, make_event

# Seconds until another environment has a job of a killed one.
TAKEOVER_SECONDS = 3.0


def create_function(url: str, handler: Any, client: FakeClient, **settings: Any) -> LambdaHandler[Any]:
    """Create a function whose environments share the table of jobs."""

    def open_journal() -> DynamoDBJournal:
        return DynamoDBJournal(TABLE_NAME, client=dynalite_client(url), takeover_seconds=TAKEOVER_SECONDS)

    every: dict[str, Any] = {"connect": lambda: client, "journal": open_journal, **settings}
    return LambdaHandler(handler, **every)


def main(url: str, note: str, step: str) -> None:
    """Handle an event, and never end."""
    if step == "claim":
        forever = threading.Event()
        DynamoDBJournal.running = lambda *_, **__: forever.wait()  # type: ignore[method-assign,assignment]
    create_function(url, partial(functions.hang, note=note), FakeClient())(make_event(), LambdaContext())


if __name__ == "__main__":
    main(*sys.argv[1:])
