"""Simulates a large run on many replicas: a million cases on 64 of them, with a clock of its own.

    python -m benchmarks.scaling                              # a million cases; some minutes
    python -m benchmarks.scaling --cases 20000 --replicas 8   # seconds

Who gets which request, and what becomes of the work of a replica whose machine goes, is decided by the plugin's own code (`ReplicaSet`
and `RequestTracker`); only the engines are simulated. Each has ``rows`` rows, in which requests are computed side by side, and a row
is given the next request as soon as it is free. A request takes 25 ms for each token of its answer, and 0.1 ms for each
token of its prompt. Answers have a median of 120 tokens and at most 1,024, prompts a median of 300: both log-normal, as in real suites.

``idle`` is the share of all rows' time in which they had nothing to do, ``over the ideal`` how much longer the run took than if all work
were spread without a gap over the replicas that were there.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tabulate import tabulate

from pytest_evals.completion import Completion, Message
from pytest_evals.engines.protocol import EngineInfo, Request, Result
from pytest_evals.engines.replica_set import ReplicaSet
from pytest_evals.engines.spec import parse_spec
from pytest_evals.engines.worker import FLUSH_SECONDS
from pytest_evals.generation import GenerationParams

TOKEN, PROMPT_TOKEN = 0.025, 0.0001
MOST_TOKENS = 1024
_ANSWER = Completion("x", completion_tokens=1)


@dataclass(frozen=True)
class Scenario:
    """What the machines are like. ``speeds`` are repeated over the replicas; ``lost`` go at the share ``when`` of the ideal time,
    and are back after so many seconds (`None`: never). ``shared``: from one backlog, else divided evenly at the start.
    """

    name: str
    speeds: tuple[float, ...] = (1.0,)
    lost: int = 0
    when: float = 0.5
    back_after: float | None = None
    shared: bool = True


@dataclass
class Machine:
    """One replica's engine."""

    speed: float
    rows: int
    there: bool = True
    life: int = 0
    waiting: deque[str] = field(default_factory=deque)
    running: dict[str, float] = field(default_factory=dict)
    busy: float = 0.0
    finished: float = 0.0
    gone_at: float = 0.0
    away: float = 0.0


@dataclass
class Outcome:
    """What came of a scenario: seconds of the simulated clock, but for ``real`` ones of this process."""

    seconds: float
    ideal: float
    idle: float
    first_idle: float
    again: int
    answered: int
    real: float


class Simulation:
    """One run."""

    def __init__(
        self, seconds: Sequence[float], requests: Sequence[Request], replicas: int, rows: int, plan: Scenario
    ) -> None:
        self.plan = plan
        self.work = dict(zip((request.id for request in requests), seconds, strict=True))
        self.set = ReplicaSet(parse_spec("smollm2", Path()), replicas)
        self.machines = [Machine(speed, rows) for speed in itertools.islice(itertools.cycle(plan.speeds), replicas)]
        self.requests = requests
        self.now = 0.0
        self.answered: set[str] = set()
        self.again = 0
        self._events: list[tuple[float, int, int, int, str]] = []
        self._numbers = itertools.count()

    def run(self) -> Outcome:
        """Run it to its end."""
        began = time.process_time()
        for replica, machine in zip(self.set.replicas, self.machines, strict=True):
            replica.state, replica.info = "ready", EngineInfo(rows=machine.rows)
        if self.plan.shared:
            self.set.add(self.requests)
        else:
            for number, request in enumerate(self.requests):
                self.set.replicas[number % len(self.machines)].tracker.add([request])
        self._give()
        ideal = sum(self.work.values()) / sum(machine.rows * machine.speed for machine in self.machines)
        if self.plan.lost:
            self._at(ideal * self.plan.when, -1, "")
        while self._events:
            # Engines tell of answers in groups.
            until = self._events[0][0] + FLUSH_SECONDS
            while self._events and self._events[0][0] <= until:
                self.now, _, number, life, key = heapq.heappop(self._events)
                if number < 0:
                    self._change(key)
                elif self.machines[number].there and self.machines[number].life == life:
                    self._finish(number, key)
            self._give()
        return self._outcome(ideal, time.process_time() - began)

    def _at(self, when: float, number: int, key: str) -> None:
        life = self.machines[number].life
        heapq.heappush(self._events, (when, next(self._numbers), number, life, key))

    def _finish(self, number: int, key: str) -> None:
        machine, replica = self.machines[number], self.set.replicas[number]
        machine.busy += self.now - machine.running.pop(key)
        for result in replica.tracker.finished(Result(key, _ANSWER)):
            if result.id in self.answered:
                raise AssertionError(f"{result.id} was answered twice")
            self.answered.add(result.id)
        machine.finished = self.now
        self._start(number)

    def _give(self) -> None:
        self.set.feed()
        for number, replica in enumerate(self.set.replicas):
            if replica.state == "ready" and replica.tracker.has_news:
                self.machines[number].waiting.extend(request.id for request in replica.tracker.next_to_send())
                self._start(number)

    def _start(self, number: int) -> None:
        machine = self.machines[number]
        while machine.waiting and len(machine.running) < machine.rows:
            key = machine.waiting.popleft()
            machine.running[key] = self.now
            self.set.replicas[number].tracker.started([key])
            self._at(self.now + self.work[key] / machine.speed, number, key)

    def _change(self, what: str) -> None:
        """Take machines away, or bring them back."""
        for number in range(self.plan.lost):
            machine, replica = self.machines[number], self.set.replicas[number]
            if what == "back":
                machine.there, machine.away = True, machine.away + self.now - machine.gone_at
                replica.state = "ready"
                continue
            self.again += len(machine.running)
            machine.busy += sum(self.now - since for since in machine.running.values())
            machine.there, machine.life, machine.gone_at = False, machine.life + 1, self.now
            machine.running.clear()
            machine.waiting.clear()
            replica.state = "stopped"
            if self.set.hand_on(replica, "was lost"):
                raise AssertionError("a request was given up")
        if what != "back" and self.plan.back_after is not None:
            self._at(self.now + self.plan.back_after, -1, "back")

    def _outcome(self, ideal: float, real: float) -> Outcome:
        end = max(machine.finished for machine in self.machines)
        room, possible = 0.0, 0.0
        for machine in self.machines:
            # It may be back when everything is done.
            away = min(machine.away, end - machine.gone_at) if machine.there else end - machine.gone_at
            room += machine.rows * (end - away)
            possible += machine.rows * machine.speed * (end - away)
        if self.plan.lost:
            ideal = end * sum(self.work.values()) / possible
        idle = 1 - sum(machine.busy for machine in self.machines) / room
        first = min(machine.finished for machine in self.machines if machine.there)
        return Outcome(end, ideal, idle, end - first, self.again, len(self.answered), real)


