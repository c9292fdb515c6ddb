"""The worker as a program: settings from the environment, SIGTERM, log."""

import logging
import os
import sys
from collections.abc import Callable
from functools import partial

from cp_thirdparty import ActionTypeId, JobWorker, ThirdPartyJobClient
from cp_thirdparty.worker import (
    ArtifactsFactory,
    EnvironmentTokens,
    Journal,
    SqliteJournal,
)
from partner_scan.configuration import ScanConfiguration
from partner_scan.handler import handle


def make_worker(
    connect: Callable[[], ThirdPartyJobClient],
    provider: str,
    journal: Journal,
    *,
    artifacts: ArtifactsFactory | None = None,
) -> JobWorker[ScanConfiguration]:
    """Create the worker; tests pass another service and another store."""
    return JobWorker(
        connect,
        ActionTypeId(
            category="Test", owner="ThirdParty", provider=provider, version="1"
        ),
        handle,
        configuration=ScanConfiguration,
        client_tokens=EnvironmentTokens(),
        journal=journal,
        is_idempotent=True,  # a scan may run twice: it changes nothing but its report
        artifacts=artifacts,
    )


def main() -> int:
    """Work until SIGTERM; return 1 when something is left to report."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    journal = SqliteJournal(os.environ["PARTNER_SCAN_JOURNAL"])
    worker = make_worker(
        partial(ThirdPartyJobClient.create, region_name=os.environ["AWS_REGION"]),
        os.environ["PARTNER_SCAN_PROVIDER"],
        journal,
    )
    try:
        return 0 if worker.run(handle_signals=True) else 1
    finally:
        journal.close()


if __name__ == "__main__":
    sys.exit(main())
