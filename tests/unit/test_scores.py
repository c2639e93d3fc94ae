"""Grades of many cases -> scores with their denominators."""

from __future__ import annotations

import math

import pytest

from pytest_evals import statistics
from pytest_evals.scores.records import GradeRecord
from pytest_evals.scores.score import Score, compute_score, compute_scores
from pytest_evals.statistics import wilson_interval
from tests.unit.building import case_record, grade_record


def score_of(*grades: GradeRecord) -> Score:
    return compute_score("capitals", "smollm2", "exact", [case_record(grade) for grade in grades])


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
        "cases": 2,
        "mean": 0.5,
        "stderr": pytest.approx(math.sqrt(0.5) / math.sqrt(2)),
        "ci_low": pytest.approx(0.0945, abs=1e-4),
        "ci_high": pytest.approx(0.9055, abs=1e-4),
        "interval": "Wilson",
        "bounds": [0, 1],
        "pass_rate": 0.5,
        "min": 0,
        "max": 1,
        "median": 0.5,
        "p05": 0.05,
        "p95": 0.95,
        "repeats": 1,
        "pass_at_k": None,
        "pass_hat_k": None,
        "min_case": 0,
        "coverage": pytest.approx(2 / 3),
        "corpus": None,
        "corrected": None,
        "corrected_low": None,
        "corrected_high": None,
        "errors": 1,
        "not_applicable": 1,
        "pending": 0,
    }


def test_a_row_of_nothing_holds_nulls() -> None:
    row = score_of(lost("pending")).to_row()
    counts = ("suite", "model", "grader", "n", "cases", "repeats", "coverage", "errors", "not_applicable", "pending")
    assert {value for name, value in row.items() if name not in counts} == {None}


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


# -- repeats and clusters


def repeated(*cases: tuple[float, ...], clusters: str | None = None) -> Score:
    records = [
        case_record(grade_record(value), case_id=f"k{i}", repeat=k, cluster=clusters and clusters[i])
        for k in range(1, max(map(len, cases)) + 1)
        for i, case in enumerate(cases)
        for value in case[k - 1 : k]
    ]
    return compute_score("capitals", "smollm2", "exact", records)


def test_a_case_that_ran_several_times_is_one_unit() -> None:
    score = repeated((1, 1, 0, 1), (1, 1, 1, 1), (0, 0, 0, 0))
    assert (score.n, len(score.cases), score.repeats) == (12, 3, 4)
    assert score.mean == score.pass_rate == pytest.approx((0.75 + 1 + 0) / 3)
    assert score.stderr == pytest.approx(statistics.standard_error([0.75, 1, 0]))
    assert score.min_case == 0
    assert [case.case_id for case in score.cases if case.flaky] == ["k0"]
    interval, alone, all_of_them = score.interval, wilson_interval(7, 12), wilson_interval(3, 3)
    assert interval is not None
    assert alone is not None
    # Four samples of a case do not make it four cases.
    assert interval.low < alone.low
    assert repeated((1, 1), (1, 1), (1, 1)).interval == all_of_them


def test_a_case_with_fewer_samples_counts_as_much_as_the_others() -> None:
    assert repeated((1, 1, 1), (0,)).mean == 0.5


def test_pass_at_k_and_pass_hat_k_are_over_cases() -> None:
    score = repeated((1, 1, 0), (0, 0, 0))
    at, hat = score.pass_at(2), score.pass_hat(2)
    assert at is not None
    assert hat is not None
    assert at.mean == 0.5
    assert hat.mean == pytest.approx(1 / 6)
    assert (at.units, hat.units) == (2, 2)
    assert (score.to_row()["pass_at_k"], score.to_row()["pass_hat_k"], score.to_row()["repeats"]) == (0.5, 0, 3)
    assert (score.pass_at(4), score.pass_hat(4)) == (None, None)
    assert repeated((0.5, 0.7)).pass_at(1) is None


def test_cases_of_a_cluster_count_together() -> None:
    together, alone = repeated((1,), (1,), (0,), (0,), clusters="aabb"), repeated((1,), (1,), (0,), (0,))
    expected = statistics.estimate_mean([1, 1, 0, 0], list("aabb"))
    assert (together.estimate, together.mean) == (expected, alone.mean)
    assert together.interval is not None
    assert alone.interval is not None
    assert together.interval.low < alone.interval.low


def test_numbers_have_students_interval_and_one_case_or_equal_ones_none() -> None:
    values = [0.25, 0.5, 0.75]
    score = score_of(*map(grade_record, values))
    assert (score.interval_kind, score.interval) == ("t", statistics.t_interval(values))
    assert score_of(grade_record(0.5)).interval is None
    equal = score_of(grade_record(0.5), grade_record(0.5))
    assert (equal.interval, equal.stderr, equal.to_row()["interval"]) == (None, 0, None)


def test_numbers_with_bounds_have_an_interval_within_them() -> None:
    values = [0.25, 0.5, 1.0]
    score = score_of(*(grade_record(value, bounds=(0, 1)) for value in values))
    assert (score.interval_kind, score.interval) == ("bounded", statistics.bounded_interval(values))
    assert (score.to_row()["interval"], score.to_row()["bounds"]) == ("bounded", [0, 1])
    # Zeros and ones of a metric are no verdicts, but have the interval of shares.
    ones = score_of(grade_record(1, bounds=(0, 1)), grade_record(1, bounds=(0, 1)))
    assert (ones.interval, ones.pass_rate) == (statistics.wilson_interval(2, 2), None)
    # The worst of a scale is not "all passed".
    worst = score_of(grade_record(1, bounds=(1, 5)), grade_record(1, bounds=(1, 5)))
    assert (worst.pass_rate, worst.interval) == (None, statistics.bounded_interval([1, 1], (1, 5)))
    mixed = score_of(grade_record(3, bounds=(1, 5)), grade_record(0.0, passed=False))
    assert mixed.bounds == (0, 5)
    assert score_of(grade_record(3, bounds=(1, 5)), grade_record(0.5)).bounds is None
    labels = [case_record(grade_record(value, bounds=(0, 1)), cluster="one") for value in (0.2, 0.4)]
    together = compute_score("capitals", "smollm2", "exact", labels)
    assert together.interval == statistics.bounded_interval([0.2, 0.4], (0, 1), ["one", "one"])


def test_a_grader_that_failed_before_it_named_its_entries_failed_for_each_of_them() -> None:
    records = [
        case_record(grade_record(1, "style.tone"), grade_record(0, "style.length")),
        case_record(grade_record(None, "style", status="error")),
    ]
    assert [(score.grader, score.n, score.errors) for score in compute_scores(records)] == [
        ("style.tone", 1, 1),
        ("style.length", 1, 1),
    ]
    alone = compute_scores(records[1:])
    assert [(score.grader, score.n, score.errors) for score in alone] == [("style", 0, 1)]
