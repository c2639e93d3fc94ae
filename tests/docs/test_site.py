"""The documentation as a site: it is built without a warning, shows no marks of the tests, and fetches nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import pytest_evals

from .blocks import ROOT

pytest.importorskip("mkdocs", reason="the site is built with the dependency group 'docs'")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


class Fetched(HTMLParser):
    """What a page makes a browser fetch, and its comments."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.comments: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.addresses += [values.get("src") or ""]
        if tag == "link" and values.get("rel") in ("stylesheet", "icon", "preconnect", "preload"):
            self.addresses += [values.get("href") or ""]

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


def test_the_site_fetches_nothing_from_elsewhere_and_shows_no_marks_of_tests(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert {"index.html", "tutorial.html", "api/graders.html", "changelog.html"} <= {
        page.relative_to(site).as_posix() for page in pages
    }
    for page in pages:
        fetched = Fetched()
        fetched.feed(page.read_text(encoding="utf-8"))
        outside = [address for address in fetched.addresses if re.match(r"(https?:)?//", address)]
        assert outside == [], page
        assert [comment for comment in fetched.comments if re.match(r"\s*(run|file|output)\b", comment)] == [], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", sheet.read_text(encoding="utf-8")), sheet


def test_every_page_of_the_documentation_is_in_the_nav(site: Path) -> None:
    home = (site / "tutorial.html").read_text(encoding="utf-8")
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    missing = {page for page in pages - {"README.html"} if f'href="{page}"' not in home and page != "tutorial.html"}
    assert missing == set()


def test_the_api_has_every_public_name_with_its_docstring(site: Path) -> None:
    names = (site / "api/index.html").read_text(encoding="utf-8")
    graders = (site / "api/graders.html").read_text(encoding="utf-8")
    homes = {name: f'id="pytest_evals.{home}.{name}"' for name, home in pytest_evals._HOMES.items()}
    assert homes.keys() == {*pytest_evals.__all__} - {"graders"}
    assert [name for name, there in homes.items() if there not in names] == []
    assert [name for name in pytest_evals.graders.__all__ if not re.search(rf"\bgraders\.{name}\s", graders)] == []
    # Some modules have the name of what they define.
    assert 'id="pytest_evals.graders.human.human"' in graders
    assert "doc-module" not in graders
    assert 'id="pytest_evals.graders.judges.Judge.binary"' in graders
    assert "Evaluate" in (site / "search/search_index.json").read_text(encoding="utf-8")
