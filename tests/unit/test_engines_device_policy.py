"""Whose turn it is on the device, and who makes room."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest

from pytest_evals.engines.device_policy import ROOM_FACTOR, Action, ModelStatus, next_action
from pytest_evals.engines.replica import ReplicaState

NEED = 1000
ROOM = int(NEED * ROOM_FACTOR)


def model(
    name: str, state: ReplicaState = "stopped", *, busy: bool = False, wanted: bool = False, failed: bool = False, need: int | None = NEED
) -> ModelStatus:  # fmt: skip
    return ModelStatus(name, state, busy, wanted, failed, need)


# -- one model


def test_without_models_there_is_nothing_to_do() -> None:
    assert next_action([], None, ROOM) is None


def test_a_model_that_nobody_asked_for_is_left_alone() -> None:
    assert next_action([model("a"), model("b", "ready")], None, ROOM) is None


@pytest.mark.parametrize("free", [None, 0, ROOM])
@pytest.mark.parametrize(("busy", "wanted"), [(True, False), (False, True)])
def test_the_first_model_is_loaded_however_little_memory_is_free(free: int | None, busy: bool, wanted: bool) -> None:
    assert next_action([model("a", busy=busy, wanted=wanted)], None, free) == Action("load", "a")


def test_a_loaded_model_works_when_it_has_work() -> None:
    assert next_action([model("a", "ready", busy=True)], None, ROOM) == Action("work", "a")


@pytest.mark.parametrize("state", ["starting", "ready", "stopping"])
def test_a_model_that_works_is_not_disturbed(state: ReplicaState) -> None:
    others = [model("b", "ready", busy=True), model("c", busy=True, wanted=True)]
    assert next_action([model("a", state, busy=True), *others], "a", 10 * ROOM) is None


def test_a_model_whose_process_died_at_work_is_loaded_again() -> None:
    assert next_action([model("a", busy=True)], "a", None) == Action("load", "a")


def test_a_model_that_cannot_be_loaded_is_not_tried_again() -> None:
    assert next_action([model("a", busy=True, wanted=True, failed=True)], None, ROOM) is None


def test_a_model_that_cannot_be_loaded_lets_the_next_one_come() -> None:
    standings = [model("a", busy=True, failed=True), model("b", busy=True)]
    assert next_action(standings, "a", None) == Action("load", "b")


# -- turns


def test_the_model_that_was_asked_first_works_first() -> None:
    standings = [model("a"), model("b", "ready", busy=True), model("c", "ready", busy=True)]
    assert next_action(standings, None, ROOM) == Action("work", "b")


@pytest.mark.parametrize("state", ["starting", "ready"])
def test_the_next_one_works_when_the_one_before_is_done(state: ReplicaState) -> None:
    standings = [model("a", "ready"), model("b", state, busy=True)]
    assert next_action(standings, "a", None) == Action("work", "b")
    assert next_action(standings, "b", None) is None


def test_a_model_that_is_loaded_works_before_another_is_loaded() -> None:
    standings = [model("a", busy=True), model("b", "ready", busy=True)]
    assert next_action(standings, None, 10 * ROOM) == Action("work", "b")


def test_a_model_without_work_keeps_its_turn_until_somebody_needs_it() -> None:
    assert next_action([model("a", "ready"), model("b", "ready")], "a", ROOM) is None


# -- room


def test_a_model_that_fits_is_loaded_beside_an_idle_one() -> None:
    assert next_action([model("a", "ready"), model("b", busy=True)], "a", ROOM) == Action("load", "b")


@pytest.mark.parametrize("free", [ROOM - 1, 0, None])
def test_an_idle_model_makes_room_for_one_that_does_not_fit(free: int | None) -> None:
    assert next_action([model("a", "ready"), model("b", busy=True)], "a", free) == Action("unload", "a")


def test_a_model_of_unknown_size_is_loaded_alone() -> None:
    standings = [model("a", "ready"), model("b", busy=True, need=None)]
    assert next_action(standings, "a", 10 * ROOM) == Action("unload", "a")


def test_a_model_that_is_still_loading_makes_room_too_when_nobody_waits_for_it() -> None:
    assert next_action([model("a", "starting"), model("b", busy=True)], "a", None) == Action("unload", "a")


def test_while_one_leaves_nothing_is_loaded_into_its_place() -> None:
    assert next_action([model("a", "stopping"), model("b", busy=True)], "a", 0) is None


def test_only_one_leaves_at_a_time_and_the_oldest_first() -> None:
    standings = [model("a", "ready"), model("b", "ready"), model("c", busy=True)]
    assert next_action(standings, "b", 0) == Action("unload", "a")


def test_nobody_makes_room_for_a_model_that_is_only_wanted() -> None:
    assert next_action([model("a", "ready"), model("b", wanted=True)], "a", 10 * ROOM) is None


def test_a_model_that_somebody_waits_for_is_loaded_before_one_that_is_only_wanted() -> None:
    assert next_action([model("a", wanted=True), model("b", busy=True)], None, ROOM) == Action("load", "b")


# -- every combination


def carried_out(standings: tuple[ModelStatus, ...], move: Action) -> tuple[ModelStatus, ...]:
    """Return the standings after the pool did what it was told."""
    after: dict[str, ReplicaState] = {"load": "starting", "unload": "stopping"}
    return tuple(
        ModelStatus(each.name, after.get(move.kind, each.state), each.busy, each.wanted, each.failed, each.need)
        if each.name == move.name
        else each
        for each in standings
    )


SINGLES = [
    (state, busy, wanted, failed)
    for state, busy, wanted, failed in itertools.product(
        get_args(ReplicaState), (False, True), (False, True), (False, True)
    )
    if not failed or state == "stopped"
]


@pytest.mark.parametrize("turn", [None, "a", "b"])
@pytest.mark.parametrize("free", [None, 0, ROOM])
def test_moves_are_possible_and_come_to_an_end(turn: str | None, free: int | None) -> None:
    for first, second in itertools.product(SINGLES, SINGLES):
        standings: tuple[ModelStatus, ...] = (ModelStatus("a", *first, need=NEED), ModelStatus("b", *second, need=NEED))
        at_turn = turn
        for _ in range(5):
            move = next_action(standings, at_turn, free)
            if move is None:
                break
            moved = next(each for each in standings if each.name == move.name)
            if move.kind == "load":
                assert moved.state == "stopped"
                assert not moved.failed
            elif move.kind == "unload":
                assert moved.state in ("ready", "starting")
                assert not moved.busy
            else:
                assert moved.busy
            standings = carried_out(standings, move)
            at_turn = at_turn if move.kind == "unload" else move.name
        else:
            pytest.fail(f"no end of moves: {first} {second}")
        # Somebody waits, and nothing is under way that would end the wait.
        if any(each.busy and not each.failed for each in standings):
            assert any(each.state != "stopped" for each in standings)
