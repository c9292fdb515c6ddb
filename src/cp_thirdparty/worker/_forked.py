"""
Load the modules and data that all processes of jobs need, once, in the process from which these are forked.

Only that process imports this module.  Without this module, the process of each job would need a tenth of a second to
read botocore's data.
"""

from __future__ import annotations

from contextlib import suppress

import botocore.session

from cp_thirdparty.client import ThirdPartyJobClient
from cp_thirdparty.worker._child import run_order

__all__ = ["run_order"]  # the function that the processes of jobs run


def _load() -> None:
    """Create and close a client, so that botocore's data is read; no request is sent."""
    session = botocore.session.Session()
    session.set_credentials("unused", "unused")
    with suppress(Exception):  # an invalid AWS configuration is reported when a job's process uses it
        ThirdPartyJobClient.create(region_name="us-east-1", session=session).close()


_load()
