"""`SecretStr` and `SecretMapping`: the value comes out on request, and in no other way."""

from __future__ import annotations

import copy
import hashlib
import inspect
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cp_thirdparty import secrets
from cp_thirdparty.secrets import SecretMapping, SecretStr

_VALUE = "hunter2-hunter2"
_STEM = "hunter2"
_MASK = "**********"
_SURROGATE = "hunter2\udc80"
_text = st.text(max_size=20)
_REMEDY = "send the ThirdPartyJob, which holds no secret, and read the job's details in the process that receives it"


class _LyingStr(str):
    """A string that shows and compares as another."""

    __slots__ = ()

    def __str__(self) -> str:
        return "another"

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        raise AssertionError(encoding, errors)


def _secret() -> SecretStr:
    return SecretStr(_VALUE)


def _mapping() -> SecretMapping:
    return SecretMapping({"User": "me", "ApiKey": _VALUE})


_HOLDERS: dict[str, Callable[[], SecretStr | SecretMapping]] = {"SecretStr": _secret, "SecretMapping": _mapping}
each_holder = pytest.mark.parametrize("make", _HOLDERS.values(), ids=_HOLDERS)


# --- SecretStr: value, mask, equality, hash --------------------------------------------------------------------------


@given(st.text(st.characters()))
def test_the_value_is_restored(value: str) -> None:
    """``get_secret_value()`` gives the text that went in, lone surrogates too."""
    assert value == SecretStr(value).get_secret_value()


@pytest.mark.parametrize("value", ["", "x", _VALUE, "€" * 300, _SURROGATE], ids=["empty", "1", "15", "300", "lone"])
@pytest.mark.parametrize("spec", ["", "s", ">40", "<1", ".2", "x", "d"])
def test_the_mask_is_the_same_for_every_value(value: str, spec: str) -> None:
    """Every way to print a secret gives ten asterisks, whatever its length and the format asked for."""
    secret = SecretStr(value)
    assert {_MASK} == {repr(secret), str(secret), format(secret, spec), f"{secret}", f"{secret!r}", f"{secret:>40}"}


@given(_text, _text)
def test_secrets_equal_as_their_values_do(left: str, right: str) -> None:
    """Two secrets are equal, and hash alike, exactly when their values are equal."""
    assert (left == right) is (SecretStr(left) == SecretStr(right))
    assert (left == right) is (hash(SecretStr(left)) == hash(SecretStr(right)))


def test_lone_surrogates_compare_and_hash() -> None:
    """A value that cannot be encoded is compared and hashed, rather than shown by a UnicodeEncodeError."""
    assert SecretStr(_SURROGATE) == SecretStr(_SURROGATE)
    assert SecretStr(_SURROGATE) != SecretStr(_VALUE)
    assert hash(SecretStr(_SURROGATE)) == hash(SecretStr(_SURROGATE))


@pytest.mark.parametrize("other", [_VALUE, _VALUE.encode(), _MASK, None, _LyingStr(_VALUE), [_VALUE]], ids=repr)
def test_a_secret_equals_nothing_but_a_secret(other: object) -> None:
    """A guess in plain text does not equal the secret, on neither side."""
    secret: object = _secret()
    assert secret.__eq__(other) is NotImplemented
    if not isinstance(other, _LyingStr):
        assert secret != other
        assert other != secret


def test_a_str_subclass_is_read_by_its_characters() -> None:
    """A subclass of ``str`` cannot put another text in, run its own code later, or be kept alive as itself."""
    secret = SecretStr(_LyingStr(_VALUE))
    assert str is type(secret.get_secret_value())
    assert secret.get_secret_value() == _VALUE
    assert secret == SecretStr(_VALUE)
    assert hash(secret) == hash(SecretStr(_VALUE))


def test_the_hash_does_not_confirm_a_guess() -> None:
    """The hash is not that of the value, or of its bytes."""
    assert hash(_secret()) not in {hash(_VALUE), hash(_VALUE.encode()), hash((_VALUE,))}


