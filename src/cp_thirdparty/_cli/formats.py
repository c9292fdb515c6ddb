"""
Print documents in the output formats of the AWS CLI.

Options, environment variables and the AWS configuration file select the format.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

from cp_thirdparty._base.text import escape, escape_json
from cp_thirdparty._cli.aws_settings import AwsSettings
from cp_thirdparty._cli.errors import GENERAL_ERROR, CommandError
from cp_thirdparty._cli.options import Settings
from cp_thirdparty._cli.output import can_encode, is_colored, terminal_width, write


class Printer:
    """Prints documents.  If the query or the format is invalid, the constructor raises `CommandError`."""

    def __init__(self, settings: Settings, default_output: str = "json") -> None:
        self._settings = settings
        self._aws = AwsSettings(settings.profile)
        self._query = _compile_query(settings.query)
        self._output = self._aws.output(settings.output, default_output)

    def print(self, document: dict[str, Any], title: str, *, done: str = "") -> None:
        """Apply the query to a document, and write the result to standard output or to the pager."""
        color, width = is_colored(self._settings.color), terminal_width()
        text = format_document(self._query(document), self._output, title=title, color=color, width=width)
        write(text, pager="" if self._settings.no_cli_pager else self._aws.pager(), done=done)


def _compile_query(expression: str | None) -> Callable[[Any], Any]:
    """Return a function that applies a JMESPath expression; without an expression, it returns its argument."""
    if expression is None:
        return lambda document: document
    import jmespath  # noqa: PLC0415 - few calls need it

    try:
        query = jmespath.compile(expression)
    except (RecursionError, ValueError):  # the expression is nested too deeply, or invalid
        raise CommandError("--query: must be a JMESPath expression") from None

    def apply(document: Any) -> Any:
        try:
            return query.search(document)
        except Exception as error:  # noqa: BLE001 - jmespath does not wrap the errors of its functions
            # The message of jmespath is not shown, because it contains values of the document.
            problem = f"the document does not suit the expression ({type(error).__name__})"
            raise CommandError(f"--query: {problem}", GENERAL_ERROR) from None

    return apply


def format_document(document: Any, output: str, *, title: str, color: bool = False, width: int = 80) -> str:
    """Return a document in an output format, with a line break at its end; an empty string if there is no output."""
    if output == "json":
        return "" if document == {} else escape_json(json.dumps(document, indent=4, ensure_ascii=False)) + "\n"
    if output == "text":
        return "".join(f"{line}\n" for line in _lines(document, None, None))
    if output == "table":
        from cp_thirdparty._cli.tables import table  # noqa: PLC0415 - loading rich is slow

        return table(document, title=title, color=color, width=width)
    import yaml  # noqa: PLC0415 - few calls need it

    if document == {}:
        return ""
    # With yaml-stream, the AWS CLI prints one list item for each page of a response.  These operations have one page.
    shown = [document] if output == "yaml-stream" else document
    text = _dump_yaml(yaml, shown, allow_unicode=True)
    # PyYAML does not escape all characters that a terminal interprets.
    if not text.replace("\n", "").isprintable() or not can_encode(text):
        text = _dump_yaml(yaml, shown, allow_unicode=False)
    return text.removesuffix("...\n")  # PyYAML writes "..." after a document that is a single value


def _dump_yaml(yaml: Any, document: Any, *, allow_unicode: bool) -> str:
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=allow_unicode, default_flow_style=False)
    return text


def _lines(item: Any, name: str | None, columns: Iterable[str] | None) -> Iterator[str]:
    """Yield an item as tab-separated lines.  Lines of a nested member begin with the name of the member."""
    if isinstance(item, dict):
        yield from _lines_of_structure(cast("dict[str, Any]", item), name, columns)
    elif isinstance(item, list):
        yield from _lines_of_list(item, name)
    else:
        yield escape(str(item))


def _lines_of_structure(item: Mapping[str, Any], name: str | None, columns: Iterable[str] | None) -> Iterator[str]:
    shown = sorted(key for key in item if not _is_nested(item[key])) if columns is None else list(columns)
    cells = [escape(str(item.get(key, ""))) for key in shown]
    if cells:
        yield "\t".join(cells if name is None else [escape(name.upper()), *cells])
    for key in sorted(item.keys() - set(shown)):
        yield from _lines(item[key], key, None)


def _lines_of_list(items: list[Any], name: str | None) -> Iterator[str]:
    if any(isinstance(item, dict) for item in items):
        structures = [item for item in items if isinstance(item, dict)]
        columns = sorted({key for item in structures for key in item if not _is_nested(item[key])})
        for item in items:
            yield from _lines(item, name, columns)
        return
    flat = [escape(str(item)) for item in items if not _is_nested(item)]
    if flat:
        yield from ["\t".join(flat)] if name is None else [f"{escape(name.upper())}\t{cell}" for cell in flat]
    for item in items:
        if _is_nested(item):
            yield from _lines(item, name, None)


def _is_nested(item: object) -> bool:
    return isinstance(item, (dict, list))
