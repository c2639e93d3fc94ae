"""Reads the number that is announced, sentence by sentence; or the last one of a text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from pytest_evals.graders.announcements import LONGEST, Announcement, announcements
from pytest_evals.graders.calculations import LONGEST as LONGEST_CALCULATION
from pytest_evals.graders.calculations import calculated
from pytest_evals.graders.number_words import first_number_word, is_calculation, number_word_at, number_words
from pytest_evals.graders.numerals import Numeral, last_numeral, numerals
from pytest_evals.graders.separators import DecimalMark, TextMarks
from pytest_evals.graders.symbols import cleaned

# What alone makes a whole text a calculation: a plain 3-5 may be a range.
_LATEX = re.compile(r"\\(?:sqrt|pi|[dtc]?frac|[dt]?binom|cdot|times)|[√π]")
_CHUNK = 400
"""The characters at the end of a text, in whole lines, where its last number is looked for first."""

# What may come between an announcement and its number.
_SMALL_WORDS = re.compile(
    r"(?:[\s*_$(\[{}<>\"'`:=~≈¥₹€£,\u3001\uff0c\u2013\u2014\u202f-]|[A-Z]{1,3}(?=\$)|\([A-E]\)|[A-E][.)](?=\s)|[a-zA-Z]\s?=|(?:about|approximately|approx\.?|around"
    r"|roughly|exactly|just|only|also|still|now|thus|therefore|simply|indeed|option|minus|negative|ca\.?|etwa|ungefähr|genau|environ"
    r"|aproximadamente|USD|EUR|CHF|INR|Rs\.?)(?![a-z])|约|約|大约|共|就是){0,30}"
)
_SENTENCE_END = re.compile(
    r"(?<![\s(][A-Za-z])(?<!approx)(?<!ca)(?<!Rs)(?<!Fr)(?<!No)[.!?](?=[*_)\]\"'$}]*(?:\s|\Z))|[。\uff01\uff1f]"
)
# Where a clause ends: what follows explains the answer.
_CLAUSE_END = re.compile(
    r"[;\n\uff1b\uff0c\u3001]|,(?=\s)|\s\(|\s(?:since|because|as|so|where|when|if|with|given|which|for|making|weil|da|denn|wenn|wobei|car|puisque|parce|où"
    r"|porque|pues|donde|ya que|pois|onde|dove|perché)\b|因为|因為|所以|其中"
)
_OPERATOR = re.compile(
    r"[+*\u00d7÷^/√!%]|(?<=[\d\s)])-(?=[\s\d($])|\d\s?[xX]\s?[\d$]|\w\([^()=]*\)|\b(?:of|times|plus|minus|over|divided|mal|fois|por|vezes)\b"
)
_REST = re.compile(r"[\s$.})\]°%]*(?:(?!π)[^\W\d_].*)?", re.DOTALL)
_HAS_DIGIT = re.compile(r"\d")
# Behind a number in words: nothing but the words of a unit, up to the end of the clause.
_ONLY_UNIT = re.compile(
    r"(?:\s+[^\W\d_]+){0,3}?[\s$}*_\"')\]]*(?:[.,;:!?(\u2013\u2014-]|\Z|\s(?:because|since|as|so|for|per|in|after|left)\b)"
)
_FUNCTION = re.compile(r"(?:\w\(|√[\s({]*|\b(?:sqrt|log|ln|exp|gcd|lcm|max|min|sin|cos|tan|binom)[\s_({\[0-9]*)$")
_EQUALS = re.compile(r"(?<![<>!=:])[=≈](?!=)")
_RESTATED = re.compile(
    r"[,;:\u2013\u2014-]?\s(?:which (?:is|equals|gives|makes|comes to)|that is|i\.e\.|namely|das heißt|d\.\s?h\.|c'est-à-dire|soit|es decir|ou seja)\b"
)
_REFUSED = re.compile(
    r"\W{0,6}(?:\w+\W+){0,4}?(?:unknown|undefined|undetermined|indeterminate|none|not|no|cannot|can't|impossible|insufficient|unklar"
    r"|unbekannt|inconnue?|desconocid[oa]|desconhecid[oa])\b|\W*(?:未知|不明|无法|無法|不存在)",
    re.IGNORECASE,
)
_REMARK = re.compile(
    r"\s*(?:indeed |also |now |thus |therefore )?(?:correct|right|wrong|incorrect|helpful|clear|reasonable|consistent|valid|verified|confirmed"
    r"|useful|plausible|simple|easy|close|rounded|an? (?:integer|whole|positive|negative|decimal|fraction)|in (?:the|this|dollars|units))\b",
    re.IGNORECASE,
)


class Answer(NamedTuple):
    """What is announced. ``direct``: only small words come before the number. ``refused``: it says that there is no
    answer. ``remark``: it is about the answer ("the answer is correct") and gives none. ``alone``: the number is all there is.
    ``words``: the number is written in words.
    """

    number: Numeral | None
    direct: bool = False
    refused: bool = False
    remark: bool = False
    alone: bool = False
    words: bool = False


def final_numeral(text: str, decimal: DecimalMark) -> Numeral | None:
    """Return the number that the last announcement gives; where nothing is announced, the last number of the text."""
    marks = TextMarks(text)
    found = announcements(text)
    boxes = {each: _answer(text, each, decimal, marks) for each in found if each.kind == "box"}
    boxed = any(answer.number is not None for answer in boxes.values())
    announced = False
    for each in found:
        answer = boxes[each] if each in boxes else _answer(text, each, decimal, marks)
        # After a box, only digits right behind an announcement retract it.
        if boxed and each.kind != "box" and (each.kind == "letter" or answer.words or not answer.direct):
            continue
        if answer.number is not None:
            return answer.number
        if answer.refused and each.kind != "box":
            return None
        announced = announced or (each.kind != "box" and not answer.remark)
    if announced:
        return None
    value = calculated(text) if len(text) <= LONGEST_CALCULATION and _LATEX.search(text) else None
    return _last(text, decimal, marks) if value is None else Numeral(value, 0, 0)


def _last(text: str, decimal: DecimalMark, marks: TextMarks) -> Numeral | None:
    """Return the last number of the text, which is read from its end, in whole lines."""
    end, size = len(text), _CHUNK
    while end > 0:
        start = text.rfind("\n", 0, max(0, end - size)) + 1
        if found := last_numeral(cleaned(text[start:end]), decimal, marks):
            return found
        end, size = start - 1, size * 2
    return None if _HAS_DIGIT.search(text) else _last_in_words(text[-LONGEST:])


def _last_in_words(text: str) -> Numeral | None:
    only = text.strip(" \t\r\n.!*_$\"'")
    found = number_word_at(only, 0)
    if found is not None and found.end == len(only):
        return found
    return next(reversed([*number_words(text)]), None)


def _answer(text: str, each: Announcement, decimal: DecimalMark, marks: TextMarks) -> Answer:
    """Read what is announced: a box or a tag to its end, the others to the end of the sentence."""
    if each.until is not None:
        content = text[each.end : each.until]
        found = _picked(cleaned(content), decimal, marks)
        value = calculated(content)
        # What reads as a number of its own (2\frac{1}{2}, 1,000) is one, and no calculation.
        if value is None or (found.number is not None and found.alone):
            return found
        return found._replace(number=Numeral(value, 0, 0))
    rest = text[each.end : each.end + LONGEST]
    if each.kind == "sentence" and _REMARK.match(rest):
        return Answer(None, remark=True)
    found = _first(rest, each.kind, decimal, marks)
    opens = each.kind in ("label", "letter") and not text[: each.start].strip("#*_> \n")
    if opens and found.number is not None and not found.direct and _has_steps(rest):
        # What follows is the whole solution, and not its result.
        return Answer(_last(text[each.end :], decimal, marks))
    return found


def _has_steps(text: str) -> bool:
    """Tell whether several sentences have numbers."""
    several = (sentence for line in text.split("\n") for sentence in sentences(line))
    return sum(_HAS_DIGIT.search(sentence) is not None for sentence in several) > 1


def _first(rest: str, kind: str, decimal: DecimalMark, marks: TextMarks) -> Answer:
    """Return the number of the first line that is not empty; after a label, of the first one that has a number."""
    lines = [line for line in rest.split("\n") if line.strip("*_$`[]\\ \t\r")]
    alone = _HAS_DIGIT.search(rest) is not None
    for number, line in enumerate(lines[: 8 if kind in ("label", "letter") else 1]):
        several = sentences(line)
        for sentence in several if kind != "sentence" else several[:1]:
            found = _picked(cleaned(sentence), decimal, marks, words_alone=alone)
            if found.number is not None:
                return found if not number else found._replace(direct=found.direct and kind != "letter")
        if _REFUSED.match(line):
            return Answer(None, refused=True)
    return Answer(None)


def opens_with_number(text: str, each: Announcement) -> bool:
    """Tell whether only small words come between an announcement and a number."""
    return _answer(text, each, "auto", TextMarks(text)).direct


def sentences(line: str) -> list[str]:
    """Return the sentences of a line; a point within a number or a formula, or after an abbreviation, ends none."""
    ends = [end.end() for end in _SENTENCE_END.finditer(line)]
    return [
        line[start:end] for start, end in zip([0, *ends], [*ends, len(line)], strict=True) if line[start:end].strip()
    ]


def _picked(statement: str, decimal: DecimalMark, marks: TextMarks, *, words_alone: bool = False) -> Answer:
    """Return the number that a cleaned sentence gives: the first one, or in a calculation the one after its last ``=``.
    ``words_alone``: a number in words has to be all that is announced, since there are digits to come.
    """
    found = numerals(statement, decimal, marks)
    if worded := _in_words(statement, alone=words_alone or bool(found)):
        return worded
    stated = [
        each for each in found if not statement[: each.start].rstrip().endswith((" not", "(not", "nicht"))
    ] or found
    if not stated:
        return Answer(None, refused=bool(_REFUSED.match(statement)))
    first = stated[0]
    direct = _SMALL_WORDS.fullmatch(statement, 0, first.start) is not None
    restated = None if direct else _RESTATED.search(statement, first.end)
    if restated and (later := _after(stated, restated.end())):
        return Answer(later)
    clause = _CLAUSE_END.search(statement, first.end)
    end = clause.start() if clause else len(statement)
    equals = [sign.start() for sign in _EQUALS.finditer(statement, first.end, end)]
    if equals and _is_calculated(statement, first, equals[-1]):
        result = _after(stated, equals[-1])
        if result is not None and result.start < end:
            return Answer(result, direct)
    alone = direct and len(found) == 1 and _REST.fullmatch(statement, first.end) is not None
    return Answer(first, direct, alone=alone)


def _in_words(statement: str, *, alone: bool) -> Answer | None:
    """Return the number that is announced in words: the first thing that is said; else the first number, or of a calculation the
    last. ``alone``: only where it is all that is said, since there are digits too.
    """
    first = first_number_word(statement)
    opens = first is not None and _SMALL_WORDS.fullmatch(statement, 0, first.start) is not None
    if first is not None and opens and not (alone and _ONLY_UNIT.match(statement, first.end) is None):
        return Answer(first, direct=True, alone=_REST.fullmatch(statement, first.end) is not None, words=True)
    words = [] if alone or _REFUSED.match(statement) else [*number_words(statement)]
    return Answer(words[-1 if is_calculation(statement) else 0], words=True) if words else None


def _is_calculated(statement: str, first: Numeral, equals: int) -> bool:
    """Tell whether what comes before the ``=`` is a calculation that begins with the number, as ``3 + 4``, ``48/2``, ``f(3)``. A
    number alone is an answer, whatever it is said to be equal to.
    """
    if statement[equals] == "≈" and not statement[first.end : equals].strip(" $"):
        return False
    called = _FUNCTION.search(statement, max(0, first.start - 20), first.start) is not None
    return called or _OPERATOR.search(statement, first.start, equals) is not None


def _after(found: Sequence[Numeral], position: int) -> Numeral | None:
    return next((each for each in found if each.start >= position), None)
