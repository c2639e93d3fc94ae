"""News while a person waits: a line that is kept up to date on a terminal, whole lines now and then elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.completion import Completion
from pytest_evals.engines.pool import EnginePool
from pytest_evals.engines.protocol import Request, Result
from pytest_evals.engines.remaining_work import RemainingWork
from pytest_evals.engines.replica import Replica
from pytest_evals.engines.request_tracker import RequestTracker
from pytest_evals.engines.spec import parse_spec
from pytest_evals.generation import GenerationParams
from pytest_evals.session.progress import state
from pytest_evals.session.terminal import LINE_SECONDS, LIVE_SECONDS, MOST_LINE_SECONDS, ProgressLine, PytestScreen


class Clock:
    """A clock that a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@dataclass
class Shown:
    """A screen that keeps what it was told: lines as they are, a status with ``~`` before it."""

    live: bool
    told: list[str] = field(default_factory=list)

    def line(self, text: str) -> None:
        self.told.append(text)

    def status(self, text: str) -> None:
        self.told.append(f"~{text}")


def copy_of(spec: str = "smollm2", number: int = 0, **counts: Any) -> Replica:
    return Replica(parse_spec(spec, Path()), RequestTracker(deduplicates=True), number, **counts)


@pytest.fixture
def replica() -> Replica:
    """A model at work on ten requests."""
    return copy_of(asked=10, working_since=1000.0)


@pytest.fixture
def pool(tmp_path: Path, replica: Replica, monkeypatch: pytest.MonkeyPatch) -> EnginePool:
    pool = EnginePool(tmp_path)
    monkeypatch.setattr(pool, "all_replicas", lambda: [replica])
    return pool


@pytest.mark.parametrize("live", [True, False])
def test_notes_are_told_at_once_and_once(clock: Clock, pool: EnginePool, replica: Replica, live: bool) -> None:
    replica.working_since = None
    screen = Shown(live)
    progress = ProgressLine(pool, screen)
    pool.notes.extend(["smollm2: starting the engine", "smollm2: loaded in 1.0 s"])
    progress.tick()
    clock.now += 1
    progress.tick()
    # The status of before goes, so that the line stands alone.
    assert screen.told == ["~", "evals: smollm2: starting the engine", "~", "evals: smollm2: loaded in 1.0 s"]


def test_how_far_loading_is_stands_in_the_status(clock: Clock, pool: EnginePool, replica: Replica) -> None:
    replica.working_since, replica.state, replica.progress = None, "starting", "weights, 1.2 of 4.5 GB"
    screen = Shown(live=True)
    progress = ProgressLine(pool, screen)
    clock.now += LIVE_SECONDS
    progress.tick()
    replica.state = "ready"
    clock.now += LIVE_SECONDS
    progress.tick()
    assert screen.told == ["~evals: smollm2: loading: weights, 1.2 of 4.5 GB"]


def test_what_a_model_sets_up_before_it_answers_is_told(clock: Clock, pool: EnginePool, replica: Replica) -> None:
    replica.state, replica.progress = "ready", "timing layouts"
    screen = Shown(live=True)
    progress = ProgressLine(pool, screen)
    clock.now += LIVE_SECONDS
    progress.tick()
    assert screen.told == ["~evals: smollm2: timing layouts"]


def test_on_a_terminal_one_status_is_kept_up_to_date(clock: Clock, pool: EnginePool, replica: Replica) -> None:
    screen = Shown(live=True)
    progress = ProgressLine(pool, screen)
    for tenth in range(1, 21):
        clock.now = 1000.0 + tenth / 10
        replica.done = tenth // 5
        progress.tick()
    assert screen.told == [
        "~evals: smollm2 1/10 answers",
        "~evals: smollm2 2/10 answers",
        "~evals: smollm2 3/10 answers",
        "~evals: smollm2 4/10 answers",
    ]
    assert LIVE_SECONDS == 0.5


def test_in_a_log_lines_are_written_at_growing_intervals(clock: Clock, pool: EnginePool, replica: Replica) -> None:
    screen = Shown(live=False)
    progress = ProgressLine(pool, screen)
    times: list[int] = []
    for second in range(1, 7200):
        clock.now = 1000.0 + second
        replica.unfinished_tokens = 100 * second
        progress.tick()
        times += [second] * (len(screen.told) - len(times))
    assert set(screen.told) == {"evals: smollm2 0/10 completions, 100 tokens/s"}
    assert times == [15, 45, 105, 225, 465, 945, *range(1545, 7200, 600)]
    assert (LINE_SECONDS, MOST_LINE_SECONDS) == (15, 600)


