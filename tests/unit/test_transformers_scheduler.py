"""Who is computed when: a fake runner carries out the plans, and keeps an eye on what is promised of them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from pytest_evals.engines.transformers.scheduling.plan import BatchLimits, SchedulerOutput, slots_of
from pytest_evals.engines.transformers.scheduling.prefix_tree import PrefixNode
from pytest_evals.engines.transformers.scheduling.retention import FEW, IDLE_SHARE
from pytest_evals.engines.transformers.scheduling.scheduler import Scheduler


@dataclass(eq=False)
class Row:
    """As much of a row as the scheduler sees, and what the fake runner notes of it."""

    tokens: list[int]
    new: int = 10
    name: str = ""
    generates: bool = True
    brings: int | None = None
    """It ends after so many tokens; by default after all that it may generate."""
    prefix: PrefixNode | None = None
    shared: int = 0
    computed: int | None = None
    generated: int = 0

    @property
    def left(self) -> list[int]:
        """The prompt as far as it is computed, and one token after another from the row's own name."""
        computed = self.tokens[: self.computed or 0]
        return computed + [len(self.name)] * max(0, self.generated - 1)

    @property
    def shareable(self) -> int:
        return len(self.tokens) - 1

    @property
    def cells(self) -> int:
        return len(self.tokens) + (self.new if self.generates else 0)


_fresh = itertools.count(1000)


def row(length: int, new: int = 10, name: str = "") -> Row:
    """A row of so many tokens, which begins like no other."""
    return Row([next(_fresh), *([0] * length)][:length], new, name)


def scored(length: int, name: str = "") -> Row:
    return Row(row(length).tokens, 0, name, generates=False)


class Shelf:
    """Slots that grow with the rows, and what is stored of stretches: which tokens, by stretch."""

    def __init__(self) -> None:
        self.size = 0
        self.stored: dict[int, tuple[int, ...]] = {}
        self.kept: list[tuple[Row, int, int]] = []
        self.cut: list[tuple[PrefixNode, PrefixNode]] = []
        self.dropped: list[PrefixNode] = []

    def keep(self, row: Row, prefix: PrefixNode) -> None:
        assert row.left[prefix.start : prefix.end] == list(prefix.tokens)
        self.kept.append((row, prefix.start, prefix.end))
        self.stored[id(prefix)] = prefix.tokens

    def split(self, upper: PrefixNode, lower: PrefixNode) -> None:
        self.cut.append((upper, lower))
        if lower.stored:
            whole = self.stored.pop(id(lower))
            assert whole == upper.tokens + lower.tokens
            self.stored[id(upper)], self.stored[id(lower)] = upper.tokens, lower.tokens

    def drop(self, prefix: PrefixNode) -> None:
        self.dropped.append(prefix)
        self.stored.pop(id(prefix), None)