def test_the_hash_differs_in_another_process() -> None:
    """Hashes are keyed per process: with the same seed of Python's own hash, another process hashes otherwise."""
    code = "from cp_thirdparty.secrets import SecretStr; print(hash('a'), hash(SecretStr('a')))"
    run = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    first, second = (
        subprocess.run(run, check=True, capture_output=True, text=True, env=environment).stdout.split()
        for _ in range(2)
    )
    assert first[0] == second[0]
    assert first[1] != second[1]


def test_a_secret_is_small() -> None:
    """A secret adds at most 88 bytes to its text, and no ``__dict__``."""
    secret = _secret()
    assert sys.getsizeof(secret) + sys.getsizeof(secret._reveal) <= 88
    assert not hasattr(secret, "__dict__")


def test_wrap_keeps_a_secret_and_wraps_a_string() -> None:
    """``wrap()`` returns a secret itself, and hides a string."""
    secret = _secret()
    assert secret is SecretStr.wrap(secret)
    assert secret == SecretStr.wrap(_VALUE)


def test_a_secret_is_true_and_so_is_an_empty_one() -> None:
    """Truthiness reveals nothing: ``if optional_secret`` asks only whether there is one."""
    assert bool(SecretStr("")) is bool(_secret()) is True


_NOT_OFFERED: dict[str, Callable[[Any], object]] = {
    "len": len,
    "iteration": iter,
    "containment": lambda secret: "h" in secret,
    "indexing": lambda secret: secret[0],
    "<": lambda secret: secret < SecretStr("z"),
    "<=": lambda secret: secret <= SecretStr("z"),
    ">": lambda secret: secret > SecretStr("z"),
    ">=": lambda secret: secret >= SecretStr("z"),
    "text + secret": lambda secret: "x" + secret,
    "secret + text": lambda secret: secret + "x",
    "secret * 2": lambda secret: secret * 2,
    "secret % ()": lambda secret: secret % (),
    "join": lambda secret: "".join([secret]),  # noqa: FLY002 - it is what is tried
    "startswith": _VALUE.startswith,
    "replace": lambda secret: _VALUE.replace(secret, ""),
    "int": int,
    "float": float,
    "bytes": bytes,
    "memoryview": memoryview,
    "vars": vars,
}


@pytest.mark.parametrize("attempt", _NOT_OFFERED.values(), ids=_NOT_OFFERED)
def test_a_secret_is_not_a_string(attempt: Callable[[Any], object]) -> None:
    """What strings can do and would show or measure the value is a TypeError that does not hold it."""
    with pytest.raises(TypeError) as caught:
        attempt(_secret())
    assert _STEM not in repr(caught.value)


# --- both: immutable, final, hidden ----------------------------------------------------------------------------------


@each_holder
@pytest.mark.parametrize("name", ["_reveal", "value", "__class__", "get_secret_value"])
def test_nothing_can_be_set_or_deleted(make: Callable[[], Any], name: str) -> None:
    """Setting or deleting any attribute is an AttributeError."""
    holder = make()
    with pytest.raises(AttributeError, match=r"^Secret(Str|Mapping) is immutable$"):
        setattr(holder, name, str)
    with pytest.raises(AttributeError, match=r"^Secret(Str|Mapping) is immutable$"):
        delattr(holder, name)
    assert make() == holder


@pytest.mark.parametrize("arguments", [("other",), (), ({"ApiKey": "other"},)], ids=["text", "nothing", "mapping"])
@each_holder
def test_a_second_init_changes_nothing(make: Callable[[], Any], arguments: tuple[object, ...]) -> None:
    """Calling ``__init__`` again leaves the value as it was."""
    holder = make()
    holder.__init__(*arguments)
    assert make() == holder


@pytest.mark.parametrize("base", [SecretStr, SecretMapping])
def test_there_are_no_subclasses(base: type) -> None:
    """A subclass, which could show the value, is refused at run time too."""
    with pytest.raises(TypeError, match="cannot be subclassed"):
        type("Shown", (base,), {})


@each_holder
def test_copies_are_the_secret_itself(make: Callable[[], Any]) -> None:
    """``copy`` and ``deepcopy`` return the object, also within containers."""
    holder = make()
    assert holder is copy.copy(holder)
    assert holder is copy.deepcopy(holder)
    assert holder is copy.deepcopy([holder])[0]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@each_holder
