"""The documentation is written in plain English: turns of phrase that make readers stop are not used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .blocks import PAGES, ROOT

PROSE = [*PAGES, ROOT / "SECURITY.md"]
PATTERNS = {
    r"\b(?:is|are|was|were|be)\s+had\b": "is, comes from; cannot be combined with",
    r"\b(?:stands?|stood)\b(?!\s+for\b)": "is, appears, belongs",
    r"\bso\s+many\b": "this many, or the number",
    r"\bof\s+(?:which|nothing)\b": "a sentence of its own",
    r"\b(?:whoever|nobody|somebody)\b": "who it is: the user, the test, no one",
    r"\bas\s+ever\b": "as usual",
    r"\ball\s+the\s+same\b": "still, anyway",
    r"\btells?\s+of\b": "says, describes",
    r"(?<!\bthere\s)\b(?:is|are|was|were)\s+no\s+(?!longer\b|more\b|less\b|better\b|worse\b)": "is not a",
    r"\bwhat\b[^.|]{0,60}\bcomes?\s+to\b": "the sum, the result",
    r"\bgoe?s?\s+with\s+neither\b": "cannot be combined with",
}
_CODE = re.compile(r"^ *```.*?^ *```|<!--.*?-->|`[^`\n]+`|\]\([^)\s]*\)", re.MULTILINE | re.DOTALL)


def found_in(text: str) -> list[str]:
    """Return what to write otherwise, with its line. Code and what programs print are left out."""
    prose = _CODE.sub(lambda match: re.sub(r"[^\n]", "`", match[0]), text)
    return [
        f"line {prose.count(chr(10), 0, match.start()) + 1}: {match[0]!r}; write: {better}"
        for pattern, better in PATTERNS.items()
        for match in re.finditer(pattern, prose, re.IGNORECASE)
    ]


@pytest.mark.parametrize("page", PROSE, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_documentation_is_plain_english(page: Path) -> None:
    assert found_in(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "`-n` cannot be had with it.",
        "The verdict stands in the summary.",
        "Run it so many times.",
        "a prompt of\nwhich the rest is gone",
        "Nobody asked for it.",
        "It works as ever.",
        "This is no limit.",
        "See what the sum of them\ncomes to.",
    ],
)
def test_such_a_turn_of_phrase_is_found(text: str) -> None:
    assert len(found_in(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "There is no interval, and it is no longer asked.",
        "A standard error, understood.",
        "```text\nnobody stands there\n```\n",
        "The option `--nobody` and [a page](so-many.md).",
    ],
)
def test_plain_sentences_and_code_pass(text: str) -> None:
    assert found_in(text) == []
