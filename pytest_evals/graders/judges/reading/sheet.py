"""Reads the verdicts on several criteria out of one reply: JSON, or a line for each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_evals.graders.judges.reading.headings import heading_of
from pytest_evals.graders.judges.reading.markup import without_emphasis, without_tags
from pytest_evals.graders.judges.reading.objects import objects
from pytest_evals.graders.judges.reading.offer import Offer, offer_of
from pytest_evals.graders.judges.reading.quotation import NOTHING, Material, Quotations
from pytest_evals.graders.judges.reading.spelling import normalized, reply_text
from pytest_evals.graders.judges.reading.thoughts import answer_start

_NAMED = re.compile(
    r"[\s>|#\"'\u2022\-+(]*(?:\d{1,3}[.)]\s+)?(?P<name>[^\W_][^:=|\n\u2192]{0,120}?)[\"'\s]*(?::|={1,2}>?|-+>|[\u2192|]|\s[-\u2013\u2014]\s)"
)
_WORD = re.compile(r"[^\W_]+")
_DEEPEST = 3


@dataclass(frozen=True, slots=True)
class Sheet:
    """The verdicts that were read, by name, or what is wrong. ``from_material``: some of them are quotations of what was judged."""

    verdicts: Mapping[str, str] = field(default_factory=dict)
    problem: str | None = None
    from_material: bool = False


def read_sheet(reply: str, offered: Mapping[str, Sequence[str]], material: Material = NOTHING) -> Sheet:
    """Return the verdict on each criterion of ``offered``, which holds the labels on offer by name."""
    text = reply_text(reply)
    quotations = Quotations(text, material)
    start = answer_start(text, material, quotations)
    if start is None or not text[start:].strip():
        return Sheet(problem="the reply is empty")
    found: dict[str, str] = {}
    problems: dict[str, str] = {}
    quoted: set[str] = set()
    for name, value, words in _entries(text, start, offered):
        label = _label(value, offer_of(tuple(offered[name])))
        if label is None:
            problems[name] = f"the verdict {value.strip()[:60]!r} was not on offer"
            found.pop(name, None)
        elif quotations.together(*words, label):
            quoted.add(name)
        else:
            found[name] = label
    for name in offered:
        if name not in found:
            if name in quoted:
                return Sheet(problem=f"{name}: the verdict on it is a quotation of what was judged", from_material=True)
            return Sheet(problem=f"{name}: {problems.get(name, 'the reply holds no verdict on it')}")
    return Sheet({name: found[name] for name in offered})


def _label(value: str, offer: Offer) -> str | None:
    match = offer.value(value, 0, len(value))
    return match.label if match is not None else None


def _entries(text: str, start: int, offered: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield name, value and the words of the name for whatever names a criterion: of JSON where there is some, else of lines."""
    by_words = {_words(name): name for name in offered}
    of_objects = [entry for found in objects(text, start) for entry in _of_object(found.value, by_words)]
    if of_objects:
        yield from of_objects
        return
    position = 0
    for line in without_tags(without_emphasis(text)).split("\n"):
        named = _NAMED.match(line) if position >= start or position + len(line) > start else None
        position += len(line) + 1
        if named is None:
            continue
        *words, last = _words(named["name"]) or ("",)
        whole = (*words, last)
        name = by_words.get(whole) or (by_words.get(tuple(words)) if any(map(str.isdigit, last)) else None)
        if name is not None:
            yield name, line[named.end() :], (named["name"],)


def _of_object(
    given: Mapping[str, Any], by_words: Mapping[tuple[str, ...], str], depth: int = 0
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield the entries of an object, and of objects and lists in it: ``{"brief": {"verdict": "PASS"}}``, too."""
    for key, value in given.items():
        name = by_words.get(_words(key))
        inner = value if isinstance(value, list) else [value]
        if name is not None and isinstance(value, Mapping):
            said = next((entry for title, entry in value.items() if heading_of(title) and isinstance(entry, str)), None)
            if said is not None:
                yield name, said, (said,)
        elif name is not None:
            yield name, value if isinstance(value, str) else json.dumps(value), (key,)
        elif depth < _DEEPEST:
            for entry in inner:
                if isinstance(entry, Mapping):
                    yield from _record(entry, by_words) or _of_object(entry, by_words, depth + 1)


def _record(
    given: Mapping[str, Any], by_words: Mapping[tuple[str, ...], str]
) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return the entry of an object that holds a name and a verdict: ``{"criterion": "brief", "verdict": "PASS"}``."""
    texts = {key: value for key, value in given.items() if isinstance(value, str)}
    name = next((by_words[_words(value)] for value in texts.values() if _words(value) in by_words), None)
    said = next((value for key, value in texts.items() if heading_of(key)), None)
    return [(name, said, (name, said))] if name is not None and said is not None else []


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.casefold() for word in _WORD.findall(normalized(text)))
