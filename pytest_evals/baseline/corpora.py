"""Corpus-level metrics of the same cases in two runs: what changed, and how far that may be chance.

There is no formula for their error, and their value is no mean of cases. So cases (or clusters) are drawn anew, the same
ones for both runs (Koehn, EMNLP 2004; Berg-Kirkpatrick et al., EMNLP 2012): what varies between draws of cases is the error.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pytest_evals.scores import corpus
from pytest_evals.statistics import LEVEL, Interval
from pytest_evals.statistics.bootstrap import RESAMPLES, resampled_sums

if TYPE_CHECKING:
    import numpy

Parts = Sequence[Sequence[corpus.Part]]
"""Of each case, what its samples add to the metric."""
ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class CorpusChange:
    """A corpus-level metric before and after.

    ``interval`` holds 95 % of the differences over 2,000 draws of cases; it and ``p`` are `None` below two cases or
    clusters. ``p`` is two-sided: how often a difference is as far from the one found as that is from 0. A comparison adjusts
    it (Holm) for everything that it compares.
    """

    before: float
    after: float
    interval: Interval | None = None
    p: float | None = None

    @property
    def difference(self) -> float:
        """After minus before."""
        return self.after - self.before

    @property
    def verdict(self) -> Literal["better", "worse", "unclear", "same", "-"]:
        """Say what can be said at a level of 5 %; ``-`` where nothing can."""
        if not self.difference:
            return "same"
        if self.p is None:
            return "-"
        return "unclear" if self.p >= ALPHA else "better" if self.difference > 0 else "worse"


def corpus_change(before: Parts, after: Parts, clusters: Sequence[Hashable] | None = None) -> CorpusChange | None:
    """Compare the same cases; `None` unless every sample of both runs brings its part of the same metric."""
    was, now = ([part for case in run for part in case] for run in (before, after))
    former, value = corpus.combine(was), corpus.combine(now)
    if former is None or value is None or was[0].kind != now[0].kind:
        return None
    labels = list(range(len(before))) if clusters is None else list(clusters)
    if len(set(labels)) < 2:
        return CorpusChange(former, value)
    import numpy

    drawn = resampled_corpora((before, after), labels)
    differences = drawn[:, 1] - drawn[:, 0]
    found = value - former
    # As exact as a p value of so many draws can be: with the one that was found among them, it is never 0.
    far = int((numpy.abs(differences - found) >= abs(found) * (1 - 1e-12)).sum())
    tail = (1 - LEVEL) / 2
    low, high = (float(end) for end in numpy.quantile(differences, [tail, 1 - tail]))
    return CorpusChange(former, value, Interval(low, high), (far + 1) / (len(drawn) + 1))


def resampled_corpora(
    runs: Sequence[Parts], clusters: Sequence[Hashable], *, resamples: int = RESAMPLES, seed: int = 0
) -> numpy.ndarray:
    """Return the metric of each run in each draw, one row a draw; all runs have the same cases, and get the same ones."""
    import numpy

    kinds = [run[0][0].kind for run in runs]
    sums = resampled_sums(
        [[[part.counts for part in case] for case in run] for run in runs], clusters, resamples=resamples, seed=seed
    )
    return numpy.array(
        [
            [corpus.of_sums(kind, counts) or 0.0 for kind, counts in zip(kinds, row, strict=True)]
            for row in zip(*(each.tolist() for each in sums), strict=True)
        ]
    )
