"""
Render a model as a tree for Jupyter and for rich, with every secret masked.

Strings are untrusted, so invisible characters are escaped and long strings are truncated.  For an object of another
type than models and their fields, only the name of the type is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from html import escape as escape_html
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import attrs

from cp_thirdparty._base.text import escape
from cp_thirdparty.secrets import SecretMapping, SecretStr

if TYPE_CHECKING:
    from rich.table import Table as RichTable
    from rich.text import Text
    from rich.tree import Tree as RichTree

# The maximum length of a shown string.  Most ids, ARNs and S3 keys have fewer characters.
_MAX_CHARACTERS = 200
_MAX_ROWS = 50


# --- the tree --------------------------------------------------------------------------------------------------------


class _Part(NamedTuple):
    """A value as a string that is safe to show, and a note that this module adds, such as the length."""

    text: str
    kind: Literal["value", "secret", "placeholder"] = "value"
    note: str = ""


class _Line(NamedTuple):
    parts: Sequence[_Part]
    separator: str = ""


class _Table(NamedTuple):
    headings: Sequence[str]
    rows: Sequence[Sequence[_Line]]


class _Tree(NamedTuple):
    label: _Part
    line: _Line | None = None
    children: Sequence[_Tree] = ()
    table: _Table | None = None
    note: str = ""


def _tree(label: str, value: Any) -> _Tree:
    name = _string_part(label)
    if type(value).__name__ == "ActionConfiguration":
        value = value.configuration
    if isinstance(value, SecretMapping) and value:
        children = [_Tree(_string_part(key), _SECRET) for key in list(value)[:_MAX_ROWS]]
        return _Tree(name, children=children, note=_note_of_omitted_rows(value))
    if isinstance(value, tuple) and value and all(attrs.has(type(item)) for item in value):
        return _Tree(name, table=_table(value), note=_note_of_omitted_rows(value))
    if attrs.has(type(value)) and type(value).__name__ not in _LINES:
        return _Tree(name, children=_child_trees(value))
    return _Tree(name, _line(value), _further_children(value))


def _child_trees(model: Any) -> list[_Tree]:
    return [_tree(field.name, getattr(model, field.name)) for field in attrs.fields(type(model)) if field.repr]


def _further_children(value: Any) -> list[_Tree]:
    """Return trees for the ids and the ARN of a pipeline, which the line with its path does not show."""
    if type(value).__name__ != "PipelineContext":
        return []
    members = {
        "action_execution_id": getattr(value.action, "action_execution_id", None),
        "pipeline_arn": value.pipeline_arn,
        "pipeline_execution_id": value.pipeline_execution_id,
    }
    return [_tree(name, each) for name, each in members.items() if each is not None]


def _table(items: Sequence[Any]) -> _Table:
    headings = [field.name for field in attrs.fields(type(items[0])) if field.repr]
    rows = [[_line(getattr(item, name, None)) for name in headings] for item in items[:_MAX_ROWS]]
    return _Table(headings, rows)


def _note_of_omitted_rows(items: Any) -> str:
    return f"… {len(items) - _MAX_ROWS:,} more" if len(items) > _MAX_ROWS else ""


def _line(value: Any) -> _Line:
    model_line = _LINES.get(type(value).__name__)
    return model_line(value) if model_line is not None else _Line([_part(value)])


def _part(value: object) -> _Part:
    if isinstance(value, SecretStr):
        return _SECRET.parts[0]
    if isinstance(value, str) and value:
        return _string_part(value)
    if isinstance(value, (datetime, int)):
        return _string_part(str(value))
    for empty in (None, "", (), SecretMapping({})):
        if type(value) is type(empty) and value == empty:
            return _Part("{}" if isinstance(value, SecretMapping) else repr(value), "placeholder")
    return _Part(_string_part(f"<{type(value).__name__}>").text, "placeholder")


def _string_part(value: str) -> _Part:
    # For a member of a str enumeration, str.__str__ returns the value of the member.
    complete = str.__str__(value)
    note = f"… {len(complete):,} characters" if len(complete) > _MAX_CHARACTERS else ""
    return _Part(escape(complete[:_MAX_CHARACTERS]), note=note)


def _pipeline_line(context: Any) -> _Line:
    names = (context.pipeline_name, getattr(context.stage, "name", None), getattr(context.action, "name", None))
    return _Line([_part(name) for name in names if name is not None] or [_part(None)], " → ")


def _s3_line(location: Any) -> _Line:
    return _Line([_Part("s3://"), _part(location.bucket_name), _Part("/"), _part(location.object_key)])


def _location_line(location: Any) -> _Line:
    if location.s3_location is None:
        return _Line([_part(location.type)])
    if location.type in (None, "S3"):
        return _line(location.s3_location)
    return _Line([_part(location.type), _Part(" "), *_line(location.s3_location).parts])


def _action_type_line(action_type: Any) -> _Line:
    parts = (action_type.category, action_type.owner, action_type.provider, action_type.version)
    return _Line([_part(part) for part in parts], " / ")


# Class name of a model -> the function that shows the model in one line.  The classes cannot be imported here, because
# their module imports this one.
_LINES: dict[str, Callable[[Any], _Line]] = {
    "ActionTypeId": _action_type_line,
    "ArtifactLocation": _location_line,
    "EncryptionKey": lambda key: _Line([_part(key.type), _part(key.id)], " "),
    "PipelineContext": _pipeline_line,
    "S3Location": _s3_line,
}
_SECRET = _Line([_Part(repr(SecretStr("")), "secret")])


# --- Jupyter ---------------------------------------------------------------------------------------------------------

# All colours are mixed from the text colour of the page, so they are readable on any background.  Notebook pages have
# their own CSS rules for tables and lists, such as striped rows.  !important overrides them.
_CSS = """<style>
.cp-thirdparty { color: inherit; background: transparent; line-height: 1.5; overflow-wrap: anywhere; text-align: left }
.cp-thirdparty summary { display: list-item; cursor: pointer; margin: 0; padding: 0 }
.cp-thirdparty details > :not(summary) { border-left: 1px solid currentColor;
  border-left-color: color-mix(in srgb, currentColor 25%, transparent) }
