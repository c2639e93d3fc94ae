"""The lines of a text in which blocks of code are looked for."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

LINE = re.compile(r"\r\n|\r|\n")
FENCE = re.compile(r"(?P<lead>[ \t]*(?:(?:>|[-*+]|\d{1,9}[.)])[ \t]*)*)(?P<fence>`{3,}|~{3,})(?P<info>.*)")


class FencedLines(list[str]):
    """The lines of a text, with what is found out about them once, so that all blocks together take time that grows as the text."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__(lines)
        self.unclosed: dict[tuple[str, str, int], int] = {}
        """Of fences by their character, and by what holds them: how long one is that nothing closes from here on."""

    @functools.cached_property
    def texts(self) -> list[int]:
        """For each line the next one that says something and is no fence, the number of lines where there is none."""
        found, following = [0] * len(self), len(self)
        for place in range(len(self) - 1, -1, -1):
            if self[place].strip() and not FENCE.fullmatch(self[place]):
                following = place
            found[place] = following
        return [*found, following]
