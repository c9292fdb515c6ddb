"""What all tests share; `support` has the helpers."""

import gc
import signal
import sys
from collections.abc import Generator
from importlib.util import find_spec

import pytest

# A shell ignores Ctrl-C in what it starts in the background, and child processes of the tests would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest.register_assert_rewrite("support", "long")  # a failed assertion there shows its values too

pytest_plugins = [
    "pytester",
    "support.aws_machine",
    "support.both_clients",
    "support.no_skips",
    "support.seaweedfs",
    "support.shared_botocore_data",
]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect the tests without the garbage collector, which takes a third of that time and finds nothing."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        # Later collections do not look at the tests, which are most of the objects of this process, and the complete
        # ones are ten times as rare as by default: they took a tenth of the time, most of it for botocore's data.
        # Since Python 3.14, Hypothesis warns of its own objects if they are frozen.
        if sys.version_info < (3, 14):
            gc.freeze()
            gc.set_threshold(700, 10, 100)


if find_spec("aiobotocore"):
    pytest_plugins += ["support.async_scripted_server"]
else:
    collect_ignore_glob = ["client/test_async_*.py"]

if find_spec("hypothesis"):
    from hypothesis import HealthCheck, settings

    # No test is about time: a busy machine takes as long as it takes.
    settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    # The default run has the same few examples each time.  `--hypothesis-profile=slow` tries many new ones.
    settings.register_profile("fast", settings.get_profile("untimed"), max_examples=10, derandomize=True)
    # In CI, Hypothesis would repeat the same examples without this `derandomize`.
    settings.register_profile("slow", settings.get_profile("untimed"), max_examples=200, derandomize=False)
    settings.register_profile("fuzz", settings.get_profile("untimed"), max_examples=5_000, derandomize=False)
    settings.load_profile("fast")
