"""What Markdown, LaTeX and tags lay around a verdict, blanked so that every character keeps its place."""

from __future__ import annotations

import re

from pytest_evals.graders.judges.reading.offer import Offer

FENCE = re.compile(r"[ \t]*(?:`{3,}|~{3,})(?P<nothing>[\w+.#-]*[ \t]*\Z)?")
"""What opens or closes a block of code at the beginning of a line; ``nothing`` else is there, except a language."""
TAG = re.compile(r"</?([A-Za-z][\w.-]{0,30})(?:\s[^<>\n]{0,80})?/?>|<\|[^<>|\n]{1,40}\|>")
_STRUCK = re.compile(r"~~(?=\S)[^~\n]{0,400}~~")
_COMMAND = re.compile(r"\\(?:text|textbf|textit|textsf|texttt|mathbf|mathrm|mathsf|bm)\s*\{([^{}\n]{0,80})\}")
_DOLLARS = re.compile(r"\$([^$\n]{1,120})\$")
_EMPHASIS = re.compile(r"(?<!`)`{1,2}(?!`)|\*+|(?<!\w)_(?:_+|(?=\w))|(?<=[^\W_])_+(?!\w)")
_NOT_BREAK = re.compile(r"[^\n]")


def blanked(text: str, start: int, end: int) -> str:
    """Return ``text`` with spaces from ``start`` to ``end``; line breaks stay."""
    return text[:start] + _NOT_BREAK.sub(" ", text[start:end]) + text[end:]


def without_emphasis(text: str) -> str:
    """Return ``text`` without emphasis, commands of LaTeX that only dress a text, and what was struck through."""
    text = _STRUCK.sub(_blank, text)
    text = _COMMAND.sub(unwrapped, text)
    text = _DOLLARS.sub(unwrapped, text)
    return _EMPHASIS.sub(_blank, text)


def without_tags(text: str, offer: Offer | None = None) -> str:
    """Return ``text`` without tags, except those that are a verdict on ``offer``: ``<PASS>``."""

    def replaced(found: re.Match[str]) -> str:
        return found.group() if offer is not None and found[1] and offer.whole(found[1]) else _blank(found)

    return TAG.sub(replaced, text)


def unwrapped(found: re.Match[str]) -> str:
    """Return what the first group holds, at its place."""
    before, after = found.start(1) - found.start(), found.end() - found.end(1)
    return f"{' ' * before}{found.group(1)}{' ' * after}"


def _blank(found: re.Match[str]) -> str:
    return _NOT_BREAK.sub(" ", found.group())
