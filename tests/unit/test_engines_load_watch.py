"""When the load of a model is not worth waiting for."""

from __future__ import annotations

import os

import pytest

from pytest_evals.engines import load_watch
from pytest_evals.engines.load_watch import IDLE_SECONDS, LoadWatch


class Clock:
    """A clock, and a process that has used so much."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.used: tuple[float, int] | None = (0.0, 0)
        monkeypatch.setattr(load_watch, "monotonic", lambda: self.now)
        monkeypatch.setattr(load_watch, "_used", lambda _pid: self.used)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_load_may_take_its_limit(clock: Clock) -> None:
    watch = LoadWatch(1, 100)
    clock.now += 99
    assert watch.problem() is None
    clock.now += 2
    assert watch.problem() == "loading took more than 100 s"


def test_a_load_that_does_nothing_ends_earlier(clock: Clock) -> None:
    watch = LoadWatch(1, 3600)
    for _ in range(20):
        clock.now += 60
        clock.used = (clock.used[0] + 1, 0) if clock.used else None
        assert watch.problem() is None
    clock.now += IDLE_SECONDS + 1
    assert watch.problem() == "while it loaded it did nothing for 600 s"


def test_reading_is_doing_something_and_so_is_what_nobody_can_tell(clock: Clock) -> None:
    watch = LoadWatch(1, 7200)
    for _ in range(20):
        clock.now += 60
        clock.used = (0.0, clock.used[1] + (1 << 20)) if clock.used else None
        assert watch.problem() is None
    clock.used = None
    for _ in range(20):
        clock.now += 60
        assert watch.problem() is None


def test_no_limit_is_none(clock: Clock) -> None:
    watch = LoadWatch(1, 0)
    clock.now += 10**6
    assert watch.problem() is None


def test_what_a_process_has_used_is_told() -> None:
    used = load_watch._used(os.getpid())
    assert used is not None
    assert used[0] > 0
    assert load_watch._used(2**22 + 1) is None
