"""Hostile texts of any size, and everything that reads a text which a model, a judge or a data set wrote."""

from __future__ import annotations

import functools
import itertools
import json
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

Reader = Callable[[str], object]

# -- Texts. A unit is repeated up to the size that is asked for.

_MARKUP = [
    *("<", ">", "<a", "<a ", "</", "<a>", "</a>", "<think>", "</think>", "<thinking>", "<answer>", "<final_answer>", "<verdict>", "<|", "<|x|>", "<!--"),
    *("<|channel|>analysis", "<|start|>assistant", "assistantanalysis", "assistantfinal", "[THINK]", "[INST]", "[BEGIN ", "\u25c1think\u25b7", "&nbsp;", "&", "<sup>2"),
    *("{", "}", "[", "]", "(", ")", '{"', '{"a":', "[[", "]]", "{{", "}}", "{%", "{{ item.a }}", "{{ item.", "item.a", "{ a }", '{"a": 1}', "[1,", '"', "'", "\\", '\\"', "\\u"),
    *("`", "```", "```\n", "```python\n", "~~~\n", "````\n", "> ```\n", "- ```\n", "```json {", "``` x ```\n", "~~", "~~a", "*", "**", "***", "* ", "_", "__", "_a", "*a", "#", "# ", "####", "#### ", "> ", ">", "- ", "-", "--", "---\n", "|", "| ", "| a", "=", "==="),
    *("$", "$a", "$$", "$ a", "\\(", "\\[", "\\{", "\\boxed{", "\\boxed", "boxed{", "\\fbox ", "\\frac", "\\frac{", "\\frac{1}{", "\\frac12", "\\text{", "\\sqrt", "\\sqrt(", "sqrt ", "\\overline{", "^", "^{", "^\\circ", "\u221a"),
]  # fmt: skip
_WORDS = [
    *("a", "a ", "A", "A.", "A. ", "a.", "a. ", "e.g. ", "i.e. x ", "Dr. ", "etc.) ", "! ", "? ", "?", "?!", '." ', ".)", ". ", "...", ".", "\u3002", "\u2026 ", "\u201d", ".\u201d ", "word ", "word, ", "Word. word ", ":", ": ", "::", ";", "; ", ",", ", ", "/", "\u2014 ", "\u2019"),
    *("answer", "answer ", "answer is ", "the answer to ", "answer (", "Answer:", "Answer\n", "A:", "A: ", "\nA: 1\nB: 2", "answer to the question ", "\u7b54\u6848", "\u7b54\u6848\u662f", "answer = ", "antwort ", "ans. "),
    *("Verdict: ", "Verdict:\n", "PASS", "PASS ", "PASS or ", "not PASS ", "PASS, ", "PASS\n", "FAIL: ", "(PASS) ", "so PASS ", "I rate it ", "I rate it a 4 ", "it is PASS if ", "score ", "score: 4 ", "4 to ", "4/5 ", "4 out of ", "out of 5 ", "brief: PASS\n", "the the the ", "is is ", "the answer ", "says ", "is very ", "not ", "no, ", "and ", "A is better ", "A ", "overall "),
    *("def f():\n", "def ", "    x\n", "import os\n", "x = (", "x = ", '"""', '"""\n', "'''\n", ">>> f(1)\n", "return 1\n", "@a\n", "class A:\n", "if x:\n ", "a.b", "a.b.", "f(", "not not ", "- - ", "lambda: ", "1 if ", "x\n\n", "def f(x): pass\n\n"),
    *("<<a", "[a", "P.S.", "p.p.s ", "******", "***\n", "* a\n", "- a\n", "SECTION 1\n", "Section 1 ", "CAPS ", "*a*", "**a**", "\u00ab", "\u201e", "\u300c", "\u3010", "\u2018"),
]  # fmt: skip
_NUMBERS = [
    *("9", "1", "0", "1 ", "1,", "1, ", "1.", ".1", "1.1", "1,234", "1,234,", "1.234,", "12,34,", "1'", "1'234", "1_", "1/", "1/2", "1 1/2 ", "1 / ", "1e", "1e9", "1 x 10", "1 \u00d7 10^", "2^", "2^{", "2**", "1 000", "1 000 ", "1\u202f000", "1-", "-1", "+1", "- 1", "$1", "1%", "1=", "1 = ", "= ", "1 million ", "1k"),
    *("\u4e00", "1\u5343", "1\u4e07", "1\u767e\u4e07", "\u0661", "\uff11", "\uff11\uff0c", "\u00bd", "\u00b2", "1\u00b2", "\u20ac1", "1,50 \u20ac", "EUR ", "minus 1", "1. a\n", "1) a\n", "1)\n", "(1", "1:", "1: ", "12:34:", "step 1. "),
]  # fmt: skip
_CHARACTERS = [
    *(" ", "\t", "\n", "\r", "\r\n", " \n", "\n\n", "\n \n", "\u00a0", "\u202f", "\u2028", "\x0b", "\x0c", "\x1c", "\x85", "\x00", "\x1b", "\x1b[", "\x1b[0m", "\x1b[0m:", "\x1b[0m#", "\u200b", "\u200d", "\u2060", "\ufeff", "\u00ad", "\ufe0f", "\u202e", "\u0301", "e\u0301", "a\u0301\u0327", "\u0f71\u0f72", "\u1100", "\uac00", "\U0001f3f4", "\U000e0067", "\U0001f3f4\U000e0067", "\U0001f468\u200d", "\u180b", "\ud83d", "\ude00", "\u0130", "\u00df", "\ufb03", "\u3131", "\ufdfa", "\u00e9", "\u03a3", "\u05d0", "\u0e01", "\u0915\u094d", "\u4e2d"),
    *("::", "::error ", "##", "##[", "##vso[", "#", "##teamcity[", "section_start:", "section_start:1:a\r", "@", "@a", "a@b", "www", "www.", "http://", "//", "a/b#1", "#1", "GH-", "A-1", "abcdef0", "0a", "!1", "~a"),
    *("key", "key=", "key: ", "api_key=", 'api_key="', "api_key: '", "--api-key ", "password=x ", "://", "://a:", "://a:b@", "-----BEGIN PRIVATE KEY-----", "-----BEGIN A ", "Bearer ", "Bearer a", "Basic a1", "eyJ", "eyJa.", "sk-", "sk-a", "ghp_", "hf_", "AKIA", "xoxb-", "a-", "a_b-", "A1b2"),
    *("=1+1", "=", "\t=", "; =", ";+", '""', "a,b\n", '"a\n', '""",', "- a: 1\n", "- ", "a: ", "&a [", "*a ", "!!", "? ", "{a: ", "? [", "'' ", "%41", "a.a.", "a-.", "xn--", "::1", "1:2:", "T00:00", "2020-01-01T", "~1", "/a"),
]  # fmt: skip
UNITS = tuple(dict.fromkeys((*_MARKUP, *_WORDS, *_NUMBERS, *_CHARACTERS)))


