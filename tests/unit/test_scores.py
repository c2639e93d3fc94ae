"""Grades of many cases -> scores with their denominators."""

from __future__ import annotations

import math

import pytest

from pytest_evals.scores import GradeRecord, Score, compute_score, compute_scores
from tests.unit.building import case_record, grade_record


def score_of(*grades: GradeRecord) -> Score:
    return compute_score("capitals", "smollm2", "exact", grades)


def lost(status: str) -> GradeRecord:
    return grade_record(None, status=status)


def test_every_case_stands_in_exactly_one_count() -> None:
    grades = [grade_record(1), grade_record(0), lost("error"), lost("not_applicable"), lost("pending")]
    score = score_of(*grades)
    assert (score.n, score.errors, score.not_applicable, score.pending) == (2, 1, 1, 1)
    assert score.applicable == 4
    assert score.applicable + score.not_applicable == len(grades)


def test_the_mean_is_over_graded_cases_only() -> None:
    assert score_of(grade_record(1), grade_record(0.5), lost("error"), lost("not_applicable")).mean == 0.75


def test_coverage_is_the_share_of_applicable_cases() -> None:
    score = score_of(grade_record(1), lost("error"), lost("not_applicable"), lost("pending"), grade_record(1))
    assert score.coverage == 0.5


def test_not_applicable_cases_leave_every_denominator() -> None:
    score = score_of(grade_record(True), lost("not_applicable"))
    assert (score.mean, score.pass_rate, score.coverage) == (1, 1, 1)


def test_zero_and_one_count_as_verdicts() -> None:
    assert score_of(grade_record(1), grade_record(0), grade_record(1.0), grade_record(1)).pass_rate == 0.75


def test_other_numbers_give_no_pass_rate() -> None:
    assert score_of(grade_record(1), grade_record(0.5)).pass_rate is None


def test_verdicts_go_before_values() -> None:
    assert score_of(grade_record(0.2, passed=True), grade_record(0.9, passed=False)).pass_rate == 0.5


def test_verdicts_of_some_grades_only_give_no_pass_rate() -> None:
    score = score_of(grade_record(1, passed=True), grade_record(0))
    assert score.pass_rate is None
    assert len(score.verdicts) == 1


def test_nothing_graded_gives_no_statistics() -> None:
    score = score_of(lost("error"))
    assert (score.n, score.mean, score.stderr, score.pass_rate, score.coverage) == (0, None, None, None, 0)


def test_nothing_applicable_gives_no_coverage() -> None:
    assert score_of(lost("not_applicable")).coverage is None


def test_a_row_says_everything_in_plain_data() -> None:
    row = score_of(grade_record(1), grade_record(0), lost("error"), lost("not_applicable")).to_row()
    assert row == {
        "suite": "capitals",
        "model": "smollm2",
        "grader": "exact",
        "n": 2,
        "mean": 0.5,
        "stderr": pytest.approx(math.sqrt(0.5) / math.sqrt(2)),
        "pass_rate": 0.5,
        "min": 0,
        "max": 1,
        "median": 0.5,
        "coverage": pytest.approx(2 / 3),
        "corpus": None,
        "errors": 1,
        "not_applicable": 1,
        "pending": 0,
    }


def test_a_row_of_nothing_holds_nulls() -> None:
    row = score_of(lost("pending")).to_row()
    assert {name: row[name] for name in ("mean", "stderr", "pass_rate", "min", "max", "median")} == dict.fromkeys(
        ("mean", "stderr", "pass_rate", "min", "max", "median")
    )


def test_there_is_a_score_for_each_suite_model_and_grader_together_and_in_order() -> None:
    records = [
        case_record(grade_record(1, "b"), grade_record(1, "a"), suite="two", model="m1"),
        case_record(grade_record(1, "a"), suite="one", model="m1"),
        case_record(grade_record(0, "b"), suite="two", model="m2"),
        case_record(grade_record(0, "a"), grade_record(0, "b"), suite="two", model="m1"),
    ]
    scores = compute_scores(records)
    assert [(score.suite, score.model, score.grader, score.n) for score in scores] == [
        ("two", "m1", "b", 2),
        ("two", "m1", "a", 2),
        ("two", "m2", "b", 1),
        ("one", "m1", "a", 1),
    ]


def test_values_keep_the_order_of_cases() -> None:
    records = [case_record(grade_record(value)) for value in (0.3, 0.1, 0.2)]
    assert compute_scores(records)[0].values == (0.3, 0.1, 0.2)


def test_no_cases_give_no_scores() -> None:
    assert compute_scores([]) == []
