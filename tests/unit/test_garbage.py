"""The collector of garbage while cases are collected and run."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_evals.runner.garbage import GarbagePause


class Config:
    """What of a configuration is asked for."""

    def __init__(self) -> None:
        self.cleanups: list[Callable[[], None]] = []

    def add_cleanup(self, undo: Callable[[], None]) -> None:
        self.cleanups.append(undo)


@pytest.fixture
def usual() -> Iterator[None]:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)
    if not frozen:
        gc.unfreeze()


def make(config: Any) -> GarbagePause:
    return GarbagePause(config)


@pytest.mark.usefixtures("usual")
def test_what_was_set_is_set_again_and_nothing_stays_frozen() -> None:
    if gc.get_freeze_count():
        pytest.skip("this process runs evals itself")
    config = Config()
    pause = make(config)
    assert gc.get_threshold()[0] > 700
    pause.pytest_collection_finish()
    assert gc.get_freeze_count() > 0
    for undo in config.cleanups:
        undo()
    assert gc.get_threshold() == (700, 10, 10)
    assert gc.get_freeze_count() == 0


@pytest.mark.usefixtures("usual")
def test_thresholds_of_the_user_are_left_alone() -> None:
    gc.set_threshold(50_000, 5, 5)
    make(Config())
    assert gc.get_threshold() == (50_000, 5, 5)


@pytest.mark.usefixtures("usual")
def test_no_pass_is_made_while_items_are_made_and_passes_go_on_after_an_error() -> None:
    making: Any = make(Config()).pytest_pycollect_makeitem()
    next(making)
    assert not gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        making.throw(ZeroDivisionError())
    assert gc.isenabled()
