"""`cp-thirdparty action-type`: the document that registers an action type, from the configuration class."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import botocore.session
import botocore.validate
import pytest
from support.command_line import run_command

_MODULE = """
import attrs
from cp_thirdparty import SecretStr

@attrs.frozen
class Scan:
    project_name: str
    api_key: SecretStr

class Outer:
    Inner = Scan

@attrs.frozen
class Lists:
    names: dict

@attrs.frozen
class Unknown:
    name: "Missing"

@attrs.frozen
class Divides:
    name: "1 / 0"

@attrs.frozen
class Größe:
    name: str

@attrs.frozen
class Leaves:
    name: "raise_exit()"

def raise_exit():
    raise SystemExit(0)

an_object = Scan("a", SecretStr("b"))

@attrs.frozen
class Many:
    a: int; b: int; c: int; d: int; e: int; f: int; g: int; h: int; i: int; j: int; k: int
"""
_CUSTOM = ("--action-type-id", "category=Test,owner=Custom,provider=ExampleScan,version=1")


@pytest.fixture
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a partner's module into the working directory, which is not in the path of imports."""
    (tmp_path / "made_for_action_type.py").write_text(_MODULE, "utf-8")
    (tmp_path / "broken_for_action_type.py").write_text("raise LookupError('secret')")
    (tmp_path / "program_for_action_type.py").write_text("raise SystemExit(0)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "made_for_action_type", raising=False)


pytestmark = pytest.mark.usefixtures("_module")


def _document(capsys: pytest.CaptureFixture[str], name: str, *options: str) -> dict[str, Any]:
    shown = run_command(capsys, "action-type", f"made_for_action_type:{name}", *options)
    assert (shown.code, shown.err) == (0, "")
    document: dict[str, Any] = json.loads(shown.out)
    return document


def _is_valid(operation: str, document: dict[str, Any]) -> bool:
    service = botocore.session.get_session().get_service_model("codepipeline")
    shape: Any = service.operation_model(operation).input_shape
    return not botocore.validate.ParamValidator().validate(document, shape).has_errors()


def test_a_third_party_action_type_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """The document is the input of ``UpdateActionType``."""
    path = list(sys.path)
    document = _document(capsys, "Scan", "--polling-account", "123456789012", "--input-artifacts", "1", "2")
    action = document["actionType"]
    assert action["id"] == {"category": "Test", "owner": "ThirdParty", "provider": "Scan", "version": "1"}
    assert action["executor"]["configuration"]["jobWorkerExecutorConfiguration"]["pollingAccounts"] == ["123456789012"]
    assert action["inputArtifactDetails"] == {"minimumCount": 1, "maximumCount": 2}
    assert [(one["name"], one["noEcho"]) for one in action["properties"]] == [("ProjectName", False), ("ApiKey", True)]
    assert _is_valid("UpdateActionType", document)
    assert _is_valid("UpdateActionType", _document(capsys, "Scan"))
    assert sys.path == path


def test_a_custom_action_type_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """With the owner Custom the document is the input of ``CreateCustomActionType``; a class may be inside another."""
    document = _document(capsys, "Outer.Inner", *_CUSTOM)
    assert (document["category"], document["provider"], document["version"]) == ("Test", "ExampleScan", "1")
    assert [one["type"] for one in document["configurationProperties"]] == ["String", "String"]
    assert _is_valid("CreateCustomActionType", document)


_MADE = "made_for_action_type:"
_COUNTS = "must be two numbers of 0 to {}, the smaller one first"
_REFUSED: list[tuple[tuple[str, ...], str]] = [
    ((), "MODULE:CLASS: is required"),
    (("scan",), "MODULE:CLASS: must be a module and a class, such as examplescan.worker:ScanConfiguration"),
    ((":Scan",), "MODULE:CLASS: must be a module and a class, such as examplescan.worker:ScanConfiguration"),
    (("no_such_module:Scan",), "MODULE:CLASS: there is no module no_such_module"),
    (("broken_for_action_type:Scan",), "MODULE:CLASS: the import of the module raises LookupError"),
    (("program_for_action_type:Scan",), "MODULE:CLASS: the import of the module raises SystemExit"),
    ((f"{_MADE}Leaves",), "MODULE:CLASS: the annotations of Leaves raise SystemExit"),
    ((f"{_MADE}Größe",), "--action-type-id: provider: must have only letters, digits, '_' and '-'"),
    (
        (f"{_MADE}Scan", "--action-type-id", "category=Test,owner=Custom,provider=X Y,version=1"),
        "--action-type-id: provider: must have only letters, digits, '_' and '-'",
    ),
    ((f"{_MADE}Scan", "--polling-account", "12345"), "--polling-account: must be the 12 digits of an AWS account"),
    (
        (f"{_MADE}Scan", *_CUSTOM, "--polling-account", "123456789012"),
        "--polling-account: has an effect for third-party actions only",
    ),
    ((".:Scan",), "MODULE:CLASS: the import of the module raises TypeError"),
    ((f"{_MADE}Missing",), "MODULE:CLASS: the module has no such class"),
    ((f"{_MADE}attrs",), "MODULE:CLASS: the class must be an attrs class, a dataclass or a pydantic model, not an"),
    ((f"{_MADE}an_object",), "MODULE:CLASS: the class must be an attrs class, a dataclass or a pydantic model, not an"),
    ((f"{_MADE}Lists",), "MODULE:CLASS: Lists.names: the type is not supported; use str"),
    ((f"{_MADE}Unknown",), "MODULE:CLASS: name 'Missing' is not defined"),
    ((f"{_MADE}Divides",), "MODULE:CLASS: the annotations of Divides raise ZeroDivisionError"),
    ((f"{_MADE}Many",), "MODULE:CLASS: Many: has 11 fields, and an action type has at most 10 properties"),
    (
        (f"{_MADE}Scan", "--action-type-id", "category=Test,owner=AWS,provider=x,version=1"),
        "--action-type-id: owner: must be ThirdParty or Custom",
    ),
    ((f"{_MADE}Scan", "--action-type-id", "category=Test"), "--action-type-id: "),
    ((f"{_MADE}Scan", "--input-artifacts", "2", "1"), f"--input-artifacts: {_COUNTS.format(10)}"),
    ((f"{_MADE}Scan", *_CUSTOM, "--output-artifacts", "1", "6"), f"--output-artifacts: {_COUNTS.format(5)}"),
]


@pytest.mark.parametrize(("arguments", "message"), _REFUSED, ids=[message for _, message in _REFUSED])
def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str) -> None:
    """What cannot be printed is an error of one line that names the option and the mistake."""
    shown = run_command(capsys, "action-type", *arguments)
    assert (shown.code, shown.out) == (252, "")
    assert shown.err.startswith(f"cp-thirdparty: error: {message}")
