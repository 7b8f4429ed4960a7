"""The documentation builds as a site without a warning, and loads nothing from another host."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support.processes.nodes import ROOT

PICTURES = sorted((ROOT / "docs" / "pictures").glob("*.svg"))
FORMS = re.compile(r"https?://|@import|<script|<image|<foreignObject", re.IGNORECASE)


class Loaded(HTMLParser):
    """Collects what a browser would fetch to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "video"):
            self.addresses.append(found.get("src") or "")
        if tag == "link" and found.get("rel") != "canonical":
            self.addresses.append(found.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build = [str(Path(sys.executable).with_name("mkdocs")), "build", "--strict", "--quiet", "--site-dir", str(folder)]
    run = subprocess.run(
        build, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert run.returncode == 0, run.stderr + run.stdout
    return folder


@pytest.mark.process
def test_every_page_is_on_the_site(site: Path) -> None:
    pages = [page.relative_to(ROOT / "docs").with_suffix(".html") for page in (ROOT / "docs").rglob("*.md")]
    assert len(pages) > 40
    assert [page for page in pages if not (site / page).exists()] == []
    assert (site / "project" / "readme.html").exists()


@pytest.mark.process
def test_a_reader_of_the_site_is_told_to_no_other_host(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = Loaded()
        loaded.feed(page.read_text(encoding="utf-8"))
        assert len(loaded.addresses) > 3
        assert [address for address in loaded.addresses if "//" in address] == [], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_a_picture_is_on_a_page_drawn_for_light_and_dark_and_loads_nothing() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
    for picture in PICTURES:
        text = picture.read_text(encoding="utf-8")
        assert re.search(rf'pictures/{re.escape(picture.name)}[")]', pages), picture.name
        assert "prefers-color-scheme: dark" in text, picture.name
        assert 'aria-label="' in text, picture.name
        assert not FORMS.search(text.replace("http://www.w3.org/2000/svg", "")), picture.name


@pytest.mark.process
def test_the_changelog_of_a_release_can_be_written() -> None:
    towncrier = [str(Path(sys.executable).with_name("towncrier")), "build", "--draft", "--version", "next"]
    run = subprocess.run(towncrier, cwd=ROOT, capture_output=True, text=True, check=True)
    fragments = [file for file in (ROOT / "changes").iterdir() if file.suffix == ".md"]
    assert len(re.findall(r"^- ", run.stdout, re.MULTILINE)) == len(fragments)
