"""A pass rate corrected for the judge's errors: Rogan and Gladen's estimator, Lang and Reiczigel's interval.

A judge that finds every good answer good (sensitivity) and every bad one bad (specificity) needs no correction. How
often it does is estimated on cases with human labels, so the interval holds the uncertainty of both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A judge's verdicts on labelled cases: ``true_passes`` of ``passes`` that people pass, ``true_fails`` of ``fails``."""

    true_passes: int
    passes: int
    true_fails: int
    fails: int

    @property
    def sensitivity(self) -> float | None:
        """Share of the cases that people pass which the judge passes too; `None` where there are none."""
        return self.true_passes / self.passes if self.passes else None

    @property
    def specificity(self) -> float | None:
        """Share of the cases that people fail which the judge fails too; `None` where there are none."""
        return self.true_fails / self.fails if self.fails else None

    @property
    def informative(self) -> bool:
        """Tell whether the judge does better than a coin: without that nothing can be corrected."""
        sensitivity, specificity = self.sensitivity, self.specificity
        return sensitivity is not None and specificity is not None and sensitivity + specificity > 1


def corrected_rate(passed: int, n: int, accuracy: Accuracy) -> float | None:
    """Return the share of good answers among ``n``, within 0 and 1; the judge passed ``passed`` of them.

    Rogan and Gladen, American Journal of Epidemiology 107 (1978). `None` without answers, and where the judge is
    not informative.
    """
    sensitivity, specificity = accuracy.sensitivity, accuracy.specificity
    if not n or sensitivity is None or specificity is None or not accuracy.informative:
        return None
    return _clipped((passed / n + specificity - 1) / (sensitivity + specificity - 1))


def corrected_interval(passed: int, n: int, accuracy: Accuracy, level: float = 0.95) -> tuple[float, float] | None:
    """Return the confidence interval of `corrected_rate`, or `None` as there.

    Lang and Reiczigel, Preventive Veterinary Medicine 113 (2014): three independent binomial samples, each moved
    towards the middle (by z squared for the rate, by two cases for both accuracies), and a shift for the skewness.
    """
    if corrected_rate(passed, n, accuracy) is None:
        return None
    z = NormalDist().inv_cdf((1 + level) / 2)
    cases, passes, fails = n + z**2, accuracy.passes + 2, accuracy.fails + 2
    rate = (passed + z**2 / 2) / cases
    sensitivity = (accuracy.true_passes + 1) / passes
    specificity = (accuracy.true_fails + 1) / fails
    youden = sensitivity + specificity - 1
    if youden <= 0:
        # Few labels, and a judge hardly better than a coin: any rate is possible.
        return 0.0, 1.0
    centre = (rate + specificity - 1) / youden
    noise_passes = sensitivity * (1 - sensitivity) / passes
    noise_fails = specificity * (1 - specificity) / fails
    variance = rate * (1 - rate) / cases + centre**2 * noise_passes + (1 - centre) ** 2 * noise_fails
    half = z * math.sqrt(variance) / youden
    shifted = centre + 2 * z**2 * (centre * noise_passes - (1 - centre) * noise_fails)
    return _clipped(shifted - half), _clipped(shifted + half)


def _clipped(share: float) -> float:
    return min(1.0, max(0.0, share))
