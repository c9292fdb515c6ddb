"""What all tests share; `support` has the helpers."""

from importlib.util import find_spec

pytest_plugins = ["support.both_clients", "pytester", "support.seaweedfs"]

if find_spec("aiobotocore"):
    pytest_plugins += ["support.async_scripted_server"]
else:
    collect_ignore_glob = ["client/test_async_*.py"]

if find_spec("hypothesis"):
    from hypothesis import settings

    # No test is about time: a busy machine takes as long as it takes.
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")
