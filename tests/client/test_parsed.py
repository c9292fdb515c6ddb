"""What the caller's tools see as a parsed response is what botocore's own parser returns."""

from __future__ import annotations

import json
from typing import Any

import botocore.session
import pytest
from botocore.parsers import create_parser
from hypothesis import given
from hypothesis import strategies as st

from cp_thirdparty._core.parsed import find_filter

_SERVICE = botocore.session.Session().get_service_model("codepipeline")
_TEXT = st.text(max_size=5)


def _documents(shape: Any) -> st.SearchStrategy[Any]:
    """Build what may arrive for a shape: members that are absent, ``null`` or unknown, and all types of values."""
    if shape.type_name == "structure":
        members = {name: st.none() | _documents(member) for name, member in shape.members.items()}
        unknown = st.dictionaries(st.sampled_from(["newMember", "x"]), _TEXT)
        return st.builds(lambda known, more: {**more, **known}, st.fixed_dictionaries({}, optional=members), unknown)
    if shape.type_name == "list":
        return st.lists(_documents(shape.member), max_size=2)
    if shape.type_name == "map":
        return st.dictionaries(_TEXT, _documents(shape.value), max_size=2)
    return {"string": _TEXT, "integer": st.integers(), "boolean": st.booleans()}[shape.type_name]


@pytest.mark.parametrize("name", ["PollForThirdPartyJobs", "GetThirdPartyJobDetails", "AcknowledgeThirdPartyJob"])
@given(data=st.data())
def test_it_is_what_botocore_parses(name: str, data: st.DataObject) -> None:
    """Unknown members and ``null`` are left out, and everything else is there."""
    operation: Any = _SERVICE.operation_model(name)
    document = data.draw(_documents(operation.output_shape))
    response = {"status_code": 200, "headers": {}, "body": json.dumps(document).encode()}
    expected = create_parser("json").parse(response, operation.output_shape)
    expected.pop("ResponseMetadata", None)
    keep = find_filter(operation)
    assert keep is not None
    assert keep(document) == expected


@pytest.mark.parametrize("name", ["PutThirdPartyJobSuccessResult", "GetPipeline", "ListPipelines", "GetPipelineState"])
def test_what_needs_more_is_left_to_botocore(name: str) -> None:
    """An operation without output, and one whose output has timestamps, have no filter."""
    assert find_filter(_SERVICE.operation_model(name)) is None


@pytest.mark.parametrize(
    "document",
    [{"jobDetails": []}, {"jobDetails": {"data": {"inputArtifacts": {}}}}, {"jobDetails": {"data": "x"}}],
)
def test_a_wrong_type_is_kept(document: dict[str, Any]) -> None:
    """A value of a wrong type stays: the check of the model reports it."""
    keep = find_filter(_SERVICE.operation_model("GetThirdPartyJobDetails"))
    assert keep is not None
    assert keep(document) == document


def test_a_map_of_a_wrong_type_is_kept() -> None:
    """A configuration that is not an object stays as it is."""
    document = {"jobDetails": {"data": {"actionConfiguration": {"configuration": ["x"]}}}}
    keep = find_filter(_SERVICE.operation_model("GetThirdPartyJobDetails"))
    assert keep is not None
    assert keep(document) == document
