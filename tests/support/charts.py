"""
Create the chart of what the library costs; the command is ``PYTHONPATH=tests python -m support.charts``.

``docs/measurements/costs.txt`` is the output of ``nox -s benchmarks`` with its date and versions.  The chart is an SVG
file with colours for light and dark pages, as the diagrams are.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Final, NamedTuple

from support.diagrams import _DARK, _LIGHT, _variables

_DOCS: Final = Path(__file__).parents[2] / "docs"
STORED: Final = _DOCS / "measurements" / "costs.txt"
FILE: Final = _DOCS / "pictures" / "costs.svg"

# Title of a table -> heading of its panel, unit, and the candidates that it shows.
_PANELS: Final = {
    "structuring 2,495 characters, µs": ("Read the details of a job", "µs", "less is better"),
    "memory of one document, bytes": ("Memory of the details", "bytes", "less is better"),
    "calls a second, 8 at a time": ("Calls, 8 at a time", "a second", "more is better"),
    "process start to first details printed, ms": ("Start of a process", "ms", "less is better"),
}
_STYLE: Final = """\
    svg { font: 14px system-ui, sans-serif }
    .page { fill: var(--page) }
    .bar { fill: var(--box); stroke: var(--edge) }
    .ours { fill: var(--edge) }
    .head { fill: var(--text); font-weight: 600 }
    .name { fill: var(--text); text-anchor: end }
    .note { fill: var(--note) }"""

_WIDTH: Final = 860
_NAMES: Final = 330  # pixels for the names of the candidates
_LONGEST: Final = 400
_ROW: Final = 26


class Table(NamedTuple):
    """A table of the benchmarks: its title, and the figure of each candidate."""

    title: str
    figures: dict[str, float]


def read_tables(text: str) -> list[Table]:
    """Return the tables in the output of the benchmarks."""
    tables = []
    for block in re.findall(r"(?:^\|.*\n?)+", text, flags=re.MULTILINE):
        head, _, *rows = (line.strip("| ").split("|") for line in block.splitlines())
        figures = {row[0].strip(): float(row[1].replace(",", "")) for row in rows}
        tables.append(Table(head[0].strip(), figures))
    return tables


def draw() -> str:
    """Return the chart as an SVG document."""
    stored = STORED.read_text(encoding="utf-8")
    date, machine, versions = stored.splitlines()[:3]
    tables = {table.title: table.figures for table in read_tables(stored)}
    parts: list[str] = []
    y = 34
    for title, (heading, unit, better) in _PANELS.items():
        parts.append(f'<text class="head" x="20" y="{y}">{heading}, {unit} ({better})</text>')
        largest = max(tables[title].values())
        for name, figure in tables[title].items():
            y += _ROW
            length = round(figure / largest * _LONGEST)
            kind = "bar ours" if name.startswith("cp-thirdparty") else "bar"
            parts += [
                f'<text class="name" x="{_NAMES}" y="{y}">{escape(name)}</text>',
                f'<rect class="{kind}" x="{_NAMES + 12}" y="{y - 14}" width="{length}" height="18" rx="3"/>',
                f'<text class="note" x="{_NAMES + 20 + length}" y="{y}">{figure:,.0f}</text>'
                if figure >= 100
                else f'<text class="note" x="{_NAMES + 20 + length}" y="{y}">{figure:,.1f}</text>',
            ]
        y += 44
    named = dict(re.findall(r"(\S+) ([\d.]+)", versions))
    shown = ", ".join(f"{name} {named[name]}" for name in ("botocore", "boto3", "pydantic", "capo-codepipeline"))
    parts += [
        f'<text class="note" x="20" y="{y}">{date}, {machine}</text>',
        f'<text class="note" x="20" y="{y + 20}">{shown}</text>',
    ]
    title = f"What cp-thirdparty costs beside other libraries, measured on {date}; the tables below have the figures."
    rows = "\n".join(f"  {part}" for part in parts)
    height = y + 40
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
        f' role="img">\n  <title>{escape(title)}</title>\n  <style>\n    svg {{ {_variables(_LIGHT)} }}\n'
        f"    @media (prefers-color-scheme: dark) {{ svg {{ {_variables(_DARK)} }} }}\n{_STYLE}\n  </style>\n"
        f'  <rect class="page" width="{_WIDTH}" height="{height}" rx="8"/>\n{rows}\n</svg>\n'
    )


if __name__ == "__main__":
    FILE.write_text(draw(), encoding="utf-8")
