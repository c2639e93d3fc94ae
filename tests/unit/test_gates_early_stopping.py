"""When the gates of a suite are settled."""

from __future__ import annotations

import random
import statistics
from typing import Any

import pytest

from pytest_evals.gates import parse_gate
from pytest_evals.gates import statistics as gate_statistics
from pytest_evals.gates.early_stopping import ALPHA, GateWatch, SuiteWatch, visiting_order, why_unsettleable
from pytest_evals.gates.statistics import value_of
from pytest_evals.scores.records import CaseRecord
from pytest_evals.scores.score import compute_score
from tests.unit.building import case_record, grade_record


def watch(gate: str = "exact.mean >= 0.8", population: int = 100, alpha: float = ALPHA, repeats: int = 1) -> GateWatch:
    found = parse_gate(gate)
    return GateWatch(found, found.target, population, alpha, repeats, budget=found.target != "exact")


def record(
    value: float | None,
    case_id: str = "c",
    status: str = "graded",
    bounds: tuple[float, float] | None = None,
    **fields: Any,
) -> CaseRecord:
    passed = None if value is None else value == 1
    return case_record(grade_record(value, passed=passed, status=status, bounds=bounds), case_id=case_id, **fields)


def fed(found: GateWatch, *values: float) -> GateWatch:
    for value in values:
        found.add([record(value)])
    return found


def test_the_order_depends_on_cases_suite_and_seed_alone() -> None:
    cases = [f"c{number}" for number in range(50)]
    order = visiting_order(cases, "s", 0)
    assert visiting_order(reversed(cases), "s", 0) == order
    assert sorted(order) == sorted(cases)
    assert len({tuple(order), tuple(visiting_order(cases, "t", 0)), tuple(visiting_order(cases, "s", 1))}) == 3


@pytest.mark.parametrize(
    ("gate", "settled_by"),
    [
        ("exact.mean >= 0.8", 0.0),
        ("exact.mean >= 0.2", 1.0),
        ("exact.mean < 0.8", 0.0),
        ("exact.pass_rate > 0.2", 1.0),
        ("exact.coverage >= 0.9", 1.0),
        ("exact.coverage >= 0.9", 0.0),
    ],
)
def test_a_clear_gate_is_settled_before_all_cases_ran(gate: str, settled_by: float) -> None:
    found = watch(gate)
    assert not found.settled
    fed(found, *[settled_by] * 60)
    assert found.settled


def test_what_the_remaining_cases_cannot_change_is_settled_whatever_the_probability() -> None:
    found = watch(population=10, alpha=1e-9)
    assert fed(found, 1, 1, 1, 1, 0, 1).settled is False
    assert fed(found, 0).settled is False
    assert fed(found, 0).settled


def test_a_gate_that_is_settled_against_what_ran_so_far_waits() -> None:
    found = fed(watch("exact.mean >= 0.5", population=1000), *[1.0] * 60)
    assert found.settled
    assert not fed(found, *[0.0] * 100).settled


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ([record(None, status="not_applicable")], "does not apply"),
        ([record(None, status="error")], "no grade"),
        ([record(3.0)], "between what its grades can be is not known"),
        ([record(0.5)], "between what its grades can be is not known"),
        ([record(0.5), record(None, status="error")], "no grade"),
    ],
)
def test_what_makes_the_sample_unfair_is_said_and_nothing_is_settled(records: list[CaseRecord], why: str) -> None:
    found = watch()
    found.add(records)
    fed(found, *[0.0] * 90)
    assert why in str(found.lost)
    assert not found.settled


def test_only_cases_of_the_slice_count() -> None:
    found = watch("exact[level=easy].mean >= 0.2", population=5, alpha=1e-9)
    for level, value in [("hard", 0.0)] * 5 + [("easy", 1.0)] * 2:
        found.add([record(value, level=level)])
    assert found.seen == 2
    assert found.settled


