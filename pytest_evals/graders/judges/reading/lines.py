"""Verdicts that lines of a reply state: behind a heading, alone, or before their reasons."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pytest_evals.graders.judges.reading.headings import Heading, heading_of
from pytest_evals.graders.judges.reading.marks import BOX, in_boxes
from pytest_evals.graders.judges.reading.markup import FENCE, unwrapped
from pytest_evals.graders.judges.reading.offer import Match, Offer
from pytest_evals.graders.judges.reading.statement import Rank, Statement, behind_heading, stated

_ITEM = re.compile(r"\s*(?:[-+\u2022\u25cf\u25aa\u2023]\s+|(?P<number>(?:step\s+)?\(?\d{1,3}[.):]\s+))", re.IGNORECASE)
_CHECKBOX = re.compile(
    r"\s*(?:[-+]\s+)?(?:\[(?P<mark>[ xX\u2713\u2714])\]\s|(?P<empty>[\u2610\u25a1])|[\u2611\u25a0])\s*"
)
_HEADED = re.compile(
    r"[\s#<>|\\\"'\u201c(\[{]{0,200}(?P<heading>[^\W\d_][^:=|<>()\[\]\n\u2192]{0,60}?)[\"'\u201d]?(?:\s*[(\[][^()\[\]\n]{0,40}[)\]])?[\"'\u201d]?"
    r"(?:\s*(?::=?|={1,3}>?|-+>|[\u2192\u21d2\u279c|])|\s[-\u2013\u2014]{1,2}\s|\t"
    r"|(?P<copula>\s+(?:is|was|would\s+be|will\s+be|should\s+be|ist|w\u00e4re|est|serait|es|ser\u00eda|\u00e8|\u00e9|seria)\b(?:\s*:)?"
    r"|\s*(?:\u662f|\u4e3a|\u306f|\uc740|\ub294)\s*:?))"
)
_SENTENCE = re.compile(r"(?:[.!?][\"')\]\u201d\u2019]*\s+|\u3002\s*|[;|]\s*)+")
_REASONS = re.compile(
    r"[\s\"'\u201d\u2019)\]]*(?:\)\s|[:;,.(|!\u3002\u2013\u2014]|-+\s|=>|->|\u2192|(?:because|since|as|given|due\s+to|weil|da|car|"
    r"parce\s+que|porque|perch\u00e9)(?![a-z])|\u56e0\u4e3a|\u56e0\u6b64)",
    re.IGNORECASE,
)
_LISTED = re.compile(r"[\s\"'\u201d\u2019]*(?P<sign>[.):])")
_NUMBERED = re.compile(r"^[ \t]*\d{1,3}[.)](?=\s|\Z)", re.MULTILINE)
_FOREIGN = (">", '"', "\u201c", "\u201e", "\u00ab", "\u300c", "\u300e")
_AROUND_HEADING = " \t#:=>|-\u2013\u2014\"'()[]"


@dataclass(frozen=True, slots=True)
class _Announced:
    """A heading on a line of its own: its verdict is in the next one."""

    heading: Heading
    start: int


def in_lines(text: str, offer: Offer) -> Iterator[Statement]:
    """Yield what the lines of ``text`` state."""
    unboxed = BOX.sub(unwrapped, text)
    opening: list[Statement] = []
    announced: _Announced | None = None
    listed = len(_NUMBERED.findall(text)) > 1
    fenced, start = False, 0
    for line in text.split("\n"):
        end = start + len(line)
        fence = FENCE.match(line)
        if fence is not None:
            fenced = not fenced
        if line.strip() and (fence is None or fence["nothing"] is None):
            boxes = in_boxes(text, start, end, offer)
            found, announced = _of_line(unboxed, start, end, offer, announced)
            if boxes:  # what it holds is stated more plainly than what a heading before it may come to
                found = [*(statement for statement in found if statement.label), *boxes]
            foreign = fenced or line.lstrip().startswith(_FOREIGN)
            for statement in found:
                number = _NUMBERED.match(text, start, end) if listed and offer.numeric else None
                if number is not None and statement.verdict[0] < number.end():
                    continue  # the number of an item
                placed = replace(statement, rank=Rank.ASIDE) if foreign and statement not in boxes else statement
                if placed.rank is Rank.OPENING:
                    opening.append(placed)
                else:
                    yield placed
        start = end + 1
    yield from _without_lists(opening, unboxed, offer)


def _of_line(
    text: str, start: int, end: int, offer: Offer, announced: _Announced | None
) -> tuple[list[Statement], _Announced | None]:
    checkbox = _CHECKBOX.match(text, start, end)
    if checkbox is not None:
        if checkbox["empty"] or checkbox["mark"] == " ":
            return [], None
        start = checkbox.end()
    if announced is not None:
        heading = announced.heading
        match = offer.whole(text, start, end) if heading.plain else offer.leading(text, start, end)
        if match is not None and match.problem != "unknown":
            return [stated(match, announced.start, end, labelled=not heading.answer)], None
    item = _ITEM.match(text, start, end)
    body = item.end() if item else start
    headed = _headed(text, body, end, offer)
    if headed:
        return headed, None
    heading_alone = heading_of(text[body:end].strip(_AROUND_HEADING))
    if heading_alone is not None:
        return [], _Announced(heading_alone, start)
    alone = _alone(text, start, body, end, offer, numbered=item is not None and item["number"] is not None)
    if alone is not None:
        return [alone], None
    before_reasons = _before_reasons(text, start, body, end, offer)
    return ([before_reasons] if before_reasons else []), None


def _headed(text: str, start: int, end: int, offer: Offer) -> list[Statement]:
    """Return the verdicts behind headings, at the beginning of the line and of its sentences."""
    found = []
    for place in (start, *(sentence.end() for sentence in _SENTENCE.finditer(text, start, end))):
        opened = _HEADED.match(text, place, end)
        match = _behind(opened, text, end, offer) if opened else None
        if opened is not None and match is not None:
            heading = heading_of(opened["heading"].strip(_AROUND_HEADING))
            found.append(stated(match, place, match.end, labelled=heading is not None and not heading.answer))
    if not found:
        unsigned = _unsigned(text, start, end, offer)
        return [unsigned] if unsigned else []
    return found


def _behind(opened: re.Match[str], text: str, end: int, offer: Offer) -> Match | None:
    heading = heading_of(opened["heading"].strip(_AROUND_HEADING))
    if heading is None:
        return None
    match = behind_heading(heading, text, opened.end(), end, offer)
    table = opened.group().rstrip().endswith("|")
    if match is None or (match.label is None and (opened["copula"] or table)):
        return None
    if heading.answer and opened["copula"] and not (match.label and offer.is_letter(match.label)):
        return None  # "The answer is 4" may tell what was answered
    return match


def _unsigned(text: str, start: int, end: int, offer: Offer) -> Statement | None:
    """Return the verdict of a line such as ``Final verdict PASS``."""
    words = list(re.finditer(r"\S+", text[start : min(end, start + 120)]))
    for count in range(1, min(4, len(words))):
        heading = heading_of(text[start + words[0].start() : start + words[count - 1].end()])
        if heading is not None and not heading.answer and not heading.plain:
            match = offer.whole(text, start + words[count].start(), end)
            if match is not None and match.label is not None:
                return stated(match, start, end, labelled=True)
    return None


def _alone(text: str, start: int, body: int, end: int, offer: Offer, *, numbered: bool) -> Statement | None:
    """Return the verdict of a line that is nothing else; an item of a list may be one of words only."""
    match = offer.whole(text, start, end)
    if match is None and body > start and not offer.numeric:
        match = offer.whole(text, body, end)
    if match is None or match.problem == "unknown":
        return None
    rank = Rank.ASIDE if numbered else Rank.STATED
    if offer.is_letter(match.label or "") and any(map(str.isalpha, text[start : match.start])):
        rank = Rank.OPENING  # "Answer A" may be a heading
    return stated(match, start, end, rank=rank)


def _before_reasons(text: str, start: int, body: int, end: int, offer: Offer) -> Statement | None:
    match = offer.leading(text, start, end)
    if match is None and body > start and not offer.numeric:
        match = offer.leading(text, body, end)
    if match is None or match.problem == "unknown":
        return None
    spelled = offer.numeric or offer.leading(text, match.start, end, spelled=True) is not None
    if match.problem is not None:
        asks = text[match.end : end].lstrip(" \"'").startswith("?")
        return stated(match, start, end, rank=Rank.OPENING) if spelled and not asks else None
    if not _REASONS.match(text, match.end, end) or not text[match.end : end].strip(" :\"'"):
        return None
    if not spelled and offer.is_letter(match.label or ""):
        return None
    return stated(match, start, match.end, rank=Rank.OPENING)


def _without_lists(opening: Sequence[Statement], text: str, offer: Offer) -> Iterator[Statement]:
    """Yield statements without items of a list of numbers or letters: ``1. It names the city.``, ``B. does not``."""
    signs = [
        _LISTED.match(text, entry.verdict[1]) if offer.numeric or offer.is_letter(entry.label or "") else None
        for entry in opening
    ]
    several = len({entry.label for entry, sign in zip(opening, signs, strict=True) if sign}) > 1
    for entry, sign in zip(opening, signs, strict=True):
        first = sign is not None and sign["sign"] != ":" and entry.label == "1"
        if sign is None or not (several or first):
            yield entry
