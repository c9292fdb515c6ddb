"""What all tests share; helpers beside this file are imported by their names."""

from importlib.util import find_spec

pytest_plugins = ["both", "pytester", "seaweed"]

if find_spec("aiobotocore"):
    pytest_plugins += ["async_scripted"]
else:
    collect_ignore_glob = ["test_async_*.py"]

if find_spec("hypothesis"):
    from hypothesis import settings

    # No test is about time: a busy machine takes as long as it takes.
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")
