"""When what a gate asks of *all* cases is shown by some of them, drawn at random without replacement.

Each test takes one case after another and tells whether the gate is met by all: `True`, `False`, or `None` while that is
open. What it tells is certain, or wrong with a probability of at most ``alpha``, however often one looks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pytest_evals import statistics
from pytest_evals.gates import Gate
from pytest_evals.gates.statistics import percentile_of
from pytest_evals.statistics.sequential import MeanTest

_AT_LEAST = (">=", ">")


class SettlingTest(Protocol):
    """What is asked of a gate."""

    def add(self, values: Sequence[float]) -> None:
        """Take a case: its value, or those of its samples."""
        ...

    @property
    def met(self) -> bool | None:
        """Tell whether all cases meet the gate; `None` while that is open."""
        ...

    @property
    def so_far(self) -> float:
        """The statistic of the cases that were taken, as the gate is judged on them."""
        ...


@dataclass(slots=True)
class MeanOf:
    """A mean over cases of values between ``bounds``; one value a case."""

    gate: Gate
    population: int
    alpha: float
    bounds: tuple[float, float] = (0.0, 1.0)
    _test: MeanTest = field(init=False)
    _total: float = 0.0

    def __post_init__(self) -> None:
        self._test = MeanTest(self._scaled(self.gate.number), self.alpha, self.population)

    def _scaled(self, number: float) -> float:
        return (number - self.bounds[0]) / (self.bounds[1] - self.bounds[0])

    def add(self, values: Sequence[float]) -> None:
        """See `SettlingTest`."""
        for value in values:
            self._total += value
            self._test.add(min(max(self._scaled(value), 0.0), 1.0))

    @property
    def met(self) -> bool | None:
        """See `SettlingTest`."""
        side = self._test.verdict
        return None if side is None else (side == "above") == (self.gate.comparison in _AT_LEAST)

    @property
    def so_far(self) -> float:
        """See `SettlingTest`."""
        return self._total / self._test.seen


@dataclass(slots=True)
class QuantileOf:
    """A percentile of all samples, ``repeats`` of each case; it needs no bounds.

    With at most k of M values below the number, the k-th and all above are not, k being (M - 1) p without its fraction; so the
    percentile is not below it. With two more it is (with one more, where there is no fraction). That is a question about a mean:
    of the share of values that are below.
    """

    gate: Gate
    population: int
    alpha: float
    repeats: int = 1
    _test: MeanTest = field(init=False)
    _values: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        samples = self.population * self.repeats
        place = (samples - 1) * self._share
        whole = math.floor(place)
        between = (whole + (0.5 if place == whole else 1)) / samples
        self._test = MeanTest(between, self.alpha, self.population)

    @property
    def _share(self) -> float:
        return percentile_of(self.gate.statistic) or 0.0

    def add(self, values: Sequence[float]) -> None:
        """See `SettlingTest`."""
        self._values += values
        # "at least" and "below" ask for values below the number, "above" and "at most" for those that are not above it.
        strict, number = self.gate.comparison in (">=", "<"), self.gate.number
        below = sum(value < number if strict else value <= number for value in values)
        self._test.add(below / len(values))

    @property
    def met(self) -> bool | None:
        """See `SettlingTest`."""
        side = self._test.verdict
        return None if side is None else (side == "below") == (self.gate.comparison in _AT_LEAST)

    @property
    def so_far(self) -> float:
        """See `SettlingTest`."""
        return statistics.quantile(self._values, self._share) or 0.0


@dataclass(slots=True)
class ExtremeOf:
    """A minimum, which only falls, or a maximum, which only rises: once on the wrong side of the number (or on the right
    one, for ``min <= x``) it stays there.
    """

    gate: Gate
    _extreme: float | None = None

    @property
    def _pick(self) -> Callable[..., float]:
        return max if self.gate.statistic == "max" else min

    def add(self, values: Sequence[float]) -> None:
        """See `SettlingTest`."""
        self._extreme = self._pick(values) if self._extreme is None else self._pick(self._extreme, *values)

    @property
    def met(self) -> bool | None:
        """See `SettlingTest`."""
        if self._extreme is None:
            return None
        met = self.gate.meets(self._extreme)
        rising = self.gate.statistic == "max"
        return met if met == (rising == (self.gate.comparison in _AT_LEAST)) else None

    @property
    def so_far(self) -> float:
        """See `SettlingTest`."""
        return self._extreme or 0.0


@dataclass(slots=True)
class CountOf:
    """A number of samples, which only rises, and by at most as many as are left."""

    gate: Gate
    samples: int
    _count: float = 0.0
    _seen: int = 0

    def add(self, values: Sequence[float]) -> None:
        """See `SettlingTest`."""
        self._count += math.fsum(values)
        self._seen += len(values)

    @property
    def met(self) -> bool | None:
        """See `SettlingTest`."""
        least, most = (self.gate.meets(count) for count in (self._count, self._count + self.samples - self._seen))
        return least if least == most else None

    @property
    def so_far(self) -> float:
        """See `SettlingTest`."""
        return self._count