def test_who_has_nothing_to_do_is_not_spoken_of(clock: Clock, pool: EnginePool, replica: Replica) -> None:
    screen = Shown(live=True)
    progress = ProgressLine(pool, screen)
    replica.working_since = None
    clock.now += 1000
    progress.tick()
    assert screen.told == []


def test_a_status_follows_a_note_at_once(clock: Clock, pool: EnginePool) -> None:
    screen = Shown(live=True)
    progress = ProgressLine(pool, screen)
    clock.now += LIVE_SECONDS
    progress.tick()
    pool.notes.append("smollm2: started again")
    progress.tick()
    assert screen.told == [
        "~evals: smollm2 0/10 completions",
        "~",
        "evals: smollm2: started again",
        "~evals: smollm2 0/10 completions",
    ]


def test_at_rest_the_status_goes(pool: EnginePool) -> None:
    screen = Shown(live=True)
    ProgressLine(pool, screen).rest()
    assert screen.told == ["~"]


def test_what_a_process_printed_is_made_harmless(clock: Clock, pool: EnginePool) -> None:
    screen = Shown(live=False)
    progress = ProgressLine(pool, screen)
    clock.now += 1
    pool.notes.append("smollm2: the engine's process ended; it printed last:\n  \x1b[2J\rgone")
    progress.tick()
    assert screen.told[-1] == "evals: smollm2: the engine's process ended; it printed last:\n  \\x1b[2J\\x0dgone"


def test_models_at_work_stand_side_by_side_and_copies_of_one_together(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = EnginePool(tmp_path)
    replicas = [
        copy_of(asked=20, done=5, tokens=50, working_since=1000.0),
        copy_of(number=1, done=3, tokens=30, working_since=1000.0),
        copy_of("org/other", asked=4, working_since=1001.0),
        copy_of("org/idle", asked=4),
    ]
    monkeypatch.setattr(pool, "all_replicas", lambda: replicas)
    screen = Shown(live=True)
    progress = ProgressLine(pool, screen)
    clock.now += 4
    progress.tick()
    assert screen.told == ["~evals: smollm2 8/20 completions, 20 tokens/s; other 0/4 completions"]


# -- what is said of a model


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ({}, "smollm2 0/10 completions"),
        ({"unfinished_tokens": 40}, "smollm2 0/10 completions, 4.0 tokens/s"),
        ({"tokens": 80, "unfinished_tokens": 40}, "smollm2 0/10 completions, 8.0 tokens/s"),
        ({"done": 2}, "smollm2 2/10 answers"),
        ({"done": 1}, "smollm2 1/10 answers"),
        ({"done": 10}, "smollm2 10/10 answers"),
        ({"scored_asked": 10, "texts_asked": 40}, "smollm2 0/40 texts scored"),
        (
            {"scored_asked": 10, "texts_asked": 40, "done": 5, "scored": 5, "texts": 20},
            "smollm2 20/40 texts scored, 2.0 texts/s",
        ),
        (
            {"scored_asked": 4, "texts_asked": 16, "done": 5, "scored": 3, "texts": 12, "tokens": 80},
            "smollm2 2/6 completions, 8.0 tokens/s, 12/16 texts scored, 1.2 texts/s",
        ),
        # The time of before counts too.
        ({"done": 5, "tokens": 100, "seconds": 90.0}, "smollm2 5/10 completions, 1.0 tokens/s"),
    ],
)
def test_a_state_names_completions_rate_and_time_left(counts: dict[str, Any], text: str) -> None:
    assert state([copy_of(**{"asked": 10, "working_since": 1000.0, **counts})], 1010.0) == text


def test_how_long_the_rest_takes_is_told_by_the_answers_of_all_copies() -> None:
    copies = [copy_of(number=number, asked=6 if number == 0 else 0, done=2, working_since=0.0) for number in range(2)]
    for number, copy in enumerate(copies):
        keys = [f"{number}-{each}" for each in range(3)]
        copy.work.sent([Request(key, "smollm2", (), GenerationParams()) for key in keys])
        for each, key in enumerate(keys):
            copy.work.started([key], 5.0 * each)
            if each < 2:
                copy.work.finished(Result(key, Completion("x", latency=5.0)), 5.0 * each + 5)
    assert state(copies, 12.0) == "smollm2 4/6 answers, about 3 s left"
    # Where it cannot be told of one copy, it is not told.
    copies[1].work = RemainingWork()
    copies[1].work.sent([Request("1-3", "smollm2", (), GenerationParams())])
    assert state(copies, 12.0) == "smollm2 4/6 answers"


def test_in_the_first_second_no_rate_is_claimed() -> None:
    assert state([copy_of(asked=10, done=5, tokens=100, working_since=1000.0)], 1000.9) == "smollm2 5/10 completions"


