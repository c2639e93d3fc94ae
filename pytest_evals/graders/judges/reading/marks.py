"""Verdicts in JSON, tags, boxes and brackets, wherever they are in a reply."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pytest_evals.graders.judges.reading.headings import heading_of
from pytest_evals.graders.judges.reading.objects import FoundObject
from pytest_evals.graders.judges.reading.offer import Match, Offer
from pytest_evals.graders.judges.reading.statement import Rank, Statement, behind_heading, same_kind, stated

BOX = re.compile(r"\\(?:boxed|fbox)\s*\{([^{}\n]{1,80})\}")
_BRACKETS = re.compile(r"\[\[([^\[\]\n]{1,80})\]\]|\u3010([^\u3010\u3011\n]{1,80})\u3011")
_TAGGED = re.compile(r"<([A-Za-z][\w.-]{0,30})(?:\s[^<>\n]{0,80})?>([^<>]{1,200})(?=</|<|\Z)")
_DEEPEST = 3


def in_objects(found: list[FoundObject], offer: Offer) -> Iterator[Statement]:
    """Yield the verdicts of JSON objects."""
    for entry in found:
        read = _of_object(entry.value, offer)
        if read is not None:
            words, match = read
            place = (entry.start, entry.end)
            yield Statement(match.label, Rank.STATED, *place, place, match.problem, labelled=True, words=words)


def _of_object(given: Mapping[str, Any], offer: Offer, depth: int = 0) -> tuple[tuple[str, ...], Match] | None:
    """Return the key and the value that say the verdict: of the keys that may, the one that announces it best."""
    ranked = []
    for index, (key, value) in enumerate(given.items()):
        heading = heading_of(key)
        if heading is not None and isinstance(value, (str, int, float)) and not isinstance(value, bool):
            fits = heading.numeric if offer.numeric else heading.verbal
            ranked.append((heading.plain, not fits, not heading.final, index, key, value))
    for _, _, _, _, key, value in sorted(ranked, key=lambda entry: entry[:4]):
        text = value if isinstance(value, str) else json.dumps(value)
        heading = heading_of(key)
        match = behind_heading(heading, text, 0, len(text), offer) if heading else None
        if match is not None and heading is not None:
            return ((text,) if heading.answer else (key, text)), match
    for value in given.values():
        inner = _of_object(value, offer, depth + 1) if isinstance(value, Mapping) and depth < _DEEPEST else None
        if inner is not None:
            return inner
    return None


def in_tags(text: str, offer: Offer) -> Iterator[Statement]:
    """Yield verdicts between tags that announce one: ``<verdict>PASS</verdict>``."""
    for found in _TAGGED.finditer(text):
        heading = heading_of(found[1].replace("-", " ").replace(".", " "))
        match = behind_heading(heading, text, *found.span(2), offer) if heading else None
        if match is not None and heading is not None:
            yield stated(match, *found.span(), labelled=not heading.answer)


def in_boxes(text: str, start: int, end: int, offer: Offer) -> list[Statement]:
    r"""Return the verdict of a line in ``\boxed{}``, ``[[ ]]`` or lenticular brackets. A line with several different ones repeats what it was asked."""
    found = []
    for pattern, labelled in ((BOX, True), (_BRACKETS, False)):
        for box in pattern.finditer(text, start, end):
            inside = box.span(1 if box[1] is not None else 2)
            match = offer.whole(text, *inside)
            if match is None and len(text[slice(*inside)].split()) <= 3 and same_kind(text[slice(*inside)], offer):
                match = Match(None, *inside, "unknown")
            if match is not None:
                found.append(stated(match, *box.span(), labelled=labelled))
    if len({(entry.label, entry.problem) for entry in found}) > 1:
        return [replace(found[-1], label=None, problem="several", start=found[0].start)]
    return found
