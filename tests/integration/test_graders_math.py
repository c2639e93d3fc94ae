"""``graders.math`` and ``graders.number`` in suites: what is refused at collection, what a hostile completion does."""

from __future__ import annotations

import json

import pytest

from .conftest import Evals

pytest.importorskip("math_verify", reason="needs: pip install 'pytest-evals-hf[math]'")

SUITE = """
from pytest_evals import cases, graders

same = graders.math("item.answer", timeout=2)

@cases("rows.jsonl", id="id")
def test_math(same):
    assert same
"""


def rows(*rows: dict[str, str]) -> str:
    return "".join(f"{json.dumps({'id': f'r{number}', **row})}\n" for number, row in enumerate(rows, 1))


def test_expressions_are_compared_and_a_hostile_one_misses_alone(evals_both: Evals) -> None:
    evals_both.write(
        SUITE,
        rows__jsonl=rows(
            {"answer": r"\frac{1}{2}", "completion": "The answer is 0.5."},
            {"answer": "5.5", "completion": r"\boxed{9^{9^{9^9}}}"},
            {"answer": "(x+1)^2", "completion": r"So $x^2 + 2x + 1$."},
            {"answer": "7", "completion": "No idea."},
        ),
    )
    evals_both.run().assert_outcomes(passed=2, failed=2)
    reasons = {sample.case_id: sample.grades[0].reasoning for sample in evals_both.artifact.samples}
    assert reasons["r2"] == "expected '5.5', not shown to be equal to '9^{9^{9^9}}': comparing takes more than 2 s"
    assert {sample.grades[0].status for sample in evals_both.artifact.samples} == {"graded"}


def test_an_expected_expression_that_cannot_be_read_is_a_collection_error_with_its_line(evals: Evals) -> None:
    evals.write(
        SUITE,
        rows__jsonl=rows(
            {"answer": r"\frac{1}{2}", "completion": "1/2"},
            {"answer": r"\frac{1}{", "completion": "1/2"},
        ),
    )
    result = evals.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*rows.jsonl:2: grader same: math: * is not readable as an expression*"])
    assert not evals.path.exists()


def test_the_time_limit_of_graders_must_leave_room_for_a_comparison(evals: Evals) -> None:
    evals.write(SUITE, rows__jsonl=rows({"answer": "1", "completion": "1"}))
    result = evals.run("-o", "evals_grader_timeout=3")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*grader 'same' may take 7 s, and evals_grader_timeout (3 s) would end it first*"])


def test_the_decimal_mark_of_a_suite_is_its_own(evals: Evals) -> None:
    evals.write(
        """
from pytest_evals import cases, graders

german = graders.number("item.n", decimal=",")
english = graders.number("item.n", decimal=".")

@cases([{"completion": "Das macht 1.234", "n": 1234}])
def test_number(german, english):
    assert german and not english
"""
    )
    evals.run().assert_outcomes(passed=1)
