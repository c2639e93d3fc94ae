"""How long the rest takes where an engine does not account for its work, as scripts and served models: by how long answers take. Pure:
times come from the caller.

Durations are learned from answers that are finished and from those under way, which take at least as long as they have, by the
estimate that `remaining_work` makes of tokens. The answers under way share the rest among them. A script that is called for one request
after another has only one under way, however many it was given: its answers do not overlap.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pytest_evals.engines.remaining_work import AnswerLengths

_TICKS = 256
"""Ticks in the longest duration that is known."""
_MOST = 64
"""No answer is expected to take as many times the longest one that is known."""
_RARE = 0.2
"""Answers that are expected to take longer than the longest that counts."""
_OVERLAP_SECONDS = 0.25
"""Answers that overlap by more were computed beside each other; less may be the time for which results wait to be sent."""
_MOST_SERIAL = 1.2
"""Seconds of answers in a second, where they do not overlap: 1, and what clocks add."""


class AnswerDurations:
    """See the module. The caller tells what was sent, what began and what is finished."""

    def __init__(self) -> None:
        self._waiting: dict[str, None] = {}
        self._live: dict[str, float] = {}
        self._found: list[float] = []
        self._begun = self._ended = 0.0
        self._overlap = 0.0

    def sent(self, key: str) -> None:
        """Take note of a request that the engine was given."""
        self._waiting[key] = None

    def started(self, keys: Iterable[str], now: float) -> None:
        """Take note of requests that are being computed."""
        if not self._live:
            # The time in which nothing was under way is none of any answer.
            self._begun, self._ended = now - (self._ended - self._begun), now
        for key in keys:
            if key in self._waiting:
                del self._waiting[key]
                self._live[key] = now

    def finished(self, key: str, now: float, latency: float | None) -> None:
        """Take note of an answer. ``latency`` is what the engine says that it took; without it, the time since it began."""
        begun = self._live.pop(key, None)
        self._waiting.pop(key, None)
        if begun is None:
            return
        took = now - begun if latency is None else min(latency, now - begun)
        self._overlap = max(self._overlap, self._ended - (now - took)) if self._found else 0.0
        self._ended = now
        self._found.append(took)

    def forget(self, key: str) -> None:
        """Take note of a request that the engine has no more."""
        self._waiting.pop(key, None)
        self._live.pop(key, None)

    def seconds_left(self, now: float) -> float | None:
        """Return how long the rest takes; `None` while too few answers came to tell."""
        if not self._found or (len(self._found) < 2 and len(self._live) > 1):
            return None
        waiting, ages = len(self._waiting), [now - begun for begun in self._live.values()]
        if self._is_serial and ages:
            waiting, ages = waiting + len(ages) - 1, [now - self._ended]
        tick = max(*self._found, *ages, 1e-6) / _TICKS
        ends = Counter(max(round(took / tick), 1) for took in self._found)
        lasting = Counter(round(age / tick) for age in ages)
        limit = _longest(ends, lasting, waiting + len(ages))
        lengths = AnswerLengths(ends, {}, {(limit, age): number for age, number in lasting.items()})
        _, ticks = lengths.left({limit: waiting} if waiting else {}, max(len(ages), 1))
        return ticks * tick

    @property
    def _is_serial(self) -> bool:
        return self._overlap <= _OVERLAP_SECONDS and sum(self._found) <= _MOST_SERIAL * (self._ended - self._begun)


def _longest(ends: Counter[int], lasting: Counter[int], number: int) -> int:
    """Return a duration that hardly one of ``number`` answers is expected to reach."""
    lengths = AnswerLengths(ends, {}, {(_MOST * _TICKS, age): count for age, count in lasting.items()})
    limit = _TICKS + 1
    while limit < _MOST * _TICKS and lengths.alive(limit) * number > _RARE:
        limit += _TICKS // 4
    return limit