@dataclass
class Machine:
    """Carries out plans as the runner would, and checks that they can be carried out."""

    scheduler: Scheduler[Row]
    fails: Callable[[SchedulerOutput[Row]], bool] = lambda _plan: False
    shrink: bool = True
    plans: list[SchedulerOutput[Row]] = field(default_factory=list)
    finished: list[Row] = field(default_factory=list)
    failed: list[Row] = field(default_factory=list)
    under_way: list[Row] = field(default_factory=list)
    shelf: Shelf = field(default_factory=Shelf)

    def step(self) -> SchedulerOutput[Row]:
        plan = self.scheduler.plan()
        assert plan
        self.plans.append(plan)
        self.check(plan)
        # Longer slots than now are needed stay, as far as they may.
        self.shelf.size = max(slots_of(plan.rows), min(self.shelf.size, plan.limit or 0))
        if self.fails(plan):
            rows = self.scheduler.failed(plan, shrink=self.shrink)
            assert list(map(id, rows)) == list(map(id, plan.rows))
            for each in rows:
                each.computed = None
                each.shared = 0
            self.under_way = []
            if len(plan.rows) == 1:
                self.failed += rows
            return plan
        ended = []
        for each in plan.decode:
            each.generated += 1
            ended += [each] if self.is_finished(each) else []
        for piece in plan.pieces:
            if isinstance(piece.target, Row):
                piece.target.computed = piece.end
                if piece.last:
                    piece.target.generated += piece.target.generates
                    ended += [piece.target] if self.is_finished(piece.target) else []
        self.under_way = [each for each in {*self.under_way, *plan.admitted} if each not in ended]
        self.finished += ended
        self.scheduler.done(plan, ended)
        return plan

    @staticmethod
    def is_finished(each: Row) -> bool:
        return not each.generates or each.generated >= (each.brings or each.new)

    def check(self, plan: SchedulerOutput[Row]) -> None:
        """Everything that is read was computed before, or stands before it in the plan; nothing is computed twice."""
        done: set[int] = set()
        for each in plan.decode:
            assert each in self.under_way
            assert each.computed == len(each.tokens)
        for piece in plan.pieces:
            target = piece.target
            if isinstance(target, PrefixNode):
                assert not target.done
                self.shelf.stored[id(target)] = target.tokens
                assert piece.begin == target.start + target.stored < piece.end <= target.end
                assert piece.last == (piece.end == target.end)
                assert target.parent is None or target.parent.done or id(target.parent) in done
                assert target.holders
                done |= {id(target)} if piece.last else set()
                continue
            prefix = target.prefix
            assert prefix is None or prefix.done or id(prefix) in done
            for stretch in prefix.path if prefix else ():
                assert self.shelf.stored[id(stretch)] == stretch.tokens
            begin = prefix.end if prefix else 0
            assert piece.begin == (begin if target.computed is None else target.computed)
            assert piece.begin < piece.end <= len(target.tokens)
            assert piece.last == (piece.end == len(target.tokens))
            assert target.shared <= begin
            new = target.generates and target not in self.under_way
            assert (target in plan.admitted) == new
        rows = plan.rows
        assert len(set(map(id, rows))) == len(rows)

    def run(self, limit: int = 10_000) -> Machine:
        while self.scheduler:
            self.step()
            assert len(self.plans) < limit
        return self

    @property
    def decoded(self) -> list[int]:
        """Rows that decoded in each forward."""
        return [len(plan.decode) for plan in self.plans]


def machine(
    rows: Sequence[Row],
    batch: int = 4,
    cells: int = 10_000,
    tokens: int = 1000,
    cascade: int | None = 4096,
    fails: Callable[[SchedulerOutput[Row]], bool] = lambda _plan: False,
    *,
    shrink: bool = True,
    keeps: bool = True,
) -> Machine:
    shelf = Shelf()
    scheduler: Scheduler[Row] = Scheduler(BatchLimits(batch, cells, tokens, cascade), shelf if keeps else None)
    scheduler.add(rows)
    return Machine(scheduler, fails, shrink, shelf=shelf)


def names(rows: Sequence[Row]) -> list[str]:
    return [each.name for each in rows]


def started(plan: SchedulerOutput[Row]) -> list[str]:
    return names(plan.admitted)


# -- who is admitted


def test_nothing_waits_at_first() -> None:
    scheduler: Scheduler[Row] = Scheduler(BatchLimits(4, 100))
    assert not scheduler
    assert not scheduler.plan()


def test_as_many_rows_are_admitted_as_the_budget_allows() -> None:
    done = machine([row(5) for _ in range(10)]).run()
    assert max(done.decoded) == 4
    assert len(done.plans[0].admitted) == 4


def test_a_row_is_given_what_a_finished_one_leaves_at_the_next_forward() -> None:
    rows = [row(5, name=name) for name in "abcde"]
    rows[1].brings = 3
    run = machine(rows, batch=4)
    assert started(run.step()) == ["a", "b", "c", "d"]
    assert started(run.step()) == []
    assert started(run.step()) == []
    assert names(run.finished) == ["b"]
    plan = run.step()
    assert started(plan) == ["e"]
    assert names(plan.decode) == ["a", "c", "d"]
    run.run()
    assert [names(plan.decode) for plan in run.plans].count(["a", "c", "d", "e"]) == 6


def test_the_longest_prompts_come_first() -> None:
    rows = [row(length, name=str(length)) for length in (3, 9, 1, 7, 5, 8, 2, 6)]
    done = machine(rows).run()
    assert [name for plan in done.plans for name in started(plan)] == list("98765321")


