"""The verdicts on offer: how each may be written, and what comes close to one without being it."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_evals.graders.judges.reading.spelling import folded, normalized

Problem = Literal["several", "negated", "unknown"]

# Emphasis, quotes, brackets and list markers around a verdict. Emphasis was blanked before, where it is Markdown.
_AROUND = (
    " \t*_`#>\\\"'\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb\u300c\u300d\u300e\u300f\u3010\u3011\u3008\u3009()[]{}<|"
    "\u2022\u25cf\u25aa\u2192\u21d2\u279c\u27a4"
)
_SIGN = re.compile(r"(?:\s|=>|->|[:=]|\u2192|\u21d2|\u279c|-\s|[\u2013\u2014])*")
# Pictures beside a verdict: check marks, crosses, stars, circles.
_PICTURES = "\u2600-\u27bf\u2b00-\u2bff\u231a-\u23ff\u25a0-\u25ff\U0001f000-\U0001faff"
_OPENING = re.compile(rf"(?:[{re.escape(_AROUND)}{_PICTURES}]|[-=]+>|(?:[-+]|\u2013)\s(?!\s*\d))*")
_ENDING = re.compile(rf"(?:[{re.escape(_AROUND)}{_PICTURES}]|[.!,;/\u3002\u3001])*\Z")
_NOUN = r"(?:(?:the|my|is|for)\s+)*(?:answer|response|option|assistant|candidate|model|output|choice|system|version|text)\s+"
_LETTER_NOUN = re.compile(rf"{_NOUN}[\"'(\[]?(?=[A-Z]\b)", re.IGNORECASE)
_FILLING = re.compile(
    r"(?:(?:it|this|that|the answer|the response|answer)(?:'s|\u2019s|\s+is)|i(?:'d|\u2019d|\s+would)?\s+(?:say|rate\s+it|give\s+it|go\s+with)|"
    r"definitely|clearly|clear|an?|the|is)\s+",
    re.IGNORECASE,
)
_NOT = re.compile(r"(?:not|no|never|neither|cannot|can't|isn't|doesn't)\b(?!\s*[.:,;]|\s*\Z)", re.IGNORECASE)
_UNIT = (
    r"(?:\s*(?:stars?|points?|pts?\.?|marks?|punkten?|sternen?|\u00e9toiles?|estrellas?|puntos?|punti|stelle|"
    r"\u5206|\u70b9|\uc810|\u661f|\u2b50+|\u2605+)(?![a-z]))?"
)
_TOTAL = r"(?:\s*\(?\s*(?:/|(?:out\s+of|of|von|sur|sobre|su|de|di|z|van|av|\u4e2d|\u6ee1\u5206)(?![a-z]))\s*(?P<total>\d{1,9})(?:\.0{1,2})?(?![\d.,]\d))?"
_NUMBER = re.compile(
    rf"(?P<label>\d{{1,9}})(?:\.0{{1,2}}|,0)?(?![\d%+\u00b2\u00b3\u00b9\u00bc-\u00be\u2150-\u215f]|[.,]\d)(?P<unit>{_UNIT}){_TOTAL}{_UNIT}"
    r"(?![A-Za-z]|\s*%|\+)",
    re.IGNORECASE,
)
# What makes a number the first of several: 3-4, 3 to 4. Reasons may follow a dash too: "4 - 2 of 3 points are met".
_BETWEEN = re.compile(
    r"\s*(?:(?P<dash>-|\u2013|\u2014)|~|\u301c|\.\.+|/|,|&|(?:to|or|and|bis|oder|und|ou|et|y|o|e|\u81f3|\u5230|\u6216|\u548c)(?![a-z]))"
    r"\s*(?P<next>\d+)",
    re.IGNORECASE,
)
_NEGATION = re.compile(
    r"(?:\b(?:not|no|never|neither|nor|cannot|without|nicht|kein\w*|weder|pas|jamais|nunca|n\u00e3o|niet|geen|nie|non|\u043d\u0435)\b|"
    r"n't|n\u2019t|[\u4e0d\u6ca1\u975e\u7121])[^\w:;.]*(?:\w+[^\w:;.]+){0,3}\Z",
    re.IGNORECASE,
)
_CLAUSE = re.compile(
    r"\b(?:so|thus|hence|therefore|daher|deshalb|also|donc|quindi|dus)\b|\u56e0\u6b64|\u6240\u4ee5", re.IGNORECASE
)
_LONGEST_VALUE = 600
_WORD_END = r"(?![\w+]|-\w|-\Z|\.\d|['\u2019]\w)"


@dataclass(frozen=True, slots=True)
class Match:
    """A verdict that was read between two places of a text: a ``label`` on offer, or the ``problem`` with what is there."""

    label: str | None
    start: int
    end: int
    problem: Problem | None = None


class Offer:
    """The labels on offer. Whole numbers are read as numbers: 4.0 is 4, 4/5 is 4 where 5 is the highest, 4.5 is none."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.numeric = all(label.isascii() and label.isdigit() for label in labels)
        self._highest = max(map(int, labels)) if self.numeric else 0
        self._by_fold = {folded(label): label for label in labels}
        if "na" in self._by_fold:
            self._by_fold.setdefault("n/a", self._by_fold["na"])
        names = sorted({*self._by_fold, *map(normalized, labels)}, key=len, reverse=True)
        self._pattern = re.compile(rf"(?:{'|'.join(map(re.escape, names))}){_WORD_END}", re.IGNORECASE)
        spelled = sorted(map(normalized, labels), key=len, reverse=True)
        self._spelled = re.compile(rf"(?<![\w.])(?:{'|'.join(map(re.escape, spelled))}){_WORD_END}")
        other = rf"(?:{'|'.join(map(re.escape, spelled))})"
        joined = r"\s*(?:/|\||,|&|<|>|=|->|\u2192|\bvs\b\.?|\b(?:and|or|und|oder|et|ou|y|o|e)\b)\s*(?:(?:and|or)\s+)?[\"'*(\[]*"
        self._other = re.compile(
            rf"(?:{joined}(?=(?i:{other})(?!\w))|[\s\"'*)\]]+(?={other}(?!\w)))(?P<other>(?i:{other}))(?!\w)"
        )

    def is_letter(self, label: str) -> bool:
        """Tell whether a label is a single letter, which is a word or the name of a thing in most sentences."""
        return len(label) == 1 and label.isalpha()

    def is_word(self, label: str) -> bool:
        """Tell whether a label is a word that prose has for other things too: it is not written in capitals."""
        return not (len(label) > 1 and label.upper() == label and label.lower() != label)

    def leading(self, text: str, start: int = 0, end: int | None = None, *, spelled: bool = False) -> Match | None:
        """Return the verdict that is at ``start``, after what may surround one. ``spelled``: in the case of the offer."""
        end = len(text) if end is None else end
        opening = _OPENING.match(text, start, min(end, start + _LONGEST_VALUE))
        place = opening.end() if opening else start
        if self.numeric:
            return self._number(_NUMBER.match(text, place, end)) if not _signed(text, place, start) else None
        noun = _LETTER_NOUN.match(text, place, end)
        found = self._pattern.match(text, noun.end() if noun else place, end)
        if found is None and noun:
            found = self._pattern.match(text, place, end)
        if found is None or (noun and found.start() == noun.end() and not self.is_letter(self._label(found.group()))):
            return None
        label = self._label(found.group())
        if (spelled or (self.is_letter(label) and noun)) and found.group() != normalized(label):
            return None
        other = self._other.match(text, found.end(), end)
        if other is not None and self._label(other["other"]) != label:
            return Match(None, found.start(), other.end(), "several")
        return Match(label, found.start(), found.end())

    def whole(self, text: str, start: int = 0, end: int | None = None) -> Match | None:
        """Return the verdict where the text is nothing else."""
        end = len(text) if end is None else end
        found = self.leading(text, start, end)
        return found if found is not None and _ENDING.match(text, found.end, end) else None

    def value(self, text: str, start: int, end: int) -> Match | None:
        """Return the verdict of a text that should be one, as after a label; `None` where it is about something else. Only the
        beginning of a long text counts.
        """
        end = min(end, start + _LONGEST_VALUE)
        place = _match_end(_SIGN, text, start, end)
        found = self.leading(text, place, end)
        if found is not None:
            return found
        words = text[place:end].split()
        if not words or _ENDING.match(text, place, end):
            return None
        inner = _match_end(_OPENING, text, place, end)
        if _NOT.match(text, inner, end):
            return Match(None, inner, end, "negated")
        for _ in range(4):
            filling = _FILLING.match(text, inner, end)
            if filling is None:
                break
            inner = filling.end()
            found = self.leading(text, inner, end)
            if found is not None:
                return found
        if not self.numeric:
            found = self._single(text, inner, end)
            if found is not None:
                return found
        return Match(None, place, end, "unknown") if len(words) <= 3 else None

    def _single(self, text: str, start: int, end: int) -> Match | None:
        """Return the only verdict in capitals of a text, unless it is negated."""
        found = [match for match in self.mentions(text, start, end) if match.label and not self.is_word(match.label)]
        if not found:
            return None
        if len({match.label for match in found}) > 1:
            return Match(None, found[0].start, found[-1].end, "several")
        if any(negated(text, match.start, start) for match in found):
            return Match(None, found[0].start, found[-1].end, "negated")
        return found[0]

    def mentions(self, text: str, start: int, end: int) -> list[Match]:
        """Return the labels that appear as words in a text, spelled as offered; of labels within labels, the longer."""
        return [
            Match(self._label(found.group()), found.start(), found.end())
            for found in self._spelled.finditer(text, start, end)
        ]

    def _label(self, text: str) -> str:
        """Return the label that a pattern found. Letters without case of their own are compared as the pattern did."""
        found = self._by_fold.get(text.casefold())
        if found is None:
            spellings = {**{normalized(label): label for label in self.labels}, **self._by_fold}
            found = next(
                label for name, label in spellings.items() if re.fullmatch(re.escape(name), text, re.IGNORECASE)
            )
        return found

    def _number(self, found: re.Match[str] | None) -> Match | None:
        if found is None:
            return None
        label, total = str(int(found["label"])), found["total"]
        if total is None and not found["unit"] and _is_first(found):
            return None
        on_offer = label in self.labels and (total is None or int(total) == self._highest)
        return Match(label if on_offer else None, found.start(), found.end(), None if on_offer else "unknown")


def negated(text: str, start: int, beginning: int = 0) -> bool:
    """Tell whether what is at ``start`` is negated by the words between ``beginning`` and it."""
    return _NEGATION.search(_CLAUSE.split(text[max(beginning, start - 80) : start])[-1]) is not None


def _is_first(found: re.Match[str]) -> bool:
    """Tell whether a number is the first of several, as the beginning of a range is."""
    other = _BETWEEN.match(found.string, found.end(), found.endpos)
    if other is None:
        return False
    spaced = other["dash"] is not None and other.group()[:1].isspace() and found.string[other.end("dash")].isspace()
    return not (spaced and int(other["next"][:9]) <= int(found["label"]))


def _signed(text: str, place: int, start: int) -> bool:
    """Tell whether a minus or plus sign is right before ``place``."""
    return place > start and text[place - 1] in "-+\u2013"


def _match_end(pattern: re.Pattern[str], text: str, start: int, end: int) -> int:
    found = pattern.match(text, start, end)
    return found.end() if found else start


@functools.lru_cache(maxsize=256)
def offer_of(labels: tuple[str, ...]) -> Offer:
    """Return the offer of these labels."""
    return Offer(labels)
