"""Measure the time and memory that each library's model of a job-details document takes."""

from __future__ import annotations

import dataclasses
import enum
import functools
import importlib
import json
import types
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Annotated, Any

import attrs

from benchmarks.constant_service import DOCUMENT
from benchmarks.measure import FEWEST_PAIRS, Target, bytes_each, main, microseconds, print_table, take_turns
from cp_thirdparty import JobDetails, SecretStr
from cp_thirdparty.converter import structure

_TEXT = json.dumps(DOCUMENT["jobDetails"])
_PYDANTIC = "pydantic, as strict, same secrets"
_Make = Callable[[Any], object]


def run(*, short: bool) -> None:  # noqa: ARG001 - a short run does the same: it takes a second or two
    """Print both tables."""
    document = json.loads(_TEXT)
    makers = _makers()
    timed = {"json.loads": microseconds(lambda: json.loads(_TEXT), 200)}
    timed.update({name: microseconds(lambda make=make: make(document), 200) for name, make in makers.items()})  # type: ignore[misc]
    print_table(
        f"structuring {len(_TEXT):,} characters, µs",
        "json.loads",
        take_turns(timed, pairs=60),
        {
            "cp-thirdparty": Target("<=", 1.6),
            _PYDANTIC: Target(">=", 1.0, to="cp-thirdparty"),
            "aws-resource-validator": Target(">=", 1.0, to="cp-thirdparty"),
        },
    )
    sizes = {"dictionary": bytes_each(lambda: json.loads(_TEXT))}
    for name, make in makers.items():
        sizes[name] = bytes_each(lambda make=make: make(json.loads(_TEXT)))  # type: ignore[misc]
    print_table(
        "memory of one document, bytes",
        "dictionary",
        take_turns(sizes, pairs=FEWEST_PAIRS),
        {"cp-thirdparty": Target("<=", 0.65)},
    )


def _makers() -> dict[str, _Make]:
    """Return how each library makes its model of a dictionary."""
    validator = importlib.import_module("aws_resource_validator.pydantic_models.codepipeline.codepipeline_classes")
    capo = importlib.import_module("capo_codepipeline.types.third_party_job_details")
    dataclass = importlib.import_module("boto3_dataclass_codepipeline.type_defs").ThirdPartyJobDetails
    msgspec = importlib.import_module("msgspec")
    own = _pydantic_mirror(JobDetails)
    bare = _msgspec_mirror(JobDetails)
    return {
        "cp-thirdparty": lambda document: structure(document, JobDetails),
        _PYDANTIC: own.model_validate,
        "aws-resource-validator": validator.ThirdPartyJobDetailsTypeDef.model_validate,
        "capo": capo.deserialize_aws_json_1_1,
        "boto3-dataclass, every field read": lambda document: _read(dataclass(boto3_raw_data=document)),
        "msgspec, no secrets, no checks": lambda document: msgspec.convert(document, bare),
    }


def _read(value: Any) -> object:
    """Read each field of a lazy dataclass, and those below."""
    if dataclasses.is_dataclass(value):
        for name, member in vars(type(value)).items():
            if isinstance(member, functools.cached_property):
                with suppress(KeyError):  # it has no notion of a member that is absent
                    _read(getattr(value, name))
    elif isinstance(value, list):
        for each in value:
            _read(each)
    return value


# --- the shapes of this library as models of pydantic and structs of msgspec


def _pydantic_mirror(model: Any) -> Any:
    pydantic = importlib.import_module("pydantic")
    settings = pydantic.ConfigDict(
        frozen=True, strict=True, alias_generator=importlib.import_module("pydantic.alias_generators").to_camel
    )

    def leaf(annotation: Any) -> Any:
        if annotation is SecretStr:
            return pydantic.SecretStr
        if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
            plain = enum.Enum(annotation.__name__, {each.name: each.value for each in annotation}, type=str)  # type: ignore[misc]
            known = Annotated[plain, pydantic.Field(strict=False)]
            return Annotated[known | str, pydantic.Field(union_mode="left_to_right")]
        return annotation

    def make(name: str, fields: dict[str, tuple[Any, bool]]) -> Any:
        members = {each: (kind, ... if required else None) for each, (kind, required) in fields.items()}
        return pydantic.create_model(name, __config__=settings, **members)

    def many(inner: Any) -> Any:
        return Annotated[tuple[inner, ...], pydantic.Field(strict=False)]

    return _mirror_type(model, leaf, make, many)


def _msgspec_mirror(model: Any) -> Any:
    msgspec = importlib.import_module("msgspec")

    def leaf(annotation: Any) -> Any:
        return annotation if annotation is int else str

    def make(name: str, fields: dict[str, tuple[Any, bool]]) -> Any:
        ordered = sorted(fields.items(), key=lambda item: not item[1][1])
        members = [(each, kind) if required else (each, kind, None) for each, (kind, required) in ordered]
        return msgspec.defstruct(name, members, rename="camel", frozen=True)

    return _mirror_type(model, leaf, make, lambda inner: tuple[inner, ...])  # type: ignore[valid-type]


def _mirror_type(annotation: Any, leaf: Any, make: Any, many: Any) -> Any:
    """Translate a type of ours, whose parts are translated first."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return _mirror_type(arguments[0], leaf, make, many) | None
    if origin is tuple:
        return many(_mirror_type(arguments[0], leaf, make, many))
    if origin is Mapping:
        return dict[str, leaf(arguments[1])]  # type: ignore[misc] # known at run time only
    if not attrs.has(annotation):
        return leaf(annotation)
    fields = attrs.fields(attrs.resolve_types(annotation))
    return make(
        annotation.__name__,
        {field.name: (_mirror_type(field.type, leaf, make, many), field.default is attrs.NOTHING) for field in fields},
    )


if __name__ == "__main__":
    main(run, __doc__)