def test_rows_that_may_generate_much_more_come_before_longer_prompts() -> None:
    rows = [row(50, 10, "short"), row(5, 100, "long"), row(60, 15, "alike")]
    assert started(machine(rows).step()) == ["long", "alike", "short"]


def test_equal_rows_keep_their_order() -> None:
    rows = [row(5, name=str(number)) for number in range(6)]
    done = machine(rows).run()
    assert [name for plan in done.plans for name in started(plan)] == list("012345")


def test_rows_of_one_prefix_stand_together() -> None:
    def below(first: int, name: str) -> list[Row]:
        return [Row([first] * 40 + [number, 5], name=f"{name}{number}") for number in range(3)]

    one, two = below(1, "a"), below(2, "b")
    mixed = [each for pair in zip(one, two, strict=True) for each in pair]
    done = machine(mixed, batch=2).run()
    order = [name[0] for plan in done.plans for name in started(plan)]
    assert "".join(order) in {"aaabbb", "bbbaaa"}


def test_slots_are_as_long_as_the_longest_row() -> None:
    rows = [row(90), row(10), row(10), row(10)]
    done = machine(rows, cells=200).run()
    assert len(done.plans[0].admitted) == 2
    rows = [row(90), row(10), row(10), row(10)]
    assert len(machine(rows, cells=400).step().admitted) == 4


def test_tokens_that_may_be_generated_need_cells_too() -> None:
    assert len(machine([row(10, 90) for _ in range(4)], cells=200).step().admitted) == 2


def test_a_row_larger_than_the_budget_runs_alone() -> None:
    done = machine([row(500, name="large"), row(1, name="small")], cells=100).run()
    assert names(done.finished) == ["large", "small"]
    assert max(done.decoded) == 1


def test_prefixes_take_cells_from_slots() -> None:
    def below() -> list[Row]:
        return [Row([1] * 100 + [number, 5, 5, 5, 5, 5, 5, 5, 5, 5], new=10) for number in range(4)]

    # Four slots of 120 cells, and 100 for the prefix.
    assert len(machine(below(), cells=4 * 120 + 100).step().admitted) == 4
    assert len(machine(below(), cells=4 * 120 + 99).step().admitted) == 3


def test_prefixes_of_rows_that_wait_take_no_cells_yet() -> None:
    rows = [Row([tree] * 100 + [number, 5], name=str(tree)) for tree in range(20) for number in range(2)]
    done = machine(rows, batch=2, cells=2 * 112 + 2 * 100).run()
    assert [each for each in done.decoded if each] == [2] * 9 * 20


def test_a_prefix_that_is_attended_to_where_it_is_makes_slots_shorter() -> None:
    rows = [Row([1] * 100 + [number, 5, 5, 5, 5, 5, 5, 5, 5, 5], new=10) for number in range(4)]
    run = machine(rows, cells=4 * 20 + 100, cascade=1)
    assert len(run.step().admitted) == 4
    assert [each.shared for each in rows] == [100] * 4


@pytest.mark.parametrize(("cascade", "shared"), [(400, 100), (401, 0), (None, 0), (1, 100)])
def test_a_prefix_is_shared_where_its_tokens_times_its_rows_are_worth_it(cascade: int | None, shared: int) -> None:
    rows = [Row([1] * 100 + [number]) for number in range(4)]
    machine(rows, cascade=cascade).step()
    assert [each.shared for each in rows] == [shared] * 4


def test_all_above_the_last_prefix_that_is_worth_it_is_shared() -> None:
    """The upper stretch has 12 tokens, the lower one 88: only the lower one is worth it by itself."""
    rows = [Row([1] * 12 + [2] * 88 + [number]) for number in range(3)] + [
        Row([1] * 12 + [number]) for number in (8, 9)
    ]
    machine(rows, batch=8, cascade=3 * 88).step()
    assert [each.shared for each in rows] == [100, 100, 100, 0, 0]