def workload(cases: int, seed: int = 0) -> tuple[list[float], list[Request]]:
    """Return so many requests, and the seconds that a row of speed 1 takes for each."""
    draw = random.Random(seed)
    # Sampled, so that no two of them are one: identical greedy requests would be computed once.
    params = GenerationParams(max_new_tokens=MOST_TOKENS, temperature=1.0, seed=1)
    texts = [
        ({"role": "user", "content": "x" * int(4 * min(8000, draw.lognormvariate(5.7, 0.8)))},) for _ in range(1000)
    ]
    seconds, requests = [], []
    for number in range(cases):
        messages: tuple[Message, ...] = texts[number % len(texts)]  # type: ignore[assignment]  # plain messages
        answer = min(MOST_TOKENS, 1 + int(draw.lognormvariate(4.79, 0.8)))
        seconds.append(answer * TOKEN + len(str(messages[0]["content"])) / 4 * PROMPT_TOKEN)
        requests.append(Request(f"c{number}", "smollm2", messages, params))
    return seconds, requests


def scenarios(replicas: int) -> list[Scenario]:
    """Return what is simulated: a node has 8 replicas, or a quarter of them where there are fewer than 32."""
    node = min(8, max(1, replicas // 4))
    mixed = (1.0, 1.1, 0.9, 1.2, 0.8, 1.0, 0.5, 1.0)
    return [
        Scenario("equal machines"),
        Scenario("mixed machines, one in eight half as fast", mixed),
        Scenario("the same, divided evenly at the start", mixed, shared=False),
        Scenario(f"equal, a node of {node} lost half way", lost=node),
        Scenario(f"equal, a node of {node} lost half way, back after 5 minutes", lost=node, back_after=300.0),
        Scenario(f"equal, a node of {node} lost at 95 %", lost=node, when=0.95),
    ]


def main(arguments: Sequence[str]) -> int:
    """Print the table; the exit status tells whether a case was left without an answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--replicas", type=int, default=64)
    parser.add_argument("--rows", type=int, default=32)
    told = parser.parse_args(arguments)
    seconds, requests = workload(told.cases)
    rows, missing = [], 0
    for plan in scenarios(told.replicas):
        found = Simulation(seconds, requests, told.replicas, told.rows, plan).run()
        missing += told.cases - found.answered
        rows.append(
            (
                plan.name,
                f"{found.seconds:,.0f} s",
                f"{found.seconds / found.ideal - 1:.2%}",
                f"{found.idle:.2%}",
                f"{found.first_idle:,.0f} s",
                found.again,
                f"{found.real / told.cases * 1e6:.0f} us",
            )
        )
        print(rows[-1], file=sys.stderr)
    head = (
        "machines",
        "run",
        "over the ideal",
        "idle",
        "first to last replica done",
        "computed again",
        "time here a case",
    )
    print(tabulate(rows, headers=head))
    print(f"{told.cases:,} cases, {told.replicas} replicas of {told.rows} rows; {missing} cases without an answer")
    return int(missing > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
