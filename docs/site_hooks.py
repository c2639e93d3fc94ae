"""What MkDocs calls while it builds the site: pages from files that are elsewhere or in docstrings, links between them, and a nav that
knows new pages.

Nothing of the package is imported: names are read from its source.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pytest_evals"
ELSEWHERE = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
"""Pages of the site, and the files outside of ``docs/`` that they are made of."""
SOURCE = re.search(r'^Source = "(.*)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
_FENCE = re.compile(r"^ *(```|~~~)")
_COMMENT = re.compile(r"^ *<!--.*--> *$")
_LINK = re.compile(r"(!?\[[^]]*\])\((?!https?://|#|mailto:)([^)\s#]+)(#[^)\s]*)?\)")
_REFERENCE = "::: {name}\n    options:\n      heading: {heading}\n      toc_label: {heading}\n"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add recipes to the nav that it does not list."""
    nav: Any = config.nav
    how_to = next(section["How-to"] for section in nav if "How-to" in section)
    recipes = next(section["Recipes"] for section in how_to if "Recipes" in section)
    there = [path.relative_to(ROOT / "docs").as_posix() for path in sorted((ROOT / "docs/how-to").glob("*.md"))]
    recipes.extend(recipe for recipe in there if recipe not in recipes)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of other files."""
    for name, source in ELSEWHERE.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    for name, content in api_pages().items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: object) -> str:
    """Leave out the comments that tests read, and make links lead to pages of the site, or to the source."""
    if page.parent is None:
        page.meta["hide"] = ["navigation"]  # a page that is a tab of its own has no others beside it
    here = ROOT / ELSEWHERE.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    lines, fence = [], ""
    for line in markdown.splitlines():
        opening = _FENCE.match(line)
        if opening and fence in ("", opening[1]):
            fence = "" if fence else opening[1]
        if fence or not _COMMENT.match(line):
            lines.append(line if fence else _LINK.sub(lambda link: _relinked(link, here, page, files), line))
    return "\n".join(lines)


def _relinked(link: re.Match[str], here: Path, page: Page, files: Files) -> str:
    text, target, anchor = link[1], link[2], link[3] or ""
    path = (here.parent / target).resolve()
    if not path.is_relative_to(ROOT) or not path.exists():
        return link[0]  # MkDocs says that it leads nowhere
    inside = path.relative_to(ROOT).as_posix()
    uri = {source: name for name, source in ELSEWHERE.items()}.get(inside, inside.removeprefix("docs/"))
    if inside in ("docs/README.md", "docs"):
        uri = "index.md"
    if files.get_file_from_path(uri) is None:
        return f"{text}({SOURCE[1] if SOURCE else ''}/blob/main/{inside}{anchor})"
    depth = page.file.src_uri.count("/")
    return f"{text}({'../' * depth}{uri}{anchor})"


# -- The API: a page for each group of public names, made of the names alone. mkdocstrings fills in what docstrings say.


def api_pages() -> dict[str, str]:
    """Return the pages of the API, by path."""
    door = _assignments(PACKAGE / "__init__.py")
    names = [
        _REFERENCE.format(name=f"pytest_evals.{door['_HOMES'][name]}.{name}", heading=name)
        for name in sorted(door["__all__"], key=str.lower)
        if name in door["_HOMES"]
    ]
    graders = _assignments(PACKAGE / "graders/__init__.py")["__all__"]
    homes = _homes(PACKAGE / "graders/__init__.py")
    # An object with methods: its class has the documentation.
    homes["judge"] = homes["judge"].removesuffix("judge") + "Judge"
    fixtures = _assignments(PACKAGE / "plugin.py")["__all__"]
    testing = _assignments(PACKAGE / "testing.py")["__all__"]
    return {
        "api/index.md": _page(
            "Public names",
            "What `from pytest_evals import ...` gives. The ready-made [graders](graders.md) and the [fixtures](fixtures.md) have pages of their own.",
            names,
        ),
        "api/graders.md": _page(
            "Ready-made graders",
            "What `from pytest_evals import graders` gives. [Graders](../graders.md), [Metrics](../metrics.md) and [Judges](../judges.md) "
            "show how they are used.",
            [
                _REFERENCE.format(name=homes.get(name, f"pytest_evals.graders.{name}"), heading=f"graders.{name}")
                for name in graders
            ],
        ),
        "api/fixtures.md": _page(
            "Fixtures",
            "What a test, a grader or a task asks for by name. See [Writing evals](../writing-evals.md) and [Tasks](../tasks.md).",
            [_REFERENCE.format(name=f"pytest_evals.plugin.{name}", heading=name) for name in fixtures],
        ),
        "api/hooks.md": _page(
            "Hooks",
            "What a `conftest.py` or a plugin may implement.",
            [
                "::: pytest_evals.hookspecs\n    options:\n      show_root_heading: false\n      show_root_toc_entry: false\n"
            ],
        ),
        "api/testing.md": _page(
            "Testing",
            "Helpers for tests of your own graders and suites: [Testing graders](../testing-graders.md) shows them at work.",
            [_REFERENCE.format(name=f"pytest_evals.testing.{name}", heading=name) for name in testing],
        ),
    }


def _page(title: str, introduction: str, parts: list[str]) -> str:
    return "\n".join([f"# {title}\n", f"{introduction}\n", *parts])


def _homes(path: Path) -> dict[str, str]:
    """Return where the names are defined that a module imports: some modules have the name of what they define."""
    return {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def _assignments(path: Path) -> dict[str, Any]:
    """Return the literals that a module assigns."""
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            try:
                found[target.id] = ast.literal_eval(node.value)
            except ValueError:
                continue
    return found