def test_rows_may_arrive_at_any_time() -> None:
    run = machine([row(5, name="a"), row(5, name="b")])
    run.step()
    late = row(9, name="late")
    run.scheduler.add([late])
    assert started(run.step()) == ["late"]
    run.run()
    assert sorted(names(run.finished)) == ["a", "b", "late"]


def test_the_row_that_is_being_filled_counts_as_one_of_the_rows() -> None:
    """It is neither decoding nor newly admitted in the forward in which its last piece is computed."""
    short = [row(2, 30, name=f"short{number}") for number in range(6)]
    done = machine([row(50, 30, "long"), *short], batch=3, tokens=20).run()
    assert max(done.decoded) == 3


# -- prompts in pieces


def test_a_prompt_longer_than_a_forward_is_computed_in_pieces() -> None:
    run = machine([row(50, name="long")], tokens=20).run()
    assert [[(piece.begin, piece.end, piece.last) for piece in plan.pieces] for plan in run.plans[:3]] == [
        [(0, 20, False)],
        [(20, 40, False)],
        [(40, 50, True)],
    ]
    assert run.decoded == [0, 0, 0] + [1] * 9


def test_decoding_goes_on_while_a_prompt_is_filled() -> None:
    run = machine([row(5, 40, "first")], tokens=20)
    run.step()
    run.scheduler.add([row(50, 5, "long")])
    assert [names(run.step().decode) for _ in range(4)] == [["first"], ["first"], ["first"], ["first", "long"]]


def test_prompts_share_a_forward_until_it_is_full() -> None:
    run = machine([row(12, name="a"), row(11, name="b"), row(10, name="c")], tokens=20)
    pieces = [[(piece.target.name, piece.begin, piece.end) for piece in run.step().pieces if isinstance(piece.target, Row)] for _ in range(2)]  # fmt: skip
    assert pieces == [[("a", 0, 12), ("b", 0, 8)], [("b", 8, 11), ("c", 0, 10)]]


def test_no_row_is_begun_while_another_is_in_pieces() -> None:
    done = machine([row(50, name=str(number)) for number in range(3)], tokens=20).run()
    for plan in done.plans:
        assert sum(not piece.last for piece in plan.pieces) <= 1
        assert not plan.pieces or not any(not piece.last for piece in plan.pieces[:-1])


def test_a_prefix_is_computed_once_and_before_the_rows_below_it() -> None:
    rows = [Row([1] * 40 + [2] * 40 + [number]) for number in range(4)] + [
        Row([1] * 40 + [3, number]) for number in range(4)
    ]
    done = machine(rows, batch=8).run()
    prefixes = [piece.target for plan in done.plans for piece in plan.pieces if isinstance(piece.target, PrefixNode)]
    assert [(prefix.start, prefix.end) for prefix in prefixes] == [(0, 40), (40, 80)]


def test_a_prefix_longer_than_a_forward_is_computed_in_pieces_too() -> None:
    rows = [Row([1] * 50 + [number, 2], name=str(number)) for number in range(3)]
    run = machine(rows, tokens=20)
    assert [[(piece.begin, piece.end, piece.last) for piece in run.step().pieces] for _ in range(3)] == [
        [(0, 20, False)],
        [(20, 40, False)],
        [(40, 50, True), (50, 52, True), (50, 52, True), (50, 52, True)],
    ]
    # The row that waits for it takes part all the time: should it not fit, that row is the one that fails.
    assert [names(plan.rows) for plan in run.plans[:2]] == [["0"], ["0"]]
    assert sorted(names(run.run().finished)) == ["0", "1", "2"]


def test_a_row_gets_a_token_at_least_beside_its_prefix() -> None:
    rows = [Row([1] * 40 + [number, 2]) for number in range(3)]
    plan = machine(rows, tokens=40).step()
    assert [(piece.begin, piece.end) for piece in plan.pieces] == [(0, 40), (40, 41)]


def test_a_scored_row_does_not_make_the_forward_of_its_prefix_larger() -> None:
    rows = [Row([1] * 40 + [number] * 30, 0, str(number), generates=False) for number in range(2)]
    run = machine(rows, tokens=60)
    assert [[(piece.begin, piece.end) for piece in run.step().pieces] for _ in range(2)] == [[(0, 40)], [(40, 70)] * 2]


