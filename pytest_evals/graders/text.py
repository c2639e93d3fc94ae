"""Text checks: pure functions from a completion's text to a verdict and its reason."""

from __future__ import annotations

import ast
import contextlib
import json
import re
import string
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pytest_evals.errors import SuiteError, did_you_mean
from pytest_evals.text import one_line, quotation, quoted, unicode_form

NORMALIZERS = ("case", "punctuation", "articles", "unicode", "whitespace")
SQUAD = "squad"
"""Stands for all that the evaluation script of SQuAD does, and nothing else."""
_ARTICLES = re.compile(r"\b(a|an|the)\b", re.IGNORECASE)
_ARTICLE_LETTERS = frozenset("aAtT")
_PUNCTUATION = frozenset(string.punctuation)
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


class TextVerdict(NamedTuple):
    """What a check found. ``reason`` says what was expected and what was there."""

    passed: bool
    reason: str


def check_normalizers(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of normalisation steps. Raises `SuiteError` for an unknown one."""
    if not isinstance(names, (str, list, tuple)):
        raise SuiteError(f"normalize is the name of a step or a list of them, not {names!r:.60}")
    names = (names,) if isinstance(names, str) else tuple(names)
    known = (*NORMALIZERS, SQUAD)
    for name in names:
        if name not in known:
            raise SuiteError(f"normalize: unknown step {name!r} (known: {', '.join(known)}){did_you_mean(name, known)}")
    if SQUAD in names and len(names) > 1:
        raise SuiteError(f"normalize: {SQUAD!r} cannot be combined with other steps, and {list(names)} has some")
    return names


def normalize(text: str, steps: Sequence[str]) -> str:
    """Return ``text`` stripped, after the steps: ``unicode`` (NFKC), ``case``, ``punctuation``, ``articles`` (English),
    ``whitespace``.

    ``punctuation`` removes ASCII punctuation and every other character of Unicode's category P. With ``articles`` runs
    of white space become one space, since removing a word leaves two. ``squad`` is `normalize_answer`.
    """
    if SQUAD in steps:
        return normalize_answer(text)
    if "unicode" in steps:
        text = unicode_form("NFKC", text)
    if "case" in steps:
        text = text.casefold()
    if "punctuation" in steps:
        # By the marks that occur: a look at each character takes a minute for a text of 10 MB that is written in full.
        for mark in {char for char in set(text) if char in _PUNCTUATION or unicodedata.category(char).startswith("P")}:
            text = text.replace(mark, "")
    if "articles" in steps and not _ARTICLE_LETTERS.isdisjoint(text):
        text = _ARTICLES.sub(" ", text)
    if "whitespace" in steps or "articles" in steps:
        text = " ".join(text.split())
    return text.strip()


def normalize_answer(text: str) -> str:
    """Return the text as SQuAD's script compares it: lower case, without ASCII punctuation and English articles, words
    apart by one space.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def exact_match(text: str, expected: object, steps: Sequence[str] = ()) -> TextVerdict:
    """Compare whole texts, both stripped and normalised. With ``squad``, ``expected`` may be several references."""
    if SQUAD in steps and isinstance(expected, (list, tuple)):
        return one_of(text, expected, steps)
    if SQUAD in steps:
        check_no_written_list(expected, "exact_match")
    wanted = as_text(expected, "exact_match")
    passed = normalize(text, steps) == normalize(wanted, steps)
    if passed:
        same = text.strip() == wanted.strip()
        return TextVerdict(
            True, f"got {quotation(text)}" + (", as expected" if same else f", the same as {quotation(wanted)}")
        )
    shown = _told_apart(wanted, text)
    return TextVerdict(False, f"expected {shown[0]}, got {shown[1]}")


def one_of(text: str, choices: object, steps: Sequence[str] = ()) -> TextVerdict:
    """Compare the whole text with each of several accepted ones."""
    accepted = as_choices(choices)
    passed = normalize(text, steps) in {normalize(choice, steps) for choice in accepted}
    if passed:
        return TextVerdict(True, f"got {quotation(text)}, one of {_listed(accepted)}")
    return TextVerdict(False, f"expected one of {_listed(accepted)}, got {quotation(text)}")


def contains(text: str, needles: object, *, ignore_case: bool = False, require: str = "all") -> TextVerdict:
    """Look for one or several strings in the text; ``require`` is ``all`` or ``any`` of them."""
    if require == "any" and isinstance(needles, str):
        raise SuiteError(
            f"contains: require='any' is about several texts, and {one_line(repr(needles), 60)} is one; give a list, as ['a', 'b'], or a "
            "field that holds one"
        )
    wanted = as_texts(needles, "contains")
    haystack = text.casefold() if ignore_case else text
    missing = [needle for needle in wanted if (needle.casefold() if ignore_case else needle) not in haystack]
    passed = not missing if require == "all" else len(missing) < len(wanted)
    if passed:
        return TextVerdict(
            True, f"found {_listed([needle for needle in wanted if needle not in missing])} in {quotation(text)}"
        )
    word = "" if len(wanted) == 1 else f"{require} of "
    return TextVerdict(passed, f"expected {word}{_listed(wanted)} in {quotation(text)}")


def matches(text: str, pattern: object, *, ignore_case: bool = False, full: bool = False) -> TextVerdict:
    """Search the text for a regular expression; with ``full`` it must cover the whole stripped text."""
    expression = compile_pattern(as_text(pattern, "matches"), ignore_case=ignore_case)
    found = expression.fullmatch(text.strip()) if full else expression.search(text)
    if found is not None:
        return TextVerdict(True, f"{quotation(found[0], 60)} matches {quotation(expression.pattern)}")
    return TextVerdict(False, f"expected a match of {quotation(expression.pattern)} in {quotation(text)}")


def compile_pattern(pattern: str, *, ignore_case: bool) -> re.Pattern[str]:
    """Compile a pattern. Raises `SuiteError` that shows what is wrong with it."""
    try:
        return re.compile(pattern, re.IGNORECASE if ignore_case else 0)
    except re.error as error:
        raise SuiteError(f"matches: {pattern!r} is not a regular expression: {error}") from error


def as_text(value: object, grader: str) -> str:
    """Return what a grader is to compare with as text. Lists, objects and null are refused, never formatted."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    raise SuiteError(f"{grader} compares text, and was given {type(value).__name__} ({one_line(repr(value), 60)})")


def as_choices(value: object) -> list[str]:
    """Return the choices of ``one_of``. Raises `SuiteError` for a text, since it is unknown where a choice ends."""
    if not isinstance(value, (list, tuple)):
        given = "text" if isinstance(value, str) else type(value).__name__
        raise SuiteError(
            f"one_of takes a list of choices, as ['Paris', 'London'], or a field that holds one; got {given}: {one_line(repr(value), 60)}. "
            "For one answer there is exact_match; a text from CSV becomes a list in a function that returns the rows"
        )
    return as_texts(value, "one_of")


def check_no_written_list(value: object, what: str) -> None:
    """Raise `SuiteError` for a text that is a list of texts written out, as CSV holds it, where a text or a list is allowed."""
    if not isinstance(value, str) or not (value.strip().startswith("[") and value.strip().endswith("]")):
        return
    if _is_written_list(value.strip()):
        raise SuiteError(
            f"{what}: {one_line(repr(value), 60)} is a text that holds a list; give the list itself, in a function that returns the "
            "rows (for a text that is meant literally, give a list with it)"
        )


def _is_written_list(text: str) -> bool:
    for read in (json.loads, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            value = read(text)
            return isinstance(value, list) and bool(value) and all(isinstance(entry, str) for entry in value)
    return False


def as_texts(value: object, grader: str) -> list[str]:
    """Return one or several texts as a list of at least one. An empty text would be found everywhere, and is refused."""
    check_no_written_list(value, grader)
    texts = [as_text(entry, grader) for entry in (value if isinstance(value, (list, tuple)) else [value])]
    if not texts or not all(text.strip() for text in texts):
        raise SuiteError(f"{grader} needs at least one text, and none may be empty; got {one_line(repr(value), 60)}")
    return texts


def _told_apart(wanted: str, text: str) -> tuple[str, str]:
    """Return both texts in quotes; with codes for white space where they differ in nothing else that could be seen."""
    shown = quotation(wanted), quotation(text)
    return shown if shown[0] != shown[1] else (quoted(wanted), quoted(text))


def _listed(texts: Sequence[str]) -> str:
    return ", ".join(quotation(text, 60) for text in texts[:8]) + (", ..." if len(texts) > 8 else "")
