"""Whether a text follows an instruction: a function for each kind of IFEval (Zhou et al., 2023), by what its checker tests.

A text is checked as it is, even a blank one. The caller must say that a blank answer follows nothing. Keywords, markers
and words of arguments are regular expressions, as they are there.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from pytest_evals.graders.ifeval.language import language_of, sentences, words
from pytest_evals.text import pluralize, quoted

Relation = Literal["less than", "at least"]

ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
RESPONSE_DIVIDER = "******"
_PARAGRAPH_DIVIDER = re.compile(r"\s?\*\*\*\s?")
# The character after a star may be a line break: then it takes the next line with it.
_STAR_BULLET = re.compile(r"^[^\S\n]*\*[^*].*$", re.MULTILINE)
_DASH_BULLET = re.compile(r"^[^\S\n]*-.*$", re.MULTILINE)
_HIGHLIGHT = re.compile(r"\*([^\n*]*)\*")
_DOUBLE_HIGHLIGHT = re.compile(r"\*\*([^\n*]*)\*\*")
_POSTSCRIPTS = {"P.S.": r"p\.\s?s\.", "P.P.S": r"p\.\s?p\.\s?s"}
_FENCES = ("```json", "```Json", "```JSON", "```")
_WORD_ENDS = frozenset(".,?!'\"")


class CheckResult(NamedTuple):
    """Whether the text follows the instruction. ``found`` tells the reader of the grade what of it is there."""

    followed: bool
    found: str


def _compared(count: int, relation: Relation, wanted: int, noun: str) -> CheckResult:
    followed = count < wanted if relation == "less than" else count >= wanted
    return CheckResult(followed, f"{pluralize(count, noun)}, {relation} {wanted}")


# -- keywords


def existence(text: str, *, keywords: Sequence[str]) -> CheckResult:
    """Each keyword is found in the text, in any case."""
    missing = [keyword for keyword in keywords if not re.search(keyword, text, re.IGNORECASE)]
    return CheckResult(not missing, f"without {', '.join(map(quoted, missing))}" if missing else "all keywords")


def frequency(text: str, *, keyword: str, relation: Relation, frequency: int) -> CheckResult:
    """The keyword is found so often, in any case, within other words too."""
    return _compared(len(re.findall(keyword.strip(), text, re.IGNORECASE)), relation, frequency, "occurrence")


def forbidden_words(text: str, *, forbidden_words: Sequence[str]) -> CheckResult:
    """None of the words is found as a word of its own, in any case."""
    present = [word for word in forbidden_words if re.search(rf"\b{word}\b", text, re.IGNORECASE)]
    return CheckResult(not present, f"with {', '.join(map(quoted, present))}" if present else "no forbidden word")


def letter_frequency(text: str, *, letter: str, let_relation: Relation, let_frequency: int) -> CheckResult:
    """The character appears in the text this often, in any case."""
    return _compared(list(text.lower()).count(letter.lower()), let_relation, let_frequency, f"{letter!r}")


# -- language


def response_language(text: str, *, language: str) -> CheckResult:
    """The text is in the language; one of no language at all is."""
    found = language_of(text)
    return CheckResult(found in (language, None), f"language {found or 'unknown'}, not {language}")


# -- length_constraints


def number_sentences(text: str, *, relation: Relation, num_sentences: int) -> CheckResult:
    """The text has this many sentences, as NLTK's tokenizer for English splits them."""
    return _compared(len(sentences(text)), relation, num_sentences, "sentence")


def number_paragraphs(text: str, *, num_paragraphs: int) -> CheckResult:
    """The text has exactly this many paragraphs with a divider of three stars between them, none of them blank."""
    paragraphs = [part.strip() for part in _PARAGRAPH_DIVIDER.split(text)]
    blank = not all(paragraphs[1:-1])
    count = sum(map(bool, paragraphs))
    return CheckResult(
        count == num_paragraphs and not blank,
        f"{pluralize(count, 'paragraph')}{' with a blank one among them' if blank else ''}, exactly {num_paragraphs}",
    )


def number_words(text: str, *, relation: Relation, num_words: int) -> CheckResult:
    """The text has this many words: runs of letters, digits and underscores."""
    return _compared(len(re.findall(r"\w+", text)), relation, num_words, "word")


def nth_paragraph_first_word(text: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str) -> CheckResult:
    """The text has exactly this many paragraphs with a blank line between them, and one of them begins with the word.

    Blank ones count for which is the nth, but not for how many there are.
    """
    paragraphs = [part.strip() for part in text.split("\n\n")]
    count = sum(map(bool, paragraphs))
    chosen = paragraphs[nth_paragraph - 1] if nth_paragraph <= count else ""
    # Letter by letter: the lower case of a whole word may differ, as that of a final sigma does.
    word = "".join(map(str.lower, _first_word(chosen)))
    return CheckResult(
        bool(chosen) and count == num_paragraphs and word == first_word.lower(),
        f"{pluralize(count, 'paragraph')}, exactly {num_paragraphs}; number {nth_paragraph} begins with {quoted(word)}",
    )


def _first_word(paragraph: str) -> str:
    word = next(iter(paragraph.split()), "").lstrip("'").lstrip('"')
    return "".join(itertools.takewhile(lambda letter: letter not in _WORD_ENDS, word))


# -- detectable_content


def number_placeholders(text: str, *, num_placeholders: int) -> CheckResult:
    """The text has at least this many placeholders in square brackets."""
    return _compared(sum(map(_placeholders, text.split("\n"))), "at least", num_placeholders, "placeholder")


