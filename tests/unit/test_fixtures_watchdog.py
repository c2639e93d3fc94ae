"""When the watcher ends a process, and how that process tells it what runs."""

from __future__ import annotations

import mmap
import signal
from pathlib import Path

import pytest

from pytest_evals.fixtures import watchdog_process
from pytest_evals.fixtures.watchdog_process import Watch
from pytest_evals.fixtures.watchdog_table import (
    GRACE_SECONDS,
    LOOP,
    MAIN,
    SIZE,
    SLOTS,
    Entry,
    read_beat,
    read_entries,
    write_entry,
)

TURN = 0.5


def entry(seconds: float = 10, turn: int = 1, label: str = "grader 'g' of t") -> Entry:
    return Entry(label, seconds, 7, 8, turn)


class Scene:
    """A process whose counter goes on unless it is held."""

    def __init__(self) -> None:
        self.watch = Watch(1)
        self.beat = 0

    def live(
        self, seconds: float, entries: dict[int, Entry], *, held: bool = False, debugged: bool = False
    ) -> str | None:
        for _ in range(round(seconds / TURN)):
            self.beat += 0 if held else 1
            why = self.watch.problem(self.beat, debugged=debugged, entries=entries, seconds=TURN)
            if why is not None:
                return why
        return None


def test_a_process_that_is_held_beyond_the_limit_of_what_it_runs_ends() -> None:
    scene = Scene()
    assert scene.live(30, {LOOP: entry()}) is None
    assert scene.live(10, {LOOP: entry()}, held=True) is None
    why = scene.live(GRACE_SECONDS + 1, {LOOP: entry()}, held=True)
    assert why is not None
    assert why.startswith("nothing else could run for 1")


def test_the_shortest_limit_counts_and_none_is_no_limit() -> None:
    assert Scene().live(600, {LOOP: entry(0)}, held=True) is None
    assert Scene().live(600, {}, held=True) is None
    assert Scene().live(20, {LOOP: entry(600), LOOP + 1: entry(10)}, held=True) is not None


def test_a_grader_in_the_main_thread_that_swallows_its_limit_ends_the_process() -> None:
    scene = Scene()
    assert scene.live(14, {MAIN: entry(turn=1)}) is None
    assert scene.live(14, {MAIN: entry(turn=2)}) is None
    assert scene.live(20, {LOOP: entry(turn=3)}) is None
    why = scene.live(20, {MAIN: entry(turn=4)})
    assert why is not None
    assert "whose exception it swallows" in why


def test_somebody_who_debugs_has_all_the_time() -> None:
    assert Scene().live(600, {MAIN: entry()}, debugged=True) is None
    assert Scene().live(600, {MAIN: entry()}, held=True, debugged=True) is None


def test_ctrl_c_ends_a_process_that_cannot_hear_it_and_no_other() -> None:
    scene = Scene()
    scene.watch.ask(signal.SIGINT)
    assert scene.live(30, {}) is None
    assert scene.live(GRACE_SECONDS, {}, held=True) == "Ctrl-C asked for its end"
    scene = Scene()
    scene.watch.ask(signal.SIGTERM)
    # It heard of that long ago.
    assert scene.live(120, {}) is None
    assert scene.live(600, {}, held=True) is None


def test_a_table_tells_what_was_written() -> None:
    table = mmap.mmap(-1, SIZE)
    assert read_entries(table) == {}
    assert read_beat(table) == (0, False)
    long = entry(label="ü" * 2000, seconds=0.25)
    write_entry(table, MAIN, entry())
    write_entry(table, SLOTS - 1, long)
    found = read_entries(table)
    assert found[MAIN] == entry()
    assert found[SLOTS - 1][1:] == long[1:]
    assert set(found[SLOTS - 1].label.rstrip("\ufffd")) == {"ü"}
    write_entry(table, MAIN, None)
    assert list(read_entries(table)) == [SLOTS - 1]


def test_of_several_the_one_that_computes_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [entry(label="one"), Entry("two", 10, 70, 80, 2)]
    used = {8: [5, 5], 80: [5, 9]}
    monkeypatch.setattr(watchdog_process, "_ticks", lambda _pid, thread: used[thread].pop(0))
    monkeypatch.setattr(watchdog_process, "_STACK_SECONDS", 0)
    assert watchdog_process.busiest(1, both) == [both[1]]
    monkeypatch.setattr(watchdog_process, "_ticks", lambda _pid, _thread: 0)
    assert watchdog_process.busiest(1, both) == both
    assert watchdog_process.busiest(1, both[:1]) == both[:1]


def test_a_process_that_is_gone_is_not_stopped(tmp_path: Path) -> None:
    assert not watchdog_process.is_stopped(2**22 + 1)
    assert watchdog_process.stack(1, 0, tmp_path, 1) == []