.cp-thirdparty ul { list-style: none !important; margin: 0 0 0 .3em !important; padding: 0 0 0 1em !important }
.cp-thirdparty li { margin: 0 !important; padding: 0 }
.cp-thirdparty li > div { padding-left: 1em }
.cp-thirdparty div.cp-table { margin: 0 0 0 .3em; padding: 0 0 .2em 1em; overflow-x: auto }
.cp-thirdparty table { width: auto !important; margin: 0 !important; border: none !important;
  border-collapse: collapse; table-layout: auto !important; font-size: .9em !important }
.cp-thirdparty :is(table, thead, tbody, tr, th, td) { color: inherit !important; background: transparent !important }
.cp-thirdparty :is(th, td) { padding: .1em .8em .1em 0 !important; border: none !important; max-width: none !important;
  text-align: left !important; vertical-align: top !important; white-space: normal !important }
.cp-thirdparty th { white-space: nowrap !important }
.cp-thirdparty td:first-child { min-width: 7em }
.cp-thirdparty td:last-child { min-width: 6em; padding-right: 0 !important }
.cp-thirdparty tbody tr { border-top: 1px solid currentColor !important;
  border-top-color: color-mix(in srgb, currentColor 25%, transparent) !important }
.cp-thirdparty th, .cp-thirdparty .cp-name { font-weight: 600 }
.cp-thirdparty :is(bdi, th) { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: .93em !important }
.cp-thirdparty :is(.cp-placeholder, .cp-secret, .cp-note) { color: color-mix(in srgb, currentColor 70%, transparent) }
.cp-thirdparty bdi { white-space: pre-wrap }
.cp-thirdparty .cp-note { font-style: italic }
</style>"""


def html(model: object) -> str:
    """Return the tree of a model as HTML without scripts and without links to other files."""
    return _html_document(_tree(type(model).__name__, model))


def html_of_items(name: str, models: tuple[object, ...]) -> str:
    """Return an HTML table of models of one class.  Its heading has the name and the number of models."""
    return _html_document(_tree(f"{name} ({len(models):,})", tuple(models)))


def _html_document(root: _Tree) -> str:
    tree = _html_tree(root)
    # In a page of nbconvert, MathJax would format a file name with ``$1 and $2`` as mathematics.  The two classes
    # prevent that in MathJax 2 and 3.
    return f'<div class="cp-thirdparty tex2jax_ignore mathjax_ignore">{_CSS}{tree}</div>'


def _html_tree(tree: _Tree) -> str:
    head = _html_part(tree.label, "cp-name")
    if tree.line is not None:
        head += f": {_html_line(tree.line)}"
    body = "".join(f"<li>{_html_tree(child)}</li>" for child in tree.children)
    body = f"<ul>{body}{_html_note(tree.note, 'li')}</ul>" if body else ""
    if tree.table is not None:
        body = f'<div class="cp-table">{_html_table(tree.table)}{_html_note(tree.note, "div")}</div>'
    return f"<details open><summary>{head}</summary>{body}</details>" if body else f"<div>{head}</div>"


def _html_table(table: _Table) -> str:
    headings = "".join(f"<th>{escape_html(heading)}</th>" for heading in table.headings)
    rows = ("".join(f"<td>{_html_line(cell)}</td>" for cell in row) for row in table.rows)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{headings}</tr></thead><tbody>{body}</tbody></table>"


def _html_line(line: _Line) -> str:
    return line.separator.join(map(_html_part, line.parts))


def _html_part(part: _Part, css_class: str = "") -> str:
    # <bdi> isolates a name in a right-to-left script, so that it does not reorder the characters beside it.
    note = f" {_html_note(part.note, 'span')}" if part.note else ""
    return f'<bdi class="{css_class or f"cp-{part.kind}"}">{escape_html(part.text)}</bdi>{note}'


def _html_note(note: str, tag: str) -> str:
    return f'<{tag} class="cp-note">{escape_html(note)}</{tag}>' if note else ""


# --- rich ------------------------------------------------------------------------------------------------------------

_RICH_STYLES = {"value": "", "secret": "yellow", "placeholder": "dim"}


def rich_tree(model: object) -> RichTree:
    """Return the tree of a model as a ``rich.tree.Tree``."""
    from rich.tree import Tree as RichTree  # noqa: PLC0415 - only rich calls this, so it is installed

    def add_children(branch: RichTree, tree: _Tree) -> RichTree:
        for child in tree.children:
            add_children(branch.add(_rich_head(child)), child)
        if tree.table is not None:
            branch.add(_rich_table(tree.table))
        if tree.note:
            branch.add(_rich_line(_Line([_Part("", note=tree.note)])))
        return branch

    tree = _tree(type(model).__name__, model)
    return add_children(RichTree(_rich_head(tree)), tree)


def _rich_head(tree: _Tree) -> Text:
    from rich.text import Text  # noqa: PLC0415 - rich is optional

    head = Text().append_text(_rich_line(_Line([tree.label])))
    head.stylize("bold")
    return head if tree.line is None else Text.assemble(head, ": ", _rich_line(tree.line))


def _rich_line(line: _Line) -> Text:
    from rich.text import Text  # noqa: PLC0415 - rich is optional

    # Text() and not rich's markup, because a name may contain markup such as "[red]".
    return Text(line.separator).join(
        Text.assemble((part.text, _RICH_STYLES[part.kind]), (" " * bool(part.text and part.note) + part.note, "italic"))
        for part in line.parts
    )


def _rich_table(table: _Table) -> RichTable:
    from rich.table import Table as RichTable  # noqa: PLC0415 - rich is optional

    rich_table = RichTable(box=None)
    for heading in table.headings:
        rich_table.add_column(heading, overflow="fold")
    for row in table.rows:
        rich_table.add_row(*map(_rich_line, row))
    return rich_table
