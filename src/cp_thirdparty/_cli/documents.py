"""Parse input of the user.  It is JSON, YAML or shorthand, and is given on the command line or in a file."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from cp_thirdparty._base.text import show
from cp_thirdparty._cli.errors import CommandError
from cp_thirdparty._cli.shorthand import parse_shorthand
from cp_thirdparty._structuring.converter import member_name
from cp_thirdparty._structuring.strict_input import InputError, check_unique, parse_json

if TYPE_CHECKING:
    import yaml

_FILE = "file://"
_BYTE_ORDER_MARK = "\ufeff"  # in a string; the byte order mark of a file is removed when the file is decoded
_FILE_HINT = "; to read a file, write file://PATH"
# What users write by mistake instead of file://: the form of the AWS CLI for binary files, too few slashes, or the form
# of curl.
_NEARLY_A_FILE = re.compile("fileb://|file:/?(?!/)|@")

# At most nine digits, because int() raises ValueError for thousands of digits.
_NUMBER = re.compile("-?[0-9]{1,9}")

# The only accepted form of an integer, because YAML 1.1 reads 010 as 8, 1_0 as 10 and 1:30 as 90.
_YAML_NUMBER = re.compile("-?(?:0|[1-9][0-9]*)")


def read_text(value: str, name: str) -> str:
    """Return the value itself, or the content of the file if the value is ``file://PATH``."""
    if not value.startswith(_FILE):
        if nearly := re.match("fileb://|file:/", value):
            raise CommandError(f"{name}: must not start with {nearly[0]}{_FILE_HINT}")
        return value
    path = value[len(_FILE) :]
    try:
        return _decode(Path(path).expanduser().read_bytes())
    except OSError as error:
        reason = error.strerror or "no such file"
    except (ValueError, RuntimeError):
        reason = "it is not UTF-8 text, or there is no such file"
    raise CommandError(f"{name}: {show(path)}: the file cannot be read: {reason}")


def _decode(content: bytes) -> str:
    """Decode a file as UTF-8, with or without a byte order mark, or as UTF-16, which PowerShell writes."""
    is_utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_utf_16 else "utf-8-sig")


def parse_document(as_json: str | None, as_yaml: str | None) -> tuple[str, Any] | None:
    """Parse the input document; return the name of its option and the document, or ``None`` if there is none."""
    if as_json is not None and as_yaml is not None:
        raise CommandError("--cli-input-json and --cli-input-yaml: there can be only one of them")
    if as_json is not None:
        option, given, parse = "--cli-input-json", as_json, parse_json
    elif as_yaml is not None:
        option, given, parse = "--cli-input-yaml", as_yaml, _parse_yaml
    else:
        return None
    document, problem = parse(read_text(given, option).removeprefix(_BYTE_ORDER_MARK))
    if problem is not None or isinstance(document, str):  # a path without file:// is a valid YAML string
        raise CommandError(f"{option}: {problem or 'must be an object'}{_hint_at_file(given)}")
    return option, document


def parse_structure(text: str, kind: Any, name: str) -> Any:
    """Parse JSON or ``NAME=VALUE,NAME=VALUE``."""
    text = text.removeprefix(_BYTE_ORDER_MARK)
    document, problem = parse_json(text) if text.lstrip().startswith("{") else _parse_shorthand(text, kind, name)
    if problem is not None:
        raise CommandError(f"{name}: {problem}{_hint_at_file(text)}")
    return document


def _parse_shorthand(text: str, kind: Any, name: str) -> tuple[Any, str | None]:
    try:
        members = parse_shorthand(text, lambda value: read_text(value, name))
    except InputError as error:
        return None, error.problem
    fields = attrs.fields(attrs.resolve_types(kind)) if attrs.has(kind) else ()
    numbers = {member_name(field.name) for field in fields if field.type == int | None}
    return {name: _number(value) if name in numbers else value for name, value in members.items()}, None


def _hint_at_file(text: str) -> str:
    """Return a hint about ``file://`` if a string that could not be parsed looks like the path of a file."""
    try:
        is_file = bool(_NEARLY_A_FILE.match(text)) or Path(text).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):  # the string is too long for a path, or is not a valid path
        is_file = False
    return _FILE_HINT if is_file else ""


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value


def _parse_yaml(text: str | bytes) -> tuple[Any, str | None]:
    import yaml  # noqa: PLC0415 - few calls need it

    class Loader(yaml.SafeLoader):
        """YAML's safe loader without features that surprise: duplicate keys, merge keys, and octal integers."""

        def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
            node = super().compose_mapping_node(anchor)
            check_unique(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
            return node

        def compose_scalar_node(self, anchor: dict[Any, yaml.Node]) -> yaml.ScalarNode:
            node = super().compose_scalar_node(anchor)
            if node.tag == "tag:yaml.org,2002:merge":
                raise InputError("the merge key << is not supported")
            if node.tag == "tag:yaml.org,2002:int" and not _YAML_NUMBER.fullmatch(node.value):
                raise InputError("an integer must be written as decimal digits without a leading 0")
            return node

    try:
        return yaml.load(text, Loader), None  # noqa: S506 - Loader is a subclass of the safe loader
    except InputError as error:
        return None, error.problem
    except (yaml.YAMLError, ValueError, RecursionError):
        return None, "must be valid YAML"
