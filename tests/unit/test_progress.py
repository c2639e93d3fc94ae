"""News while a person waits: what is new, and not the same line again and again."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_evals.engines.pool import EnginePool
from pytest_evals.engines.resident import Resident
from pytest_evals.engines.slot import Slot
from pytest_evals.engines.spec import parse_spec
from pytest_evals.progress import Progress


class Clock:
    """A clock that a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EnginePool:
    """A pool with one model at work on ten requests."""
    resident = Resident(parse_spec("smollm2", tmp_path), Slot(deduplicates=True), asked=10, working_since=1000.0)
    pool = EnginePool(tmp_path)
    monkeypatch.setattr(pool, "residents", lambda: [resident])
    return pool


def test_notes_are_told_at_once_and_once(clock: Clock, pool: EnginePool) -> None:
    lines: list[str] = []
    progress = Progress(pool, lines.append)
    pool.notes.extend(["smollm2: starting the engine", "smollm2: loaded in 1.0 s"])
    progress.tick()
    clock.now += 1
    progress.tick()
    assert lines == ["evals: smollm2: starting the engine", "evals: smollm2: loaded in 1.0 s"]


def test_counts_are_told_every_few_seconds_where_they_changed(clock: Clock, pool: EnginePool) -> None:
    lines: list[str] = []
    progress = Progress(pool, lines.append)
    (resident,) = pool.residents()
    for second in range(1, 25):
        clock.now = 1000.0 + second
        resident.done = second // 12
        resident.unfinished_tokens = 60 * (second // 12)
        progress.tick()
    assert lines == ["evals: smollm2: 0/10 completions", "evals: smollm2: 1/10 completions, 4 tokens/s"]


def test_a_long_silence_is_broken(clock: Clock, pool: EnginePool) -> None:
    lines: list[str] = []
    progress = Progress(pool, lines.append)
    for second in range(1, 71):
        clock.now = 1000.0 + second
        progress.tick()
    assert lines == ["evals: smollm2: 0/10 completions"] * 3
