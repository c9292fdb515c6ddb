"""What all tests share; helpers beside this file are imported by their names."""

from importlib.util import find_spec

pytest_plugins = ["both", "pytester", "seaweed"]

if find_spec("aiobotocore"):
    pytest_plugins += ["async_scripted"]
else:
    collect_ignore_glob = ["test_async_*.py"]
