"""How long the rest of a model's work takes, against engines that are simulated step by step."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy
import pytest

from benchmarks.time_left import Event, read_events, replayed
from pytest_evals.completion import Completion, Failure
from pytest_evals.engines.protocol import Request, Result
from pytest_evals.engines.remaining_work import AnswerLengths, RemainingWork, StepCosts
from pytest_evals.generation import GenerationParams


@dataclass
class Simulated:
    """An engine that fills a batch of ``rows``, the longest limit first, and reports once a second.

    ``costs`` are the seconds of a forward, of a row in it and of a token of a prompt.
    """

    rows: int
    costs: tuple[float, float, float]
    device: str = "cpu"
    prompt: int = 100
    now: float = 0.0
    told: float = 0.0
    usage: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(
            ("decodes", "decode_rows", "prompt_tokens", "generated_tokens", "device_seconds"), 0.0
        )
    )
    events: list[Event] = field(default_factory=list)

    def run(self, limits: Sequence[int], lengths: Sequence[int]) -> list[Event]:
        """Return the record of a run of completions of these limits, which would have these lengths without them."""
        requests = [request(f"r{number}", limit, 4 * self.prompt) for number, limit in enumerate(limits)]
        self.events = [(0.0, "engine", [self.rows, self.device]), (0.0, "sent", [each.to_dict() for each in requests])]
        waiting = sorted(range(len(limits)), key=lambda number: -limits[number])
        live: dict[int, int] = {}
        while waiting or live:
            chunk: list[int] = []
            while waiting and len(live) + len(chunk) < self.rows and len(chunk) < 10:
                chunk.append(waiting.pop(0))
            self._step(len(live), len(chunk))
            live = {number: age + 1 for number, age in live.items()} | dict.fromkeys(chunk, 1)
            if chunk:
                self._say("started", [f"r{number}" for number in chunk])
            for number in [each for each in live if live[each] >= min(lengths[each], limits[each])]:
                tokens = live.pop(number)
                self._say("finished", answer(f"r{number}", tokens, cut=lengths[number] > limits[number]).to_dict())
            if self.now - self.told > 1 or not (waiting or live):
                self.told = self.now
                self._say("report", dict(self.usage))
        return self.events

    def _say(self, name: str, what: object) -> None:
        self.events.append((self.now, name, what))

    def _step(self, rows: int, new: int) -> None:
        work = (1.0 if rows else 0.0, float(rows), float(new * self.prompt))
        seconds = sum(cost * amount for cost, amount in zip(self.costs, work, strict=True))
        self.now += seconds
        for name, amount in zip(("decodes", "decode_rows", "prompt_tokens"), work, strict=True):
            self.usage[name] += amount
        self.usage["generated_tokens"] += rows + new
        self.usage["device_seconds"] += seconds


def request(key: str, limit: int = 8, characters: int = 40, choices: tuple[str, ...] = (), n: int = 1) -> Request:
    params = GenerationParams(max_new_tokens=limit, n=n, temperature=1.0 if n > 1 else 0.0)
    return Request(key, "model", ({"role": "user", "content": "x" * characters},), params, choices)


def answer(key: str, tokens: int, *, cut: bool = False) -> Result:
    return Result(key, Completion("x", completion_tokens=tokens, finish_reason="length" if cut else "stop"))


CPU = (0.017, 0.0028, 0.0017)
GPU = (0.2, 0.0002, 0.0001)


def geometric(mean: float, count: int) -> list[int]:
    return [int(length) for length in numpy.random.default_rng(3).geometric(1 / mean, count)]


def pareto(count: int) -> list[int]:
    limits = [round(8 / (1 - 0.75 * (n + 0.5) / count) ** 3) for n in range(count)]
    return [limits[number] for number in numpy.random.default_rng(7).permutation(count)]


@pytest.mark.parametrize(("costs", "device"), [(CPU, "cpu"), (GPU, "cuda:0")], ids=["cpu", "gpu"])
@pytest.mark.parametrize(
    ("limits", "lengths", "rows"),
    [
        ([96] * 64, [200] * 64, 64),
        ([96] * 640, geometric(300, 640), 64),
        (pareto(128), geometric(400, 128), 64),
        (pareto(1000), geometric(200, 1000), 64),
        ([256] * 1000, geometric(30, 1000), 32),
        ([2048] * 2000, geometric(60, 2000), 64),
        ([32] * 400, [32] * 400, 16),
    ],
    ids=["W1", "long", "W5", "long tail", "short answers", "high limit", "equal"],
)
def test_the_time_left_is_within_a_third_of_the_truth_after_a_tenth_of_the_run(
    limits: list[int], lengths: list[int], rows: int, costs: tuple[float, float, float], device: str
) -> None:
    for told in replayed(Simulated(rows, costs, device).run(limits, lengths)):
        assert told.off is not None
        # Later on less is left, so that the last rows weigh more.
        assert abs(told.off) <= {0.1: 1 / 3, 0.25: 1 / 3, 0.5: 0.5, 0.75: 1.0}[told.share], told


def test_scored_texts_are_counted_by_what_is_read_of_them() -> None:
    work = RemainingWork()
    work.sent([request(f"r{number}", characters=100 * number, choices=("a" * 50, "b" * 50)) for number in range(1, 11)])
    assert work.seconds_left(8, 0.0) is None
    work.started(["r1", "r2"], 0.0)
    work.report({**NOTHING, "prompt_tokens": 250, "device_seconds": 5.0}, 5.0)
    for key in ("r1", "r2"):
        work.finished(Result(key, Completion("", completion_tokens=0, likelihoods=())), 5.0)
    # 500 of 6500 characters were read in five seconds.
    assert work.seconds_left(8, 5.0) == pytest.approx(60)
    assert work.seconds_left(8, 7.0) == pytest.approx(58)
    assert not work.at_most
    assert len(work) == 8


NOTHING = dict.fromkeys(("decodes", "decode_rows", "prompt_tokens", "generated_tokens", "device_seconds"), 0.0)


def test_until_an_answer_ended_by_itself_its_limit_is_all_that_is_known() -> None:
    work = RemainingWork()
    work.sent([request("a"), request("b")])
    work.report(NOTHING, 0.0)
    assert work.at_most
    work.finished(answer("a", 8, cut=True), 1.0)
    assert work.at_most
    work.finished(answer("b", 3), 1.0)
    assert not work.at_most


def test_errors_and_answers_that_were_known_leave_nothing_behind() -> None:
    work = RemainingWork()
    work.sent([request("a"), request("b", n=4), request("c", choices=("x",))])
    work.finished(answer("of another one", 5), 1.0)
    work.finished(Result("a", error=Failure("engine", "no")), 1.0)
    samples = tuple(Completion("x", completion_tokens=3) for _ in range(4))
    work.finished(Result("b", Completion("x", samples=samples)), 1.0)
    work.finished(Result("c", Completion("", likelihoods=())), 1.0)
    work.report({**NOTHING, "decodes": 3, "decode_rows": 12, "generated_tokens": 12, "device_seconds": 1.0}, 1.0)
    assert len(work) == 0
    assert work.seconds_left(4, 1.0) == 0


def test_after_a_crash_a_new_process_counts_from_nothing() -> None:
    work = RemainingWork()
    requests = [request(f"r{number}", 10) for number in range(4)]
    for _ in range(2):
        work.sent(requests)
        work.started([each.id for each in requests], 0.0)
        work.report({**NOTHING, "prompt_tokens": 40, "generated_tokens": 4, "device_seconds": 1.0}, 1.0)
        before = work.seconds_left(4, 1.0)
        work.lost()
        assert len(work) == 0
    work.sent(requests)
    work.started([each.id for each in requests], 0.0)
    work.report({**NOTHING, "prompt_tokens": 40, "generated_tokens": 4, "device_seconds": 1.0}, 11.0)
    assert work.seconds_left(4, 11.0) == pytest.approx(before)


def test_the_time_in_which_an_engine_had_nothing_to_do_is_no_work() -> None:
    work = RemainingWork()
    work.sent([request("a", 101)])
    work.started(["a"], 0.0)
    work.report({**NOTHING, "prompt_tokens": 10, "generated_tokens": 1, "device_seconds": 0.1}, 1.0)
    steps = {**NOTHING, "prompt_tokens": 10, "decodes": 50.0, "decode_rows": 50.0, "generated_tokens": 51}
    work.report({**steps, "device_seconds": 5.1}, 600.0)
    assert work.seconds_left(1, 600.0) == pytest.approx(5, rel=0.2)


# -- engines that account for nothing: by how long answers take


def answered_one_by_one(durations: Sequence[float], chunk: int = 64) -> list[Event]:
    """Return the record of a script that is called for one request after another; results are sent twenty times a second."""
    events, now = _asked(len(durations)), 0.0
    for number, took in enumerate(durations):
        if number % chunk == 0:
            keys = [f"r{each}" for each in range(number, min(number + chunk, len(durations)))]
            events.append((math.ceil(now / 0.05) * 0.05, "started", keys))
        now += took
        events.append((math.ceil(now / 0.05) * 0.05, "finished", timed(f"r{number}", took)))
    return events


def answered_together(durations: Sequence[float], slots: int) -> list[Event]:
    """Return the record of a server or an asynchronous script that answers some requests at a time."""
    events, now = _asked(len(durations)), 0.0
    waiting = list(enumerate(durations))
    live: list[tuple[float, int]] = []
    while waiting or live:
        fresh = [waiting.pop(0) for _ in range(min(slots - len(live), len(waiting)))]
        events += [(now, "started", [f"r{number}" for number, _ in fresh])] if fresh else []
        for number, took in fresh:
            heapq.heappush(live, (now + took, number))
        now, number = heapq.heappop(live)
        events.append((now, "finished", timed(f"r{number}", durations[number])))
    return events


def _asked(count: int) -> list[Event]:
    return [(0.0, "engine", [1, "python"]), (0.0, "sent", [request(f"r{n}").to_dict() for n in range(count)])]


def timed(key: str, latency: float) -> dict[str, Any]:
    return Result(key, Completion("x", latency=latency)).to_dict()


DURATIONS: dict[str, Callable[[numpy.random.Generator, int], Any]] = {
    "equal": lambda _, n: numpy.full(n, 1.0),
    "quick": lambda chance, n: chance.uniform(0.005, 0.03, n),
    "uniform": lambda chance, n: chance.uniform(0.2, 2, n),
    "exponential": lambda chance, n: 0.05 + chance.exponential(1, n),
    "log-normal": lambda chance, n: chance.lognormal(0, 1, n),
    "Weibull": lambda chance, n: chance.weibull(0.6, n),
    "Pareto": lambda chance, n: 0.5 + chance.pareto(2, n) / 2,
    "a third is slow": lambda chance, n: numpy.where(chance.random(n) < 1 / 3, 2, 0.5) * chance.uniform(0.8, 1.2, n),
}


@pytest.mark.parametrize("slots", [1, 2, 8, 32])
@pytest.mark.parametrize("kind", list(DURATIONS))
def test_by_durations_the_time_left_is_within_a_third_of_the_truth_after_a_tenth_of_the_run(
    kind: str, slots: int
) -> None:
    durations = DURATIONS[kind](numpy.random.default_rng(11), 1000).tolist()
    events = answered_one_by_one(durations) if slots == 1 else answered_together(durations, slots)
    for told in replayed(events, (0.1, 0.25)):
        assert told.off is not None
        assert abs(told.off) <= 1 / 3, told


def test_while_too_few_answers_came_no_time_is_told() -> None:
    work = RemainingWork()
    assert work.seconds_left(1, 0.0) is None
    work.sent([request(f"r{number}") for number in range(4)])
    work.report({"retries": 3}, 0.0)
    work.started(["r0", "r1", "r2"], 0.0)
    assert work.seconds_left(1, 1.0) is None
    work.finished(Result.from_dict(timed("r0", 2.0)), 2.0)
    # One after another, or three at a time?
    assert work.seconds_left(1, 2.0) is None
    work.finished(Result.from_dict(timed("r1", 2.0)), 4.0)
    left = work.seconds_left(1, 4.0)
    assert left == pytest.approx(4, rel=0.1), "one after another: r2 and r3"
    assert work.seconds_left(1, 5.0) == pytest.approx(3, rel=0.2)
    assert not work.at_most


def test_errors_have_durations_and_what_is_lost_is_counted_again() -> None:
    work = RemainingWork()
    work.sent([request(f"r{number}") for number in range(10)])
    work.started([f"r{number}" for number in range(5)], 0.0)
    for number in range(5):
        work.finished(Result(f"r{number}", error=Failure("model", "no")), 4.0)
    work.started([f"r{number}" for number in range(5, 10)], 4.0)
    assert work.seconds_left(1, 5.0) == pytest.approx(3, rel=0.1)
    work.lost()
    assert len(work) == 0
    assert work.seconds_left(1, 5.0) == 0
    # A pause of an hour, in which nothing was asked.
    work.sent([request(f"again{number}") for number in range(5)])
    work.started([f"again{number}" for number in range(5)], 3600.0)
    assert work.seconds_left(1, 3601.0) == pytest.approx(3, rel=0.1)


# -- how long answers get


def test_answer_lengths_are_those_of_kaplan_and_meier() -> None:
    # Lengths 2, 3 (cut), 4 and 5: of four, three and two that may end, one does; then the last one.
    lengths = AnswerLengths({2: 1, 4: 1, 5: 1}, {3: 1}, {})
    assert [lengths.alive(tokens) for tokens in range(6)] == pytest.approx([1, 1, 0.75, 0.75, 0.375, 0])
    assert lengths.area(5) == pytest.approx(1 + 1 + 0.75 + 0.75 + 0.375)
    assert lengths.area(100) == lengths.area(5)


def test_answers_under_way_say_that_they_are_at_least_so_long() -> None:
    lengths = AnswerLengths({2: 1}, {}, {(10, 6): 3})
    assert lengths.alive(5) == pytest.approx(0.75)
    # One in twenty tokens ended an answer, and those under way may end so.
    assert lengths.alive(10) == pytest.approx(0.75 * math.exp(-4 / 20))
    assert lengths.left({}, 4) == pytest.approx((3 * 20 * (1 - math.exp(-4 / 20)), 4))
    whole = 2 + 0.75 * (4 + 20 * (1 - math.exp(-4 / 20)))
    assert lengths.left({10: 2}, 4)[0] == pytest.approx(3 * 20 * (1 - math.exp(-4 / 20)) + 2 * whole)


@pytest.mark.parametrize("seed", range(3))
def test_costs_are_such_that_steps_like_those_of_reports_take_as_long(seed: int) -> None:
    chance = numpy.random.default_rng(seed)
    costs, true = StepCosts(), (0.1, 0.003, 0.001)
    assert not costs
    for _ in range(60):
        work = [float(chance.integers(1, 6)), float(chance.integers(1, 301)), float(chance.choice([0, 1024]))]
        costs.add(work, sum(cost * amount for cost, amount in zip(true, work, strict=True)))
    assert costs.seconds([3, 150, 512], (10, 1, 1)) == pytest.approx(0.3 + 0.45 + 0.512, rel=0.1)


def test_a_cost_is_not_taken_for_more_than_some_times_what_it_is_likely_to_be() -> None:
    costs = StepCosts()
    for forwards, seconds in ((1, 1.0), (2, 20.0), (3, 40.0)):
        costs.add([forwards, 100, 0], seconds)
    unit = 61 / (6 * 6 + 300)
    assert costs.seconds([1, 0, 0], (6, 1, 0.7)) <= 5 * 6 * unit * 1.1


def test_no_cost_is_below_nothing() -> None:
    costs = StepCosts()
    for rows, seconds in ((10, 1.0), (20, 1.0), (40, 0.5), (80, 0.1)):
        costs.add([1, rows, 0], seconds)
    assert all(costs.seconds(unit, (6, 1, 0.7)) >= 0 for unit in ([1, 0, 0], [0, 1, 0], [0, 0, 1]))


def test_a_record_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("record") / "W1.jsonl"
    file.write_text('[0.0, "engine", [4, "cpu"]]\n[1.5, "started", ["a"]]\n', encoding="utf-8")
    assert read_events(file) == [(0.0, "engine", [4, "cpu"]), (1.5, "started", ["a"])]
