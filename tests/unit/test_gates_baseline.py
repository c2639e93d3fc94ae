"""Gates against a baseline: passed, regressed or inconclusive."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy
import pytest
from scipy import stats

from pytest_evals.baselines.pairing import join
from pytest_evals.gates import GateResult, Verdict, parse_gate
from pytest_evals.gates.regression import BaselineTest, compare, decide
from pytest_evals.scorecard import Movement, agreeing
from pytest_evals.scores.records import CaseRecord
from tests.unit.building import case_record, grade_record


def run(values: Sequence[float | None], first: int = 0, repeats: int = 1, **fields: Any) -> list[CaseRecord]:
    """Make cases numbered from ``first``; `None` is an error."""
    return [
        case_record(
            grade_record(value, status="graded" if value is not None else "error"),
            case_id=f"k{number // repeats}",
            repeat=number % repeats + 1,
            outcome="passed" if value is not None else "errored",
            **fields,
        )
        for number, value in enumerate(values, start=first)
    ]


def comparison(
    text: str, before: list[CaseRecord], after: list[CaseRecord], *, missing: int = 0, floor: bool = False
) -> BaselineTest:
    joined = join(before, after).of("capitals", "smollm2")
    return compare(
        parse_gate(text), "capitals", "smollm2", "exact", after, joined, missing=missing, floor=floor, absent="absent"
    )


def verdict(text: str, before: list[CaseRecord], after: list[CaseRecord], **arguments: Any) -> GateResult:
    (result,) = decide([comparison(text, before, after, **arguments)])
    return result


def test_a_gate_whose_estimate_meets_the_bound_passes() -> None:
    result = verdict("exact.mean >= baseline", run([1, 0, 1, 1]), run([1, 1, 1, 0]))
    assert (result.verdict, result.value, result.baseline, result.p) == ("passed", 0.75, 0.75, None)
    assert result.reason == "0.75 against 0.75: +0 (n=4)"
    assert verdict("exact.mean >= baseline - 0.3", run([1, 1, 1, 1]), run([1, 1, 1, 0])).verdict == "passed"


def test_a_fall_that_can_hardly_be_chance_is_a_regression() -> None:
    before, after = [1.0] * 30 + [0.0] * 10, [0.0] * 8 + [1.0] * 22 + [0.0] * 10
    result = verdict("exact.mean >= baseline", run(before), run(after))
    assert result.verdict == "regressed"
    assert result.fails
    assert result.p == pytest.approx(stats.binomtest(8, 8, alternative="greater").pvalue)
    assert result.reason == "0.55 against 0.75: -0.2, not >= baseline (n=40); p=0.0039"


def test_a_fall_that_may_be_chance_is_inconclusive_and_says_how_many_more_cases_would_tell() -> None:
    before, after = [1.0] * 30 + [0.0] * 10, [0.0] * 3 + [1.0] * 27 + [1.0] + [0.0] * 9
    result = verdict("exact.mean >= baseline", run(before), run(after))
    assert result.verdict == "inconclusive"
    assert not result.fails
    assert result.p == pytest.approx(stats.binomtest(3, 4, alternative="greater").pvalue)
    differences = numpy.array(after) - numpy.array(before)
    z = stats.norm.ppf(0.95) + stats.norm.ppf(0.8)
    needed = (z * differences.std(ddof=1) / differences.mean()) ** 2
    assert result.more_cases == pytest.approx(needed - 40, abs=12)
    assert f"about {result.more_cases} more cases would tell" in result.reason


@pytest.mark.parametrize("right", ["baseline - 0.05", "baseline * 0.9", "baseline + 0.01"])
@pytest.mark.parametrize("comparison_operator", [">=", "<="])
def test_numbers_are_compared_by_the_t_test_of_what_each_case_misses(right: str, comparison_operator: str) -> None:
    source = numpy.random.default_rng(2)
    before = source.uniform(0.4, 0.9, 60)
    sign = -1 if comparison_operator == ">=" else 1
    after = before + sign * 0.08 + source.normal(0, 0.2, 60)
    gate = parse_gate(f"exact.mean {comparison_operator} {right}")
    result = verdict(gate.text, run(before.tolist()), run(after.tolist()))
    excess = after - gate.number - gate.factor * before
    if sign * excess.mean() < 0:
        assert result.verdict == "passed"
        return
    alternative = "less" if sign < 0 else "greater"
    expected = stats.ttest_1samp(excess, 0, alternative=alternative).pvalue
    bound = gate.number + gate.factor * before.mean()
    if sign * (bound - before.mean()) > 0:
        # An allowance: it cannot be easier to fall short of than what the baseline has.
        expected = max(expected, stats.ttest_1samp(after - before, 0, alternative=alternative).pvalue)
    assert result.p == pytest.approx(expected, rel=1e-9)
    assert result.verdict == ("regressed" if expected <= 0.05 else "inconclusive")


@pytest.mark.parametrize("comparison_operator", [">=", "<="])
def test_an_allowance_never_makes_failing_easier(comparison_operator: str) -> None:
    source = numpy.random.default_rng(3)
    worse, better = (0.0, 1.0) if comparison_operator == ">=" else (1.0, 0.0)
    for n in range(5, 12):
        for fell in range(1, n + 1):
            before = [better] * n
            after = [worse] * fell + [better] * (n - fell)
            jitter = source.uniform(0, 0.2, n)
            for values in (before, (numpy.array(before) * 0.7 + jitter).tolist()):
                moved = [new if old == was else old for old, new, was in zip(values, after, before, strict=True)]
                sign = "-" if comparison_operator == ">=" else "+"
                bounds = ["baseline", *(f"baseline {sign} {drop}" for drop in (0.001, 0.02, 0.05, 0.1))]
                found = [
                    verdict(f"exact.mean {comparison_operator} {bound}", run(values), run(moved)) for bound in bounds
                ]
                known = [result.p for result in found if result.p is not None]
                assert known == sorted(known)


def test_the_six_cases_that_failed_with_an_allowance_alone() -> None:
    before, after = [1.0] * 6, [0.0] * 5 + [1.0]
    plain, allowed = (
        verdict(f"exact.mean >= {bound}", run(before), run(after)) for bound in ("baseline", "baseline - 0.02")
    )
    assert plain.p == pytest.approx(1 / 32)
    assert plain.p is not None
    assert allowed.p is not None
    assert allowed.p >= plain.p


def test_repeats_and_clusters_count_as_one() -> None:
    # Two of ten cases fell, in all of their five samples: that is two cases, not ten.
    before, after = [1.0] * 50, [0.0] * 10 + [1.0] * 40
    repeated = verdict("exact.mean >= baseline", run(before, repeats=5), run(after, repeats=5))
    assert repeated.verdict == "inconclusive"
    assert repeated.p == pytest.approx(stats.binomtest(2, 2, alternative="greater").pvalue)
    alone = [case_record(grade_record(v), case_id=f"k{i}", cluster=f"d{i // 5}") for i, v in enumerate(after)]
    clustered = verdict("exact.mean >= baseline", run(before), alone)
    assert clustered.p == pytest.approx(stats.ttest_1samp([-1] * 2 + [0] * 8, 0, alternative="less").pvalue)
    assert verdict("exact.mean >= baseline", run(before), run(after)).verdict == "regressed"
    assert verdict("exact.pass^5 >= baseline", run(before, repeats=5), run(after, repeats=5)).value == 0.8


def test_percentiles_are_compared_by_resampling() -> None:
    source = numpy.random.default_rng(4)
    before = source.exponential(1, 200)
    slower, similar = before * 1.5 + 0.2, before + source.normal(0.01, 0.3, 200)
    assert verdict("exact.p90 <= baseline * 1.1", run(before.tolist()), run(slower.tolist())).verdict == "regressed"
    result = verdict("exact.median <= baseline", run(before.tolist()), run(similar.tolist()))
    assert result.verdict == "inconclusive"
    assert result.p is not None
    assert 0.05 < result.p < 0.6
    assert verdict("exact.p50 >= baseline", run([1.0]), run([0.5])).verdict == "inconclusive"


def test_what_is_not_in_both_runs_is_not_compared_and_said() -> None:
    before = [*run([1, 1, 1], q="x"), *run([0], first=9)]
    after = [*run([1, 0], q="x"), *run([0], first=2, q="changed"), *run([0, 0], first=20)]
    result = verdict("exact.mean >= baseline - 0.5", before, after)
    assert result.reason == "0.5 against 1: -0.5 (n=2 of 2; not compared: 2 new, 1 changed, 1 gone)"


@pytest.mark.parametrize(
    ("before", "after", "missing", "words"),
    [
        ([1], [1], 2, "2 of 3 cases did not run"),
        ([], [1], 0, "absent"),
        ([None], [1], 0, "in the baseline, no case has a grade (1 error, 0 not applicable)"),
    ],
)
def test_a_gate_without_anything_to_compare_is_not_judged(
    before: list[float | None], after: list[float | None], missing: int, words: str
) -> None:
    result = verdict("exact.mean >= baseline", run(before), run(after), missing=missing)
    assert (result.verdict, result.reason) == ("not judged", words)


def test_cases_that_broke_fail_the_gate_now_and_are_left_out_of_the_baseline() -> None:
    result = verdict("exact.mean >= baseline", run([1, 1]), run([1, None]))
    assert (result.verdict, result.reason) == (
        "failed",
        "1 of 2 cases have no grade (1 error, 0 pending); nothing is compared",
    )
    assert verdict("exact.mean >= baseline", run([1, 1]), run([1, None]), floor=True).verdict == "passed"
    result = verdict("exact.mean >= baseline", run([1, None]), run([1, 0]))
    assert (result.verdict, result.value, result.baseline) == ("passed", 1, 1)
    assert verdict("exact.mean >= baseline", run([None, 1]), run([1, None]), floor=True).verdict == "not judged"
    assert verdict("exact.pass_rate >= baseline", run([0.5]), run([0.5])).verdict == "failed"


def test_a_slice_is_taken_from_the_rows_of_this_run() -> None:
    before, after = run([1, 1, 1]), [*run([1], level="easy"), *run([0, 0], first=1, level="hard")]
    for record in before:
        # A baseline's file does not keep rows.
        assert not record.fields
    joined = join(after, after).of("capitals", "smollm2")
    gate = parse_gate("exact[level=hard].mean >= baseline")
    (result,) = decide([compare(gate, "capitals", "smollm2", "exact", after, joined, missing=0, floor=False)])
    assert (result.verdict, result.n, result.value) == ("passed", 2, 0)


def test_several_gates_share_the_probability_of_a_false_alarm() -> None:
    # Five fell and none rose: p = 1/32 alone.
    fell = comparison("exact.mean >= baseline", run([1] * 10), run([0] * 5 + [1] * 5))
    assert decide([fell])[0].verdict == "regressed"
    passed = comparison("exact.mean >= baseline", run([1, 1, 0]), run([1, 1, 0]))
    results = decide([fell, passed])
    assert [result.verdict for result in results] == ["inconclusive", "passed"]
    assert (results[0].p or 0) == pytest.approx(2 * (decide([fell])[0].p or 0))
    assert "over 2 gates" in results[0].reason


def test_one_case_tells_nothing() -> None:
    result = verdict("exact.mean >= baseline", run([1]), run([0]))
    assert (result.verdict, result.p) == ("inconclusive", 0.5)
    assert result.reason.endswith("p=0.5, more cases would tell")
    assert verdict("exact.mean >= baseline", run([0.7]), run([0.2])).p == 1


def test_rows_and_gates_about_one_mean_have_one_verdict() -> None:
    row = Movement("capitals", "smollm2", "exact", 6, -0.8, (-1.0, -0.1), "unclear", p=0.06)
    other = dataclasses.replace(row, grader="close")

    def with_gate(verdict: Verdict, text: str = "exact.mean >= baseline", p: float | None = 0.03) -> Movement:
        found = agreeing((row, other), [GateResult(text, "capitals", "smollm2", verdict, 0.2, 6, 6, "", 1.0, p)])
        assert found[1] == other
        return found[0]

    assert (with_gate("regressed").verdict, with_gate("regressed").p) == ("worse", 0.03)
    # Worse than an allowance is worse; within one it may be worse or not.
    assert with_gate("regressed", "exact.mean >= baseline - 0.1").verdict == "worse"
    clear = dataclasses.replace(row, verdict="worse", p=0.01)
    gate = GateResult("exact.mean >= baseline", "capitals", "smollm2", "inconclusive", 0.2, 6, 6, "", 1.0, 0.08)
    assert agreeing([clear], [gate])[0].verdict == "unclear"
    assert agreeing([clear], [dataclasses.replace(gate, gate="exact.mean >= baseline - 0.5")])[0].verdict == "worse"
    # Gates on a slice, or with a number, are about something else.
    assert with_gate("regressed", "exact[level=hard].mean >= baseline") == row
    assert with_gate("failed", "exact.mean >= 0.8", None) == row
