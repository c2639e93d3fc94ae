"""Markdown pages -> their fenced code blocks, with what the comments before a block say of it."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (
    *(ROOT / "README.md", ROOT / "CONTRIBUTING.md"),
    *sorted([*ROOT.glob("docs/**/*.md"), *ROOT.glob("example_suites/**/README.md")]),
)
_BLOCK = re.compile(
    r"(?P<comments>(?:^ *<!--[^\n]*--> *\n)*)"
    r"^(?P<indent> *)```(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```[ ]*$",
    re.MULTILINE | re.DOTALL,
)
_COMMENT = re.compile(r"<!-- *(\w+) *:? *(.*?) *-->")
_OPTIONS = {"script", "passed", "failed", "errors", "skipped", "xfailed", "xpassed", "model", "after", "args"}


@dataclass(frozen=True)
class Block:
    """A fenced block. ``name`` is its file's, if it is one; ``options`` are those of its ``run`` comment."""

    place: str
    language: str
    text: str
    is_output: bool
    name: str
    options: Mapping[str, str]


def blocks_of(page: Path) -> Iterator[Block]:
    """Read a page. A mistake in it is an `AssertionError` that names file and line."""
    source, name = page.read_text(encoding="utf-8"), str(page.relative_to(ROOT))
    found = list(_BLOCK.finditer(source))
    fences = len(re.findall(r"^ *```", source, re.MULTILINE))
    assert fences == 2 * len(found), f"{name}: {fences} fences make {len(found)} blocks: one is not closed"
    for match in found:
        place = f"{name}:{source.count(chr(10), 0, match.start('language')) + 1}"
        comments = dict(_COMMENT.findall(match["comments"]))
        assert comments.keys() <= {"output", "file", "run"}, (
            f"{place}: a comment is none of output, file, run: {comments}"
        )
        options = dict(word.partition("=")[::2] for word in shlex.split(comments.get("run", "")))
        assert options.keys() <= _OPTIONS, f"{place}: unknown after 'run:': {options.keys() - _OPTIONS}"
        text = textwrap.dedent(match["text"])
        yield Block(place, match["language"].strip(), text, "output" in comments, comments.get("file", ""), options)
