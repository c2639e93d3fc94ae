"""Which rows are computed together."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from pytest_evals.engines.transformers.scheduler import WINDOW, Budget, Scheduler


@dataclass(frozen=True)
class Row:
    """As much of a row as the scheduler sees."""

    prompt_tokens: int
    max_new_tokens: int = 10
    name: str = ""


def scheduler_of(rows: list[Row], batch: int = 4, cells: int = 10_000) -> Scheduler[Row]:
    scheduler: Scheduler[Row] = Scheduler(Budget(batch, cells))
    scheduler.add(rows)
    return scheduler


def batches(scheduler: Scheduler[Row]) -> list[list[Row]]:
    found = []
    while scheduler:
        found.append(scheduler.next_batch())
    return found


def test_nothing_waits_at_first() -> None:
    scheduler = scheduler_of([])
    assert not scheduler
    assert scheduler.next_batch() == []


def test_a_batch_holds_as_many_rows_as_the_budget_allows() -> None:
    assert [len(batch) for batch in batches(scheduler_of([Row(5)] * 10))] == [4, 4, 2]


def test_the_longest_rows_of_a_window_come_first() -> None:
    rows = [Row(length) for length in (3, 9, 1, 7, 5, 8, 2, 6)]
    assert [[row.prompt_tokens for row in batch] for batch in batches(scheduler_of(rows))] == [
        [9, 8, 7, 6],
        [5, 3, 2, 1],
    ]


def test_a_long_row_at_the_end_does_not_go_before_the_first_window() -> None:
    rows = [Row(1)] * (WINDOW * 4) + [Row(1000)]
    found = batches(scheduler_of(rows))
    assert found[-1] == [Row(1000)]


def test_equal_rows_keep_their_order() -> None:
    rows = [Row(5, name=str(number)) for number in range(6)]
    assert [row.name for batch in batches(scheduler_of(rows)) for row in batch] == list("012345")


def test_a_batch_fits_a_cache_padded_to_its_longest_row() -> None:
    rows = [Row(90), Row(10), Row(10), Row(10)]
    assert [len(batch) for batch in batches(scheduler_of(rows, cells=200))] == [2, 2]


def test_tokens_that_may_be_generated_need_cells_too() -> None:
    assert [len(batch) for batch in batches(scheduler_of([Row(10, 90)] * 4, cells=200))] == [2, 2]


def test_a_row_larger_than_the_budget_is_a_batch_alone() -> None:
    assert batches(scheduler_of([Row(5000), Row(1)], cells=100)) == [[Row(5000)], [Row(1)]]


def test_every_row_is_computed_exactly_once_within_the_budget() -> None:
    dice = random.Random(3)  # noqa: S311 - data of a test
    rows = [Row(dice.randint(1, 500), dice.randint(1, 200), str(number)) for number in range(300)]
    found = batches(scheduler_of(rows, batch=16, cells=4000))
    assert sorted(row.name for batch in found for row in batch) == sorted(row.name for row in rows)
    for batch in found:
        longest = max(row.prompt_tokens for row in batch) + max(row.max_new_tokens for row in batch)
        assert len(batch) == 1 or (len(batch) <= 16 and len(batch) * longest <= 4000)


def test_rows_may_arrive_between_batches() -> None:
    scheduler = scheduler_of([Row(1)] * 4)
    scheduler.next_batch()
    scheduler.add([Row(2)])
    assert batches(scheduler) == [[Row(2)]]


@pytest.mark.parametrize(("count", "halves"), [(1, [1]), (2, [1, 1]), (5, [3, 2])])
def test_a_batch_that_failed_is_tried_as_two_before_all_others(count: int, halves: list[int]) -> None:
    rows = [Row(5, name=str(number)) for number in range(count)]
    scheduler = scheduler_of([Row(100)])
    scheduler.halve(rows, shrink=False)
    found = batches(scheduler)
    assert [len(batch) for batch in found[:-1]] == halves
    assert [row for batch in found[:-1] for row in batch] == rows
    assert found[-1] == [Row(100)]


def test_a_half_that_fails_again_goes_before_the_other_half() -> None:
    rows = [Row(5, name=str(number)) for number in range(4)]
    scheduler = scheduler_of([])
    scheduler.halve(rows, shrink=False)
    scheduler.halve(scheduler.next_batch(), shrink=False)
    assert [[row.name for row in batch] for batch in batches(scheduler)] == [["0"], ["1"], ["2", "3"]]


@pytest.mark.parametrize(("rows", "shrink", "budget"), [(4, True, 2), (4, False, 4), (1, True, 1), (3, True, 2)])
def test_shrinking_lets_no_later_batch_be_as_large(rows: int, shrink: bool, budget: int) -> None:
    scheduler = scheduler_of([], batch=4)
    scheduler.halve([Row(1)] * rows, shrink=shrink)
    assert scheduler.budget == Budget(budget, 10_000)