def test_what_nobody_reads_is_kept_while_there_is_room_for_it() -> None:
    def below(first: int) -> list[Row]:
        return [Row([first] * 60 + [number], 1) for number in range(4)]

    run = machine(below(1), cells=400).run()
    assert run.shelf.dropped == []
    assert run.scheduler.prefixes.cells == 60
    # Four slots of 62 cells, and 60 of a prefix: 92 are left.
    run.scheduler.add(below(2))
    run.run()
    assert run.shelf.dropped == []
    run.scheduler.add(below(3))
    run.run()
    assert [prefix.tokens[0] for prefix in run.shelf.dropped] == [1]


# -- what finished rows leave


def test_a_row_that_goes_on_from_a_finished_one_computes_what_is_new() -> None:
    run = machine([Row([5] * 30, 10, "first"), *(row(20) for _ in range(FEW))])
    run.run()
    (first,) = (each for each in run.finished if each.name == "first")
    # The token that ended it was never computed.
    assert [(begin, end) for each, begin, end in run.shelf.kept if each is first] == [(0, 39)]
    after = Row([*[5] * 30, *[5] * 9, 1, 2, 3], 10, "after")
    run.scheduler.add([after])
    plan = run.step()
    assert [(piece.begin, piece.end) for piece in plan.pieces] == [(39, 42)]


def test_a_row_that_leaves_a_kept_text_midway_shares_what_comes_before() -> None:
    run = machine([Row([5] * 30, 10, "first"), *(row(20) for _ in range(FEW))])
    run.run()
    run.scheduler.add([Row([*[5] * 20, 1, 2, 3], 10, "after")])
    assert [(piece.begin, piece.end) for piece in run.step().pieces] == [(20, 23)]
    ((upper, lower),) = run.shelf.cut
    assert (upper.start, upper.end, lower.start, lower.end, lower.parent) == (0, 20, 20, 39, upper)


def test_rows_that_arrive_one_by_one_share_what_the_first_has_computed() -> None:
    """Such as the prompts of a judge: the first of them is still under way."""
    run = machine([Row([5] * 40 + [1] * 9)])
    begun = []
    for number in (2, 3, 4):
        run.step()
        run.scheduler.add([Row([5] * 40 + [number] * 9)])
        begun += [piece.begin for plan in run.plans[-1:] for piece in plan.pieces]
    assert begun == [0, 40, 40]


def test_what_is_kept_leaves_before_a_row_waits_for_room() -> None:
    run = machine([row(50) for _ in range(4)], batch=8, cells=8 * 60).run()
    assert run.scheduler.prefixes.unused == 4 * 59
    run.scheduler.add([row(50, name=str(number)) for number in range(8)])
    assert len(run.step().admitted) == 8
    assert run.scheduler.prefixes.cells == 0


def next_turns(run: Machine, count: int, new: int = 10) -> list[Row]:
    """The next turns of the last rows that finished."""
    return [Row([*each.left, 1, 2, 3], new) for each in run.finished[-count:]]


def computed_by_the_last(run: Machine, count: int) -> int:
    """Add the next turns of the last rows that finished, all at once; return how many tokens were computed for them."""
    run.scheduler.add(next_turns(run, count))
    before = len(run.plans)
    run.run()
    return sum(piece.end - piece.begin for plan in run.plans[before:] for piece in plan.pieces)


def test_what_no_row_waits_for_takes_no_more_than_slots_however_many_were_answered() -> None:
    run = machine([row(50) for _ in range(40)])
    for _ in range(2):
        while run.scheduler:
            run.step()
            assert run.scheduler.prefixes.idle <= max(run.shelf.size, 10_000 * IDLE_SHARE)
        assert 7 * 59 < run.scheduler.prefixes.unused == sum(map(len, run.shelf.stored.values()))
        run.scheduler.add([row(50) for _ in range(400)])
    assert {each for each, _, _ in run.shelf.kept[:32]} & set(run.finished[-8:]) == set()


