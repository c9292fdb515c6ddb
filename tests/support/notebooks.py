"""Notebooks, executed by Jupyter and opened in a real browser: headless Chromium."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NO_CHROMIUM = "needs Chromium, which Debian has: apt-get install chromium"

# In a sandbox of its own it does not run as root; without the others it calls Google's hosts.
_FLAGS = [
    "--headless",
    *(["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else []),
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]
_SECONDS = 120


def execute(cells: Iterable[str], directory: Path, *, hidden: str = "") -> Path:
    """
    Run a notebook of these cells and return where it lies.

    Args:
        cells: The code of each.

        directory: Where everything goes.

        hidden: Code that runs first and is not on the page.
    """
    documents = [_cell(hidden, "hidden"), *(_cell(code) for code in cells)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": documents, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    for number, document in enumerate(documents):
        document["id"] = f"cell-{number}"
    (directory / "notebook.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    _nbconvert(directory, "notebook.ipynb", "--execute", "--to", "notebook", "--output", "executed.ipynb")
    return directory / "executed.ipynb"


def _cell(code: str, *tags: str) -> dict[str, Any]:
    return {"cell_type": "code", "metadata": {"tags": tags}, "source": code, "outputs": [], "execution_count": None}


def as_page(notebook: Path, theme: str) -> Path:
    """Turn an executed notebook into a page that fetches nothing, ``light`` or ``dark``."""
    empty = [f"--HTMLExporter.{name}_js_url=" for name in ("require", "mermaid")]
    options = [*empty, "--HTMLExporter.mathjax_url=", f"--HTMLExporter.theme={theme}"]
    hide = "--TagRemovePreprocessor.remove_cell_tags=hidden"
    _nbconvert(notebook.parent, notebook.name, "--to", "html", "--output", f"{theme}.html", hide, *options)
    return notebook.parent / f"{theme}.html"


def _nbconvert(directory: Path, *arguments: str) -> None:
    own = {name: str(directory / "jupyter") for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")}
    # Sockets of the file system rather than ports that another test may take in between; their paths must be short.
    command = [sys.executable, "-m", "nbconvert", "--KernelManager.transport=ipc", *arguments]
    with tempfile.TemporaryDirectory() as runtime:
        environment = {**os.environ, **own, "JUPYTER_RUNTIME_DIR": runtime}
        done = subprocess.run(
            command, cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    assert done.returncode == 0, done.stderr


def document(page: Path, *, width: int, script: str) -> tuple[str, Any]:
    """
    Open a page and return its document after it was loaded, and what a script on it gave.

    Args:
        page: The page.

        width: Of the page, in pixels.

        script: The body of a function whose value goes through JSON.
    """
    # A window of Chromium has at least 500 pixels, so the page is made as narrow as is asked for.
    narrow = f"<style>html {{ width: {width}px; overflow-x: hidden }}</style>"
    probe = f'<script>{{ const found = (() => {{ {script} }})(); const kept = document.createElement("pre");'
    probe += (
        'kept.id = "found"; kept.textContent = JSON.stringify(found ?? null); document.body.append(kept) }</script>'
    )
    probed = page.with_name(f"probed-{page.name}")
    probed.write_text(page.read_text(encoding="utf-8").replace("</body>", f"{narrow}{probe}</body>"), encoding="utf-8")
    dom = _chromium(probed, {"window-size": f"{width},1000"}, "--dump-dom")
    match = re.search(r'<pre id="found">(.*?)</pre>', dom, flags=re.DOTALL)
    assert match is not None, dom[-2_000:]
    return dom.replace(probe, "").replace(match[0], ""), json.loads(html.unescape(match[1]))


def screenshot(page: Path, picture: Path, *, width: int, height: int, scale: float = 1) -> None:
    """Take a picture of a page."""
    size = {"window-size": f"{width},{height}", "force-device-scale-factor": str(scale)}
    _chromium(page, {**size, "screenshot": str(picture)})


def _chromium(page: Path, options: Mapping[str, str], *flags: str) -> str:
    assert CHROMIUM is not None
    profile = f"--user-data-dir={page.parent / 'profile'}"
    settings = [f"--{name}={value}" for name, value in options.items()]
    command = [CHROMIUM, *_FLAGS, profile, *flags, *settings, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    assert done.returncode == 0, done.stderr
    return done.stdout
