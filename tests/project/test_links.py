"""Every link, picture and heading anchor of the Markdown pages leads somewhere, on GitHub and on PyPI."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from email import message_from_string
from email.message import Message
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from hatchling import build
from readme_renderer import markdown

_ROOT = Path(__file__).parents[2]
_BUILT = {"_build", "jupyter_execute"}
_PAGES = [
    path
    for pattern in ("*.md", ".github/**/*.md", "docs/**/*.md", "examples/**/*.md")
    for path in sorted(_ROOT.glob(pattern))
    if _BUILT.isdisjoint(path.parts)
]
_PREFIX = "user-content-"  # PyPI and GitHub put it before the id of each heading
_EXTERNAL = _ROOT / "tests" / "data" / "external-links.txt"
_OWN = "https://example.invalid/"  # the placeholder of the address of the project
_SCHEME = re.compile("[a-z]+:")
_CODE = re.compile(r"^```\w*\n.*?^```$", re.DOTALL | re.MULTILINE)


class _Page(HTMLParser):
    """The links, the pictures and the ids of a rendered page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        # The renderer drops `source`, which PyPI does not show and GitHub does.
        self.pictures: list[str] = re.findall(r'<source\b[^>]*\bsrcset="([^"]*)"', text)
        self.ids: set[str] = set()
        html = markdown.render(text)
        assert html, "PyPI refuses the page, and shows its source"
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value is not None}
        if tag == "a" and "href" in values:
            self.links.append(values["href"].replace(f"#{_PREFIX}", "#"))
        if tag == "img" and "src" in values:
            self.pictures.append(values["src"])
        if "id" in values:
            self.ids.add(values["id"].removeprefix(_PREFIX))


@cache
def _read(path: Path) -> _Page:
    return _Page(path.read_text(encoding="utf-8"))


def _is_found(root: Path, page: Path, link: str) -> bool:
    """Return whether a relative link leads to a file or folder of the tree, and to a heading if it names one."""
    name, _, anchor = unquote(link).partition("#")
    target = (page.parent / name).resolve() if name else page
    if not (target.exists() and target.is_relative_to(root)):
        return False
    return not anchor or (target.suffix == ".md" and anchor in _read(target).ids)


def _dead_links(root: Path, pages: Iterable[Path]) -> Iterator[str]:
    for page in pages:
        for link in (*_read(page).links, *_read(page).pictures):
            if not _SCHEME.match(link) and not _is_found(root, page, link):
                yield f"{page.relative_to(root).as_posix()}: {link}"


@pytest.fixture(name="metadata", scope="module")
def _metadata(tmp_path_factory: pytest.TempPathFactory) -> Message:
    """Build the metadata that an index reads."""
    folder = tmp_path_factory.mktemp("metadata")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(_ROOT)
        built = folder / build.prepare_metadata_for_build_wheel(str(folder)) / "METADATA"
    return message_from_string(built.read_text(encoding="utf-8"))


def _address(metadata: Message) -> str:
    """Return the project's only address."""
    return _urls(metadata)["Homepage"]


def _urls(metadata: Message) -> dict[str, str]:
    labels = (str(value).partition(", ") for value in metadata.get_all("Project-URL", []))
    return {label: url for label, _, url in labels}


def _description(metadata: Message) -> str:
    text = metadata.get_payload()
    assert isinstance(text, str)
    return text


