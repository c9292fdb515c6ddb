"""
Each page of the site is looked at in Chromium, 1,280 and 390 pixels wide, light and dark.

``nox -s docs`` runs this file after the build; pytest does not collect it by default.
"""

from __future__ import annotations

import functools
import http.server
import json
import queue
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from support import notebooks

_SITE: Final = Path(__file__).parents[2] / "docs" / "_build" / "html"
_PAGES: Final = sorted(
    path.relative_to(_SITE).as_posix() for path in _SITE.rglob("*.html") if "_modules" not in path.parts
)
_SECONDS: Final = 300

# It opens the pages one after the other in a frame, and sends what it finds.
_LOOK: Final = """
const width = %d, theme = %s, pages = %s, found = {};
const frame = document.createElement("iframe");
frame.style = `border: 0; width: ${width}px; height: 2000px`;
document.body.append(frame);

const channels = (color) => {
  const parts = color.match(/[\\d.]+/g).map(Number), unit = color.startsWith("color(") ? 255 : 1;
  return { rgb: parts.slice(0, 3).map((part) => part * unit), alpha: parts[3] ?? 1 };
};
const blend = (top, alpha, below) => top.map((value, i) => value * alpha + below[i] * (1 - alpha));
const luminance = (rgb) => {
  const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const [r, g, b] = rgb.map((value) => linear(value / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (element) => {
  const layers = [];
  for (let each = element; each; each = each.parentElement) {
    const layer = channels(frame.contentWindow.getComputedStyle(each).backgroundColor);
    layers.push(layer);
    if (layer.alpha === 1) break;
  }
  return layers.reverse().reduce((below, { rgb, alpha }) => blend(rgb, alpha, below), [255, 255, 255]);
};
const contrast = (element, style) => {
  const below = behind(element), { rgb, alpha } = channels(style.color);
  const [dark, light] = [luminance(blend(rgb, alpha, below)), luminance(below)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
};
const describe = (element) => `${element.tagName}.${element.className}: ${element.textContent.trim().slice(0, 40)}`;

const look = (page) => {
  const view = frame.contentWindow, root = frame.contentDocument.documentElement, problems = new Set();
  frame.contentDocument.body.dataset.theme = theme;
  if (root.scrollWidth > width + 1) problems.add(`the page is ${root.scrollWidth} pixels wide`);
  for (const element of frame.contentDocument.querySelectorAll(".content *, .sidebar-tree *, .toc-tree *, footer *")) {
    const style = view.getComputedStyle(element), box = element.getBoundingClientRect();
    if (!box.width || style.visibility === "hidden" || element.closest("svg, .headerlink, .visually-hidden")) continue;
    const isHidden = style.overflowX === "hidden" || style.overflowX === "clip";
    const isScrolled = element.scrollWidth > element.clientWidth + 1;
    if (isHidden && isScrolled) problems.add(`hidden: ${describe(element)}`);
    const columns = element.tagName === "TABLE" ? element.rows[0].cells.length : 0;
    if (columns > 6 && width > 1000 && isScrolled) problems.add(`cut: ${describe(element)}`);
    if (element.tagName === "IMG" && !element.naturalWidth) problems.add(`no picture: ${element.src}`);
    const hasText = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!hasText) continue;
    const size = parseFloat(style.fontSize), isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const ratio = contrast(element, style);
    if (ratio < (isLarge ? 3 : 4.5) - 0.005) problems.add(`contrast ${ratio.toFixed(2)}: ${describe(element)}`);
  }
  found[page] = [...problems];
};
(async () => {
  for (const page of pages) {
    await new Promise((done) => {
      frame.onload = done;
      frame.src = page;
    });
    await new Promise((done) => setTimeout(done, 60));
    try {
      look(page);
    } catch (error) {
      found[page] = [String(error)];
    }
  }
  await fetch("found", { method: "POST", body: JSON.stringify(found) });
})();
"""


class _Handler(http.server.SimpleHTTPRequestHandler):
    """It serves the site and the page that looks at it, and takes what that page found."""

    def __init__(self, *arguments: Any, look: str, found: queue.Queue[Any], **settings: Any) -> None:
        self._look, self._found = look, found
        super().__init__(*arguments, **settings)

    def do_GET(self) -> None:
        """Serve the site, and the page that looks at it."""
        if self.path != "/look.html":
            super().do_GET()
            return
        body = f"<!DOCTYPE html><body><script>{self._look}</script></body>".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        """Take what was found."""
        self._found.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - the name of the base class
        """Log nothing."""


@contextmanager
def _open_browser(address: str, profile: Path) -> Generator[None, None, None]:
    assert notebooks.CHROMIUM is not None
    flags = [*notebooks._FLAGS, f"--user-data-dir={profile}", "--remote-debugging-port=0", "--window-size=1400,2100"]
    with subprocess.Popen(
        [notebooks.CHROMIUM, *flags, address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as browser:
        try:
            yield
        finally:
            browser.terminate()


@pytest.mark.skipif(notebooks.CHROMIUM is None, reason=notebooks.NO_CHROMIUM)
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_each_page_can_be_read(width: int, theme: str, tmp_path: Path) -> None:
    """
    No page is wider than the window, nothing is hidden without a way to scroll, and text has the contrast of AA.

    Tables of figures, which have more than six columns, fit on a wide page without scrolling.
    """
    found: queue.Queue[Any] = queue.Queue()
    look = _LOOK % (width, json.dumps(theme), json.dumps(_PAGES))
    handler = functools.partial(_Handler, directory=str(_SITE), look=look, found=found)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with _open_browser(f"http://127.0.0.1:{server.server_address[1]}/look.html", tmp_path):
            problems = found.get(timeout=_SECONDS)
        server.shutdown()
    assert len(problems) == len(_PAGES)
    assert {page: each for page, each in problems.items() if each} == {}
