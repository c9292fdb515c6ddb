"""An executed notebook in a real browser: what is seen of models there, in both themes, on a screen and on a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import notebooks
from support import readme_pictures as picture

pytestmark = [pytest.mark.slow, pytest.mark.skipif(notebooks.CHROMIUM is None, reason=notebooks.NO_CHROMIUM)]

# In the source of a cell the marker is in two parts, so that it is on the page only if a model shows it.
_MARKER = "xMARKERx"
_PUBLIC = "xPUBLICx"
_MASK = "**********"
_CELLS = (
    """
from cp_thirdparty.models import ArtifactCredentials
from cp_thirdparty.testing import samples

marker, public = "xMARK" + "ERx", "xPUB" + "LICx"
attack = "<script>document.title = 'attacked'</script><img src=x onerror=\\"document.title = 'attacked'\\">"
details = samples.job_details(
    id=public,
    configuration={"ApiKey": marker, "ProjectName": marker, attack: marker},
    context=samples.pipeline_context(pipeline_name=attack, stage_name="\\u202e" + "x" * 300, action_name="שלב"),
    credentials=ArtifactCredentials(access_key_id=marker, secret_access_key=marker, session_token=marker),
    input_artifacts=[samples.artifact("A" * 100, object_key="k" * 1_000), samples.artifact("MyApp", revision="7")],
    continuation_token="t" * 2_048,
)
details
""",
    "details.data.action_configuration",
    "details.data.artifact_credentials",
    "details.data.input_artifacts[0]",
    "samples.third_party_job()",
)
_SHOWN = len(_CELLS)

# The pixel that a colour makes on what is behind it is read off a canvas; all else is in the elements.
_SCRIPT = """
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
function pixel(...colours) {
  for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
  return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
}
function behind(element) {
  const colours = [];
  for (let at = element; at; at = at.parentElement) colours.unshift(getComputedStyle(at).backgroundColor);
  return ["white", ...colours];
}
const roots = [...document.querySelectorAll(".cp-thirdparty")];
const found = roots.map(root => ({
  text: root.innerText,
  foreign: root.querySelectorAll("script, img, [onerror], [onload], [src], [href]").length,
  pieces: [...root.querySelectorAll("bdi, th, .cp-note")].map(each => ({
    text: each.innerText,
    left: each.getBoundingClientRect().left,
    right: each.getBoundingClientRect().right,
    height: each.getBoundingClientRect().height,
    ink: pixel(...behind(each), getComputedStyle(each).color),
    paper: pixel(...behind(each)),
  })),
}));
const summary = roots[0].querySelector("summary");
const tall = roots[0].getBoundingClientRect().height;
summary.click();
const folded = roots[0].getBoundingClientRect().height;
summary.click();
return {
  title: document.title, width: document.documentElement.getBoundingClientRect().right, roots: found, tall, folded,
  fetched: performance.getEntriesByType("resource").map(each => each.name),
};
"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a notebook that Jupyter has executed."""
    return notebooks.execute(_CELLS, tmp_path_factory.mktemp("notebook"))


@pytest.fixture(scope="module", params=["light", "dark"])
def theme(request: pytest.FixtureRequest) -> str:
    """Give each theme."""
    return str(request.param)


@pytest.fixture(scope="module")
def page(notebook: Path, theme: str) -> Path:
    """Give the page of the notebook in a theme."""
    return notebooks.as_page(notebook, theme)


@pytest.fixture(scope="module", params=[1200, 390], ids=["screen", "phone"])
def opened(page: Path, request: pytest.FixtureRequest) -> tuple[str, Any]:
    """Give the document of the page, and what the script sees in it, at the width of a screen and of a phone."""
    dom, seen = notebooks.document(page, width=request.param, script=_SCRIPT)
    assert seen["width"] == request.param, "else nothing is said of a phone"
    return dom, seen


def test_masks_are_seen_and_no_marker(opened: tuple[str, Any]) -> None:
    """Each secret is a mask that one sees; no marker is in the document, in no attribute and in no text."""
    dom, seen = opened
    assert [root["text"].count(_MASK) for root in seen["roots"]] == [6, 3, 3, 0, 0]
    assert _MARKER not in dom
    assert dom.count(_PUBLIC) == 1


def test_untrusted_values_run_nothing(opened: tuple[str, Any]) -> None:
    """A script and an image in a name are text, nothing was fetched, and nothing has run."""
    _, seen = opened
    assert len(seen["roots"]) == _SHOWN
    assert [root["foreign"] for root in seen["roots"]] == [0] * _SHOWN
    assert seen["title"] == "executed"
    assert seen["fetched"] == []
    assert "<script>document.title = 'attacked'</script>" in seen["roots"][0]["text"]


def test_everything_can_be_read(opened: tuple[str, Any], theme: str) -> None:
    """Each piece of text has a size, lies within the window, and has the contrast that WCAG 2 asks for: 4.5."""
    _, seen = opened
    pieces = [piece for root in seen["roots"] for piece in root["pieces"]]
    assert len(pieces) > 50
    assert [piece for piece in pieces if piece["height"] == 0] == []
    assert [piece for piece in pieces if piece["left"] < 0 or piece["right"] > seen["width"]] == []
    assert [piece for piece in pieces if _contrast(piece["ink"], piece["paper"]) < 4.5] == []
    assert {_luminance(piece["paper"]) > 0.5 for piece in pieces} == {theme == "light"}


def _luminance(pixel: list[int]) -> float:
    """Return the relative luminance of a colour, as WCAG 2 defines it."""
    parts = [part / 255 for part in pixel]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return float(0.2126 * red + 0.7152 * green + 0.0722 * blue)


def _contrast(one: list[int], other: list[int]) -> float:
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_a_tree_folds(opened: tuple[str, Any]) -> None:
    """A click on a summary folds what is below it."""
    _, seen = opened
    assert seen["folded"] < 60 < seen["tall"]


def test_the_command_that_makes_the_pictures_works(tmp_path: Path) -> None:
    """The command makes both pictures again, as wide as those that are kept, and notes the same of what is on them."""
    picture.make(tmp_path)
    made, kept = ({path.name: path.read_bytes() for path in where.iterdir()} for where in (tmp_path, picture.PICTURES))
    assert made["notebook.sha256"] == kept["notebook.sha256"]
    assert made["notebook-light.png"] != made["notebook-dark.png"]
    assert sorted(made) == sorted(name for name in kept if name.startswith("notebook"))
    for name in ("notebook-light.png", "notebook-dark.png"):
        assert _size(made[name])[0] == _size(kept[name])[0] == picture.WIDTH * picture.SCALE
        assert _size(made[name])[1] > 500


def _size(png: bytes) -> tuple[int, int]:
    """Return width and height, which stand first in a PNG."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
