"""How long the rest of what one copy of a model was asked takes, for a person who waits. Pure: times come from the caller.

What is left is counted in tokens: prompts that were not read, and answers that were not written, those under way included. How long
answers get is learned from those that are finished and from those that are not yet (by Kaplan and Meier's estimate, where an answer
that reached its limit, and one under way, says that it is at least that long). What a forward takes is learned from the engine's own
accounts: a part for each forward, a part for each row in it, and a part for each token of a prompt. Where an engine accounts for nothing,
what is left is told by how long answers take: see `answer_durations`.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_evals.completion import text_of
from pytest_evals.engines.protocol import Request, Result

if TYPE_CHECKING:
    from pytest_evals.engines.answer_durations import AnswerDurations

_NAMES = ("decodes", "decode_rows", "prompt_tokens")
_PRIORS = {"cpu": (6.0, 1.0, 0.7), "gpu": (300.0, 1.0, 0.3)}
"""What a forward and a token of a prompt cost, in units of a row, before it is known. A GPU takes nearly as long for few rows as for many."""
_PRIOR_REPORTS = 0.5
"""How many reports the prior is worth."""
_MOST_OFF = 5.0
"""How many times as much, or as little, as by the prior something may cost: more is noise, as of another program that computes."""
_FADING = 0.97
"""Weight of a report at the time of the next one: a machine may become slower or faster."""
_IDLE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class _Task:
    """A request: ``rows`` completions of at most ``limit`` tokens, or none where texts are scored."""

    characters: int
    rows: int
    limit: int


class RemainingWork:
    """See the module. The caller tells what was sent, what began, what is finished and what the engine accounts for."""

    def __init__(self) -> None:
        self._tasks: dict[str, _Task] = {}
        self._live: dict[str, float] = {}
        self._waiting: Counter[int] = Counter()
        self._unread = self._read = self._finished_tokens = 0
        self._ends: Counter[int] = Counter()
        self._cuts: Counter[int] = Counter()
        self._usage: Mapping[str, float] = {}
        self._told = 0.0
        self._decodes = 0.0
        self._tokens_a_step = 1.0
        self._costs = StepCosts()
        self._durations: AnswerDurations | None = None

    def sent(self, requests: Iterable[Request]) -> None:
        """Take note of requests that the engine was given."""
        if self._durations is None:
            # Not at the start of a session, which is to be quick.
            from pytest_evals.engines.answer_durations import AnswerDurations

            self._durations = AnswerDurations()
        for request in requests:
            if request.id in self._tasks:
                self._forget(request.id)
            self._durations.sent(request.id)
            texts = [text_of(message) for message in request.messages]
            rows = 0 if request.choices else request.params.n
            characters = sum(map(len, texts)) + sum(map(len, request.choices))
            task = _Task(characters, rows, request.params.max_new_tokens)
            self._tasks[request.id] = task
            self._waiting[task.limit] += rows
            self._unread += task.characters

    def started(self, ids: Iterable[str], now: float) -> None:
        """Take note of requests that are being computed since the time ``now``."""
        keys = list(ids)
        if self._durations is not None:
            self._durations.started(keys, now)
        for key in keys:
            task = self._tasks.get(key)
            if task is not None and key not in self._live:
                self._live[key] = self._decodes
                self._waiting[task.limit] -= task.rows
                self._unread -= task.characters
                self._read += task.characters

    def finished(self, result: Result, now: float) -> None:
        """Take note of an answer at the time ``now``; one that was not asked of the engine counts for nothing."""
        task = self._tasks.get(result.id)
        if task is None:
            return
        self.started([result.id], now)
        begun = self._live[result.id]
        completion = result.completion
        if self._durations is not None:
            self._durations.finished(result.id, now, completion.latency if completion else None)
        self._forget(result.id)
        if completion is None or not task.rows:
            return
        for sample in completion.samples or (completion,):
            tokens = sample.completion_tokens or 0
            self._finished_tokens += tokens
            # Those beside it are as far, which the engine's last report did not know yet.
            self._decodes = max(self._decodes, begun + tokens / self._tokens_a_step - 1)
            (self._cuts if sample.finish_reason == "length" else self._ends)[tokens] += 1

    def _forget(self, key: str) -> None:
        task = self._tasks.pop(key)
        if self._durations is not None:
            self._durations.forget(key)
        if self._live.pop(key, None) is None:
            self._waiting[task.limit] -= task.rows
            self._unread -= task.characters

    def lost(self) -> None:
        """Take note that the process is gone: what it had is sent again, and the next one counts from nothing."""
        for key in list(self._tasks):
            self._forget(key)
        self._usage, self._finished_tokens, self._told = {}, 0, 0.0
        self._decodes, self._tokens_a_step = 0.0, 1.0

    def __len__(self) -> int:
        """Return how many requests the engine has."""
        return len(self._tasks)

    def report(self, usage: Mapping[str, float], now: float) -> None:
        """Take what the engine accounts for since it was loaded, at the time ``now``."""
        if "decode_rows" not in usage:
            return
        device = usage["device_seconds"] - self._usage.get("device_seconds", 0)
        # Before the first report the engine may have prepared itself, and between others it may have had nothing to do.
        seconds = now - self._told if self._told else device
        if seconds > _IDLE_SECONDS and seconds > 3 * device:
            seconds = device
        work = [usage[name] - self._usage.get(name, 0) for name in _NAMES]
        if any(work) and seconds > 0:
            self._costs.add(work, seconds)
        self._usage, self._told = dict(usage), now
        self._decodes = max(self._decodes, usage["decodes"])
        steps = sum(task.rows * (usage["decodes"] - start + 1) for task, start in self._under_way())
        tokens = usage["generated_tokens"] - self._finished_tokens
        # More than one where the engine guesses some ahead, and they come true.
        self._tokens_a_step = max(tokens / steps, 1.0) if steps > 0 and tokens > 0 else self._tokens_a_step

    def _under_way(self) -> list[tuple[_Task, float]]:
        return [(self._tasks[key], start) for key, start in list(self._live.items()) if key in self._tasks]

    def seconds_left(self, rows: int, now: float, device: str | None = None) -> float | None:
        """Return how long the rest takes with ``rows`` in the largest batch, on a ``device``; `None` while it cannot be told."""
        if not self._usage or not self._costs:
            return self._durations.seconds_left(now) if self._durations is not None else None
        lengths = AnswerLengths(self._ends, self._cuts, self._ages())
        waiting = {limit: number for limit, number in self._waiting.items() if number > 0}
        written, forwards = lengths.left(waiting, max(rows, 1))
        per_row = self._tokens_a_step
        prompt = self._unread * self._usage["prompt_tokens"] / self._read if self._read else 0.0
        prior = _PRIORS["cpu" if device in (None, "cpu") else "gpu"]
        whole = self._costs.seconds([forwards / per_row, written / per_row, prompt], prior)
        return max(whole - (now - self._told), 0.0)

    @property
    def at_most(self) -> bool:
        """Tell whether answers are known by their limits alone: none has ended before its own."""
        return bool(self._usage) and not self._ends and any(task.rows for task in list(self._tasks.values())[:1])

    def _ages(self) -> Counter[tuple[int, int]]:
        """Return how many rows under way there are, by their limit and the tokens that they have."""
        ages: Counter[tuple[int, int]] = Counter()
        for task, start in self._under_way():
            age = round((self._decodes - start + 1) * self._tokens_a_step)
            ages[task.limit, max(min(age, task.limit - 1), 0)] += task.rows
        return ages


class AnswerLengths:
    """How long answers get, by Kaplan and Meier's estimate.

    Args:
        ends: How many answers ended by themselves after each number of tokens.
        cuts: How many were cut off there.
        ages: How many rows are under way, by their limit and the tokens that they have.
    """

    def __init__(self, ends: Mapping[int, int], cuts: Mapping[int, int], ages: Mapping[tuple[int, int], int]) -> None:
        self._ages = ages
        gone: Counter[int] = Counter(ends)
        gone.update(cuts)
        for (_, age), number in ages.items():
            gone[age] += number
        at_risk = sum(gone.values())
        exposure = sum(tokens * number for tokens, number in gone.items())
        # After the longest answer all that is known is how often answers end at all.
        self._hazard = sum(ends.values()) / exposure if exposure else 0.0
        self._alive, self._areas = [1.0], [0.0]
        for tokens in range(1, max(gone, default=0) + 1):
            at_risk -= gone.get(tokens - 1, 0)
            ended = ends.get(tokens, 0)
            self._areas.append(self._areas[-1] + self._alive[-1])
            self._alive.append(self._alive[-1] * (1 - ended / at_risk) if at_risk > 0 else self._alive[-1])

    def alive(self, tokens: float) -> float:
        """Return the share of answers with more than this many tokens."""
        beyond = int(tokens) - (len(self._alive) - 1)
        return self._alive[-1] * math.exp(-self._hazard * beyond) if beyond > 0 else self._alive[int(tokens)]

    def area(self, tokens: int) -> float:
        """Return the mean length of answers that are cut off at this many tokens."""
        beyond = tokens - (len(self._areas) - 1)
        if beyond <= 0:
            return self._areas[tokens]
        more = -math.expm1(-self._hazard * beyond) / self._hazard if self._hazard else beyond
        return self._areas[-1] + self._alive[-1] * more

    def left(self, waiting: Mapping[int, int], rows: int) -> tuple[float, float]:
        """Return the tokens that are left to write, of rows under way and of those that are ``waiting``, by their limits; and in how many
        forwards ``rows`` at a time write them.
        """
        written, spans = 0.0, []
        for (limit, age), number in self._ages.items():
            alive = self.alive(age) or 1.0
            written += number * (self.area(limit) - self.area(age)) / alive
            spans.append((limit, age, number))
        for limit, number in waiting.items():
            written += number * self.area(limit)
        longest = float(self._last(spans))
        if not waiting:
            return written, longest
        last, tokens = self._draining(waiting, rows)
        return written, max(longest, (written - tokens) / rows + last)

    def _draining(self, waiting: Mapping[int, int], rows: int) -> tuple[float, float]:
        """Return how long the last rows, which have no others after them, take until all are done, and how many tokens they write in it.

        They began at different times, so that each has the rest of an answer before it; those with the lowest limits begin last.
        """
        left = number = min(rows, sum(waiting.values()))
        weighted = 0
        for limit in sorted(waiting):
            taken = min(left, waiting[limit])
            weighted, left = weighted + taken * limit, left - taken
        limit = round(weighted / number)
        mean = self.area(limit) or 1.0
        low, high = 0, limit
        while low < high:
            middle = (low + high) // 2
            going_on = number * (1 - self.area(middle) / mean)
            low, high = (low, middle) if going_on < 0.5 else (middle + 1, high)
        # Between both ends of a curve that falls, the mean of its halves.
        steps = [self.area(round(limit * share / 8)) for share in range(9)]
        share = sum(1 - (first + second) / 2 / mean for first, second in itertools.pairwise(steps)) / 8
        return float(low), number * share * limit

    def _last(self, spans: Sequence[tuple[int, int, int]]) -> int:
        """Return after how many more tokens fewer than half a row is expected to go on."""
        low, high = 0, max((limit - age for limit, age, _ in spans), default=0)
        while low < high:
            middle = (low + high) // 2
            going_on = sum(
                number * self.alive(age + middle) / (self.alive(age) or 1.0)
                for limit, age, number in spans
                if age + middle < limit
            )
            low, high = (low, middle) if going_on < 0.5 else (middle + 1, high)
        return low


class StepCosts:
    """Seconds that a forward, a row in it and a token of a prompt take: least squares over reports, held by a prior until they tell."""

    def __init__(self) -> None:
        self._products = [[0.0] * 3 for _ in range(3)]
        self._targets = [0.0] * 3
        self._work = [0.0] * 3
        self._seconds = self._squares = self._reports = 0.0

    def __bool__(self) -> bool:
        return self._seconds > 0

    def add(self, work: Sequence[float], seconds: float) -> None:
        """Take a report: forwards, rows and prompt tokens that took this many ``seconds``."""
        for row, column in itertools.product(range(3), repeat=2):
            self._products[row][column] = self._products[row][column] * _FADING + work[row] * work[column]
        for row in range(3):
            self._targets[row] = self._targets[row] * _FADING + work[row] * seconds
            self._work[row] = self._work[row] * _FADING + work[row]
        self._seconds = self._seconds * _FADING + seconds
        self._squares = self._squares * _FADING + seconds * seconds
        self._reports = self._reports * _FADING + 1

    def seconds(self, work: Sequence[float], prior: Sequence[float]) -> float:
        """Return what ``work`` takes; ``prior`` says what each of its parts costs beside the others, where reports do not."""
        return sum(cost * amount for cost, amount in zip(self._costs(prior), work, strict=True))

    def _costs(self, prior: Sequence[float]) -> list[float]:
        unit = self._seconds / sum(share * work for share, work in zip(prior, self._work, strict=True))
        before = [share * unit for share in prior]
        # Deviations are measured in units of the prior, so that noise goes where the prior has most of the time.
        hold = _PRIOR_REPORTS * self._squares / self._reports
        free = [0, 1, 2]
        while free:
            matrix = [
                [self._products[i][j] * before[i] * before[j] + (hold if i == j else 0.0) for j in free] for i in free
            ]
            found = _solved(matrix, [self._targets[i] * before[i] + hold for i in free])
            worst = min(range(len(free)), key=found.__getitem__)
            if found[worst] >= 0:
                factors = dict(zip(free, found, strict=True))
                return [before[i] * min(max(factors.get(i, 0.0), 1 / _MOST_OFF), _MOST_OFF) for i in range(3)]
            # Nothing takes less than no time.
            del free[worst]
        return before


def _solved(matrix: list[list[float]], target: list[float]) -> list[float]:
    """Return the solution of linear equations; ``matrix`` is positive definite."""
    rows = [[*row, value] for row, value in zip(matrix, target, strict=True)]
    size = len(rows)
    for pivot in range(size):
        for below in range(pivot + 1, size):
            factor = rows[below][pivot] / rows[pivot][pivot]
            rows[below] = [low - factor * high for low, high in zip(rows[below], rows[pivot], strict=True)]
    found = [0.0] * size
    for pivot in reversed(range(size)):
        known = sum(rows[pivot][column] * found[column] for column in range(pivot + 1, size))
        found[pivot] = (rows[pivot][size] - known) / rows[pivot][pivot]
    return found
