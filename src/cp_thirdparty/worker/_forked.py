"""
What the processes of jobs have in common, loaded once in the process from which they are forked.

Only that process imports this module.  Without it, each job would take a tenth of a second to read botocore's data.
"""

from __future__ import annotations

from contextlib import suppress

import botocore.session

from cp_thirdparty.client import ThirdPartyJobClient
from cp_thirdparty.worker._child import run_order

__all__ = ["run_order"]  # what the processes run


def _load() -> None:
    """Create a client, which reads botocore's data; it makes no call."""
    session = botocore.session.Session()
    session.set_credentials("unused", "unused")
    with suppress(Exception):  # an AWS configuration that cannot be used is reported where it is used
        ThirdPartyJobClient.create(region_name="us-east-1", session=session).close()


_load()