def _repeated(unit: str, size: int) -> str:
    return (unit * (size // len(unit) + 1))[:size]


def _framed(before: str, unit: str, after: str, size: int) -> str:
    return f"{before}{_repeated(unit, size)}{after}"


def _mixed(seed: int, size: int) -> str:
    """Return units at random, some of them many times in a row."""
    chosen = random.Random(seed)
    parts, length = [], 0
    while length < size:
        part = chosen.choice(UNITS) * chosen.choice((1, 1, 1, 2, 5, 40))
        parts.append(part)
        length += len(part)
    return "".join(parts)[:size]


def _nested(opening: str, closing: str, size: int) -> str:
    half = size // (len(opening) + len(closing))
    return f"{opening * half}1{closing * half}"


_PAIRS = {"[": "]", "{": "}", "(": ")", '{"a":': "}", "<a>": "</a>", "<think>": "</think>", "\\frac{1}{": "}", "\\text{": "}", "\\boxed{": "}", "{{ ": " }}", '"': '"', "f(": ")"}  # fmt: skip
_MIXTURES = 40
# What stands before, what is repeated, what stands after.
_FRAMED = {
    "colours between marks": ("##", "\x1b[0m", "x"),
    "underscores in a word": ("a", "_", "a"),
    "stars in a word": ("a", "*", "a"),
    "marks of two classes": ("a", "\u0301\u0327", ""),
    "a verdict that is not one": ("Verdict: ", "PASS or FAIL ", "?"),
    "scores of something": ("", "score: x; ", "score: 4"),
    "somebody says": ("I rate it ", "says a PASS ", "PASS"),
    "blocks closed in a line": ("", "```x\nfoo ```\n", ""),
    "blocks in a list": ("", "- ```\n", ""),
    "blocks in quotes": ("", "> ```x\n> foo ```\n", "a"),
    "blocks of two fences": ("", "~~~\n```python\nx = '''\n", ""),
    "thoughts": ("", "<think></think>", "PASS"),
    "open braces": ("", '{"a": "', "}"),
    "no numbers": ("", '{"a": NaN} ', ""),
    "spaces within": ("a", " ", "a"),
    "spaces in lines": ("", "a         \t          \n", "a"),
    "digits with points": ("1", ".123", "x"),
    "digits with commas": ("1", ",123", "x"),
    "a chain of ats": ("", "a@", "b"),
    "a quoted address": ('"', "a b", '"@x'),
    "names of a domain": ("", "xn--a.", "com"),
    "a path of dots": ("http://", "../", ""),
    "a path of percents": ("http://a/", "%41", "%"),
    "optional parts": ("^", "a?", "$"),
}


def _chain(size: int) -> str:
    """Return blocks of which each builds on the next one."""
    numbers = range(size // 45)
    blocks = [f"```python\ndef f{number}():\n    return f{number + 1}()\n```\n" for number in numbers]
    return "".join(reversed(["```python\ndef f():\n    return f0()\n```\n", *blocks]))


def texts() -> Iterator[tuple[str, Callable[[int], str]]]:
    """Yield the name of each kind of text, and what makes one of so many characters."""
    for unit in UNITS:
        name = unit.encode("unicode_escape").decode()
        yield name, functools.partial(_repeated, unit)
        yield f"{name} .. !", functools.partial(_framed, "x ", unit, "!")
        yield f"{name} in lines", functools.partial(_repeated, f"{_repeated(unit, 60)}\n")
        if len(unit) < 4:
            yield f"{name} in words", functools.partial(_repeated, f"{_repeated(unit, 9)} a ")
    for opening, closing in _PAIRS.items():
        yield f"{opening}...{closing}", functools.partial(_nested, opening, closing)
    for name, (before, unit, after) in _FRAMED.items():
        yield name, functools.partial(_framed, before, unit, after)
    yield "blocks that build on each other", _chain
    for seed in range(_MIXTURES):
        yield f"mixture {seed}", functools.partial(_mixed, seed)


# -- Readers, by what they are for.


def _number_readers() -> dict[str, Reader]:
    from pytest_evals.graders import announcements, answers, calculations, expressions, numbers, symbols

    return {
        "number": lambda text: numbers.number(text, 42),
        "number, decimal comma": lambda text: numbers.number(text, 42, decimal=","),
        "number, expected": lambda text: numbers.final_number(text, "."),
        "announced answers": announcements.announcements,
        "sentences with numbers": answers.sentences,
        "calculation": calculations.calculated,
        "written numbers": symbols.cleaned,
        "math": expressions.candidates,
        "math, LaTeX": expressions.as_latex,
    }


def _text_readers() -> dict[str, Reader]:
    from pytest_evals.graders import text
    from pytest_evals.graders.perplexity import words_of
    from pytest_evals.graders.rag import read_claims, sentences

    every = ("unicode", "case", "punctuation", "articles", "whitespace")
    return {
        "exact_match": lambda given: text.exact_match(given, "Paris", every),
        "exact_match, squad": lambda given: text.exact_match(given, ["Paris"], ("squad",)),
        "contains": lambda given: text.contains(given, ["Paris"], ignore_case=True),
        # How long a pattern takes is the pattern's own affair: this one takes linear time. Others end at the time limit of graders.
        "matches": lambda given: text.matches(given, r"\d (apples|pears)"),
        "faithfulness: sentences": sentences,
        "faithfulness: claims": read_claims,
        "perplexity: words": words_of,
    }


def _structure_readers() -> dict[str, Reader]:
    from pytest_evals.graders import structured
    from pytest_evals.graders.code import extract
    from pytest_evals.graders.schemas import NOWHERE, JsonSchema

    schema = JsonSchema({"type": "array", "items": {"type": ["integer", "array"]}, "uniqueItems": True}, NOWHERE, None)
    return {
        "json_valid": structured.json_valid,
        "json_schema": lambda text: structured.json_schema(text, schema),
        "fences": extract.fenced_blocks,
        "fence around": extract.without_fence,
        "python_tests": lambda text: extract.program_in(text, wanted=("f",)),
        "python_tests, script": lambda text: extract.program_in(text, script=True),
        "python_tests, before": lambda text: extract.program_in(text, wanted=("f",), before="def f(x):\n"),
    }


FORMATS = ("date-time", "date", "time", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6", "uri", "iri", "uri-template", "json-pointer", "regex", "uuid", "duration")  # fmt: skip


def _format_readers() -> dict[str, Reader]:
    from pytest_evals.graders.schemas import NOWHERE, JsonSchema

    def reader(name: str) -> Reader:
        schema = JsonSchema({"type": "string", "format": name}, NOWHERE, None)
        return schema.mistake

    return {f"format {name}": reader(name) for name in FORMATS}


def _instruction_readers() -> dict[str, Reader]:
    from pytest_evals.graders.ifeval import checks, language, variants

    return {
        "ifeval: loose": variants,
        "ifeval: keywords": lambda text: checks.existence(text, keywords=["correlated", "experiencing"]),
        "ifeval: frequency": lambda text: checks.frequency(text, keyword="a", relation="at least", frequency=3),
        "ifeval: forbidden words": lambda text: checks.forbidden_words(text, forbidden_words=["a b", "what"]),
        "ifeval: letters": lambda text: checks.letter_frequency(
            text, letter="a", let_relation="at least", let_frequency=3
        ),
        "ifeval: sentences": lambda text: checks.number_sentences(text, relation="at least", num_sentences=3),
        "ifeval: paragraphs": lambda text: checks.number_paragraphs(text, num_paragraphs=3),
        "ifeval: words": lambda text: checks.number_words(text, relation="at least", num_words=3),
        "ifeval: first word": lambda text: checks.nth_paragraph_first_word(
            text, num_paragraphs=3, nth_paragraph=1, first_word="a"
        ),
        "ifeval: placeholders": lambda text: checks.number_placeholders(text, num_placeholders=3),
        "ifeval: postscript": lambda text: checks.postscript(text, postscript_marker="P.P.S"),
        "ifeval: bullets": lambda text: checks.number_bullet_lists(text, num_bullets=3),
        "ifeval: highlights": lambda text: checks.number_highlighted_sections(text, num_highlights=3),
        "ifeval: sections": lambda text: checks.multiple_sections(text, section_spliter="Section", num_sections=3),
        "ifeval: JSON": checks.json_format,
        "ifeval: title": checks.title,
        "ifeval: two responses": checks.two_responses,
        "ifeval: repeat prompt": lambda text: checks.repeat_prompt(text, prompt_to_repeat="Say a."),
        "ifeval: end": lambda text: checks.end_checker(text, end_phrase="Any more?"),
        "ifeval: quotation": checks.quotation,
        "ifeval: capital words": lambda text: checks.capital_word_frequency(
            text, capital_relation="at least", capital_frequency=3
        ),
        "ifeval: language": language.language_of,
    }


def _judge_readers() -> dict[str, Reader]:
    from pydantic import BaseModel

    from pytest_evals.graders.judges import custom, replies, subject
    from pytest_evals.graders.judges.reading import objects, quotation, sheet, thoughts

    class Response(BaseModel):
        verdict: str

    answer = quotation.Material(("The capital is Paris. Verdict: PASS",), ("What is the capital?",))
    verdicts = {
        "PASS, FAIL": ("PASS", "FAIL"),
        "A, B, TIE": ("A", "B", "TIE"),
        "1 to 5": tuple("12345"),
        "labels": ("very good", "good", "bad"),
    }
    found: dict[str, Reader] = {
        f"verdict {name}": functools.partial(replies.read_verdict, offered=offered, material=answer)
        for name, offered in verdicts.items()
    }
    return found | {
        "verdict on this answer": lambda text: replies.read_verdict(
            "So the verdict: PASS", ("PASS", "FAIL"), quotation.Material((text,), ())
        ),
        "rubric": lambda text: sheet.read_sheet(text, {"brief": ("PASS", "FAIL"), "polite": ("PASS", "FAIL")}, answer),
        "custom judge": lambda text: custom.read_response(text, Response, answer),
        "thoughts": lambda text: thoughts.strip_thoughts(text, answer),
        "thoughts, quoted": lambda text: thoughts.strip_thoughts("<think>a</think> b", quotation.Material((text,), ())),
        "JSON objects": lambda text: list(objects.objects(text)),
        "JSON object around": lambda text: objects.within_object(text, len(text) - 1),
        "quotations": lambda text: quotation.Quotations(text, answer).masked(),
        "answer shown to a judge": lambda text: subject.delimited("answer", text),
    }


def _template_readers() -> dict[str, Reader]:
    from pytest_evals.errors import EvalsError
    from pytest_evals.templates import locators, rendering

    def quietly(read: Reader) -> Reader:
        def run(text: str) -> object:
            try:
                return read(text)
            except EvalsError:
                return None

        return run

    return {
        "template, value": lambda text: rendering.render("Say {{ item.a }} {{ item.a | upper }}", {"item": {"a": text}}),
        "template, inserted": lambda text: rendering.render("Say {{ item.a }}", {"item": {"a": text}}),
        "template, names": quietly(rendering.names_in),
        "template, text": quietly(lambda text: rendering.render(text, {"item": {"a": "b"}})),
        "template, dynamic": lambda text: (locators.is_dynamic(text), locators.is_no_locator(text)),
    }  # fmt: skip


def _sink_readers() -> dict[str, Reader]:
    from pytest_evals import hashing, redaction, sinks, text

    def bit_by_bit(given: str) -> str:
        filtered = sinks.LogFilter()
        return "".join(filtered(given[start : start + 50]) for start in range(0, len(given), 50))

    return {
        **{f"sink {name}": sink for name, sink in sinks.SINKS.items()},
        "log, bit by bit": bit_by_bit,
        "secrets": redaction.masked,
        "secrets of a command": lambda given: redaction.masked_command(["pytest", given], {}),
        "sanitized": text.sanitize,
        "content hash": hashing.content_hash,
    }


def _metric_readers() -> dict[str, Reader]:
    from pytest_evals.graders.metrics import lexical, tokenizers

    reference = ["The capital of France is Paris."]
    return {
        "f1": lambda text: lexical.f1(text, reference),
        "bleu": lambda text: lexical.bleu(text, reference, tokenize="13a", lowercase=False),
        "chrf": lambda text: lexical.chrf(text, reference, word_order=2, lowercase=False),
        "rouge": lambda text: lexical.rouge(text, reference, kind="L", part="f1", stem=True),
        "levenshtein": lambda text: lexical.levenshtein(text, reference, steps=(), unit="characters"),
        "words of all scripts": tokenizers.alphanumeric_words,
    }


def _data_readers() -> dict[str, Reader]:
    from pytest_evals.datasets.formats import READERS
    from pytest_evals.errors import DatasetError

    def reader(ending: str, wrap: Callable[[str], str]) -> Reader:
        def read(text: str) -> object:
            content = wrap(text).encode("utf-8", "replace")
            try:
                return list(READERS[ending](Path(f"rows{ending}"), content))
            except DatasetError:
                return None

        return read

    found: dict[str, Reader] = {
        f"rows {ending}": reader(ending, str) for ending in (".jsonl", ".json", ".csv", ".tsv", ".yaml")
    }
    return found | {
        "rows .jsonl, a field": reader(".jsonl", lambda text: json.dumps({"a": text})),
        "rows .json, a field": reader(".json", lambda text: json.dumps([{"a": text}])),
    }


def readers() -> Mapping[str, Reader]:
    """Return everything that reads texts, by name."""
    tables: tuple[Callable[[], dict[str, Reader]], ...] = (
        *(_number_readers, _text_readers, _structure_readers, _format_readers, _instruction_readers, _judge_readers),
        *(_template_readers, _sink_readers, _metric_readers, _data_readers),
    )
    return dict(itertools.chain.from_iterable(table().items() for table in tables))


def run(reader: Reader, text: str) -> Any:
    """Have a text read; what a reader raises is its answer."""
    try:
        return reader(text)
    except Exception as error:  # noqa: BLE001 - it ended, which is what is measured here
        return error
