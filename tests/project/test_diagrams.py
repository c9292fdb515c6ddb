"""The diagrams of the documentation are those of tests/support/diagrams.py, are shown, and can be read."""

from __future__ import annotations

import itertools
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from support import diagrams

_ROOT = Path(__file__).parents[2]
_MINIMUM_CONTRAST = 4.5  # level AA of WCAG 2 for text
_BACKGROUNDS = ("page", "box", "good", "bad")


def test_the_files_are_those_of_the_script(tmp_path: Path) -> None:
    """The kept files are what ``python tests/support/diagrams.py`` writes, and there are no others."""
    diagrams.create(tmp_path)
    kept = {path.name: path.read_text(encoding="utf-8") for path in diagrams.FOLDER.glob("*.svg")}
    assert kept == {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}


@pytest.mark.parametrize("name", diagrams.DIAGRAMS)
def test_a_diagram_is_on_a_page(name: str) -> None:
    """Each diagram is well-formed, has a title, and a page shows it."""
    root = ET.fromstring(diagrams.DIAGRAMS[name].draw())
    assert (root.findtext("{http://www.w3.org/2000/svg}title") or "").endswith(".")
    pages = [path.read_text(encoding="utf-8") for path in (_ROOT / "docs").rglob("*.md")]
    assert any(f"_static/{name}.svg)" in page for page in pages)


@pytest.mark.parametrize("name", diagrams.DIAGRAMS)
def test_text_is_inside_of_its_box(name: str) -> None:
    """No box is narrower than its text, if a character is 7.6 pixels wide, nor is it outside."""
    diagram = diagrams.DIAGRAMS[name]
    for box in (part for part in diagram.parts if isinstance(part, diagrams.Box)):
        assert max(len(text) for text in (box.name, *box.lines)) * 7.6 <= box.width
        assert box.x + box.width <= diagram.width
        assert box.y + box.height <= diagram.height


@pytest.mark.parametrize("colours", [diagrams._LIGHT, diagrams._DARK], ids=["light", "dark"])
def test_the_contrast_is_sufficient(colours: dict[str, str]) -> None:
    """In both themes, each text has the contrast of level AA on each background."""
    low = [
        pair
        for pair in itertools.product(("text", "note"), _BACKGROUNDS)
        if _contrast(*(colours[name] for name in pair)) < _MINIMUM_CONTRAST
    ]
    assert low == []


def _contrast(one: str, other: str) -> float:
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
