"""
A local CodePipeline: what a partner develops and tests against, offline, with real HTTP and real botocore.

Every name is loaded when it is first used, so importing the package costs next to nothing.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cp_thirdparty.testing.actions import Action, Job, Success
    from cp_thirdparty.testing.clock import ManualClock
    from cp_thirdparty.testing.journal import RequestRecord
    from cp_thirdparty.testing.server import LocalCodePipeline

__all__ = ["Action", "Job", "LocalCodePipeline", "ManualClock", "RequestRecord", "Success"]

_HOMES = {
    "Action": "actions",
    "Job": "actions",
    "LocalCodePipeline": "server",
    "ManualClock": "clock",
    "RequestRecord": "journal",
    "Success": "actions",
}


if not TYPE_CHECKING:  # pragma: no branch - else type checkers would take any name for one of ours

    def __getattr__(name: str) -> object:
        from importlib import import_module  # noqa: PLC0415 - loaded when needed, like all else here

        if name not in _HOMES:
            raise AttributeError(f"module 'cp_thirdparty.testing' has no attribute {name!r}")
        value = getattr(import_module(f"cp_thirdparty.testing.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