def _placeholders(line: str) -> int:
    r"""Count what ``\[.*?\]`` finds in a line, in time that grows as the line does."""
    count, opening = 0, line.find("[")
    while opening >= 0 and (closing := line.find("]", opening)) >= 0:
        count, opening = count + 1, line.find("[", closing)
    return count


def postscript(text: str, *, postscript_marker: str) -> CheckResult:
    """The text has a postscript with this marker."""
    marker = postscript_marker.strip()
    pattern = _POSTSCRIPTS.get(marker, marker.lower())
    there = re.search(pattern, text.lower(), re.MULTILINE) is not None
    return CheckResult(there, f"{'a' if there else 'no'} postscript {marker}")


# -- detectable_format


def number_bullet_lists(text: str, *, num_bullets: int) -> CheckResult:
    """The text has exactly this many bullet points, with stars or dashes."""
    count = len(_STAR_BULLET.findall(text)) + len(_DASH_BULLET.findall(text))
    return CheckResult(count == num_bullets, f"{pluralize(count, 'bullet point')}, exactly {num_bullets}")


def constrained_response(text: str) -> CheckResult:
    """One of three answers is in the text."""
    found = next((answer for answer in ANSWERS if answer in text), None)
    return CheckResult(found is not None, quoted(found) if found else f"none of {', '.join(map(quoted, ANSWERS))}")


def number_highlighted_sections(text: str, *, num_highlights: int) -> CheckResult:
    """The text has at least this many parts between stars; one between two pairs of stars is found by both patterns."""
    found = [*_HIGHLIGHT.findall(text), *_DOUBLE_HIGHLIGHT.findall(text)]
    return _compared(sum(bool(part.strip()) for part in found), "at least", num_highlights, "highlight")


def multiple_sections(text: str, *, section_spliter: str, num_sections: int) -> CheckResult:
    """The text has at least this many sections that begin with the word and a number."""
    count = len(re.split(rf"\s?{section_spliter.strip()}\s?\d+\s?", text)) - 1
    return _compared(count, "at least", num_sections, "section")


def json_format(text: str) -> CheckResult:
    """The text is JSON, also in a code fence."""
    inside = text.strip()
    for fence in _FENCES:
        inside = inside.removeprefix(fence)
    try:
        json.loads(inside.removesuffix("```").strip())
    except (ValueError, RecursionError) as error:
        return CheckResult(False, f"no JSON ({error})")
    return CheckResult(True, "JSON")


def title(text: str) -> CheckResult:
    """The text has a title in double angular brackets."""
    there = any(found.lstrip("<").rstrip(">").strip() for found in map(_title, text.split("\n")))
    return CheckResult(there, f"{'a' if there else 'no'} title in <<>>")


def _title(line: str) -> str:
    r"""Return what ``<<[^\n]+>>`` finds in a line: from its first ``<<`` to its last ``>>``."""
    opening, closing = line.find("<<"), line.rfind(">>")
    return line[opening : closing + 2] if 0 <= opening < closing - 2 else ""


# -- combination


def two_responses(text: str) -> CheckResult:
    """The text is two different answers with six stars between them."""
    parts = [part.strip() for part in text.split(RESPONSE_DIVIDER)]
    answers = [part for part in parts if part]
    followed = all(parts[1:-1]) and len(answers) == 2 and answers[0] != answers[1]
    same = " that are the same" if len(answers) == 2 and answers[0] == answers[1] else ""
    return CheckResult(followed, f"{pluralize(len(answers), 'response')}{same}")


def repeat_prompt(text: str, *, prompt_to_repeat: str) -> CheckResult:
    """The text begins with the prompt, in any case."""
    followed = text.strip().lower().startswith(prompt_to_repeat.strip().lower())
    return CheckResult(followed, f"{'begins' if followed else 'does not begin'} with the prompt")


# -- startend


def end_checker(text: str, *, end_phrase: str) -> CheckResult:
    """The text ends with the phrase, in any case; white space and quotation marks after it do not count."""
    ending = text.strip().strip('"').lower()
    return CheckResult(ending.endswith(end_phrase.strip().lower()), f"ends with {quoted(ending[-40:])}")


def quotation(text: str) -> CheckResult:
    """The text is in double quotation marks."""
    stripped = text.strip()
    followed = len(stripped) > 1 and stripped[0] == stripped[-1] == '"'
    return CheckResult(followed, f"{'in' if followed else 'not in'} quotation marks")


# -- change_case


def capital_word_frequency(text: str, *, capital_relation: Relation, capital_frequency: int) -> CheckResult:
    """The text has this many words in capital letters, as NLTK splits words."""
    count = sum(word.isupper() for word in words(text))
    return _compared(count, capital_relation, capital_frequency, "capital word")


def english_capital(text: str) -> CheckResult:
    """The text is in English and in capital letters."""
    return _english(text, "capital letters", followed=text.isupper())


def english_lowercase(text: str) -> CheckResult:
    """The text is in English and in small letters."""
    return _english(text, "small letters", followed=text.islower())


def _english(text: str, case: str, *, followed: bool) -> CheckResult:
    if not followed:
        return CheckResult(False, f"not all in {case}")
    found = language_of(text)
    return CheckResult(found in ("en", None), f"{case}, language {found or 'unknown'}")


# -- punctuation


def no_comma(text: str) -> CheckResult:
    """The text has no comma."""
    return CheckResult("," not in text, pluralize(text.count(","), "comma"))
