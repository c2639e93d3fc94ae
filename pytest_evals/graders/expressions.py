"""Which expression a completion gives as its answer, in LaTeX."""

from __future__ import annotations

import re

from pytest_evals.graders.announcements import LONGEST, Announcement, announcements
from pytest_evals.graders.answers import opens_with_number, sentences

_MOST = 3
"""The announcements that are tried, the last first."""
_TAIL = 20_000
"""The characters at the end of a text in which its last formula is looked for."""

_MATH = re.compile(
    r"\$\$(?P<dollars>[^$]{1,1000})\$\$|\\\[(?P<display>.{1,1000}?)\\\]|\\\((?P<inline>.{1,1000}?)\\\)"
    r"|(?<![\\$])\$(?![\s$])(?P<dollar>(?:[^$\n\\]|\\.){1,500}?)(?<!\s)\$(?![0-9$])",
    re.DOTALL,
)
_OPENING = re.compile(rf"[\s*_:]{{0,20}}(?:{_MATH.pattern})", re.DOTALL)
_JOINED = re.compile(r"\s*(?:,|;|,?\s*(?:and|or|und|oder|et|ou|y|o|e|和|或))\s*\Z")
_MARKUP_BEFORE = re.compile(r"[\s*_>#:`]+")
_MARKUP_AFTER = re.compile(r"[\s*_`.,;:。]")
# Where an explanation begins, which is not part of the expression.
_EXPLAINED = re.compile(
    r",?\s(?:since|because|as|so|where|when|if|with|given|which|for all|weil|da|car|puisque|porque)\s|\.\s",
    re.IGNORECASE,
)
_UNIT = re.compile(
    r"(?P<number>-?[0-9][0-9.,]*(?:\s?/\s?[0-9]+)?)\s+(?!(?:pi|sqrt|and|or|mod)\b)(?:[a-zA-Z]{2,}|[mgshlLNJWVAK])(?:\^?[0-9])?"
    r"(?:[\s/]+[a-zA-Z]+(?:\^?[0-9])?)*"
)

_FUNCTIONS = "arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|log|ln|exp|min|max|gcd|det"
_PLAIN = (
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"(?<=[0-9.])[eE]([-+]?[0-9]+)\b"), r"\\cdot 10^{\1}"),
    (re.compile(r"\b([0-9]+) ([0-9]+)/([0-9]+)\b"), r"\1\\frac{\2}{\3}"),
    (re.compile(r"\*"), r"\\cdot "),
    (re.compile(r"<="), r"\\leq "),
    (re.compile(r">="), r"\\geq "),
    (re.compile(r"!="), r"\\neq "),
    (re.compile(r"\b(?:infinity|inf|oo)\b"), r"\\infty "),
    (re.compile(r"(?<![a-zA-Z])pi\b|(?<=[0-9])pi\b"), r"\\pi "),
    (re.compile(r"\bsqrt\s*\(([^()]*)\)"), r"\\sqrt{\1}"),
    (re.compile(r"\bsqrt\s*([0-9]+|[a-z])\b"), r"\\sqrt{\1}"),
    (re.compile(rf"\b({_FUNCTIONS})(?=[\s(^0-9])"), r"\\\1"),
    (re.compile(r"\^\(([^()]*)\)"), r"^{\1}"),
    (re.compile(r"\^(-?[0-9]{2,}|-[0-9a-z])"), r"^{\1}"),
    (re.compile(r"\b(union|U)\b(?=\s*[\[(])"), r"\\cup "),
    (re.compile(r"(?<!\\)%"), r"\\%"),
)
_SIGNS = {
    "\u2212": "-",
    "\u2013": "-",
    "\u00a0": " ",
    "\u202f": " ",
    "\u00d7": r"\times ",
    "·": r"\cdot ",
    "÷": "/",
    "±": r"\pm ",
    "π": r"\pi ",
    "θ": r"\theta ",
    "∞": r"\infty ",
    "°": r"^\circ ",
    "≤": r"\leq ",
    "≥": r"\geq ",
    "≠": r"\neq ",
    "∈": r"\in ",
    "\u222a": r"\cup ",
    "∩": r"\cap ",
    "½": r"\frac{1}{2}",
    "¼": r"\frac{1}{4}",
    "¾": r"\frac{3}{4}",
    "⅓": r"\frac{1}{3}",
    "⅔": r"\frac{2}{3}",
}
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_RAISED_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+")
_ROOT = re.compile(r"√\s?(?:\(([^()]*)\)|([0-9.]+|[a-z]))")
_REPEATING = re.compile(r"(?<![0-9])([0-9]*)\.([0-9]{0,15})\\overline\s?\{([0-9]{1,15})\}")
_PROSE = re.compile(r"(?:[^\W\d_]{3,}\W+)+[^\W\d_]{3,}\W*", re.UNICODE)


