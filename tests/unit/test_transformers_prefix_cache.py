"""Which rows begin with the same tokens, and what of it is worth computing once."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from pytest_evals.engines.transformers.scheduling.prefix_cache import LEAST_SAVED, PrefixCache
from pytest_evals.engines.transformers.scheduling.prefix_tree import LEAST_TOKENS, PrefixNode, common_lengths

SYSTEM = range(1000, 1020)
SHOTS = {"a": range(2000, 2030), "b": range(3000, 3030)}


@dataclass(eq=False)
class Row:
    """As much of a row as is looked at here."""

    tokens: list[int]
    own: int = 1
    """So many tokens at the end are the row's own."""
    prefix: PrefixNode | None = None

    @property
    def left(self) -> list[int]:
        return self.tokens

    @property
    def shareable(self) -> int:
        return len(self.tokens) - self.own


def rows_below(*beginning: range, count: int = 5, first: int = 0, own: int = 1) -> list[Row]:
    """Rows that go on differently after the same beginning."""
    head = [token for stretch in beginning for token in stretch]
    return [Row([*head, first + number, 7, 7], own) for number in range(count)]


def ends(row: Row) -> list[int]:
    return [prefix.end for prefix in row.prefix.path] if row.prefix else []


def grown(*groups: list[Row]) -> PrefixCache:
    """A forest to which groups of rows came one after another, with everything computed."""
    forest = PrefixCache()
    for group in groups:
        forest.attach(group)
    compute(forest)
    return forest


def compute(forest: PrefixCache) -> None:
    for prefix in forest.all():
        forest.store(prefix, len(prefix.tokens))


# -- what is found


def test_rows_that_begin_differently_share_nothing() -> None:
    rows = [Row(list(range(start, start + 50))) for start in (0, 100, 200)]
    forest = grown(rows)
    assert [row.prefix for row in rows] == [None, None, None]
    assert forest.cells == 0
    assert forest.all() == []


def test_no_rows_share_nothing() -> None:
    assert grown([]).all() == []


def test_what_rows_share_at_their_beginning_is_one_stretch() -> None:
    rows = rows_below(SYSTEM)
    forest = grown(rows)
    (prefix,) = forest.all()
    assert prefix.tokens == tuple(SYSTEM)
    assert (prefix.start, prefix.end) == (0, 20)
    assert all(row.prefix is prefix for row in rows)


def test_a_block_shared_by_some_stands_below_the_one_shared_by_all() -> None:
    first, second = rows_below(SYSTEM, SHOTS["a"]), rows_below(SYSTEM, SHOTS["b"])
    forest = grown([first[0], *second, *first[1:]])
    assert [ends(row) for row in (*first, *second)] == [[20, 50]] * 10
    root = forest.all()[0]
    assert root.tokens == tuple(SYSTEM)
    assert root.parent is None
    assert {child.tokens for child in root.children} == {tuple(SHOTS["a"]), tuple(SHOTS["b"])}
    assert all(child.start == 20 and child.parent is root for child in root.children)


def test_there_may_be_several_trees_and_rows_beside_them() -> None:
    first, second = rows_below(SHOTS["a"]), rows_below(SHOTS["b"])
    alone = Row(list(range(60)))
    forest = grown([*first, alone, *second])
    assert [ends(row) for row in (*first, *second)] == [[30]] * 10
    assert alone.prefix is None
    assert first[0].prefix is not second[0].prefix
    assert forest.cells == 60


def test_three_levels_are_found_at_once() -> None:
    last = range(4000, 4040)
    deep = rows_below(SYSTEM, SHOTS["a"], last, count=3)
    rows = [*deep, *rows_below(SYSTEM, SHOTS["a"], count=3), *rows_below(SYSTEM, count=3)]
    grown(rows)
    assert [ends(row) for row in rows] == [[20, 50, 90]] * 3 + [[20, 50]] * 3 + [[20]] * 3


def test_identical_prompts_share_all_but_the_token_whose_logits_are_wanted() -> None:
    rows = [Row([*SYSTEM, *SHOTS["a"]]) for _ in range(3)]
    forest = grown(rows)
    assert [ends(row) for row in rows] == [[49]] * 3
    assert len(forest.all()) == 1


def test_tokens_whose_logits_are_wanted_are_never_shared() -> None:
    own = 12
    rows = [Row([*SYSTEM, *SHOTS["a"]], own) for _ in range(3)]
    grown(rows)
    assert [ends(row) for row in rows] == [[50 - own]] * 3


def test_the_row_that_may_share_least_limits_the_stretch_of_its_group() -> None:
    whole = [*SYSTEM, *SHOTS["a"]]
    rows = [Row([*whole, 1]), Row([*whole, 2]), Row(whole, own=20)]
    grown(rows)
    assert ends(rows[2]) == [30]
    # The others go on together to where they part, which is worth nothing here: it would save 20 tokens.
    assert [ends(row) for row in rows[:2]] == [[30], [30]]