def test_the_links_of_each_page_lead_somewhere() -> None:
    """GitHub finds the target of every relative link and picture, and the heading that a link names."""
    assert {"README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "index.md"} <= {page.name for page in _PAGES}
    dead = list(_dead_links(_ROOT, _PAGES))
    if not (_ROOT / "src").exists():  # the release is tested without it
        dead = [link for link in dead if "/src/cp_thirdparty/" not in link]
    assert dead == []


def test_the_long_description_is_the_readme(metadata: Message) -> None:
    """PyPI gets the README as Markdown, and only its links differ: no code is changed."""
    readme = (_ROOT / "README.md").read_text(encoding="utf-8")
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert _CODE.findall(_description(metadata)) == _CODE.findall(readme) != []
    assert _read(_ROOT / "README.md").ids == _Page(_description(metadata)).ids


def test_the_links_of_the_long_description_lead_somewhere(metadata: Message) -> None:
    """On PyPI every link leads to a file of the released version, to a heading of the page, or to another site."""
    page = _Page(_description(metadata))
    files = f"{_address(metadata)}/blob/v{metadata['Version']}/"
    readme = _ROOT / "README.md"
    inside = [link.removeprefix(files) for link in page.links if link.startswith((files, "#"))]
    others = [link for link in page.links if not link.startswith((files, "#"))]
    assert inside
    assert [link for link in inside if not _is_found(_ROOT, readme, link)] == []
    assert [link for link in others if not link.startswith("https://") or link.startswith(_address(metadata))] == []


def test_the_pictures_of_the_long_description_lead_somewhere(metadata: Message) -> None:
    """On PyPI every picture is the raw file of the released version."""
    files = f"{_address(metadata)}/raw/v{metadata['Version']}/"
    pictures = _Page(_description(metadata)).pictures
    assert len(pictures) == 2
    assert [url for url in pictures if not url.startswith(files)] == []
    assert [url for url in pictures if not (_ROOT / url.removeprefix(files)).is_file()] == []


def test_the_project_has_one_address(metadata: Message) -> None:
    """Every URL in pyproject.toml starts with the project's address, and leads to a file or to the issues."""
    address, urls = _address(metadata), _urls(metadata)
    written = re.findall(r"https?://[^\s\"']+", (_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(urls.values()) <= set(written)
    assert [url for url in written if url != address and not url.startswith(f"{address}/")] == []
    files = {label: url.removeprefix(f"{address}/blob/main/") for label, url in urls.items() if "/blob/" in url}
    assert urls.keys() - files.keys() == {"Homepage", "Issues", "Source"}
    assert urls["Source"] == address
    assert urls["Issues"] == f"{address}/issues"
    assert [label for label, name in files.items() if not (_ROOT / name).is_file()] == []


@pytest.mark.parametrize("page", [path for path in _PAGES if "docs" in path.parts], ids=lambda path: path.name)
def test_a_page_of_directives_leads_to_its_source(page: Path) -> None:
    """GitHub shows no included code and no docstrings, so a page that has them names or links the files."""
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"^```{(?:literal)?include}.*$", "", text, flags=re.MULTILINE)
    for included in re.findall(r"^```{(?:literal)?include} (\S+)", text, re.MULTILINE):
        path = Path(included)
        assert any(part in prose for part in (path.name, f"/{path.parent.name}`"))
    assert not re.search(r"^\.\. auto", text, re.MULTILINE) or "On GitHub, " in prose


def test_the_external_links_are_listed() -> None:
    """The list of links to other sites, with the date when each was last looked at, is complete."""
    dated = re.findall(r"^(\d{4}-\d\d-\d\d) (\S+)$", _EXTERNAL.read_text(encoding="utf-8"), re.MULTILINE)
    links = {link for page in _PAGES for link in _read(page).links if link.startswith(("http:", "https:"))}
    linked = {link for link in links if not link.startswith(_OWN)}
    assert [link for _, link in dated] == sorted(linked)


def test_a_dead_link_is_reported(tmp_path: Path) -> None:
    """A link fails to a missing file or picture, to a missing heading, and out of the tree."""
    page = tmp_path / "tree" / "page.md"
    page.parent.mkdir()
    (tmp_path / "outside.md").touch()
    (tmp_path / "tree" / "other.md").write_text("# A heading, and `code`\n", encoding="utf-8")
    page.write_text(
        "# Top\n[a](other.md) [b](#top) [c](other.md#a-heading-and-code) [d](https://x.invalid) [e](../tree)\n"
        "[1](no.md) [2](#no) [3](other.md#no) [4](../outside.md) [5](/other.md) ![6](no.png)\n\n"
        '<picture><source srcset="no.svg"><img src="other.md"></picture>\n\n`[not](a-link.md)`\n',
        encoding="utf-8",
    )
    dead = ["no.md", "#no", "other.md#no", "../outside.md", "/other.md", "no.svg", "no.png"]
    assert list(_dead_links(page.parent, [page])) == [f"page.md: {link}" for link in dead]