def candidates(text: str) -> list[str]:
    """Return the expressions that may be the answer of ``text``, the likeliest first: what the last announcements announce; where
    there are none, the last formula, the whole of a short text, or its last line.
    """
    found = announcements(text)
    boxed = any(each.kind == "box" and text[each.end : each.until].strip() for each in found)
    announced = [
        _announced(text, each)
        for each in found
        # After a box, only what is announced explicitly retracts it.
        if not boxed or each.kind == "box" or (each.kind != "letter" and _opens_with_answer(text, each))
    ]
    stated = [each for each in announced if each][:_MOST]
    if not stated:
        tail = text[-_TAIL:]
        formulas = list(_MATH.finditer(tail))
        stated = [_group(tail, formulas)] if formulas else tail.strip().splitlines()[-1:]
    return [latex for each in stated for latex in as_latex(each)]


def _opens_with_answer(text: str, each: Announcement) -> bool:
    return opens_with_number(text, each) or _OPENING.match(text, each.end) is not None


def _announced(text: str, each: Announcement) -> str:
    if each.until is not None:
        return text[each.end : each.until].strip()
    rest = text[each.end : each.end + LONGEST]
    first = next((found for line in rest.split("\n") if line.strip(" *_\r\t") for found in sentences(line)[:1]), "")
    start = rest.find(first)
    formula = _MATH.search(rest, start)
    if formula and formula.start() < start + max(1, len(first)):
        formulas = [each for each in _MATH.finditer(rest, start) if each.start() < start + len(first)] or [formula]
        return _group(rest, formulas, from_start=True)
    explained = _EXPLAINED.search(first)
    return first[: explained.start()] if explained else first


def _group(text: str, formulas: list[re.Match[str]], *, from_start: bool = False) -> str:
    """Return the first formula, or the last one, with those that "and" joins to it: several solutions."""
    ordered = formulas if from_start else formulas[::-1]
    chosen = [ordered[0]]
    for formula in ordered[1:]:
        first, second = (chosen[-1], formula) if from_start else (formula, chosen[-1])
        if not _JOINED.match(text, first.end(), second.start()):
            break
        chosen.append(formula)
    contents = [str(next(part for part in each.groups() if part is not None)).strip() for each in chosen]
    return ", ".join(contents if from_start else contents[::-1])


def as_latex(text: str) -> list[str]:
    """Return the LaTeX of an expression, which may be LaTeX or plain (``sqrt(2)/2``, ``x**2``, ``x²``); of a number with a unit, as
    "12 square metres", the number. An empty list for prose and for nothing.
    """
    text = _without_markup(text).strip("$").strip()
    text = text.removeprefix(r"\(").removesuffix(r"\)").removeprefix(r"\[").removesuffix(r"\]").strip()
    if not text or _PROSE.fullmatch(text):
        return []
    text = _RAISED_RUN.sub(lambda run: f"^{{{run[0].translate(_RAISED)}}}", _ROOT.sub(r"\\sqrt{\1\2}", text))
    for sign, latex in _SIGNS.items():
        text = text.replace(sign, latex)
    text = _REPEATING.sub(_fraction_of, " ".join(text.split()))
    if "\\" in text:
        return [text]
    if unit := _UNIT.fullmatch(text):
        text = unit["number"]
    for pattern, latex in _PLAIN:
        text = pattern.sub(latex, text)
    return [text]


def _without_markup(text: str) -> str:
    """Return an expression without what Markdown and a sentence have around it; what follows a backslash belongs to that."""
    before = _MARKUP_BEFORE.match(text)
    text = text[before.end() :] if before else text
    end = len(text)
    while end and _MARKUP_AFTER.match(text, end - 1):
        end -= 1
    return text[: end + 1] if text[end - 1 : end] == "\\" else text[:end]


def _fraction_of(found: re.Match[str]) -> str:
    """Write a repeating decimal as a fraction: 0.1(6) is (16 - 1) / 90."""
    whole, fixed, period = found[1] or "0", found[2], found[3]
    above = int(whole + fixed + period) - int(whole + fixed)
    return rf"\frac{{{above}}}{{{(10 ** len(period) - 1) * 10 ** len(fixed)}}}"
