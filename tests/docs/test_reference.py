"""What the documentation refers to is there, and what there is stands in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pytest_evals
from pytest_evals import options

from .blocks import PAGES, ROOT

LINKING = [*PAGES, ROOT / "CHANGELOG.md"]
_CELLS = re.compile(r"`(--evals[\w-]*|evals\w*)[^`]*`")


def documented() -> dict[str, str]:
    """Return the default that the page of options states, by option and key."""
    found: dict[str, str] = {}
    for line in (ROOT / "docs/options.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        names = [name for cell in cells[:2] for name in _CELLS.findall(cell)] if len(cells) in (3, 4) else []
        for name in names:
            assert name not in found, f"{name} stands twice"
            found[name] = cells[-2]
    return found


def test_every_option_and_key_has_a_row_with_its_default() -> None:
    rows = documented()

    assert rows.keys() == {*options._OPTIONS, *options._INI}
    for key, (_, default, text) in options._INI.items():
        stated = rows[key].strip("`")
        if default:
            assert stated == str(default), key
            assert str(default) in text, f"the help of {key} does not say the default"
        else:
            assert stated in ("off", "none", "smollm2", "cache` in `evals_dir"), key


def test_every_public_name_is_documented() -> None:
    pages = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [name for name in pytest_evals.__all__ if not re.search(rf"\b{name}\b", pages)] == []
    ready_made = (ROOT / "docs/graders.md", ROOT / "docs/metrics.md", ROOT / "docs/judges.md", ROOT / "docs/review.md")
    pages = "\n".join(page.read_text(encoding="utf-8") for page in ready_made)
    assert [name for name in pytest_evals.graders.__all__ if not re.search(rf"`[^`\n]*\b{name}\b", pages)] == []


@pytest.mark.parametrize("page", LINKING, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def anchors(page: Path) -> list[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    without_code = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", without_code, flags=re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
