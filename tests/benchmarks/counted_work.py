"""
Do the work whose instructions callgrind counts, in blocks with a marker before each one.

``instructions.py`` starts it under valgrind.  The marker is a call of ``getsid()``, which nothing else here calls:
callgrind writes the count since the last marker and begins again at zero.  So the imports do not count.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import botocore.session
from botocore.config import Config

from benchmarks.constant_service import DOCUMENT, TOKEN
from cp_thirdparty import JobDetails, ThirdPartyJobClient
from cp_thirdparty.converter import structure

_Read = Callable[[Any, Any], Any]

# The first rounds open connections, fill caches and let Python specialise its instructions: up to 6 % more.
_WARM_UP_ROUNDS = 4


def main() -> None:
    """Run all blocks, and print the name and the number of calls of each one in order."""
    works = _works(sys.argv[1])
    rounds = int(sys.argv[2])
    for _ in range(_WARM_UP_ROUNDS):
        _run_round(works, lambda: None)
    gc.collect()
    gc.disable()  # a collection would count for the block in which it happens to fall
    for _ in range(rounds):
        _run_round(works, lambda: os.getsid(0))
    os.getsid(0)
    print(json.dumps([(name, calls) for name, (_, calls) in works.items()] * rounds))


def _run_round(works: dict[str, tuple[Callable[[], object], int]], mark: Callable[[], object]) -> None:
    for work, calls in works.values():
        mark()
        for _ in range(calls):
            work()


def _works(endpoint_url: str) -> dict[str, tuple[Callable[[], object], int]]:
    """Return each work with the number of calls in one block."""
    settings: dict[str, Any] = {"region_name": "us-east-1", "endpoint_url": endpoint_url}
    # With a constant user agent, because some releases of botocore build it for each call and others do not.
    config = Config(proxies={}, user_agent="reference")
    raw: Any = botocore.session.Session().create_client("codepipeline", **settings, config=config)
    client = ThirdPartyJobClient.create(**settings, config=Config(proxies={}))
    document = DOCUMENT["jobDetails"]
    return {
        "plain reading": (partial(_plain_reader(document), document, None), 20),
        "structuring": (lambda: structure(document, JobDetails), 20),
        "botocore call": (partial(raw.get_third_party_job_details, jobId="job-1", clientToken=TOKEN), 5),
        "client call": (partial(client.get_third_party_job_details, "job-1", client_token=TOKEN), 5),
    }


def _plain_reader(sample: Any) -> _Read:
    """
    Return a function that copies documents like the sample into objects with slots, without any library.

    It executes the same kinds of instructions as structuring does, so a compiler that makes one of them faster makes
    the other one faster too.  `json.loads` is C code: its share differs by 12 % between two builds of one Python.
    """
    if isinstance(sample, list):
        return _list_reader(_plain_reader(sample[0]))
    if isinstance(sample, dict):
        shape = type("Shape", (), {"__slots__": tuple(sample)})
        return _object_reader(shape, [(name, _plain_reader(member)) for name, member in sample.items()])
    return _read_string


def _read_string(value: Any, _: Any) -> str:
    if value.__class__ is str and value.isascii():
        return value
    raise TypeError("must be a string")


def _list_reader(read_item: _Read) -> _Read:
    def read_list(value: Any, _: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise TypeError("must be a list")
        return tuple([read_item(each, None) for each in value])

    return read_list


def _object_reader(shape: type, readers: list[tuple[str, _Read]]) -> _Read:
    def read_members(value: Any, _: Any) -> Any:
        new = shape()
        for name, read in readers:
            setattr(new, name, read(value[name], shape))
        return new

    def read_object(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise TypeError("must be an object")
        return read_members(value, shape)

    return read_object


if __name__ == "__main__":
    main()
