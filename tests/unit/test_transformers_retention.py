"""How late conversations are gone on with, learned from the prompts of rows that leave and arrive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from pytest_evals.engines.transformers.scheduling import retention
from pytest_evals.engines.transformers.scheduling.prefix_tree import LEAST_TOKENS, PrefixNode
from pytest_evals.engines.transformers.scheduling.retention import GAIN, MARGIN, ReuseEstimator

LENGTH = 20
CELLS = 15


@dataclass
class Row:
    tokens: list[int]
    prefix: PrefixNode | None = None

    @property
    def left(self) -> list[int]:
        return self.tokens

    @property
    def shareable(self) -> int:
        return len(self.tokens) - 1


def asked(number: int, *more: int) -> Row:
    """A prompt of a conversation, or of a later turn: it begins with the first one."""
    return Row([number, *range(LENGTH - 1), *more])


def after(left: int, arriving: Sequence[Row]) -> ReuseEstimator:
    """What was learned when conversations 0, 1, ... had been left, and then these rows arrived."""
    returns = ReuseEstimator()
    for number in range(left):
        returns.leave(asked(number), CELLS)
    for row in arriving:
        returns.arrive(row)
    return returns


def test_rows_that_go_on_with_nothing_teach_nothing() -> None:
    others = [asked(500), Row([1, *range(LENGTH - 3)]), Row([]), Row(list(range(3)))]
    assert after(100, others).cells == 0


def test_turns_that_come_late_teach_how_much_has_to_be_kept_for_them() -> None:
    late = after(100, [asked(number, 7, 7, 7) for number in range(100)]).cells
    # The first of them had 100 conversations after it, those of the middle 50.
    assert MARGIN * 50 * CELLS < late <= MARGIN * 100 * CELLS


def test_a_single_one_makes_room_for_a_few_like_it() -> None:
    assert after(1000, [asked(0, 7, 7)]).cells == GAIN * (LENGTH + 2)
    assert after(2, [asked(0, 7, 7)]).cells == MARGIN * 2 * CELLS


def test_turns_that_come_soon_need_no_more_however_many_there_are() -> None:
    returns = ReuseEstimator()
    for number in range(1000):
        returns.leave(asked(number), CELLS)
        returns.arrive(asked(number, 7, 7))
    assert returns.cells == MARGIN * CELLS


def test_the_turn_before_counts_not_the_first_one() -> None:
    returns = after(100, [])
    returns.leave(asked(0, 7, 7), CELLS)
    returns.arrive(asked(0, 7, 7, 8, 8))
    assert returns.cells == MARGIN * CELLS


def test_a_prompt_too_short_to_be_found_again_is_not_taken_for_one() -> None:
    returns = ReuseEstimator()
    returns.leave(Row(list(range(LEAST_TOKENS))), CELLS)
    returns.arrive(Row(list(range(50))))
    assert returns.cells == 0


def test_only_so_many_prompts_are_remembered_the_latest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MOST_REMEMBERED", 3)
    assert after(9, [asked(number, 7) for number in range(6)]).cells == 0
    assert after(9, [asked(6, 7)]).cells == MARGIN * 3 * CELLS
    returns = after(3, [])
    # What is asked again is the latest anew.
    returns.leave(asked(0), CELLS)
    returns.leave(asked(3), CELLS)
    returns.arrive(asked(1, 7))
    assert returns.cells == 0
    returns.arrive(asked(0, 7))
    assert returns.cells == MARGIN * 2 * CELLS
