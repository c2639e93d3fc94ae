"""Verdicts in sentences, for replies that state none: what the judge says it decides, in its own words."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pytest_evals.graders.judges.reading.markup import FENCE
from pytest_evals.graders.judges.reading.offer import Match, Offer, negated

_QUOTED = re.compile(
    r"\"[^\"\n]*\"|\u201c[^\u201d\n]*\u201d|\u201e[^\u201d\u201c\n]*[\u201d\u201c]|\u00ab[^\u00bb\n]*\u00bb|`[^`\n]*`|\u2018[^\u2019\n]*\u2019"
    r"|(?<!\w)'[^'\n]*'(?!\w)|\u300c[^\u300d\n]*\u300d"
)
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]\u201d\u2019]*\s+|(?<=\u3002)")
# Not what the judge decides, but what it asks itself, or what would be.
_OPEN = re.compile(
    r"\?[\"')\s]*\Z|\b(?:if|unless|whether|might|maybe|perhaps|could|wenn|falls|ob|vielleicht|peut-\u00eatre|quiz\u00e1s?|forse|talvez)\b",
    re.IGNORECASE,
)
# What another person says: a verb of saying with nothing after it that ends the clause.
_SAYS = re.compile(
    r"\b(?:says?|said|writes?|wrote|states?|stated|claims?|claimed|asks?|asked|tells?|told|demands?|demanded|instructs?|requests?|"
    r"orders?|ends\s+with|begins\s+with|starts\s+with|contains?|includes?|repeats?|insists?|quotes?|reads?)\b(?<!I say)(?<!I would say)"
    r"(?<!I'd say)",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(r"[,;.\u3002]|\b(?:so|thus|hence|therefore)\b", re.IGNORECASE)
_LONGEST_CLAUSE = 400
_VERBS = (
    r"(?:rat(?:e|ed|ing)|giv(?:e|en|ing)|gave|scor(?:e|es|ed|ing)|grad(?:e|ed|ing)|mark(?:ed)?|assign(?:ed)?|award(?:ed)?|cho(?:ose|se|osing)|pick(?:ed)?|"
    r"select(?:ed)?|prefer|vot(?:e|ed)|say|go(?:ing)?\s+(?:with|for)|went\s+with|call|label|classify|judge|deserves?|earns?|merits?|"
    r"gets?|receives?|conclude|verdict|rating|winner|decision|vergebe|gebe|w\u00e4hle|donne|choisis|doy|elijo)"
)
_FILL = (
    r"(?:it|this|that|the|answer|response|an?|as|with|at|of|for|to|be|is|are|was|would|score|rating|grade|verdict|mark|overall|solid|clear|only|just|"
    r"one|option|assistant|ihr|dem|eine?n?|la|une?|lui|le|\u00e0|un|una)"
)
_AFTER = r"(?=\s*(?:[.,;:!)\]|\u3002\u2014]|-\s|\Z|because\b|since\b|as\b|overall\b|rather\b|not\b|over\b|for\b|here\b|weil\b|car\b))"
_JOINED = re.compile(r"\b(?:and|but|,)\s+(?:an?\s+)?\d+\s+(?:for|on|in)\b", re.IGNORECASE)
_NOT_BETWEEN = r"(?:(?!(?:not|no|never|hardly|neither)\b|\w+n['\u2019]t\b)\w+\s+)"
_MOST_LINES, _LONGEST = 40, 1500


@dataclass(frozen=True, slots=True)
class _Patterns:
    """How sentences declare one of the labels on offer."""

    declared: tuple[re.Pattern[str], ...]


@functools.lru_cache(maxsize=256)
def _patterns(offer: Offer) -> _Patterns:
    opened = rf"\b{_VERBS}(?:\W{{1,3}}{_FILL}\b){{0,6}}[\s:\"'(\[]{{1,3}}"
    so = rf"\b(?:so|thus|hence|therefore|ergo)\b(?:\W{{1,3}}{_FILL}\b){{0,4}}[\s,:\"'(\[]{{1,3}}"
    if offer.numeric:
        fraction = r"(?<![\w.,/-])(?=\d+(?:\.0)?\s*(?:/|out\s+of\s)\s*\d)"
        this = r"\b(?:this|it|that|answer|response)(?:\s+is|'s|\u2019s)\s+(?:an?|only\s+an?|just\s+an?)\s+"
        points = r"(?:\u7ed9|\u6253|\u8bc4|\u8a55)\D{0,6}?(?=\d+\s*\u5206)"
        return _Patterns(
            tuple(
                re.compile(entry, re.IGNORECASE)
                for entry in (
                    rf"{opened}(?=\d)",
                    rf"{so}(?=\d+(?:\.0)?[\s.!]*\Z)",
                    fraction,
                    rf"{this}(?=\d+(?:\.0)?(?:[\s.!]*\Z|[,;:/]|\s+(?:out\s+of|because|since)\b))",
                    points,
                )
            )
        )
    letters = [re.escape(label) for label in offer.labels if offer.is_letter(label)]
    words = [re.escape(label) for label in sorted(offer.labels, key=len, reverse=True) if not offer.is_letter(label)]
    found = []
    if words:
        named = "|".join(words)
        capitals = "|".join(re.escape(label) for label in offer.labels if not offer.is_word(label))
        if capitals:
            found.append(rf"{opened}(?=(?-i:{capitals})(?!\w))")
        copula = r"\b(?:is|was|it's|that's|seems|as|ist|est|es|\u00e8|\u00e9)(?:\s+(?:an?|the|clearly|rather|quite|very|mostly|just|definitely|eine?|une?))?\s+"
        found += [rf"(?:{opened}|{copula})(?=(?:{named}){_AFTER})", rf"(?:{so}|:\s*)(?=(?:{named})[\s.!]*\Z)"]
    if letters:
        named = f"(?-i:{'|'.join(letters)})"
        subject = r"\b(?:answer|response|one|winner|choice|option|verdict|it|assistant)\s+is\s+(?:(?:answer|response|option|assistant)\s+)?"
        better = rf"(?={named}\s+(?:{_NOT_BETWEEN}{{1,6}}?(?:better|best|superior|stronger|preferable|preferred|winner|besser|meilleure?|mejor|migliore|melhor)\b|wins\b))"
        found += [
            rf"(?:{opened}|{subject})(?={named}(?!\w|\.\w|'))",
            rf"{so}(?={named}[\s.!]*\Z)",
            rf"(?<![\w.]){better}",
        ]
    return _Patterns(tuple(re.compile(entry, re.IGNORECASE) for entry in found))


def in_prose(text: str, offer: Offer) -> Iterator[Match]:
    """Yield what a reply (blanked of quotations, tags and JSON) says it decides; where it does not, the verdicts in capitals that
    its last line names.

    A match with the problem ``negated`` tells what the verdict is not.
    """
    places = list(_own_lines(text))
    declared = [match for start, end in places[-_MOST_LINES:] for match in _declared(text, start, end, offer)]
    if any(match.problem is None for match in declared):
        yield from (match for match in declared if match.problem is None)
    elif places:
        yield from (_mentioned(text, *places[-1], offer) if not offer.numeric else ())
        yield from declared


def _own_lines(text: str) -> Iterator[tuple[int, int]]:
    """Yield the places of the lines that are neither code nor quoted; of long ones, the end."""
    fenced, start = False, 0
    for line in text.split("\n"):
        end = start + len(line)
        fence = FENCE.match(line)
        if fence is not None:
            fenced = not fenced
        if (
            (fence is None or fence["nothing"] is None)
            and not fenced
            and not line.lstrip().startswith(">")
            and any(map(str.isalnum, line))
        ):
            yield max(start, end - _LONGEST), end
        start = end + 1


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[str, int]]:
    """Yield the sentences of a line in which a judge decides, with blanks for what it quotes, and where they begin."""
    line = _QUOTED.sub(lambda found: " " * len(found.group()), text[start:end])
    beginning = 0
    for border in (*(found.end() for found in _SENTENCE_END.finditer(line)), len(line)):
        sentence = line[beginning:border]
        if not _OPEN.search(sentence.rstrip()):
            yield sentence, start + beginning
        beginning = border


def _declared(text: str, start: int, end: int, offer: Offer) -> Iterator[Match]:
    for sentence, place in _sentences(text, start, end):
        for pattern in _patterns(offer).declared:
            for found in pattern.finditer(sentence):
                match = offer.leading(sentence, found.end())
                if match is None or match.problem == "unknown" or _said(sentence, found.end()):
                    continue
                if negated(sentence, found.start()) or negated(sentence, found.end(), found.start()):
                    yield Match(None, place + match.start, place + match.end, "negated")
                elif _others(sentence, match, offer):
                    yield Match(None, place + match.start, place + match.end, "several")
                else:
                    yield Match(match.label, place + match.start, place + match.end, match.problem)


def _said(sentence: str, end: int) -> bool:
    """Tell whether the clause that goes on up to ``end`` is about what a person says."""
    clause = sentence[max(0, end - _LONGEST_CLAUSE) : end]
    start = max((border.end() for border in _CLAUSE_END.finditer(clause)), default=0)
    return _SAYS.search(clause, start) is not None


def _others(sentence: str, match: Match, offer: Offer) -> bool:
    """Tell whether the sentence goes on to give another verdict as well."""
    if offer.numeric:
        return _JOINED.search(sentence, match.end) is not None
    later = [entry for entry in offer.mentions(sentence, match.end, len(sentence)) if entry.label != match.label]
    return any(
        not offer.is_letter(entry.label or "")
        and not offer.is_word(entry.label or "")
        and not negated(sentence, entry.start)
        for entry in later
    )


def _mentioned(text: str, start: int, end: int, offer: Offer) -> Iterator[Match]:
    for sentence, place in _sentences(text, start, end):
        for match in offer.mentions(sentence, 0, len(sentence)):
            if offer.is_word(match.label or "") or _said(sentence, match.start):
                continue
            if negated(sentence, match.start):
                yield Match(None, place + match.start, place + match.end, "negated")
            else:
                yield Match(match.label, place + match.start, place + match.end)
