"""When the gates of a suite are settled."""

from __future__ import annotations

import random
from typing import Any

import pytest

from pytest_evals.gates import parse_gate
from pytest_evals.records import CaseRecord
from pytest_evals.stopping import ALPHA, GateWatch, SuiteWatch, visiting_order, why_unsettleable
from tests.unit.building import case_record, grade_record


def watch(gate: str = "exact.mean >= 0.8", population: int = 100, alpha: float = ALPHA) -> GateWatch:
    return GateWatch(parse_gate(gate), "exact", population, alpha)


def record(value: float | None, case_id: str = "c", status: str = "graded", **fields: Any) -> CaseRecord:
    passed = None if value is None else value == 1
    return case_record(grade_record(value, passed=passed, status=status), case_id=case_id, **fields)


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
        ([record(3.0)], "not between 0 and 1"),
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
    assert (inner.seen, inner.total, suite.settled) == (1, 0.5, True)
    suite.add(record(0.0, "b"))
    assert not suite.settled
    assert not SuiteWatch([]).settled


@pytest.mark.parametrize(
    ("gate", "budget", "settleable"),
    [
        ("exact.mean >= 0.8", False, True),
        ("exact.mean == 1", False, False),
        ("exact.median >= 0.8", False, False),
        ("exact.mean >= baseline", False, False),
        ("tokens.mean <= 20", True, False),
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
        found = watch()
        for number, case in enumerate(records, start=1):
            found.add([case])
            if found.settled:
                wrong += (found.total / number >= 0.8) != meets
                saved += 100 - number
                break
    # Three standard errors of a share of 5% above it.
    assert wrong / runs <= ALPHA + 3 * (ALPHA * (1 - ALPHA) / runs) ** 0.5
    assert saved / runs > (30 if right in (60, 95) else 0)
