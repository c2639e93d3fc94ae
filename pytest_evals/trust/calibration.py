"""How far a grader can be trusted, as values: how people labelled, and what its grades came to beside their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pytest_evals.statistics.coefficient import Coefficient
from pytest_evals.statistics.prevalence import Accuracy


@dataclass(frozen=True, slots=True)
class Labelled:
    """How people labelled cases for a grader: the values that they chose from, whether their order counts, and from where on
    the grader passes. ``identity`` tells the grader from others of its name.
    """

    categories: tuple[float, ...] = ()
    ordered: bool = False
    threshold: float | None = None
    identity: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for the wire."""
        return {**asdict(self), "categories": list(self.categories)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Labelled:
        """Return what `to_dict` described."""
        return cls(**{**data, "categories": tuple(data["categories"])})


@dataclass(frozen=True, slots=True)
class Rate:
    """A pass rate of the grader in a suite, as it stands and corrected; without a correction where none can be made."""

    suite: str
    model: str
    n: int
    raw: float
    corrected: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """A grader against the labels of a suite. ``confusion`` has a row for each of people's ``categories`` and a column for each
    of the grader's. ``accuracy`` and ``rates`` are there where labels and grades are verdicts.
    """

    suite: str
    model: str
    grader: str
    n: int
    unlabelled: int
    ungraded: int
    level: float
    agreement: float
    kappa: Coefficient
    alpha: Coefficient
    categories: tuple[float, ...]
    confusion: tuple[tuple[int, ...], ...]
    accuracy: Accuracy | None = None
    human_rate: float | None = None
    rates: tuple[Rate, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as the artifact's summary has it."""
        data = asdict(self)
        accuracy = self.accuracy
        if accuracy is not None:
            data["accuracy"] |= {"sensitivity": accuracy.sensitivity, "specificity": accuracy.specificity}
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Calibration:
        """Return the calibration that `to_dict` described."""
        counts = ("true_passes", "passes", "true_fails", "fails")
        accuracy = data.get("accuracy")
        return cls(
            **{
                **data,
                "kappa": Coefficient.from_dict(data["kappa"]),
                "alpha": Coefficient.from_dict(data["alpha"]),
                "categories": tuple(data["categories"]),
                "confusion": tuple(tuple(row) for row in data["confusion"]),
                "accuracy": Accuracy(**{name: accuracy[name] for name in counts}) if accuracy else None,
                "rates": tuple(Rate(**{**rate, "interval": _pair(rate["interval"])}) for rate in data["rates"]),
            }
        )


def _pair(values: Sequence[float] | None) -> tuple[float, float] | None:
    return None if values is None else (values[0], values[1])
