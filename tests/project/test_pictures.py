"""The chart and the pictures of terminals are what their scripts create, are on a page, and can be read."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from support import charts, terminal_pictures

_DOCS = Path(__file__).parents[2] / "docs"
_FILES = [charts.FILE, *(terminal_pictures.FOLDER / f"{name}.svg" for name in terminal_pictures.PICTURES)]


def test_the_chart_is_that_of_the_stored_figures() -> None:
    """The kept chart is what the script draws from the stored output."""
    assert charts.FILE.read_text(encoding="utf-8") == charts.draw()


def test_the_page_has_the_stored_figures() -> None:
    """Each stored table is on the page about costs, with the date and the versions of its run."""
    page = (_DOCS / "explanation" / "costs.md").read_text(encoding="utf-8")
    stored = charts.STORED.read_text(encoding="utf-8")
    date, machine, versions = stored.splitlines()[:3]
    tables = re.findall(r"(?:^\|.*\n)+", stored, flags=re.MULTILINE)
    assert [table for table in tables if table not in page] == []
    assert len(charts.read_tables(stored)) == len(tables) == 26
    assert f"on {date}" in page
    assert machine.partition(",")[0] in page
    assert [
        each for each in ("pydantic", "capo-codepipeline", "aiobotocore") if not re.search(rf"{each} \d", versions)
    ] == []


@pytest.mark.slow
def test_the_terminals_show_real_output(tmp_path: Path) -> None:
    """The kept pictures have what the programs print now."""
    pytest.importorskip("rich")
    terminal_pictures.create(tmp_path)
    for name in terminal_pictures.PICTURES:
        file = f"{name}.svg"
        assert (tmp_path / file).read_text("utf-8") == (terminal_pictures.FOLDER / file).read_text("utf-8")


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.stem)
def test_a_picture_is_on_a_page(path: Path) -> None:
    """Each picture is well-formed, has a title and colours for dark pages, shows no secret, and is on a page."""
    text = path.read_text(encoding="utf-8")
    assert (ET.fromstring(text).findtext("{http://www.w3.org/2000/svg}title") or "").endswith(".")
    assert "prefers-color-scheme: dark" in text
    assert "k-12345" not in text
    assert any(f"pictures/{path.name})" in page.read_text(encoding="utf-8") for page in _DOCS.rglob("*.md"))