# -- pytest's terminal


class FakeWriter:
    """Keeps what a terminal would be sent."""

    fullwidth = 30

    def __init__(self, column: int = 0) -> None:
        self.text = ""
        self.width_of_current_line = column
        self._file = self

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        self.text += "<flush>"


class FakeReporter:
    """What the screen uses of pytest's reporter."""

    def __init__(self, *, isatty: bool, column: int = 0) -> None:
        self.isatty = isatty
        self._tw = FakeWriter(column)

    def ensure_newline(self) -> None:
        self._tw.text += "<newline>"

    def write_line(self, text: str) -> None:
        self._tw.text += f"{text}\n"

    def flush(self) -> None:
        self._tw.text += "<flush>"


class FakeConfig:
    """A configuration with or without a terminal."""

    def __init__(self, reporter: FakeReporter | None, verbosity: int = 0) -> None:
        self.pluginmanager = self
        self._reporter = reporter
        self._verbosity = verbosity

    def get_plugin(self, name: str) -> FakeReporter | None:
        return self._reporter if name == "terminalreporter" else None

    def get_verbosity(self) -> int:
        return self._verbosity


def screen_on(
    *, isatty: bool = True, verbosity: int = 0, live: bool = True, column: int = 0
) -> tuple[PytestScreen, FakeReporter]:
    reporter = FakeReporter(isatty=isatty, column=column)
    config: Any = FakeConfig(reporter, verbosity)
    return PytestScreen(config, live=live), reporter


def test_a_status_overwrites_the_one_before() -> None:
    screen, reporter = screen_on()
    assert screen.live
    screen.status("one")
    screen.status("two")
    screen.status("")
    assert reporter._tw.text == "\r\x1b[2Kone<flush>\r\x1b[2Ktwo<flush>\r\x1b[2K<flush>"


def test_without_a_status_there_is_nothing_to_take_away() -> None:
    screen, reporter = screen_on()
    screen.status("")
    screen.status("one")
    screen.status("")
    screen.status("")
    assert reporter._tw.text == "\r\x1b[2Kone<flush>\r\x1b[2K<flush>"


def test_a_status_is_below_the_line_of_pytest_and_the_cursor_goes_back_to_its_end() -> None:
    screen, reporter = screen_on(column=7)
    for text in ("one", "two", ""):
        screen.status(text)
    assert reporter._tw.text == "\n\r\x1b[2Kone<flush>\r\x1b[2Ktwo<flush>\r\x1b[2K\x1b[A\x1b[7C<flush>"


def test_in_a_line_that_wraps_the_cursor_goes_back_into_its_last_part() -> None:
    screen, reporter = screen_on(column=FakeWriter.fullwidth + 4)
    for text in ("one", ""):
        screen.status(text)
    assert reporter._tw.text == "\n\r\x1b[2Kone<flush>\r\x1b[2K\x1b[A\x1b[4C<flush>"


def test_behind_a_line_that_is_full_a_status_begins_the_next_one() -> None:
    screen, reporter = screen_on(column=FakeWriter.fullwidth)
    for text in ("one", ""):
        screen.status(text)
    assert reporter._tw.text == "<newline>\r\x1b[2Kone<flush>\r\x1b[2K<flush>"


def test_a_status_is_cut_before_it_would_wrap() -> None:
    screen, reporter = screen_on()
    screen.status("x" * 100)
    assert reporter._tw.text.count("x") == FakeWriter.fullwidth - 1


@pytest.mark.parametrize(("isatty", "live"), [(False, True), (True, False), (False, False)])
def test_in_a_log_and_beside_workers_there_are_whole_lines_only(isatty: bool, live: bool) -> None:
    screen, reporter = screen_on(isatty=isatty, live=live)
    assert not screen.live
    screen.status("a status")
    screen.line("a line")
    screen.status("")
    assert reporter._tw.text == "a line\n<flush>"


@pytest.mark.parametrize("isatty", [True, False])
def test_under_q_nothing_is_said(isatty: bool) -> None:
    screen, reporter = screen_on(isatty=isatty, verbosity=-1)
    screen.status("a status")
    screen.line("a line")
    assert reporter._tw.text == ""


def test_the_terminal_may_be_there_later_than_the_screen() -> None:
    config: Any = FakeConfig(None)
    screen = PytestScreen(config)
    reporter = config._reporter = FakeReporter(isatty=True)
    assert screen.live
    screen.line("a line")
    assert reporter._tw.text == "a line\n<flush>"


def test_without_a_terminal_nothing_is_said() -> None:
    config: Any = FakeConfig(None)
    screen = PytestScreen(config)
    screen.status("a status")
    screen.line("a line")
    assert not screen.live