def test_pickling_is_refused_with_the_remedy(make: Callable[[], object], protocol: int) -> None:
    """Every protocol of pickle refuses, alone and in containers, and names what to send instead."""
    for pickled in (make(), [make()], {"secret": make()}):
        with pytest.raises(TypeError) as caught:
            pickle.dumps(pickled, protocol)
        assert _REMEDY in str(caught.value)


@pytest.mark.parametrize(
    "state", [lambda x: x.__getstate__(), lambda x: x.__reduce__(), lambda x: x.__reduce_ex__(4)], ids=range(3)
)
@each_holder
def test_no_part_of_pickling_gives_the_state(make: Callable[[], object], state: Callable[[Any], object]) -> None:
    """The methods that pickle calls refuse when anything else calls them."""
    with pytest.raises(TypeError) as caught:
        state(make())
    assert _REMEDY in str(caught.value)


@each_holder
def test_no_attribute_shows_the_value(make: Callable[[], object]) -> None:
    """A walk over ``dir()``, ``inspect.getmembers()`` and the slots finds nothing that prints the value."""
    holder = make()
    members = inspect.getmembers(holder)
    static = [inspect.getattr_static(holder, name) for name in dir(holder)]
    slots = [getattr(holder, name) for name in getattr(type(holder), "__slots__", ())]
    assert _STEM not in repr(members) + repr(static) + repr(slots) + repr([str(part) for _, part in members])
    with pytest.raises(TypeError):
        vars(holder)


# --- wrong types -----------------------------------------------------------------------------------------------------

_WRONG: dict[str, tuple[Callable[[Any], object], object, str]] = {
    "bytes": (SecretStr, _VALUE.encode(), "bytes"),
    "list": (SecretStr, [_VALUE], "list"),
    "None": (SecretStr, None, "NoneType"),
    "secret": (SecretStr, SecretStr(_VALUE), "SecretStr"),
    "wrapped bytes": (SecretStr.wrap, _VALUE.encode(), "bytes"),
    "wrapped None": (SecretStr.wrap, None, "NoneType"),
    "mapping to bytes": (SecretMapping, {"ApiKey": _VALUE, "Other": _VALUE.encode()}, "bytes"),
    "mapping to None": (SecretMapping, {"ApiKey": _VALUE, "Other": None}, "NoneType"),
    "mapping of bytes": (SecretMapping, {"ApiKey": _VALUE, _VALUE.encode(): "x"}, "bytes"),
    "pairs": (SecretMapping, [("ApiKey", _VALUE)], "list"),
    "a text for a mapping": (SecretMapping, _VALUE, "str"),
    "None for a mapping": (SecretMapping, None, "NoneType"),
}


@pytest.mark.parametrize(("make", "value", "kind"), _WRONG.values(), ids=_WRONG)
def test_a_wrong_type_is_refused_without_the_value(make: Callable[[Any], object], value: object, kind: str) -> None:
    """A wrong type is a TypeError that names the type; neither it nor a frame of this module holds the value."""
    with pytest.raises(TypeError) as caught:
        make(value)
    error = caught.value
    assert str(error).endswith(f", not {kind}")
    assert _STEM not in repr((error.args, error.__cause__, error.__context__, vars(error)))
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames = [frame for frame in shown.stack if frame.filename == secrets.__file__]
    assert frames
    assert _STEM not in repr([frame.locals for frame in frames])


# --- SecretMapping ---------------------------------------------------------------------------------------------------


@given(st.dictionaries(_text, _text))
def test_a_mapping_gives_its_entries_as_secrets(entries: dict[str, str]) -> None:
    """Keys come in their order and as plain strings, values as secrets, by every way that a mapping has."""
    mapping = SecretMapping(entries)
    hidden = {key: SecretStr(value) for key, value in entries.items()}
    assert list(entries) == list(mapping) == list(mapping.keys())
    assert list(hidden.items()) == list(mapping.items())
    assert list(hidden.values()) == list(mapping.values())
    assert len(entries) == len(mapping)
    assert hidden == {key: mapping[key] for key in mapping}
    assert all(key in mapping and mapping.get(key) == hidden[key] for key in entries)