def test_a_case_counts_once_it_has_all_its_repeats() -> None:
    inner = watch("exact.mean >= 0.2", population=2, alpha=1e-9)
    suite = SuiteWatch([inner], repeats=2)
    suite.add(record(1.0, "a"))
    assert (inner.seen, suite.settled) == (0, False)
    suite.add(record(0.0, "a"))
    assert (inner.seen, suite.settled) == (1, True)
    suite.add(record(0.0, "b"))
    assert not suite.settled
    assert not SuiteWatch([]).settled


@pytest.mark.parametrize(
    ("gate", "budget", "settleable"),
    [
        ("exact.mean >= 0.8", False, True),
        ("exact.mean == 1", False, False),
        ("exact.median >= 0.8", False, True),
        ("exact.p90 < 0.8", False, True),
        ("exact.pass@2 >= 0.8", False, True),
        ("exact.ci_low >= 0.8", False, False),
        ("exact.corpus >= 0.8", False, False),
        ("exact.mean >= baseline", False, False),
        ("errors.rate <= 0.1", True, True),
        ("tokens.mean <= 20", True, False),
        ("tokens.p95 <= 20", True, True),
        ("latency.p95 <= 20", True, False),
        ("latency.max <= 20", True, True),
    ],
)
def test_gates_that_need_all_cases_are_told(gate: str, budget: bool, settleable: bool) -> None:
    assert (why_unsettleable(parse_gate(gate), budget=budget) is None) == settleable


@pytest.mark.parametrize(("right", "meets"), [(78, False), (80, True), (60, False), (95, True)])
def test_the_wrong_side_is_told_no_more_often_than_promised(right: int, meets: bool) -> None:
    """Of 100 cases ``right`` are right, and the gate wants 80: right at the edge, and far from it."""
    generator = random.Random(right)  # noqa: S311 - a simulation
    records = [record(float(number < right), f"c{number}") for number in range(100)]
    runs, wrong, saved = 400, 0, 0
    for _ in range(runs):
        generator.shuffle(records)
        found, total = watch(), 0.0
        for number, case in enumerate(records, start=1):
            found.add([case])
            total += case.grades[0].value or 0.0
            if found.settled:
                wrong += (total / number >= 0.8) != meets
                saved += 100 - number
                break
    # Three standard errors of a share of 5% above it.
    assert wrong / runs <= ALPHA + 3 * (ALPHA * (1 - ALPHA) / runs) ** 0.5
    assert saved / runs > (30 if right in (60, 95) else 0)


@pytest.mark.parametrize(
    ("gate", "values", "settled_after"),
    [
        ("exact.min >= 0.5", [0.7, 0.5, 0.4, 0.9], 3),
        ("exact.min > 0.5", [0.7, 0.5, 0.9], 2),
        ("exact.min <= 0.5", [0.7, 0.6, 0.5], 3),
        ("exact.min >= 0.5", [0.7, 0.9, 0.9], None),
        ("exact.max <= 3", [1, 2, 4], 3),
        ("exact.max > 3", [1, 3, 4], 3),
        ("exact.max < 3", [1, 2, 2], None),
        ("exact.min_case >= 0.5", [0.7, 0.4], 2),
        ("errors.count <= 1", [1, 0, 1], 3),
        ("errors.count <= 1", [0] * 9 + [1], 9),
        ("errors.count >= 1", [0, 0, 1], 3),
        ("tokens.max <= 20", [3, 30], 2),
    ],
)
def test_what_no_other_case_can_undo_is_settled_at_once(
    gate: str, values: list[float], settled_after: int | None
) -> None:
    found = watch(gate, population=10, alpha=1e-9)
    settled = []
    for number, value in enumerate(values, start=1):
        if gate.startswith("errors"):
            found.add([case_record(outcome="errored" if value else "passed")])
        elif gate.startswith("tokens"):
            found.add([case_record(tokens=int(value))])
        else:
            found.add([record(value)])
        settled += [number] if found.settled else []
    assert settled[:1] == ([] if settled_after is None else [settled_after])
    assert settled == list(range(settled_after or len(values) + 1, len(values) + 1)), "once settled, it stays"


