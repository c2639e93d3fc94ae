"""Splits text into sentences: enough to judge an answer one statement at a time."""

from __future__ import annotations

import re

# Words whose full stop ends no sentence, as far as they are common in answers.
_ABBREVIATIONS = re.compile(
    r"(?:mrs?|ms|dr|prof|sr|jr|st|vs|e\.g|i\.e|eg|ie|cf|al|figs?|vol|pp|eq|approx|ca|inc|ltd|co|corp|dept|jan|feb|mar|apr|jun|"
    r"jul|aug|sept?|oct|nov|dec|u\.s|u\.k|a\.m|p\.m|ph\.d|bzw|z\.b|d\.h)"
)
_END = re.compile(r"(?<=[.!?\u3002\uff01\uff1f\u2026])[\"')\]\u201d\u2019]*(?:\s+|(?<=[\u3002\uff01\uff1f]))")
_ITEM = re.compile(r"\A\s*(?:[-*\u2022]|\(?\d{1,3}[.)]|\(?[a-z][.)])\s+", re.IGNORECASE)
_WORD = re.compile(r"([\w.]+)\.[\"')\]\u201d\u2019]*\Z")


def sentences(text: str) -> list[str]:
    """Return the sentences of ``text``, in order: lines and list items are at least one each; headings and code fences,
    which state nothing, are none.
    """
    found: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped or stripped.startswith(("#", "```", "---", "===")):
            continue
        found += _split(_ITEM.sub("", stripped))
    return [sentence for sentence in found if any(character.isalnum() for character in sentence)]


def _split(line: str) -> list[str]:
    parts: list[str] = []
    start = 0
    for end in _END.finditer(line):
        candidate = line[start : end.end()].strip()
        if _ends(candidate, line[end.end() :]):
            parts.append(candidate)
            start = end.end()
    return [*parts, line[start:].strip()] if line[start:].strip() else parts


def _ends(candidate: str, rest: str) -> bool:
    """Tell whether ``candidate`` ends a sentence: not after an abbreviation or an initial, nor before a lower-case letter."""
    word = _WORD.search(candidate)
    if word and candidate.rstrip("\"')]\u201d\u2019").endswith("."):
        last = word.group(1).casefold()
        if _ABBREVIATIONS.fullmatch(last) or (len(last) == 1 and last.isalpha()) or rest[:1].islower():
            return False
    return True