def test_a_mapping_takes_strings_and_secrets() -> None:
    """Values may be hidden already, or by a subclass of ``str``; equal entries make equal mappings."""
    mixed: Mapping[str, str | SecretStr] = {"a": "1", "b": SecretStr("2"), "c": _LyingStr("3")}
    assert SecretMapping({"a": "1", "b": "2", "c": "3"}) == SecretMapping(mixed)
    assert str is type(SecretMapping(mixed)["c"].get_secret_value())


def test_a_mapping_is_a_copy() -> None:
    """What happens to the dictionary afterwards does not change the mapping."""
    entries = {"ApiKey": "old"}
    mapping = SecretMapping(entries)
    entries["ApiKey"] = "new"
    entries["Other"] = "new"
    assert {"ApiKey": SecretStr("old")} == dict(mapping)


def test_a_missing_key_is_a_key_error() -> None:
    """A missing key raises KeyError, has a default with ``get()``, and is not contained."""
    mapping = _mapping()
    with pytest.raises(KeyError, match=r"^'Nothing'$"):
        mapping["Nothing"]
    assert mapping.get("Nothing") is None
    assert "Nothing" not in mapping


@pytest.mark.parametrize(
    ("other", "equal"),
    [
        ({"User": SecretStr("me"), "ApiKey": SecretStr(_VALUE)}, True),
        (SecretMapping({"ApiKey": _VALUE, "User": "me"}), True),
        ({"User": "me", "ApiKey": _VALUE}, False),
        (SecretMapping({"ApiKey": _VALUE}), False),
        (SecretMapping({"ApiKey": _VALUE, "User": "you"}), False),
        (None, False),
    ],
    ids=["dict of secrets", "other order", "guesses", "fewer", "other value", "None"],
)
def test_mappings_compare_as_mappings_of_secrets(other: object, *, equal: bool) -> None:
    """A mapping equals another of the same entries in any order; plain guesses do not count as the same."""
    mapping = _mapping()
    assert equal is (mapping == other)
    assert equal is (other == mapping)
    if isinstance(other, SecretMapping):
        assert equal is (hash(mapping) == hash(other))


def test_a_mapping_shows_keys_and_masks() -> None:
    """Its text has the keys, in their order, and the mask of each value; so have its views."""
    mapping = _mapping()
    expected = f"SecretMapping({{'User': {_MASK}, 'ApiKey': {_MASK}}})"
    assert expected == repr(mapping) == str(mapping) == f"{mapping}"
    assert _STEM not in repr((mapping.keys(), mapping.values(), mapping.items(), iter(mapping)))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_views_of_a_mapping_are_not_pickled(protocol: int) -> None:
    """A pickle of a view, where Python makes one at all, does not hold the values."""
    mapping = _mapping()
    for view in (mapping.keys(), mapping.values(), mapping.items(), iter(mapping)):
        assert _STEM.encode() not in _pickle(view, protocol)


def _pickle(value: object, protocol: int) -> bytes:
    try:
        return pickle.dumps(value, protocol)
    except TypeError as refused:
        return repr(refused).encode()


_CHANGES: dict[str, Callable[[Any], object]] = {
    "set": lambda mapping: mapping.__setitem__("User", "you"),
    "delete": lambda mapping: mapping.__delitem__("User"),
    "update": lambda mapping: mapping.update({"User": "you"}),
    "pop": lambda mapping: mapping.pop("User"),
    "clear": lambda mapping: mapping.clear(),
    "setdefault": lambda mapping: mapping.setdefault("New", "x"),
}


@pytest.mark.parametrize("change", _CHANGES.values(), ids=_CHANGES)
def test_a_mapping_has_no_method_that_changes_it(change: Callable[[Any], object]) -> None:
    """None of the methods that change a dictionary is there."""
    with pytest.raises(AttributeError):
        change(_mapping())


def test_the_hash_is_keyed() -> None:
    """The hash of a secret is not one that anybody could compute from a guess."""
    digest = hashlib.blake2b(b"guess", digest_size=8).digest()
    guessed = {hash(int.from_bytes(digest, order)) for order in ("big", "little")}
    assert hash(SecretStr("guess")) not in guessed