def test_values_of_a_scale_are_settled_within_its_bounds_and_other_bounds_are_told() -> None:
    met, unmet = watch("exact.mean >= 3"), watch("exact.mean >= 3")
    for _ in range(60):
        met.add([record(5.0, bounds=(1, 5))])
        unmet.add([record(1.0, bounds=(1, 5))])
    assert (met.settled, unmet.settled) == (True, True)
    met.add([record(5.0, bounds=(0, 5))])
    assert (met.settled, met.lost) == (False, "its grades have other bounds in some cases")


def test_a_share_of_samples_that_pass_counts_whatever_the_values() -> None:
    found = watch("exact.pass@2 >= 0.5", repeats=2)
    for _ in range(60):
        found.add([record(7.0), record(1.0)])
    assert found.settled
    found.add([case_record(grade_record(0.3))] * 2)
    assert found.lost == "some grades have no verdict"


@pytest.mark.parametrize("gate", ["median >= 0.5", "p90 < 0.8", "p10 > 0.2", "p100 <= 0.95", "p0 >= 0.1", "p25 <= 0.3"])
def test_a_percentile_is_settled_only_as_all_cases_would_have_it(gate: str) -> None:
    """With an alpha this small, only what is certain is told: it must never be wrong, to the last case and at ties."""
    generator = random.Random(gate)  # noqa: S311 - a simulation
    parsed, told = parse_gate(f"exact.{gate}"), 0
    for size in (1, 2, 5, 11, 20, 41) * 20:
        repeats = generator.choice([1, 2])
        center = parsed.number + generator.choice([-0.2, 0, 0.2])
        cases = [[round(generator.gauss(center, 0.2), 1) for _ in range(repeats)] for _ in range(size)]
        whole = value_of(
            compute_score("s", "m", "exact", [record(v, str(i)) for i, c in enumerate(cases) for v in c]),
            parsed.statistic,
        )
        found = watch(f"exact.{gate}", size, 1e-12, repeats)
        for case in cases:
            found.add([record(value) for value in case])
            if found.settled:
                told += 1
                assert found._test is not None
                assert found._test.met == parsed.meets(whole or 0.0)
    assert told > 100


def test_a_median_is_on_the_wrong_side_no_more_often_than_promised() -> None:
    generator = random.Random(0)  # noqa: S311 - a simulation
    runs, wrong = 300, 0
    # Half of the values, and one more, are below: the median is, by as little as there can be.
    values = [0.4] * 51 + [0.6] * 49
    for _ in range(runs):
        generator.shuffle(values)
        found = watch("exact.median >= 0.5")
        for number, value in enumerate(values, start=1):
            found.add([record(value)])
            if found.settled:
                wrong += statistics.median(values[:number]) >= 0.5
                break
    assert wrong / runs <= ALPHA + 3 * (ALPHA * (1 - ALPHA) / runs) ** 0.5
    clear = watch("exact.median >= 0.5", population=1000)
    assert fed(clear, *[0.6] * 60).settled


def test_a_statistic_for_which_there_is_no_test_is_refused_and_not_taken_for_a_mean(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {**gate_statistics._BY_NAME, "trimmed_mean": lambda score: score.mean}
    monkeypatch.setattr(gate_statistics, "_BY_NAME", known)
    gate = "exact.trimmed_mean >= 0.8"
    reason = why_unsettleable(parse_gate(gate), budget=False)
    assert (
        reason
        == "trimmed_mean is not a mean, percentile, extreme or count, and what it will be of all cases is not known before"
    )
    with pytest.raises(ValueError, match="no test that settles 'trimmed_mean'"):
        watch(gate).add([record(1.0, bounds=(0.0, 1.0))])
