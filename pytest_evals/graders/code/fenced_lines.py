"""The lines of a text in which blocks of code are looked for, and the fences in them."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

LINE = re.compile(r"\r\n|\r|\n")
FENCE = re.compile(r"(?P<lead>[ \t]*(?:(?:>|[-*+]|\d{1,9}[.)])[ \t]*)*)(?P<fence>`{3,}|~{3,})(?P<info>.*)")
_SPECIAL_TOKEN = re.compile(r"(?:<\|[a-z_]{2,30}\|>|</s>)\Z")
_LONGEST_TOKEN = 34
_OPENING_MARK = re.compile(
    r"^[ \t]*(?:\[(?:BEGIN|PYTHON|CODE)\]|<pre(?:\s[^>\n]*)?>\s*<code(?:\s[^>\n]*)?>|<(?:pre|code|python)(?:\s[^>\n]*)?>)[ \t]*\n?",
    re.MULTILINE,
)
_CLOSING_MARK = re.compile(r"^[ \t]*(?:\[(?:DONE|END|/PYTHON|/CODE)\]|</(?:code|pre|python)>)", re.MULTILINE)


class FencedLines(list[str]):
    """The lines of a text, with what is found out about them once, so that all blocks together take time that grows as the text."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__(lines)
        self.unclosed: dict[tuple[str, str, int], int] = {}
        """Of fences by their character, and by what holds them: how long one is that nothing closes from here on."""

    @functools.cached_property
    def texts(self) -> list[int]:
        """For each line the next one that says something and is not a fence, or the number of lines where there is none."""
        found, following = [0] * len(self), len(self)
        for place in range(len(self) - 1, -1, -1):
            if self[place].strip() and not FENCE.fullmatch(self[place]):
                following = place
            found[place] = following
        return [*found, following]


# -- What is written in the place of fences, or behind them.


def with_fences(text: str) -> str:
    """Return a text without the special tokens at its end, in which marks that stand for fences are some where it has none: those of
    prompts that are published, as MBPP's, and of HTML.
    """
    text = _without_special_tokens(text)
    if "```" in text or "~~~" in text or not (opening := _OPENING_MARK.search(text)):
        return text
    closing = _CLOSING_MARK.search(text, opening.end())
    code, rest = (
        (text[opening.end() : closing.start()], text[closing.end() :]) if closing else (text[opening.end() :], "")
    )
    return f"{text[: opening.start()]}```python\n{code.rstrip()}\n```\n{rest}"


def _without_special_tokens(text: str) -> str:
    """Return a text without the special tokens at its end, and without the white space around them."""
    kept = end = len(text)
    while True:
        while end and text[end - 1].isspace():
            end -= 1
        token = _SPECIAL_TOKEN.search(text, max(0, end - _LONGEST_TOKEN), end)
        if token is None:
            return text[: end if kept < len(text) else kept]
        kept = end = token.start()
