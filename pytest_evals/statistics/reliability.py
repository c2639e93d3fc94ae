"""How far probabilities can be taken at their word: Brier score, expected calibration error, and the threshold that fits best."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

BINS = 10
FOLDS = 5
Criterion = Literal["accuracy", "f1", "youden"]
Judged = Sequence[tuple[float, bool]]
"""Probabilities beside what turned out to be true."""


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The ``n`` probabilities above ``low`` up to ``high``: their mean, and how often what they said was true."""

    low: float
    high: float
    n: int
    probability: float
    frequency: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """How well probabilities match the truth, over ``n`` cases.

    ``brier`` is the mean squared difference (Brier, 1950); 0.5 for every case gives 0.25. ``ece`` is the expected calibration error: the
    difference between mean probability and frequency in each of ten bins of equal width, weighted by their counts (Naeini, Cooper and
    Hauskrecht, AAAI 2015). ``bins`` is the reliability table, without empty bins.
    """

    n: int
    brier: float
    ece: float
    bins: tuple[ReliabilityBin, ...]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Reliability:
        """Return the reliability that `dataclasses.asdict` described."""
        return cls(**{**data, "bins": tuple(ReliabilityBin(**each) for each in data["bins"])})


def reliability(judged: Judged, bins: int = BINS) -> Reliability | None:
    """Return how far probabilities can be taken at their word; `None` without any."""
    if not judged:
        return None
    grouped: dict[int, list[tuple[float, bool]]] = {}
    for probability, truth in judged:
        grouped.setdefault(max(math.ceil(probability * bins - 1e-12) - 1, 0), []).append((probability, truth))
    found = tuple(_bin(number, bins, grouped[number]) for number in sorted(grouped))
    n = len(judged)
    return Reliability(
        n,
        math.fsum((probability - truth) ** 2 for probability, truth in judged) / n,
        math.fsum(each.n * abs(each.probability - each.frequency) for each in found) / n,
        found,
    )


def _bin(number: int, bins: int, members: Judged) -> ReliabilityBin:
    n = len(members)
    return ReliabilityBin(
        number / bins,
        (number + 1) / bins,
        n,
        math.fsum(probability for probability, _ in members) / n,
        sum(truth for _, truth in members) / n,
    )


# -- From which value on a grade should pass.


@dataclass(frozen=True, slots=True)
class FittedThreshold:
    """The ``threshold`` at which verdicts agree best with people's, by ``criterion``.

    ``value`` is the criterion on the labels that chose it, ``held_out`` on labels that did not: each fifth of
    them judged by the threshold of the others (`None` below ten labels). ``before`` is its value at the threshold in use.
    """

    criterion: Criterion
    threshold: float
    value: float
    held_out: float | None
    before: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def check_criterion(name: str) -> Criterion:
    """Return the criterion. Raises `ValueError` for an unknown one."""
    for known in get_args(Criterion):
        if name == known:
            return known  # type: ignore[no-any-return]  # one of the names
    raise ValueError(f"a threshold is fitted by {', '.join(get_args(Criterion))}, not by {name!r}")


def fit_threshold(judged: Judged, criterion: Criterion, used: float | None = None) -> FittedThreshold | None:
    """Return the threshold with the largest criterion; `None` unless both verdicts are among the labels.

    Between two neighbouring values it is their middle; of equally good ones it is the middle one. ``used``: the threshold
    that is in use.
    """
    if len({truth for _, truth in judged}) < 2:
        return None
    threshold = _best(judged, criterion)
    verdicts: list[tuple[bool, bool]] = []
    for fold in range(FOLDS):
        others = [each for number, each in enumerate(judged) if number % FOLDS != fold]
        if len({truth for _, truth in others}) < 2:
            verdicts = []
            break
        line = _best(others, criterion)
        verdicts += [(value >= line, truth) for value, truth in judged[fold::FOLDS]]
    return FittedThreshold(
        criterion,
        threshold,
        _at(judged, criterion, threshold),
        _MEASURES[criterion](verdicts) if len(judged) >= 2 * FOLDS and verdicts else None,
        None if used is None else _at(judged, criterion, used),
    )


def _best(judged: Judged, criterion: Criterion) -> float:
    values = sorted({value for value, _ in judged})
    lines = [values[0], *((one + other) / 2 for one, other in itertools.pairwise(values))]
    found = [(round(_at(judged, criterion, line), 12), line) for line in lines]
    best = max(value for value, _ in found)
    equal = [line for value, line in found if value == best]
    return equal[(len(equal) - 1) // 2]


def _at(judged: Judged, criterion: Criterion, threshold: float) -> float:
    return _MEASURES[criterion]([(value >= threshold, truth) for value, truth in judged])


def _accuracy(verdicts: Sequence[tuple[bool, bool]]) -> float:
    return sum(said == truth for said, truth in verdicts) / len(verdicts)


def _f1(verdicts: Sequence[tuple[bool, bool]]) -> float:
    right = sum(said and truth for said, truth in verdicts)
    claimed = sum(said for said, _ in verdicts) + sum(truth for _, truth in verdicts)
    return 2 * right / claimed if claimed else 0.0


def _youden(verdicts: Sequence[tuple[bool, bool]]) -> float:
    """Return sensitivity + specificity - 1 (Youden, 1950)."""
    good = [said for said, truth in verdicts if truth]
    bad = [said for said, truth in verdicts if not truth]
    return sum(good) / len(good) - sum(bad) / len(bad) if good and bad else 0.0


_MEASURES: Mapping[Criterion, Callable[[Sequence[tuple[bool, bool]]], float]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "youden": _youden,
}
