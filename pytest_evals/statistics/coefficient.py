"""A coefficient of agreement with its confidence interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy


@dataclass(frozen=True, slots=True)
class Coefficient:
    """A coefficient of agreement with its confidence interval; both `None` where it is not defined. There is no interval
    either where it would be a point: of answers that all agree, nothing tells how far the next ones will.
    """

    value: float | None
    interval: tuple[float, float] | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Coefficient:
        """Return the coefficient of plain data."""
        interval = data["interval"]
        return cls(data["value"], None if interval is None else (interval[0], interval[1]))


def percentiles(found: numpy.ndarray, level: float) -> tuple[float, float] | None:
    """Return the interval that resamples give. Where one is not defined all its labels are equal: it only agrees."""
    import numpy

    known = numpy.where(numpy.isnan(found), 1.0, found)
    low, high = numpy.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return ends(float(low), float(high))


def ends(low: float, high: float) -> tuple[float, float] | None:
    """Return an interval, `None` for a point (but for rounding)."""
    return None if high - low < 1e-6 else (low, high)
