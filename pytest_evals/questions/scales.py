"""What a grader may say of a case, so that what a person said of it can be compared with that."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_evals.errors import SuiteError


@dataclass(frozen=True, slots=True)
class Scale:
    """The values that a grader gives. ``names`` are verdicts with their values, `None` for "nothing to judge"; numeric
    scales have none, and reach from ``low`` to ``high`` in whole steps (without any arguments: yes and no, as 1 and 0). With
    ``normalized`` a grade's value is from 0 to 1.
    """

    names: Mapping[str, float | bool | None] = field(default_factory=dict)
    low: float = 0.0
    high: float = 1.0
    normalized: bool = False
    threshold: float | None = None
    """From which value on a grade passes; `None` where there is no such thing."""

    @property
    def categories(self) -> list[float]:
        """The values a person can choose from, as grades have them, in order."""
        if self.names:
            return sorted({float(value) for value in self.names.values() if value is not None})
        steps = round(self.high - self.low)
        return [self.to_value(self.low + step) for step in range(steps + 1)]

    def to_value(self, number: float) -> float:
        """Return a number of the scale as grades have it."""
        return (number - self.low) / (self.high - self.low) if self.normalized else number

    def read(self, label: Any) -> float | None:
        """Return what a person's label is worth, `None` where the person found nothing to judge.

        Raises `SuiteError` for a label outside the scale.
        """
        return self._named(label) if self.names else self._number(label)

    def __str__(self) -> str:
        return ", ".join(self.names) if self.names else f"{self.low:g} to {self.high:g}"

    def _named(self, label: Any) -> float | None:
        folded = {name.casefold(): value for name, value in self.names.items()}
        text = str(label).strip().casefold() if isinstance(label, str) else None
        if text in folded:
            value = folded[text]
            return None if value is None else float(value)
        number = _as_number(label)
        if number is not None and number in self.categories:
            return number
        raise SuiteError(f"the label {label!r:.60} is not on the scale ({self})")

    def _number(self, label: Any) -> float:
        number = _as_number(label)
        if number is None or not self.low <= number <= self.high:
            raise SuiteError(f"the label {label!r:.60} is not on the scale ({self})")
        return self.to_value(number)


def _as_number(label: Any) -> float | None:
    if isinstance(label, bool):
        return float(label)
    if isinstance(label, str):
        try:
            label = float(label)
        except ValueError:
            return {"true": 1.0, "false": 0.0}.get(label.strip().casefold())
    return float(label) if isinstance(label, (int, float)) and math.isfinite(label) else None


def set_scale(function: Any, scale: Scale) -> None:
    """Say on which scale a grader function gives its grades."""
    function.__evals_scale__ = scale


def scale_of(function: Any) -> Scale | None:
    """Return the scale of a grader function, `None` where none is known."""
    scale: Scale | None = getattr(function, "__evals_scale__", None)
    return scale
