"""Format documents as tables, with one section for each structure, and the same cells and headings as the AWS CLI."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cp_thirdparty._base.text import escape

# The maximum width of a table for rich, which would truncate a wider one.  A pager can show wide tables.
_NO_LIMIT = 1_000_000


def _escape_all(names: Sequence[str]) -> Sequence[str]:
    return [escape(name) for name in names]


@attrs.frozen(kw_only=True)
class _Section:
    title: str = attrs.field(converter=escape)
    depth: int
    headings: Sequence[str] = attrs.field(default=(), converter=_escape_all)
    rows: Sequence[Sequence[str]] = ()

    def width(self) -> int:
        """Return the width of this section in the AWS CLI, in columns, so that the same tables are transposed."""
        lines = [line for line in (self.headings, *self.rows) if line]
        count = max(map(len, lines), default=0)
        widths = (max(cell_len(line[at]) for line in lines if at < len(line)) + 4 for at in range(count))
        return max(cell_len(self.title), sum(widths)) + 2 + 2 * self.depth

    def transpose(self) -> _Section:
        """Return the section with each heading beside its value, if it has only one row."""
        if len(self.rows) != 1 or not self.headings:
            return self
        return attrs.evolve(self, headings=(), rows=[*zip(self.headings, self.rows[0], strict=True)])


def table(document: Any, *, title: str, color: bool, width: int) -> str:
    """Return a document as a table of lines."""
    sections = list(_sections(document, title, 0))
    if any(section.width() > width for section in sections):
        sections = [section.transpose() for section in sections]
    text = io.StringIO()
    console = Console(
        file=text,
        width=_NO_LIMIT,
        force_terminal=color,
        color_system="standard" if color else None,
        legacy_windows=False,
    )
    for section in sections:
        console.print(Padding.indent(Text(f"| {section.title} |", style="bold"), 2 * section.depth))
        if section.rows:
            console.print(Padding.indent(_draw(section), 2 * section.depth))
    return "".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines())


def _draw(section: _Section) -> Table:
    drawn = Table(
        box=box.ASCII2,
        show_header=bool(section.headings),
        header_style="bold",
        border_style="yellow",
    )
    for at in range(max(map(len, (section.headings, *section.rows)))):
        heading = section.headings[at] if section.headings else ""
        drawn.add_column(Text(heading), style="blue", no_wrap=True, overflow="ignore")
    for row in section.rows:
        drawn.add_row(*map(Text, row))
    return drawn


def _sections(item: Any, title: str, depth: int) -> Iterator[_Section]:
    if not item:
        return
    if isinstance(item, dict):
        section, *more = _structures([item], title, depth)
        yield section.transpose() if len(section.headings) == 1 else section
        yield from more
    elif isinstance(item, list) and all(isinstance(element, dict) for element in item):
        yield from _structures(item, title, depth)
    elif isinstance(item, list):
        yield _Section(title=title, depth=depth, rows=[_cells(element) for element in item if _is_flat(element)])
        for element in item:
            if not _is_flat(element):
                yield from _sections(element, title, depth + 1)
    else:
        yield _Section(title=title, depth=depth)


def _structures(items: list[dict[str, Any]], title: str, depth: int) -> Iterator[_Section]:
    """Yield one section for all structures; if they have nested members, yield one section for each structure."""
    nested = sorted({key for item in items for key in item if isinstance(item[key], (dict, list))})
    headings = sorted({key for item in items for key in item if not isinstance(item[key], (dict, list))})
    rows = [[_cell(item.get(key, "")) for key in headings] for item in items]
    if not nested:
        yield _Section(title=title, depth=depth, headings=headings, rows=rows)
        return
    for item, row in zip(items, rows, strict=True):
        yield _Section(title=title, depth=depth, headings=headings, rows=[row] if headings else [])
        for key in nested:
            yield from _sections(item.get(key), key, depth + 1)


def _is_flat(element: Any) -> bool:
    if isinstance(element, list):
        return not any(isinstance(cell, (dict, list)) for cell in element)
    return not isinstance(element, dict)


def _cells(element: Any) -> Sequence[str]:
    return [_cell(cell) for cell in element] if isinstance(element, list) else [_cell(element)]


def _cell(value: object) -> str:
    return escape(str(value))
