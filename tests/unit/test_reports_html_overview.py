"""The numbers of the report page."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from pytest_evals.baselines.comparison import compare
from pytest_evals.gates import GateResult
from pytest_evals.reports.html.overview import changes, histogram, movements, slice_value, slices
from pytest_evals.scorecard import Ledger, ScoreCard, movement
from pytest_evals.scores.records import CaseRecord
from pytest_evals.scores.score import compute_scores
from pytest_evals.scores.slices import weak_slices
from tests.unit.building import case_record, grade_record


@pytest.mark.parametrize(
    ("values", "low", "high", "counts"),
    [
        ([0.0, 1.0, 1.0], 0, 1, [1, 2]),
        ([1.0, 1.0], 0, 1, [0, 2]),
        ([0.0, 0.5, 0.99, 1.0], 0, 1, [1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2]),
        ([3.0, 3.0], 3, 3, [2]),
        ([-5.0, 7.0], -5, 7, [1, *[0] * 10, 1]),
    ],
)
def test_a_histogram_counts_every_value_once(values: list[float], low: float, high: float, counts: list[int]) -> None:
    assert histogram(values) == {"low": low, "high": high, "counts": counts}
    assert histogram([]) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [("easy", "easy"), (3, "3"), (True, "true"), (None, None), (0.5, None), (["a"], None), ("x" * 61, None)],
)
def test_what_makes_a_slice(value: object, text: str | None) -> None:
    assert slice_value(value) == text


def run_of(*values: float, suite: str = "capitals") -> list[CaseRecord]:
    """Cases of one suite whose grade ``exact`` has these values, and one grade that never changes."""
    return [
        case_record(
            grade_record(value, passed=value == 1),
            grade_record(0.5, "short"),
            suite=suite,
            case_id=f"c{number}",
            n=number,
        )
        for number, value in enumerate(values)
    ]


def test_changes_are_those_of_the_score_card_with_the_gates_about_each() -> None:
    before = run_of(1, 1, 1, 1, 1, 1, 0, 0)
    after = run_of(1, 0, 0, 0, 0, 0, 1, 0)
    moved = tuple(map(movement, compare(before, after).changes))
    gates = [
        GateResult(text, "capitals", model, "regressed", 0.25, 8, 8, "worse", baseline=0.75, p=0.03)
        for text, model in (
            ("exact.mean >= baseline", "smollm2"),
            ("exact.mean >= baseline", "other"),
            ("exact.mean >= 0.1", "smollm2"),
        )
    ]
    card = ScoreCard((), tuple(gates), Ledger(), records=tuple(after), movements=moved)
    assert movements(card, None) == (moved, [])
    exact, short = changes(card, moved)
    assert (exact["before"], exact["after"], exact["difference"], exact["n"]) == (0.75, 0.25, -0.5, 8)
    assert (exact["rose"], exact["fell"], exact["verdict"]) == (1, 5, "unclear")
    # One rose and five fell: the exact test of McNemar, times two for the two scores that were compared.
    assert exact["p"] == pytest.approx(2 * binomtest(1, 6).pvalue)
    assert [gate["gate"] for gate in exact["gates"]] == ["exact.mean >= baseline"]
    assert (short["verdict"], short["interval"], short["gates"]) == ("same", None, [])


def test_slices_say_their_interval_and_what_they_are_lower_than() -> None:
    records = [
        case_record(
            grade_record(float(number >= 20), passed=number >= 20),
            case_id=f"c{number}",
            level="hard" if number < 20 else "easy",
        )
        for number in range(60)
    ]
    (weak,) = weak_slices(compute_scores(records), records)
    known = {(weak.suite, weak.model, weak.grader, weak.field, weak.value): weak}
    easy, hard = slices(records, known)[0]["rows"]
    assert weak.interval is not None
    assert (hard["value"], hard["ci_low"], hard["ci_high"], hard["rest"], hard["p"]) == (
        "hard",
        weak.interval.low,
        weak.interval.high,
        1.0,
        weak.p,
    )
    assert "p" not in easy


def test_fields_with_a_few_values_cut_a_suite_into_slices() -> None:
    records = [
        case_record(
            grade_record(float(number % 2), passed=number % 2 == 1),
            case_id=f"c{number}",
            level="easy" if number < 4 else "hard",
            serial=number,
            same="always",
            some="x" if number else None,
        )
        for number in range(6)
    ]
    assert [(each["suite"], each["field"]) for each in slices(records)] == [("capitals", "level")]
    rows = slices(records)[0]["rows"]
    assert [(row["value"], row["n"], row["mean"]) for row in rows] == [("easy", 4, 0.5), ("hard", 2, 0.5)]