def test_what_rows_wait_for_stays_beside_it() -> None:
    """The next turns are shorter, and so it is theirs when all others are done."""
    run = machine([row(50) for _ in range(60)])
    going_on: list[Row] = []
    while len(run.finished) < 60:
        before = len(run.finished)
        run.step()
        going_on += (more := next_turns(run, len(run.finished) - before, 3) if len(run.finished) > before else [])
        run.scheduler.add(more)
    assert run.scheduler.prefixes.unused > 50 * 59
    run.run()
    begins = [piece.begin for plan in run.plans for piece in plan.pieces if piece.target in going_on]
    assert begins == [59] * 60


def test_conversations_that_all_wait_for_another_model_are_kept_from_their_second_turn_on() -> None:
    """However long they become: there is room."""
    run = machine([row(20) for _ in range(60)]).run()
    # Of most the first turn is gone: that so many come back was not to be known.
    assert computed_by_the_last(run, 60) > 20 * 32
    assert [computed_by_the_last(run, 60) for _ in range(8)] == [60 * 3] * 8
    run.scheduler.budget = BatchLimits(4, 2000)
    assert computed_by_the_last(run, 60) > 40 * 100


def test_what_rows_wait_for_leaves_too_when_others_need_the_room() -> None:
    """It is computed again when it is their turn."""
    first = Row([5] * 50, 10, "first")
    run = machine([first, *(row(2, 2) for _ in range(FEW))], batch=2, cells=150).run()
    run.scheduler.add([row(60, 100, "long"), *(Row([*[5] * 59, number], 10, "after") for number in (1, 2))])
    assert started(run.step()) == ["long"]
    assert run.scheduler.prefixes.cells == 0
    run.run()
    assert names(run.finished[-3:]) == ["long", "after", "after"]
    pieces = [piece for plan in run.plans for piece in plan.pieces if isinstance(piece.target, PrefixNode)]
    assert [(piece.begin, piece.end) for piece in pieces] == [(0, 59)]


# -- rows that are only scored


def test_a_scored_row_takes_no_slot_and_leaves_with_its_forward() -> None:
    run = machine([row(5, 40), *(scored(9) for _ in range(6))], batch=1)
    plan = run.step()
    assert len(plan.pieces) == 7
    assert len(plan.admitted) == 1
    assert len(run.finished) == 6


def test_scored_rows_fill_a_forward_and_are_not_cut() -> None:
    run = machine([scored(30) for _ in range(4)], tokens=50)
    assert [(piece.begin, piece.end, piece.last) for piece in run.step().pieces] == [(0, 30, True)] * 2
    assert len(run.step().pieces) == 2
    assert not run.scheduler


def test_scored_rows_are_begun_beside_the_last_that_generate() -> None:
    done = machine([scored(100, "scored"), row(5, 40, "a"), row(5, 40, "b")], batch=1).run()
    assert names(done.finished) == ["a", "scored", "b"]


# -- failures


def sizes(run: Machine) -> list[int]:
    return [len(plan.rows) for plan in run.plans]


@pytest.mark.parametrize(("count", "halves"), [(2, [1, 1]), (4, [2, 2]), (5, [3, 2])])
def test_what_failed_together_is_tried_as_two_groups_before_all_others(count: int, halves: list[int]) -> None:
    rows = [row(5, name=str(number)) for number in range(count)]
    run = machine([*rows, row(4, name="waits")], batch=count)
    run.fails = lambda _plan: True
    run.step()
    run.fails = lambda _plan: False
    run.run()
    groups = [started(plan) for plan in run.plans if plan.admitted][1:]
    assert groups == [list("01234")[: halves[0]], list("01234")[halves[0] : count], ["waits"]]
    assert names(run.finished) == [*names(rows), "waits"]


def test_nobody_joins_rows_that_are_tried_again_not_even_when_some_finish() -> None:
    rows = [row(5, name=str(number)) for number in range(4)]
    rows[0].brings = 2
    run = machine([*rows, row(4, name="waits")])
    run.fails = lambda _plan: True
    run.step()
    run.fails = lambda _plan: False
    run.run()
    company = [set(names(plan.rows)) for plan in run.plans[1:]]
    assert all(group <= {"0", "1"} or group <= {"2", "3"} or group == {"waits"} for group in company)


