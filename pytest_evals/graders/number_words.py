"""Numbers in English words: ``forty-two``, ``three hundred and five``, ``minus two``, ``two and a half``, ``one point five million``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from pytest_evals.graders.numerals import Number, Numeral

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEENS = ("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_COUNTS = {
    **{word: value for value, word in enumerate((*_DIGITS, *_TEENS))},
    **{word: 10 * tens for tens, word in enumerate(_TENS, 2)},
}
_SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_NO_SCALE = 10**15
_FACTORS = {**_SCALES, "dozen": 12}
_ORDINALS = ("third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_PARTS = {"half": 2, "quarter": 4, "twelfth": 12, "hundredth": 100} | {word: n for n, word in enumerate(_ORDINALS, 3)}

_COUNT = "|".join(sorted(_COUNTS, key=len, reverse=True))
_SCALE, _FACTOR, _PART = "|".join(_SCALES), "|".join(_FACTORS), "|".join(_PARTS)
_END = r"(?![\w'\u2019])"
_PARTS_OF = rf"(?:halves|(?:{_PART})s){_END}"
_START = re.compile(rf"(?<![\w'\u2019-])(?:minus\s|negative\s|half{_END}|an?\s|(?:{_COUNT}){_END})", re.IGNORECASE)
_FIRST = re.compile(
    rf"(?P<minus>(?:minus|negative)\s+)?(?:(?P<part>(?:(?:one|an?)[\s-]+(?:{_PART})|half(?:\s+an?)?){_END})"
    rf"|(?P<count>{_COUNT}){_END}|an?(?=\s+(?:{_FACTOR}){_END}))",
    re.IGNORECASE,
)
_NEXT = re.compile(
    rf"(?:\s?-\s?|(?P<apart>,?\s+and\s+|,\s+)|\s+)(?:(?P<count>{_COUNT})|(?P<scale>{_SCALE})){_END}", re.IGNORECASE
)
_DECIMALS = re.compile(rf"\s+point(?P<digits>(?:[\s-]+(?:{'|'.join(_DIGITS)}|oh){_END})+)", re.IGNORECASE)
_AND_PARTS = re.compile(
    rf"\s+and\s+(?:(?:one|an?)[\s-]+(?P<one>{_PART}){_END}|(?P<count>{_COUNT})[\s-]+(?P<parts>{_PARTS_OF}))",
    re.IGNORECASE,
)
_SOME_PARTS = re.compile(rf"[\s-]+(?P<parts>{_PARTS_OF})", re.IGNORECASE)
_TIMES = re.compile(rf"\s+(?P<factor>{_FACTOR}){_END}", re.IGNORECASE)
# "forty-first", "three-digit": an adjective. "One of them", "one that": a pronoun.
_GLUED = re.compile("-[A-Za-z]")
_PRONOUN = re.compile(r"-[A-Za-z]|\s(?:of|that|which|who|another|or|by|way|thing|day|more|last)\b", re.IGNORECASE)
_OPERATION = re.compile(r"\s(?:plus|minus|times|multiplied|divided|over|to the)\b|\s[+*/\u00d7÷^]\s", re.IGNORECASE)


def number_word_at(text: str, position: int) -> Numeral | None:
    """Return the number that begins there; `None` where there is none, and for a term of a calculation. ``factor`` is what the last
    word multiplies by, as in "two million" and "three dozen", if only the question tells whether it counts.
    """
    first = _FIRST.match(text, position)
    if first is None:
        return None
    value, end, factor = _fraction(text, first) if first["part"] else _count(text, first)
    alone = text[position:end].lower() == "one"
    if (_PRONOUN if alone else _GLUED).match(text, end) or _OPERATION.match(text, end):
        return None
    return Numeral(-value if first["minus"] else value, position, end, factor)


def number_words(text: str) -> Iterator[Numeral]:
    """Return the numbers of a text in their order; without "one" by itself, which is a pronoun more often."""
    position = 0
    while start := _START.search(text, position):
        found = number_word_at(text, start.start())
        if found is not None and text[found.start : found.end].lower() != "one":
            yield found
        position = found.end if found else start.end()


def first_number_word(text: str) -> Numeral | None:
    """Return the number that the first word of a number begins, also where it is "one"; `None` where that one is none."""
    start = _START.search(text)
    return number_word_at(text, start.start()) if start else None


def is_calculation(text: str) -> bool:
    """Tell whether words of calculations are in the text."""
    return _OPERATION.search(text) is not None


class _Read(NamedTuple):
    value: Number
    end: int
    factor: int = 1


def _fraction(text: str, first: re.Match[str]) -> _Read:
    words = re.findall("[a-z]+", first["part"].lower())
    part = "half" if words[0] == "half" else words[-1]
    return _times(text, 1 / _PARTS[part], first.end())


def _count(text: str, first: re.Match[str]) -> _Read:
    whole = _whole(text, first)
    if whole.factor != 1:
        return whole
    if found := _DECIMALS.match(text, whole.end):
        digits = re.findall("[a-z]+", found["digits"].lower())
        return _times(
            text, float(f"{whole.value}.{''.join(str(_COUNTS.get(each, 0)) for each in digits)}"), found.end()
        )
    if found := _AND_PARTS.match(text, whole.end):
        added = (
            1 / _PARTS[found["one"].lower()] if found["one"] else _COUNTS[found["count"].lower()] / _of(found["parts"])
        )
        return _times(text, whole.value + added, found.end()) if added < 1 else whole
    if found := _SOME_PARTS.match(text, whole.end):
        return _Read(whole.value / _of(found["parts"]), found.end())
    return _times(text, whole.value, whole.end)


def _of(parts: str) -> int:
    return 2 if parts.lower() == "halves" else _PARTS[parts.lower().removesuffix("s")]


def _times(text: str, value: Number, end: int) -> _Read:
    found = _TIMES.match(text, end)
    return _Read(value, found.end(), _FACTORS[found["factor"].lower()]) if found else _Read(value, end)


def _whole(text: str, first: re.Match[str]) -> _Read:
    """Return a whole number. One of a single scale above the thousand, as "two million", has that as its factor."""
    total, group, smallest, end = 0, _COUNTS[(first["count"] or "one").lower()], _NO_SCALE, first.end()
    scaled = False
    before_comma = _Read(group, end)
    while found := _NEXT.match(text, end):
        if found["apart"]:
            if not scaled:
                break
            before_comma = _Read(total + group, end)
        if found["count"]:
            count = _COUNTS[found["count"].lower()]
            if not count or not _fits(group, count) or (end == first.end() and not group):
                break
            group, scaled = group + count, False
        else:
            scale = _SCALES[found["scale"].lower()]
            if not group or scale >= smallest or (scale == 100 and group >= 100):
                # Another number of a list: one hundred, two hundred.
                return before_comma if before_comma.value > 99 else _Read(total + group, end)
            if scale == 100:
                group *= scale
            else:
                total, group, smallest = total + group * scale, 0, scale
            scaled = True
        end = found.end()
    if group or smallest in (_NO_SCALE, 1000) or total // smallest >= 1000:
        return _Read(total + group, end)
    return _Read(total // smallest, end, smallest)


def _fits(group: int, count: int) -> bool:
    """Tell whether a count may follow within a group: units after tens, both after hundreds."""
    return group % 100 == 0 or (count < 10 and group % 100 >= 20 and group % 10 == 0)
