"""How numbers are written: finds and reads each one in a text, in the forms of several languages, LaTeX and programs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from pytest_evals.graders.separators import DecimalMark, TextMarks, digits_of

Number = int | float


class Numeral(NamedTuple):
    """A number, and where it is, without its sign. ``factor``: what the word after it multiplies by, as in "1.3 million";
    only the author of the question knows whether it counts.
    """

    value: Number
    start: int
    end: int
    factor: int = 1


_DIGIT = re.compile("[0-9]")
_DIGITS = re.compile("[0-9]+")
_SCIENTIFIC = re.compile("[1-9],[0-9]{3}")
_MARKED = r"[0-9]+(?:[.,\u066b\u066c'_][0-9]+){0,40}"
_SPACED = (
    r"[0-9]{1,3}(?P<gap>[ \u202f])[0-9]{3}(?:(?P=gap)[0-9]{3}){0,12}(?:[.,][0-9]+)?"
    r"(?![0-9'_]|[.,][0-9]|-[A-Za-z]|\s?/\s?[0-9]|[ ][0-9]+\s?/)"
)
_DASH = r"[-+\u2013\u2014]"
_POWER = rf"{_DASH}?\s?[0-9]+(?:[./][0-9]+)?"
_EXPONENT = rf"(?:\{{\s?{_POWER}\s?\}}|\(\s?{_POWER}\s?\)|{_DASH}?[0-9]+(?:\.[0-9]+)?)"
# Two asterisks are also the end of bold text.
_RAISED = r"(?:\s?\^\s?|\*\*(?=[-\u2013(0-9])|[ ]\*\*[ ])"
_NUMERAL = re.compile(
    rf"""
      (?P<whole>[0-9]{{1,4}})(?:[ \u202f]{{1,2}}|[ ](?:and|und|et|y|e)[ ])
        (?P<part>[0-9]{{1,4}})\s?/\s?(?P<of>[0-9]{{1,4}})(?![0-9/]|[.,][0-9])
    | (?P<myriads>(?:{_MARKED}\s?(?:[兆億亿万萬조억만]|千(?![米克瓦卡赫字帕伏焦])|百(?!分)|천|백){{1,2}}(?:[ ](?=[0-9]+[억만천백]))?){{1,9}}(?:[0-9]+(?![0-9.,]))?)
    | (?P<digits>{_SPACED}|{_MARKED}|[.\u066b][0-9]+)
      (?:
        (?P<e>[eE]{_DASH}?[0-9]{{1,4}})(?!\.?\w)
      | [ ]{{0,3}}(?:[\u00d7*]|[xX](?=[ ]{{0,3}}10)|times)[ ]{{0,3}}10(?:{_RAISED}|[ ]to[ ]the[ ](?:power[ ](?:of[ ])?)?)(?P<ten>{_EXPONENT})
      )?
      (?:{_RAISED}(?P<power>{_EXPONENT}))?
      (?P<unknown>\s?\^\s?[\w\\({{])?
      (?:\s?/\s?(?P<denominator>{_MARKED})(?![0-9/]))?
    """,
    re.VERBOSE,
)
_CURRENCY = r"(?:[A-Z]{0,3}[$\u00a2-\u00a5\u0e3f\u20a0-\u20cf]|(?<![A-Za-z])(?:USD|EUR|GBP|CHF|INR|JPY|CNY|RMB|BRL|R[sp]\.?|Fr\.))"
_BY_CURRENCY = re.compile(rf"{_CURRENCY}$")
# A dash is a minus unless something to subtract from comes before it. With a space after it, it is one where an operand is
# missing; at the start of a line below the first it begins an entry of a list.
_MINUS = re.compile(
    rf"""(?:
        (?<![0-9_A-Za-z\u00c0-\u052f)\]}}%°\-\u2013\u2014])[-\u2013\u2014]
      | (?:\A|[=(\[{{:;,<>≈$€£₹|*~]|\b(?:is|are|was|be|equals|ist|est|es|to|of))[ \u202f]*-[ \u202f]
      | (?<![\w%)])(?<![0-9%)][ ])(?:minus|negative|moins|menos|meno)[ \u202f]
      | [负負]|マイナス
    )(?:{_CURRENCY}[ \u202f]?)?$
    | (?<![\w)\]}}%°]){_CURRENCY}[ \u202f]?[-\u2013\u2014]$""",
    re.IGNORECASE | re.VERBOSE,
)
_BEFORE = 24
"""The characters before a number among which its sign and its currency are looked for."""

_GLUED_FACTOR = re.compile(r"(?:(?P<k>[kK])|(?P<m>M)|(?P<b>B))\b")
_FACTOR = re.compile(
    r"\s?(?:(?P<k>thousand|tausend|mille|mil|тыс)|(?P<m>mn|mio|million(?:s|en)?|mill[oó]n(?:es)?|milh(?:ão|ões)|milion[ei]|млн)"
    r"|(?P<b>bn|billions?|mrd|milliarden?|milliards?|bilh(?:ão|ões)|млрд)|(?P<t>trillions?)|(?P<lakh>lakhs?|lacs?)"
    r"|(?P<crore>crores?|cr)|(?P<dozen>dozen))\b",
    re.IGNORECASE,
)
_FACTORS = {"k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12, "lakh": 10**5, "crore": 10**7, "dozen": 12}
_MYRIAD = re.compile(rf"({_MARKED})\s?([千百천백]?)([兆億亿万萬조억만]?)")
_HUNDREDS = {"": 1, "百": 100, "千": 1000, "백": 100, "천": 1000}
_MYRIADS = {"万": 10**4, "萬": 10**4, "億": 10**8, "亿": 10**8, "兆": 10**12} | {"만": 10**4, "억": 10**8, "조": 10**12}


def numerals(text: str, mark: DecimalMark, marks: TextMarks) -> list[Numeral]:
    """Return the numbers of a text that `cleaned` made, in their order."""
    return [numeral for found in _written(text) for numeral in _read(text, found, mark, marks)]


def last_numeral(text: str, mark: DecimalMark, marks: TextMarks) -> Numeral | None:
    """Return the last number of a text that `cleaned` made."""
    for found in reversed(list(_written(text))):
        if read := _read(text, found, mark, marks):
            return read[-1]
    return None


def _written(text: str) -> Iterator[re.Match[str]]:
    """Find what is written as a number and is not part of something else: a name, a version, an index, an exponent."""
    position = 0
    while first := _DIGIT.search(text, position):
        start = first.start()
        if start > position and text[start - 1] in ".\u066b" and not text[max(0, start - 2) : start - 1].isalnum():
            start -= 1
        found = None if start and _is_part(text, start) else _NUMERAL.match(text, start)
        if found is None:
            run = _DIGITS.match(text, first.start())
            position = run.end() if run else start + 1
        else:
            position = found.end()
            yield found


def _is_part(text: str, start: int) -> bool:  # noqa: PLR0911 - what comes before, one kind a line
    before = text[start - 1]
    if before in " \n(":
        return False
    if before.isalpha():
        # Letters of scripts that leave no spaces between words do not belong to the number.
        return before < "\u0530" and not _BY_CURRENCY.search(text, max(0, start - _BEFORE), start)
    earlier = text[start - 2] if start > 1 else ""
    if before == ".":
        return not earlier.isalpha()
    if before == "_":
        return earlier.isalnum() or earlier in (")", "}", "]")
    if before == "{":
        return earlier in ("^", "_")
    if before == "*":
        return earlier == "*" and start > 2 and text[start - 3].isalnum()
    if before in "-+\u2013\u2014":
        return earlier == "^" or text[max(0, start - 3) : start - 1] in ("^{", "_{")
    return before == "^" or before.isdecimal()


def _read(text: str, found: re.Match[str], mark: DecimalMark, marks: TextMarks) -> list[Numeral]:
    """Return the number that is written there; several where commas divide a list; none for what is none."""
    if found["unknown"]:
        return []
    start, end = found.span()
    try:
        values = [value for value in _values(text, found, mark, marks) if math.isfinite(value)]
    except (ArithmeticError, ValueError):
        return []
    if values and _MINUS.search(text, max(0, start - _BEFORE), start):
        values[0] = -values[0]
    factor = _factor(text, end)
    return [
        Numeral(value, start, end, factor if number == len(values) else 1) for number, value in enumerate(values, 1)
    ]


def _values(text: str, found: re.Match[str], mark: DecimalMark, marks: TextMarks) -> list[Number]:
    if found["whole"]:
        part, of = int(found["part"]), int(found["of"])
        return [(int(found["whole"]) if part < of else 0) + part / of]
    if found["myriads"]:
        return [_myriads(found["myriads"], mark, marks)]
    start, end = found.span("digits")
    bracketed = text[max(0, start - 1) : start] in ("(", "[") and text[end : end + 1] in (")", "]")
    # What is multiplied by a power of ten is written with one digit before its decimals.
    scientific = found["ten"] and mark == "auto" and _SCIENTIFIC.fullmatch(found["digits"])
    values = [
        _number(each) for each in digits_of(found["digits"], "," if scientific else mark, marks, listed=bracketed)
    ]
    if values:
        values[-1] = _computed(values[-1], found, mark, marks)
    return values


def _myriads(written: str, mark: DecimalMark, marks: TextMarks) -> Number:
    """Return what is counted in ten thousands: 2億3千万 is 2 * 10**8 + 3000 * 10**4."""
    total: Number = 0
    section: Number = 0
    for digits, hundreds, myriad in _MYRIAD.findall(written):
        section += _one(digits, mark, marks) * _HUNDREDS[hundreds]
        if myriad:
            total, section = total + section * _MYRIADS[myriad], 0
    return total + section


def _computed(value: Number, found: re.Match[str], mark: DecimalMark, marks: TextMarks) -> Number:
    """Apply what follows the digits: a power of ten, an exponent, a denominator."""
    if found["e"] or found["ten"]:
        value = float(f"{value}e{_exponent(found['e'][1:] if found['e'] else found['ten'])}")
    if found["power"]:
        value = _raised(value, _exponent(found["power"]))
    if found["denominator"]:
        value /= _one(found["denominator"], mark, marks)
    return value


def _number(digits: str) -> Number:
    """Return an integer exactly, and what is too long for a float as infinite."""
    value = float(digits)
    return int(digits) if math.isfinite(value) and digits.isdecimal() else value


def _one(digits: str, mark: DecimalMark, marks: TextMarks) -> Number:
    values = digits_of(digits, mark, marks)
    return _number(values[0]) if len(values) == 1 else math.nan


def _exponent(written: str) -> str:
    return re.sub(r"[{}()\s]", "", written).replace("\u2013", "-").replace("\u2014", "-")


def _raised(base: Number, exponent: str) -> Number:
    above, _, below = exponent.partition("/")
    power = float(above) / float(below or 1)
    value = math.pow(base, power)
    if isinstance(base, int) and power.is_integer() and power >= 0:
        exact: int = base ** int(power)
        return exact
    return value


def _factor(text: str, end: int) -> int:
    following = text[end : end + 2].strip()[:1]
    if not following.isalpha():
        return 1
    found = _GLUED_FACTOR.match(text, end) or _FACTOR.match(text, end)
    return _FACTORS[found.lastgroup] if found and found.lastgroup else 1