def test_a_half_that_fails_again_goes_before_the_other_half() -> None:
    run = machine([row(5, name=str(number)) for number in range(4)])
    run.fails = lambda plan: len(plan.rows) == 4 or names(plan.rows) == ["0", "1"]
    run.run()
    assert [started(plan) for plan in run.plans if plan.admitted] == [
        ["0", "1", "2", "3"],
        ["0", "1"],
        ["0"],
        ["1"],
        ["2", "3"],
    ]


def test_a_row_that_failed_alone_is_not_tried_again() -> None:
    rows = [row(5, name=str(number)) for number in range(5)]
    run = machine(rows)
    run.fails = lambda plan: "3" in names(plan.rows)
    run.run()
    assert names(run.failed) == ["3"]
    assert sorted(names(run.finished)) == ["0", "1", "2", "4"]


def test_rows_of_a_group_that_had_not_begun_when_it_failed_are_tried_after_its_halves() -> None:
    """Rows of a group are begun as forwards have room: a failure may come before the last of them is begun."""
    rows = [row(20, name=str(number)) for number in range(4)]
    run = machine(rows, tokens=1000)
    run.fails = lambda plan: len(plan.rows) == 4 or names(plan.rows) == ["0"]
    run.step()
    run.scheduler.budget = BatchLimits(2, 10_000, 10)
    run.run()
    assert names(run.failed) == ["0"]
    assert names(run.finished) == ["1", "2", "3"]


def test_a_failure_while_decoding_takes_all_that_are_under_way_back() -> None:
    rows = [row(5, name=str(number)) for number in range(4)]
    run = machine(rows)
    for _ in range(3):
        run.step()
    run.fails = lambda plan: len(plan.rows) > 2
    run.step()
    plan = run.step()
    assert names(plan.admitted) == ["0", "1"]
    assert plan.decode == []


def test_prefixes_are_computed_again_after_a_failure() -> None:
    rows = [Row([1] * 40 + [number], name=str(number)) for number in range(4)]
    run = machine(rows)
    run.step()
    run.fails = lambda plan: len(plan.rows) > 2
    run.run()
    computed = [piece.begin for plan in run.plans for piece in plan.pieces if isinstance(piece.target, PrefixNode)]
    assert computed == [0, 0]
    assert sorted(names(run.finished)) == list("0123")


def test_a_failed_rows_prefix_is_released_and_the_others_keep_theirs() -> None:
    rows = [Row([1] * 40 + [number], name=str(number)) for number in range(4)]
    run = machine(rows)
    run.fails = lambda plan: "2" in names(plan.rows)
    run.run()
    assert names(run.failed) == ["2"]
    assert {prefix.users for prefix in run.scheduler.prefixes.all()} == {0}


@pytest.mark.parametrize(("rows", "shrink", "budget"), [(4, True, 2), (4, False, 4), (1, True, 4), (3, True, 2)])
def test_too_little_memory_lets_no_later_batch_be_as_large(rows: int, shrink: bool, budget: int) -> None:
    run = machine([row(5) for _ in range(rows)], shrink=shrink)
    run.fails = lambda _plan: True
    run.step()
    assert run.scheduler.budget.rows == budget
    assert run.scheduler.budget.tokens == (500 if budget < 4 else 1000)
    assert run.scheduler.budget.cells == 10_000
    run.scheduler.add([row(5) for _ in range(8)])
    run.fails = lambda _plan: False
    run.run()
    assert max(run.decoded) == budget


def test_a_forward_does_not_shrink_to_nothing() -> None:
    run = machine([row(5, name=str(number)) for number in range(64)], batch=64)
    run.fails = lambda plan: len(plan.rows) > 1
    run.run()
    assert len(run.finished) == 64
    assert (run.scheduler.budget.rows, run.scheduler.budget.tokens) == (1, 64)


