"""Intervals and tests that stay valid however often one looks, for the mean of values between 0 and 1.

The capital process of Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (JRSS B, 2024):
someone bets against "the mean is m" with fair odds. Turning 1 into 1 / alpha shows that m is wrong, and that
happens by chance with a probability of at most alpha, at any time (Ville's inequality).

With ``population`` the values are drawn without replacement, in random order, from that many, and the mean is the one
of all of them: what a run would have found had it gone to its end. Otherwise they are independent draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pytest_evals.statistics.intervals import Interval

_MOST = 0.75
"""The largest share of what could be lost that is put on one bet."""
BetSide = Literal["above", "below"]


@dataclass(slots=True)
class _Bets:
    """How much to bet next, from what was seen so far: large while values scatter little."""

    alpha: float
    seen: int = 0
    total: float = 0.0
    scatter: float = 0.25

    def stake(self) -> float:
        t = self.seen + 1
        variance = self.scatter / t
        return math.sqrt(2 * math.log(2 / self.alpha) / (variance * t * math.log(t + 1)))

    def add(self, value: float) -> None:
        self.seen += 1
        self.total += value
        self.scatter += (value - (0.5 + self.total) / (self.seen + 1)) ** 2


@dataclass(slots=True)
class MeanTest:
    """Decides, value by value, on which side of ``threshold`` the mean is. Each value takes constant time.

    The probability that it ever names the wrong side is at most ``alpha``.
    """

    threshold: float
    alpha: float = 0.05
    population: int | None = None
    _bets: _Bets = field(init=False)
    _capital: dict[BetSide, float] = field(init=False)
    _verdict: BetSide | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._bets = _Bets(self.alpha)
        self._capital = {"above": math.log(0.5), "below": math.log(0.5)}

    @property
    def seen(self) -> int:
        """Values so far."""
        return self._bets.seen

    @property
    def verdict(self) -> BetSide | None:
        """The side that is shown; `None` while neither is. Once told, it stays."""
        return self._verdict

    def add(self, value: float) -> BetSide | None:
        """Take a value between 0 and 1 and return the verdict."""
        _check(value)
        if self._verdict is None:
            expected = _expected(self.threshold, self.population, self._bets)
            stake = self._bets.stake()
            self._capital["above"] += _gain(stake, value, expected)
            self._capital["below"] += _gain(stake, 1 - value, 1 - expected)
            for side, capital in self._capital.items():
                if capital >= -math.log(self.alpha):
                    self._verdict = side
        self._bets.add(value)
        if self._verdict is None and self.population is not None:
            self._verdict = self._certain(self.population)
        return self._verdict

    def _certain(self, population: int) -> BetSide | None:
        """With so few values left that they cannot change the side, there is no doubt."""
        total, left = self._bets.total, population - self._bets.seen
        needed, rounding = self.threshold * population, 1e-9 * population
        if total > needed + rounding:
            return "above"
        return "below" if total + left < needed - rounding else None


def mean_interval(values: Sequence[float], alpha: float = 0.05, population: int | None = None) -> Interval:
    """Return the interval for the mean after these values, in their order.

    It contains the mean at all times together with a probability of at least 1 - ``alpha``. It never grows; without values it is (0, 1).
    """
    bets = _Bets(alpha)
    rounds: list[tuple[float, float, int, float]] = []
    for value in values:
        _check(value)
        rounds.append((value, bets.stake(), bets.seen, bets.total))
        bets.add(value)
    needed = math.log(2 / alpha)
    low = _boundary(lambda m: _wins(_gains(rounds, m, population, up=True), needed))
    high = 1 - _boundary(lambda m: _wins(_gains(rounds, 1 - m, population, up=False), needed))
    if population is not None:
        low = max(low, bets.total / population)
        high = min(high, (bets.total + population - bets.seen) / population)
    return Interval(low, max(low, high))


def _check(value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"values must be between 0 and 1, not {value!r}")


def _expected(m: float, population: int | None, bets: _Bets) -> float:
    """Return what the next value would be on average if the mean were ``m``."""
    if population is None:
        return m
    return (population * m - bets.total) / max(population - bets.seen, 1)


def _gain(stake: float, value: float, expected: float) -> float:
    """Return the growth of the logarithm of the capital when ``stake`` was put on values above ``expected``."""
    if expected <= 0:
        # What was seen already rules the mean out, unless all that is left is exactly 0.
        return math.inf if expected < -1e-9 or value > 1e-9 else 0.0
    if expected >= 1:
        return 0.0
    return math.log1p(min(stake, _MOST / expected) * (value - expected))


def _gains(
    rounds: Iterable[tuple[float, float, int, float]], m: float, population: int | None, *, up: bool
) -> Iterable[float]:
    for value, stake, seen, total in rounds:
        expected = m if population is None else (population * m - total) / max(population - seen, 1)
        yield _gain(stake, value, expected) if up else _gain(stake, 1 - value, 1 - expected)


def _wins(gains: Iterable[float], needed: float) -> bool:
    capital = 0.0
    for gain in gains:
        capital += gain
        if capital >= needed:
            return True
    return False


def _boundary(excluded: Callable[[float], bool]) -> float:
    """Return up to where values from 0 on are excluded: the capital falls as m grows, so halving finds it."""
    low, high = 0.0, 1.0
    if not excluded(low):
        return low
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if excluded(middle) else (low, middle)
    return low