@pytest.mark.parametrize(
    ("length", "count", "pays"),
    [
        (LEAST_TOKENS, 1 + LEAST_SAVED // LEAST_TOKENS, True),
        (LEAST_TOKENS - 1, 50, False),
        (LEAST_TOKENS, LEAST_SAVED // LEAST_TOKENS, False),
        (LEAST_SAVED, 2, True),
        (LEAST_SAVED - 1, 2, False),
    ],
)
def test_a_stretch_that_saves_little_gets_no_place(length: int, count: int, pays: bool) -> None:
    rows = rows_below(range(1000, 1000 + length), count=count)
    grown(rows)
    assert [ends(row) for row in rows] == [[length] if pays else []] * count


def test_a_level_that_does_not_pay_leaves_the_one_above() -> None:
    rows = [*rows_below(SYSTEM, count=4), *rows_below(SYSTEM, range(3), count=2, first=50)]
    grown(rows)
    assert [ends(row) for row in rows] == [[20]] * 6


def test_a_level_that_does_not_pay_does_not_hide_the_one_below() -> None:
    """Two rows share 4 tokens with the rest, too few for a stretch, and 60 with each other."""
    rows = [*rows_below(range(4), count=4), *rows_below(range(4), range(100, 160), count=2)]
    grown(rows)
    assert [ends(row) for row in rows] == [[]] * 4 + [[64]] * 2


# -- late arrivals


def test_a_late_row_joins_the_path_that_is_there() -> None:
    early = rows_below(SYSTEM, SHOTS["a"])
    forest = grown([*early, *rows_below(SYSTEM, count=3)])
    before = forest.all()
    late = Row([*SYSTEM, *SHOTS["a"], 99, 99])
    forest.attach([late])
    assert late.prefix is early[0].prefix
    assert forest.all() == before


def test_late_rows_grow_a_level_below_the_path_that_is_there() -> None:
    forest = grown(rows_below(SYSTEM))
    (root,) = forest.all()
    late = rows_below(SYSTEM, SHOTS["b"])
    forest.attach(late)
    assert [ends(row) for row in late] == [[20, 50]] * 5
    assert late[0].prefix is not None
    assert late[0].prefix.parent is root
    assert list(root.children) == [late[0].prefix]


def test_a_late_row_that_leaves_a_path_midway_shares_what_comes_before() -> None:
    early = rows_below(SYSTEM, SHOTS["a"])
    forest = grown(early)
    (whole,) = forest.all()
    late, other = Row([*SYSTEM, 1, 2, 3]), Row([*SYSTEM, *SHOTS["a"][:9], 1])
    forest.attach([late])
    # Nobody can divide what is stored of it.
    assert late.prefix is None
    divided: list[tuple[int, int]] = []
    forest.split = lambda upper, lower: divided.append((len(upper.tokens), len(lower.tokens)))
    forest.deepen(late)
    forest.attach([other])
    assert (ends(late), ends(other), ends(early[0])) == ([20], [20, 29], [20, 29, 50])
    assert early[0].prefix is whole
    assert divided == [(20, 30), (9, 21)]
    assert [(prefix.users, prefix.stored) for prefix in whole.path] == [(7, 20), (6, 9), (5, 21)]
    assert forest.cells == 50


def test_a_stretch_in_the_making_and_the_end_of_one_are_not_cut_off() -> None:
    early = rows_below(SYSTEM, SHOTS["a"])
    forest = PrefixCache(lambda _upper, _lower: None)
    forest.attach(early)
    (whole,) = forest.all()
    forest.store(whole, 3)
    late, nearly = Row([*SYSTEM, 1, 2, 3]), Row([*SYSTEM, *SHOTS["a"][:-3], 1, 2])
    forest.attach([late])
    assert late.prefix is None
    compute(forest)
    forest.attach([nearly])
    # What is left of it could not be found again if it were shorter.
    assert ends(nearly) == [50 - LEAST_TOKENS]


def test_a_late_row_does_not_share_the_last_token_of_its_prompt() -> None:
    forest = grown(rows_below(SYSTEM))
    exact, longer = Row(list(SYSTEM)), Row([*SYSTEM, 1])
    forest.attach([exact, longer])
    assert exact.prefix is None
    assert ends(longer) == [20]


def test_late_rows_that_share_only_with_each_other_start_a_tree() -> None:
    forest = grown(rows_below(SYSTEM))
    late = rows_below(SHOTS["a"])
    forest.attach(late)
    assert [ends(row) for row in late] == [[30]] * 5
    assert [prefix.tokens for prefix in forest.all()] == [tuple(SHOTS["a"]), tuple(SYSTEM)]
    assert late[0].prefix is not None
    assert [prefix.serial for prefix in forest.all()] == [1, 0]


# -- users and what is dropped


def test_users_are_counted_on_the_whole_path_until_they_leave() -> None:
    first, second = rows_below(SYSTEM, SHOTS["a"]), rows_below(SYSTEM, SHOTS["b"], count=4)
    forest = grown([*first, *second])
    root, *children = forest.all()
    assert root.users == 9
    assert sorted(child.users for child in children) == [4, 5]
    below = first[0].prefix
    assert below is not None
    forest.release(first[0])
    assert first[0].prefix is None
    assert (root.users, below.users) == (8, 4)
    forest.release(first[0])
    assert (root.users, below.users) == (8, 4)
    late = Row(first[1].tokens)
    forest.attach([late])
    assert (root.users, below.users) == (9, 5)


def release_all(forest: PrefixCache, rows: list[Row]) -> None:
    for row in rows:
        forest.release(row)


def test_what_is_read_is_never_dropped() -> None:
    rows, others = rows_below(SYSTEM, SHOTS["a"]), rows_below(SYSTEM, count=3)
    forest = grown([*rows, *others])
    for row in (*rows, *others):
        forest.hold(row)
        forest.hold(row)
    assert forest.forget_unused(0) == []
    assert (forest.used, forest.unused) == (50, 0)
    release_all(forest, rows)
    assert (forest.used, forest.unused) == (20, 30)
    assert [prefix.tokens for prefix in forest.forget_unused(0)] == [tuple(SHOTS["a"])]
    assert forest.cells == 20


def test_what_rows_wait_for_is_forgotten_after_what_nobody_wants_and_stays_in_its_place() -> None:
    waiting, gone = rows_below(SYSTEM, SHOTS["a"]), rows_below(SHOTS["b"])
    forest = grown(waiting, gone)
    release_all(forest, gone)
    assert [prefix.tokens for prefix in forest.forget_unused(50)] == [tuple(SHOTS["b"])]
    (whole,) = forest.all()
    assert forest.forget_unused(49) == [whole]
    assert (forest.all(), whole.done, forest.cells, ends(waiting[0])) == ([whole], False, 0, [50])


def test_what_no_row_waits_for_has_a_bound_of_its_own() -> None:
    waiting, gone = rows_below(SYSTEM, SHOTS["a"]), rows_below(SHOTS["b"])
    forest = grown(waiting, gone)
    release_all(forest, gone)
    assert (forest.unused, forest.idle) == (80, 30)
    assert forest.forget_unused(1000, 30) == []
    assert [prefix.tokens for prefix in forest.forget_unused(1000, 29)] == [tuple(SHOTS["b"])]
    assert (forest.unused, forest.idle) == (50, 0)
    assert forest.forget_unused(1000, 0) == []


def test_unused_stretches_leave_children_first_and_the_oldest_first_until_the_rest_is_small_enough() -> None:
    old, young = [*rows_below(SYSTEM, SHOTS["a"]), *rows_below(SYSTEM)], rows_below(SHOTS["b"])
    forest = grown(old, young)
    release_all(forest, [*old, *young])
    assert forest.cells == 80
    assert forest.forget_unused(80) == []
    assert [prefix.tokens for prefix in forest.forget_unused(79)] == [tuple(SHOTS["a"])]
    assert [prefix.tokens for prefix in forest.forget_unused(0)] == [tuple(SYSTEM), tuple(SHOTS["b"])]
    assert (forest.cells, forest.all()) == (0, [])


def test_a_stretch_takes_cells_as_it_is_computed() -> None:
    forest = PrefixCache()
    rows = [*rows_below(SYSTEM, SHOTS["a"]), *rows_below(SYSTEM)]
    forest.attach(rows)
    root, child = forest.all()
    assert not root.done
    assert forest.cells == 0
    forest.store(root, 20)
    forest.store(child, 7)
    assert (root.done, child.done, forest.used, forest.unused) == (True, False, 0, 27)
    forest.hold(rows[0])
    forest.store(child, 30)
    assert (child.done, forest.used, forest.unused) == (True, 50, 0)


def test_what_nobody_uses_and_nobody_computed_is_dropped_however_much_may_be_kept() -> None:
    lost, kept = rows_below(SYSTEM, SHOTS["a"]), rows_below(SHOTS["b"])
    forest = grown([*lost, *rows_below(SYSTEM)], kept)
    release_all(forest, [*lost, *kept])
    forest.lose()
    assert [prefix.tokens for prefix in forest.forget_unused(1000)] == [tuple(SHOTS["b"]), tuple(SHOTS["a"])]
    assert [prefix.tokens for prefix in forest.all()] == [tuple(SYSTEM)]


# -- what rows leave


def test_what_a_row_computed_is_kept_below_its_path_and_the_oldest_goes_first() -> None:
    rows = [Row([*SYSTEM, *range(number, number + 20)], own=0) for number in (100, 200, 300)]
    forest = PrefixCache()
    forest.attach([*rows, *rows_below(SYSTEM)])
    compute(forest)
    kept = [forest.keep(row) for row in rows]
    assert [(node.start, node.tokens) if node else None for node in kept] == [
        (20, tuple(row.tokens[20:])) for row in rows
    ]
    assert all(node and node.kept and node.done for node in kept)
    assert forest.unused == 80
    # Nothing new, and too little of it.
    assert forest.keep(rows[0]) is None
    assert forest.keep(Row([*SYSTEM, 1, 2, 3])) is None
    late = Row([*rows[0].tokens, 5])
    forest.attach([late])
    assert (late.prefix, ends(late)) == (kept[0], [20, 40])
    forest.hold(late)
    assert forest.forget_unused(39) == [kept[1]]
    assert forest.forget_unused(0) == [kept[2]]
    assert forest.used == 40


def test_an_unused_tree_waits_for_rows_that_come_later() -> None:
    rows = rows_below(SYSTEM)
    forest = grown(rows)
    (root,) = forest.all()
    release_all(forest, rows)
    forest.forget_unused(20)
    late = Row([*SYSTEM, 1, 1])
    forest.attach([late])
    assert late.prefix is root
    assert root.done


def test_a_dropped_stretch_is_found_anew() -> None:
    rows = rows_below(SYSTEM)
    forest = grown(rows)
    release_all(forest, rows)
    (gone,) = forest.forget_unused(0)
    again = rows_below(SYSTEM)
    forest.attach(again)
    assert again[0].prefix is not None
    assert again[0].prefix is not gone


# -- the pieces of it


def test_common_lengths_stop_where_the_row_computes_itself() -> None:
    rows = [Row([1, 2, 3, 4]), Row([1, 2, 3, 4], own=2), Row([1, 2, 9, 9]), Row([5]), Row([5])]
    assert common_lengths(rows) == [2, 2, 0, 0]


def check(forest: PrefixCache, rows: list[Row]) -> None:
    """What holds whatever the rows are."""
    users: dict[int, int] = {}
    for row in rows:
        end = 0
        for prefix in row.prefix.path if row.prefix else ():
            assert prefix.start == end
            assert tuple(row.tokens[prefix.start : prefix.end]) == prefix.tokens
            assert len(prefix.tokens) >= LEAST_TOKENS
            end = prefix.end
            users[id(prefix)] = users.get(id(prefix), 0) + 1
        assert end <= row.shareable
    assert {id(prefix): prefix.users for prefix in forest.all() if prefix.users} == users
    assert forest.cells == sum(prefix.stored for prefix in forest.all())
    assert forest.used == sum(prefix.stored for prefix in forest.all() if prefix.holders)
    assert forest.idle == sum(prefix.stored for prefix in forest.all() if not prefix.users)


@pytest.mark.parametrize("seed", range(20))
def test_every_path_is_the_beginning_of_its_row_however_rows_come_and_go(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - data of a test
    stretches = [[dice.randrange(3) for _ in range(dice.randint(3, 25))] for _ in range(4)]
    forest, there = PrefixCache((lambda _upper, _lower: None) if seed % 2 else None), list[Row]()
    for _ in range(6):
        arriving = [
            Row(
                [token for stretch in dice.choices(stretches, k=dice.randint(0, 3)) for token in stretch] + [dice.randrange(3)],
                own=1,
            )
            for _ in range(dice.randint(0, 12))
        ]  # fmt: skip
        forest.attach(arriving)
        compute(forest)
        there += arriving
        check(forest, there)
        dice.shuffle(there)
        for row in there[: len(there) // 2]:
            forest.deepen(row)
            forest.hold(row)
        for row in there[: len(there) // 3]:
            forest.keep(row)
            forest.release(row)
        there = there[len(there) // 3 :]
        idle = dice.choice([0, 20, None])
        for prefix in forest.forget_unused(dice.choice([0, 40, 1000]), idle):
            assert not prefix.holders
        assert idle is None or forest.idle <= idle
        check(forest, there)
    release_all(forest, there)
    forest.forget_unused(0)
    assert forest.all() == []


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_arrival_does_not_change_what_is_shared(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - data of a test
    last = [*rows_below(SYSTEM, SHOTS["a"]), *rows_below(SYSTEM, SHOTS["b"], count=7), *rows_below(SHOTS["b"])]
    rows = [Row(row.tokens) for row in last]
    grown(last)
    shuffled = list(rows)
    dice.shuffle(shuffled)
    grown(shuffled)
    assert [ends(row) for row in rows] == [ends(row) for row in last]