def test_a_row_that_fits_nowhere_leaves_the_others_the_budget_that_they_had() -> None:
    run = machine([row(5, name=str(number)) for number in range(8)], batch=8)
    run.fails = lambda plan: "5" in names(plan.rows)
    run.run()
    assert names(run.failed) == ["5"]
    assert run.scheduler.budget == BatchLimits(8, 10_000, 1000)
    # A batch that was too large by itself stays smaller, also when such a row comes later.
    run.scheduler.add([row(5, name=str(number)) for number in range(10, 18)])
    run.fails = lambda plan: len(plan.rows) > 4
    run.run()
    run.scheduler.add([row(5, name="19"), *(row(5) for _ in range(8))])
    run.fails = lambda plan: "19" in names(plan.rows) or len(plan.rows) > 4
    run.run()
    assert names(run.failed) == ["5", "19"]
    assert run.scheduler.budget.rows == 4


def test_what_had_ended_when_a_forward_failed_is_done() -> None:
    rows = [row(5, name=str(number)) for number in range(3)]
    scheduler: Scheduler[Row] = Scheduler(BatchLimits(4, 1000))
    scheduler.add(rows)
    plan = scheduler.plan()
    assert names(scheduler.failed(plan, shrink=False, ended=rows[:2])) == ["2"]
    # It did not fail alone: it is tried again.
    assert started(scheduler.plan()) == ["2"]


# -- whatever comes


def check_budget(run: Machine, budget: BatchLimits) -> None:
    """What is under way fits, unless a row is too large even alone."""
    rows = [each for each in run.under_way if each.generates]
    slots = len(rows) * max((each.cells - each.shared for each in rows), default=0)
    if len(rows) > 1:
        assert len(rows) <= budget.rows
        assert slots + run.scheduler.prefixes.used <= budget.cells
    assert run.scheduler.prefixes.unused <= max(0, budget.cells - run.scheduler.prefixes.used)
    plan = run.plans[-1]
    sized = sum(
        piece.end - piece.begin
        for piece in plan.pieces
        if isinstance(piece.target, PrefixNode) or piece.target.generates
    )
    # The first token of a row may come on top.
    assert sized <= budget.tokens + 1


@pytest.mark.parametrize("seed", range(60))
def test_every_row_is_finished_exactly_once_whatever_comes(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - data of a test
    budget = BatchLimits(
        dice.choice([1, 2, 3, 8, 16]),
        dice.choice([60, 200, 1000, 5000]),
        dice.choice([5, 20, 100, 1000]),
        dice.choice([None, 1, 100, 1000]),
    )
    stretches = [[dice.randrange(4)] * dice.randint(4, 40) for _ in range(5)]

    def some(number: int) -> Row:
        tokens = [token for stretch in dice.choices(stretches, k=dice.randint(0, 3)) for token in stretch]
        tokens += [dice.randrange(4) for _ in range(dice.randint(1, 30))]
        new = dice.randint(1, 20)
        generates = dice.random() < 0.8
        return Row(tokens, new if generates else 0, str(number), generates, brings=dice.randint(1, new))

    rows = [some(number) for number in range(80)]
    calm = seed % 3 == 0
    poison = {str(number) for number in range(80) if not calm and dice.random() < 0.03}
    most = 100 if calm else dice.choice([1, 2, 5, 100])
    breakdowns = 0.0 if calm else dice.choice([0.0, 0.05])

    def fails(plan: SchedulerOutput[Row]) -> bool:
        together = len(plan.rows)
        return bool(poison & set(names(plan.rows))) or together > most or (together > 1 and dice.random() < breakdowns)

    shelf = Shelf()
    scheduler: Scheduler[Row] = Scheduler(budget, shelf)
    run = Machine(scheduler, fails, shrink=dice.random() < 0.5, shelf=shelf)
    arriving = list(rows)
    for _ in range(20_000):
        if arriving and (not scheduler or dice.random() < 0.1):
            count = dice.randint(1, 30)
            scheduler.add(arriving[:count])
            del arriving[:count]
        if not scheduler:
            break
        run.step()
        if calm:
            check_budget(run, budget)
    assert not arriving
    assert not scheduler
    assert sorted(names(run.finished) + names(run.failed)) == sorted(names(rows))
    assert set(names(run.failed)) == poison
    for each in run.finished:
        assert each.generated >= (each.brings or 0) if each.generates else each.generated == 0
    assert all(prefix.users == 0 for prefix in scheduler.prefixes.all())
    assert scheduler.plan().rows == []
