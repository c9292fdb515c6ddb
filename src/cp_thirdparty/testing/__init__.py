"""
A local CodePipeline to develop and test a worker against: offline, with real HTTP and real botocore.

Each name is loaded at its first use, so the import of this package is fast.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cp_thirdparty.testing import faults as faults
    from cp_thirdparty.testing import journal_conformance as journal_conformance
    from cp_thirdparty.testing import plugin as plugin
    from cp_thirdparty.testing import samples as samples
    from cp_thirdparty.testing import strategies as strategies
    from cp_thirdparty.testing.actions import Action, Job, Success
    from cp_thirdparty.testing.clock import ManualClock
    from cp_thirdparty.testing.folder_artifacts import ArtifactContent, FolderArtifacts
    from cp_thirdparty.testing.journal import RequestRecord
    from cp_thirdparty.testing.local_lambda import LambdaContext, LocalLambda
    from cp_thirdparty.testing.server import LocalCodePipeline

__all__ = [
    "Action",
    "ArtifactContent",
    "FolderArtifacts",
    "Job",
    "LambdaContext",
    "LocalCodePipeline",
    "LocalLambda",
    "ManualClock",
    "RequestRecord",
    "Success",
]

# Module -> the names that this package exports from it.
_NAMES = {
    "testing.actions": ("Action", "Job", "Success"),
    "testing.clock": ("ManualClock",),
    "testing.folder_artifacts": ("ArtifactContent", "FolderArtifacts"),
    "testing.journal": ("RequestRecord",),
    "testing.local_lambda": ("LambdaContext", "LocalLambda"),
    "testing.server": ("LocalCodePipeline",),
}

# Public modules, which can be used as attributes without importing them.
_MODULES = ("faults", "journal_conformance", "plugin", "samples", "strategies")

if not TYPE_CHECKING:  # pragma: no branch - otherwise type checkers would accept any name
    from cp_thirdparty._base import lazy as _lazy

    __getattr__, __dir__ = _lazy.attach(
        __name__, __all__, _NAMES, modules=_MODULES, needs={"plugin": "pytest", "strategies": "hypothesis"}
    )
