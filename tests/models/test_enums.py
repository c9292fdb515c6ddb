"""Enumerations: the service's words, open where it returns, closed where we send."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import weakref
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cp_thirdparty import enums
from cp_thirdparty.enums import (
    ActionCategory,
    ActionOwner,
    ArtifactLocationType,
    EncryptionKeyType,
    FailureType,
    JobStatus,
)

# Enumeration -> its members and their values on the wire, in the order of the service's documentation.
_MEMBERS: dict[type[Enum], str] = {
    ActionCategory: "SOURCE=Source BUILD=Build DEPLOY=Deploy TEST=Test INVOKE=Invoke APPROVAL=Approval COMPUTE=Compute",
    ActionOwner: "AWS=AWS THIRD_PARTY=ThirdParty CUSTOM=Custom",
    ArtifactLocationType: "S3=S3",
    EncryptionKeyType: "KMS=KMS",
    JobStatus: "CREATED=Created QUEUED=Queued DISPATCHED=Dispatched IN_PROGRESS=InProgress TIMED_OUT=TimedOut "
    "SUCCEEDED=Succeeded FAILED=Failed",
    FailureType: "JOB_FAILED=JobFailed CONFIGURATION_ERROR=ConfigurationError PERMISSION_ERROR=PermissionError "
    "REVISION_OUT_OF_SYNC=RevisionOutOfSync REVISION_UNAVAILABLE=RevisionUnavailable "
    "SYSTEM_UNAVAILABLE=SystemUnavailable",
}
_OPEN: list[Any] = [enum for enum in _MEMBERS if enum is not FailureType]
_KNOWN: list[Any] = [member for enum in _MEMBERS for member in enum]

each_open = pytest.mark.parametrize("enum", _OPEN, ids=lambda enum: enum.__name__)
each_known = pytest.mark.parametrize("member", _KNOWN, ids=repr)
each_member = pytest.mark.parametrize("member", [*_KNOWN, *(enum("Odd-é") for enum in _OPEN)], ids=repr)


@pytest.mark.parametrize("enum", _MEMBERS, ids=lambda enum: enum.__name__)
def test_members_are_the_words_of_the_service(enum: type[Enum]) -> None:
    """Names are UPPER_CASE and values as on the wire, in the service's order."""
    assert _MEMBERS[enum] == " ".join(f"{member.name}={member.value}" for member in enum)


def test_every_enumeration_is_tested() -> None:
    """The table of this module has every enumeration of the service."""
    assert set(enums.__all__) - {"Delivery"} == {enum.__name__ for enum in _MEMBERS}


@each_known
def test_a_known_value_gives_its_one_member(member: Any) -> None:
    """A value of the service gives the member itself, so ``is`` works for known ones."""
    assert member is type(member)(member.value)
    assert member is type(member)(str(member))


@each_open
def test_known_members_are_known(enum: Any) -> None:
    """``is_known`` is true for the members of the class."""
    assert all(member.is_known is True for member in enum)


@pytest.mark.parametrize("value", ["Odd", "", "UNKNOWN", "test", "Test ", "ünï", "\udc80"], ids=ascii)
@each_open
def test_an_unknown_value_survives(enum: Any, value: str) -> None:
    """A new value of the service becomes a member named UNKNOWN, with its value, that shows it is not known."""
    member = enum(value)
    assert enum is type(member)
    assert ("UNKNOWN", value, False) == (member.name, member.value, member.is_known)
    assert str is type(member.value)


@each_open
def test_an_unknown_value_is_not_a_member_of_the_class(enum: Any) -> None:
    """Unknown values do not appear among the members, by name or in iteration."""
    before = list(enum)
    unknown = enum("Odd")
    assert before == list(enum)
    assert unknown not in list(enum)
    assert "UNKNOWN" not in enum.__members__


@each_open
def test_unknown_values_are_not_cached(enum: Any) -> None:
    """Unknown values are created each time and go when nobody holds them: a peer cannot fill the memory."""
    unknown = enum("Odd")
    gone = weakref.ref(unknown)
    assert unknown is not enum("Odd")
    del unknown
    gc.collect()
    assert gone() is None
    assert len(enum) == len(enum._value2member_map_)


@each_open
@pytest.mark.parametrize("value", [None, 5, b"Test", ["Test"], 1.5], ids=repr)
def test_an_open_enumeration_takes_strings_only(enum: Any, value: object) -> None:
    """What is not a string is a ValueError, as with any enumeration."""
    with pytest.raises(ValueError, match="is not a valid"):
        enum(value)


@given(st.text(max_size=20))
def test_members_compare_with_strings_and_with_each_other(value: str) -> None:
    """A member equals, and hashes as, its value; two unknown ones with the same value are equal."""
    member = ActionOwner(value)
    assert member == value
    assert value == member
    assert member == ActionOwner(value)
    assert hash(member) == hash(value)
    assert member != value + "x"
    assert member != ActionOwner(value + "x")


def test_members_serve_as_keys_for_strings() -> None:
    """A dictionary keyed by strings is found by members, and the other way round."""
    by_text: dict[str, int] = {"Test": 1, "Odd": 2}
    by_member: dict[str, int] = {ActionCategory.TEST: 1, ActionCategory("Odd"): 2}
    assert by_text == by_member
    assert [by_text[member] for member in by_member] == [1, 2]
    assert [by_member[text] for text in by_text] == [1, 2]


@each_member
def test_members_print_as_on_the_wire(member: Any) -> None:
    """Every way to make a string of a member gives its value, on every Python."""
    value = member.value
    printed = [str(member), format(member), f"{member}", f"{member!s}", "%s" % member, "{}".format(member)]  # noqa: UP031, UP032 - the ways
    assert [value] * 6 == printed
    assert f"{value:>20}|" == f"{member:>20}|"
    assert f"x-{value}" == "x-" + member
    assert str is type(str(member))


@each_member
def test_members_become_json_strings(member: Any) -> None:
    """``json.dumps`` writes the value, as a value and as a key."""
    assert {member.value: [member.value]} == json.loads(json.dumps({member: [member]}))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@each_member
def test_members_pickle(member: Any, protocol: int) -> None:
    """A member survives a pickle: known ones as themselves, unknown ones equal and still unknown."""
    _assert_same(member, pickle.loads(pickle.dumps(member, protocol)))


@each_member
def test_members_copy(member: Any) -> None:
    """``copy`` and ``deepcopy`` keep a member, known or not, alone or in a container."""
    for copied in (copy.copy(member), copy.deepcopy(member), copy.deepcopy([member])[0]):
        _assert_same(member, copied)


@each_known
def test_members_show_name_and_value(member: Any) -> None:
    """``repr`` shows class, name and value."""
    assert f"<{type(member).__name__}.{member.name}: {member.value!r}>" == repr(member)


def test_an_unknown_member_shows_that_it_is_unknown() -> None:
    """``repr`` of an unknown value shows that, and the value."""
    assert repr(JobStatus("Odd")) == "<JobStatus.UNKNOWN: 'Odd'>"


@pytest.mark.parametrize("value", ["Odd", "jobfailed", "", "PermissionsError", None], ids=repr)
def test_failure_type_is_closed(value: Any) -> None:
    """What the service would refuse cannot be made."""
    with pytest.raises(ValueError, match="is not a valid FailureType"):
        FailureType(value)


def _assert_same(expected: Any, actual: Any) -> None:
    assert type(expected) is type(actual)
    assert (expected.name, expected.value, hash(expected)) == (actual.name, actual.value, hash(actual))
    assert expected == actual
    if expected.name != "UNKNOWN":
        assert expected is actual
