"""Parse what the user wrote, JSON, YAML, shorthand or a file that has them, into plain values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from cp_thirdparty._cli.errors import CommandError
from cp_thirdparty._hooks import member_name
from cp_thirdparty._input import DuplicateMemberError, check_unique, parse_json

if TYPE_CHECKING:
    import yaml

__all__ = ["parse_document", "parse_structure", "read_text"]

_FILE = "file://"

# An unquoted value has none of the characters that start or end a list or an object of the AWS CLI, so that this form
# can learn them.  No part of the pattern can match the same text in two ways: time is linear in the length.
_PAIR = re.compile(
    r"""(?P<name>[^=,]+)=(?:(?P<quote>["'])(?P<quoted>(?:\\.|(?!(?P=quote))[^\\])*)(?P=quote)"""
    r"""|(?![=\[{])(?P<plain>(?:\\,|\\(?!,)|[^\\,"'\]}])*))(?:,(?=.)|\Z)""",
    re.DOTALL,
)
_FORM = "must be JSON or NAME=VALUE,NAME=VALUE; a VALUE that has , = \" ' [ ] { } may need quotes"

# Python refuses to convert thousands of digits.
_NUMBER = re.compile("-?[0-9]{1,9}")

# YAML 1.1 reads 010 as 8, 1_0 as 10 and 1:30 as 90.
_YAML_NUMBER = re.compile("-?(?:0|[1-9][0-9]*)")


class _YamlError(ValueError):
    """A form of YAML is not accepted.  The error holds the problem and never the value."""

    def __init__(self, problem: str) -> None:
        super().__init__()
        self.problem = problem


def read_text(value: str, name: str) -> str:
    """
    Return a string, or what is in the file that it names by ``file://``.

    Args:
        value: What the user has given.

        name: The option, for errors.

    Raises:
        CommandError: The file cannot be read.
    """
    if not value.startswith(_FILE):
        return value
    try:
        return Path(value[len(_FILE) :]).expanduser().read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or "no such file"
    except (ValueError, RuntimeError):
        reason = "it is not UTF-8, or there is no such file"
    raise CommandError(f"{name}: the file cannot be read: {reason}")


def parse_document(as_json: str | None, as_yaml: str | None) -> tuple[str, Any] | None:
    """
    Return the option that gives an input document and the document, or ``None``.

    Args:
        as_json: JSON, or ``file://PATH``.

        as_yaml: YAML, or ``file://PATH``.

    Raises:
        CommandError: The document is malformed or cannot be read, it has a member twice, or there are two documents.
    """
    if as_json is not None and as_yaml is not None:
        raise CommandError("--cli-input-json and --cli-input-yaml: there can be only one of them")
    if as_json is not None:
        option = "--cli-input-json"
        document, problem = parse_json(read_text(as_json, option))
    elif as_yaml is not None:
        option = "--cli-input-yaml"
        document, problem = _parse_yaml(read_text(as_yaml, option))
    else:
        return None
    if problem is not None:
        raise CommandError(f"{option}: {problem}")
    return option, document


def parse_structure(text: str, kind: Any, name: str) -> Any:
    """
    Parse JSON or ``NAME=VALUE,NAME=VALUE``.

    Args:
        text: What the user has given.

        kind: The class that is made of it.  It decides which values of the shorthand are numbers.

        name: The option, for errors.

    Raises:
        CommandError: The text has another form, or a member twice.

    .. versionadded:: 0.2.0
    """
    document, problem = parse_json(text) if text.lstrip().startswith("{") else _parse_shorthand(text, kind)
    if problem is not None:
        raise CommandError(f"{name}: {problem}")
    return document


def _parse_shorthand(text: str, kind: Any) -> tuple[Any, str | None]:
    pairs: list[tuple[str, str]] = []
    end = 0
    while pair := _PAIR.match(text, end):
        pairs.append((pair["name"], _value(pair)))
        end = pair.end()
    if not pairs or end != len(text):
        return None, _FORM
    try:
        check_unique(name for name, _ in pairs)
    except DuplicateMemberError as error:
        return None, error.problem
    fields = attrs.fields(attrs.resolve_types(kind)) if attrs.has(kind) else ()
    numbers = {member_name(field.name) for field in fields if field.type == int | None}
    return {name: _number(value) if name in numbers else value for name, value in pairs}, None


def _value(pair: re.Match[str]) -> str:
    """Return a value without its quotes.  A backslash has the effect that it has in the AWS CLI."""
    if pair["quote"] is None:
        return pair["plain"].replace("\\,", ",")
    return re.sub(rf"\\([\\{pair['quote']}])", r"\1", pair["quoted"])


def _number(value: str) -> str | int:
    return int(value) if _NUMBER.fullmatch(value) else value


def _parse_yaml(text: str) -> tuple[Any, str | None]:
    import yaml  # noqa: PLC0415 - few calls need it

    class Loader(yaml.SafeLoader):
        """The safe loader, without what gives another value than the one that is written."""

        def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
            node = super().compose_mapping_node(anchor)
            check_unique(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
            return node

        def compose_scalar_node(self, anchor: dict[Any, yaml.Node]) -> yaml.ScalarNode:
            node = super().compose_scalar_node(anchor)
            if node.tag == "tag:yaml.org,2002:merge":
                raise _YamlError("the merge key << is not supported")
            if node.tag == "tag:yaml.org,2002:int" and not _YAML_NUMBER.fullmatch(node.value):
                raise _YamlError("an integer must be written as decimal digits without a leading 0")
            return node

    try:
        return yaml.load(text, Loader), None  # noqa: S506 - it is a safe loader
    except (DuplicateMemberError, _YamlError) as error:
        return None, error.problem
    except (yaml.YAMLError, ValueError, RecursionError):
        return None, "must be valid YAML"
