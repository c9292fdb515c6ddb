"""The worker as a program: settings from the environment, SIGTERM, log."""

import logging
import os
import sys
from collections.abc import Callable
from typing import Literal

from cp_thirdparty import ActionTypeId, CustomJobClient, JobWorker, ThirdPartyJobClient
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
        _action_type_id("ThirdParty", provider),
        handle,
        configuration=ScanConfiguration,
        client_tokens=EnvironmentTokens(),
        journal=journal,
        is_idempotent=True,  # a scan may run twice: it changes nothing but its report
        artifacts=artifacts,
    )


def make_custom_worker(
    connect: Callable[[], CustomJobClient],
    provider: str,
    journal: Journal,
    *,
    artifacts: ArtifactsFactory | None = None,
) -> JobWorker[ScanConfiguration]:
    """Create the worker of a custom action in an account of your own."""
    return JobWorker(
        connect,
        _action_type_id("Custom", provider),
        handle,
        configuration=ScanConfiguration,
        journal=journal,
        is_idempotent=True,
        artifacts=artifacts,
    )


def _action_type_id(
    owner: Literal["ThirdParty", "Custom"], provider: str
) -> ActionTypeId:
    return ActionTypeId(category="Test", owner=owner, provider=provider, version="1")


def _read_setting(name: str, default: str = "") -> str:
    value = os.environ.get(name, default)
    if not value:
        sys.exit(f"partner-scan: {name} is not set")
    return value


def main() -> int:
    """Work until SIGTERM; return 1 when something is left to report."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    owner = _read_setting("PARTNER_SCAN_OWNER", "ThirdParty")
    if owner not in ("ThirdParty", "Custom"):
        sys.exit("partner-scan: PARTNER_SCAN_OWNER must be ThirdParty or Custom")
    provider = _read_setting("PARTNER_SCAN_PROVIDER")
    journal = SqliteJournal(_read_setting("PARTNER_SCAN_JOURNAL"))
    # The region is that of AWS_DEFAULT_REGION or of the profile.
    if owner == "Custom":
        worker = make_custom_worker(CustomJobClient.create, provider, journal)
    else:
        worker = make_worker(ThirdPartyJobClient.create, provider, journal)
    try:
        return 0 if worker.run(handle_signals=True) else 1
    finally:
        journal.close()


if __name__ == "__main__":
    sys.exit(main())
