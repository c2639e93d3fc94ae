"""Graders against the labels of people: coefficients, rates and their correction, and labels that make no sense."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_evals.agreement.calibration import Calibration, Labelled, calibrations
from pytest_evals.collection.labels import read_labels
from pytest_evals.errors import DatasetError, SuiteError
from pytest_evals.questions.scales import Scale
from pytest_evals.reports.agreement import calibration_texts, confusion_lines
from pytest_evals.scores.records import CaseRecord, GradeRecord

from .building import suite_of

YES_NO = Labelled((0.0, 1.0), identity="a")
PASS_FAIL_NA = Scale({"PASS": True, "FAIL": False, "NA": None})


def record(
    case_id: int, value: float | None, label: float | None, suite: str = "golden", passed: bool | None = None
) -> CaseRecord:
    grade = GradeRecord("right", value, passed, "graded" if value is not None else "error")
    labels = {} if label is None else {"right": label}
    return CaseRecord(suite, "m", f"c{case_id}", "passed", (grade,), label=labels)


def golden() -> list[CaseRecord]:
    """40 cases: 18 of 20 good ones pass, 15 of 20 bad ones fail; one has no label, one no grade."""
    pairs = [(1, 1)] * 18 + [(0, 1)] * 2 + [(0, 0)] * 15 + [(1, 0)] * 5
    records = [record(number, value, label) for number, (value, label) in enumerate(pairs)]
    return [*records, record(90, 1, None), record(91, None, 1)]


def test_verdicts_are_calibrated_and_correct_the_pass_rates_of_the_same_grader() -> None:
    others = [record(number, float(number < 70), None, suite="new") for number in range(100)]
    strangers = [record(number, 1.0, None, suite="namesake") for number in range(9)]
    (made,) = calibrations(
        [*golden(), *others, *strangers],
        {"golden": {"right": YES_NO}},
        {"golden": {"right": "a"}, "new": {"right": "a"}, "namesake": {"right": "b"}},
    )
    assert (made.n, made.unlabelled, made.ungraded) == (40, 1, 1)
    assert made.agreement == pytest.approx(33 / 40)
    assert made.kappa.value == pytest.approx(0.65)
    assert made.confusion == ((15, 5), (2, 18))
    assert made.accuracy is not None
    assert (made.accuracy.sensitivity, made.accuracy.specificity) == (0.9, 0.75)
    assert made.human_rate == 0.5
    assert [rate.suite for rate in made.rates] == ["golden", "new"]
    new = made.rates[1]
    assert (new.raw, new.corrected) == pytest.approx((0.7, (0.7 + 0.75 - 1) / 0.65))
    assert new.interval is not None
    assert new.interval[0] < (new.corrected or 0) < new.interval[1]
    assert Calibration.from_dict(made.to_dict()) == made

    texts = calibration_texts(made, {"m": "short"})
    assert texts[0].startswith(
        "people and right in golden agree on 82% (n=40, 1 without a label, 1 without a grade); kappa 0.65 ["
    )
    assert (
        texts[1] == "right passes 90% of the good and fails 75% of the bad answers, as people see them: they pass 50%"
    )
    assert "new[short]: right passes 70%, corrected 69% [" in texts[3]
    assert confusion_lines(made) == ["people  right", "         0   1", "     0  15   5", "     1   2  18"]


def test_scales_are_weighted_and_corrected_from_their_threshold_on() -> None:
    how = Labelled((1.0, 2.0, 3.0, 4.0, 5.0), ordered=True, threshold=3.0)
    pairs = [(4.6, 5), (4.4, 4), (1.2, 1), (2.4, 2), (3.4, 4), (2.6, 1)]
    records = [record(number, value, label, passed=value >= 3) for number, (value, label) in enumerate(pairs)]
    (made,) = calibrations(records, {"golden": {"right": how}}, {})
    assert made.agreement == pytest.approx(4 / 6)  # the judge's expected score counts as the nearest one
    assert made.kappa.value is not None
    assert made.kappa.value > 0.75  # near misses weigh little
    assert made.accuracy is not None
    assert (made.accuracy.true_passes, made.accuracy.passes, made.accuracy.true_fails, made.accuracy.fails) == (
        3,
        3,
        3,
        3,
    )
    (plain,) = calibrations(records, {"golden": {"right": Labelled(how.categories, ordered=True)}}, {})
    assert plain.accuracy is None
    assert plain.rates == ()


def test_a_judge_no_better_than_a_coin_is_told_so() -> None:
    records = [record(number, float(number % 2), float(number < 10)) for number in range(20)]
    (made,) = calibrations(records, {"golden": {"right": YES_NO}}, {})
    assert made.rates[0].corrected is None
    assert (
        "no correction, because right tells good from bad answers no better than a coin"
        in calibration_texts(made, {})[-1]
    )
    assert calibrations([record(1, None, 1.0)], {"golden": {"right": YES_NO}}, {}) == []


@pytest.mark.parametrize(
    ("scale", "label", "worth"),
    [
        (PASS_FAIL_NA, "pass", 1.0),
        (PASS_FAIL_NA, False, 0.0),
        (PASS_FAIL_NA, 1, 1.0),
        (PASS_FAIL_NA, "1", 1.0),
        (PASS_FAIL_NA, "NA", None),
        (Scale(low=1, high=5), "4", 4.0),
        (Scale(low=1, high=5), 3.5, 3.5),
        (Scale(low=1, high=5, normalized=True), 2, 0.25),
        (Scale({"polite": 1, "so-so": 0.5, "rude": 0}), "So-so", 0.5),
        (Scale(), True, 1.0),
    ],
)
def test_labels_are_read_on_the_scale_of_the_judge(scale: Scale, label: Any, worth: float | None) -> None:
    assert scale.read(label) == worth


@pytest.mark.parametrize(
    ("scale", "label"),
    [
        (PASS_FAIL_NA, "maybe"),
        (PASS_FAIL_NA, 2),
        (PASS_FAIL_NA, 0.5),
        (Scale(low=1, high=5), 6),
        (Scale(low=1, high=5), "good"),
        (Scale(low=1, high=5), [3]),
    ],
)
def test_a_label_outside_of_the_scale_is_refused_with_its_place(scale: Scale, label: Any) -> None:
    suite = suite_of(
        [{"q": "x", "human": "PASS" if scale.names else 3}, {"q": "y", "human": label}], prompt="x", label="human"
    )
    with pytest.raises(SuiteError, match=r"row 2 of inline: grader right: the label .* is not on the scale .*'human'"):
        read_labels(suite, {"right": scale}, {})


def test_which_graders_have_labels() -> None:
    rows = [{"q": "x", "human": 1, "tone": None}, {"q": "y", "human": None, "tone": 5}]
    scales = {"right": PASS_FAIL_NA, "tone": Scale(low=1, high=5), "plain": None}
    both = read_labels(suite_of(rows, prompt="x", label={"right": "human", "tone": "tone"}), scales, {"right": "id"})
    assert list(both.values.values()) == [{"right": 1.0}, {"tone": 5.0}]
    assert both.graders["right"].identity == "id"
    assert both.graders["tone"].ordered
    one = read_labels(suite_of(rows, prompt="x", label="human"), {"right": PASS_FAIL_NA, "plain": None}, {})
    assert list(one.graders) == ["right"]
    assert read_labels(suite_of(rows, prompt="x"), scales, {}).graders == {}
    entry = read_labels(suite_of(rows, prompt="x", label={"plain.clear": "human"}), scales, {"plain": "id"})
    assert list(entry.values.values()) == [{"plain.clear": 1.0}]
    assert entry.graders["plain.clear"].identity == "id"


@pytest.mark.parametrize(
    ("label", "scales", "error", "message"),
    [
        ("humn", {"right": PASS_FAIL_NA}, DatasetError, "no row has a field 'humn'.*did you mean 'human'"),
        ("human", {"plain": None}, SuiteError, "needs a judge among the graders"),
        ({"rihgt": "human"}, {"right": PASS_FAIL_NA}, SuiteError, "no grader 'rihgt'.*did you mean 'right'"),
        (3, {"right": PASS_FAIL_NA}, SuiteError, "label is the field"),
    ],
)
def test_labels_that_cannot_be_found_are_refused(label: Any, scales: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read_labels(suite_of([{"q": "x", "human": 1}], prompt="x", label=label), scales, {})
