"""What changed between two runs, grader by grader, and the cases behind it.

Only cases that both runs have, with the same row and with a grade in both, are compared; all others are counted.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from pytest_evals import statistics
from pytest_evals.baselines.pairing import Joined, Pair, PairedGrades, graded, join, paired_grades
from pytest_evals.scores import corpus
from pytest_evals.scores.corpus import CorpusPart
from pytest_evals.scores.records import CaseRecord
from pytest_evals.statistics import LEVEL, Difference, Interval
from pytest_evals.statistics.bootstrap import RESAMPLES, resampled_sums
from pytest_evals.text import pluralize

if TYPE_CHECKING:
    import numpy

ALPHA = 0.05
Direction = Literal["fell", "rose"]


@dataclass(frozen=True, slots=True)
class Flip:
    """A case whose verdict changed; of a grader without verdicts, whose grade changed."""

    pair: Pair
    grader: str
    before: float
    after: float

    @property
    def direction(self) -> Direction:
        """Which way."""
        return "fell" if self.after < self.before else "rose"


@dataclass(frozen=True, slots=True)
class Change:
    """What changed for one grader of one suite and model. ``difference`` is `None` where no case can be compared.

    ``p`` is adjusted (Holm) for everything that was compared at once: graders, and corpus-level metrics.
    """

    suite: str
    model: str
    grader: str
    grades: PairedGrades
    difference: Difference | None
    p: float | None
    flips: tuple[Flip, ...]
    corpus: CorpusChange | None = None
    """What the corpus-level metric of the compared cases did, where grades bring one."""
    lower_is_better: bool = False

    @property
    def before(self) -> float | None:
        """Mean of the compared cases in the earlier run."""
        return statistics.mean(self.grades.before)

    @property
    def after(self) -> float | None:
        """Mean of the same cases in the later run."""
        return statistics.mean(self.grades.after)

    @property
    def verdict(self) -> Literal["better", "worse", "unclear", "same", "-"]:
        """Say what can be said at a level of 5 %; ``-`` where nothing was compared."""
        if self.difference is None or self.p is None:
            return "-"
        if not self.difference.better and not self.difference.worse:
            return "same"
        if self.p >= ALPHA:
            return "unclear"
        return "worse" if (self.difference.mean > 0) == self.lower_is_better else "better"

    @property
    def worse(self) -> bool:
        """Tell whether the mean or the corpus-level metric is worse."""
        return self.verdict == "worse" or (self.corpus is not None and self.corpus.verdict == "worse")

    def to_row(self) -> dict[str, Any]:
        """Return plain data."""
        difference, corpus = self.difference, self.corpus
        return {
            "suite": self.suite,
            "model": self.model,
            "grader": self.grader,
            "n": len(self.grades.pairs),
            "before": self.before,
            "after": self.after,
            "corpus_before": corpus.before if corpus else None,
            "corpus_after": corpus.after if corpus else None,
            "corpus_interval": list(corpus.interval) if corpus and corpus.interval else None,
            "corpus_p_holm": corpus.p if corpus else None,
            "corpus_verdict": corpus.verdict if corpus else None,
            "difference": difference.mean if difference else None,
            "interval": list(difference.interval) if difference and difference.interval else None,
            "p": difference.p if difference else None,
            "p_holm": self.p,
            "verdict": self.verdict,
            "better": difference.better if difference else 0,
            "worse": difference.worse if difference else 0,
            "errored_before": self.grades.errored_before,
            "errored_after": self.grades.errored_after,
            "not_applicable": self.grades.not_applicable,
            "absent": self.grades.absent,
            "flips": [
                {"case_id": flip.pair.case_id, "before": flip.before, "after": flip.after, "direction": flip.direction}
                for flip in self.flips
            ],
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs, compared."""

    joined: Joined
    changes: tuple[Change, ...]

    def notes(self) -> list[str]:
        """Say, in sentences, what is not compared and why."""
        said = self.joined.notes()
        several = len({change.model for change in self.changes}) > 1
        for change in self.changes:
            grades = change.grades
            where = f"{change.suite}.{change.grader}" + (f" of {change.model}" if several and change.model else "")
            lost = [(grades.errored_before, "in the earlier run"), (grades.errored_after, "in the later run")]
            said += [
                f"{where}: {pluralize(number, 'case')} not compared: no grade {run}" for number, run in lost if number
            ]
            if change.corpus:
                said.append(f"{where}: {_corpus_words(change.corpus)}")
            if grades.absent:
                said.append(
                    f"{where}: {pluralize(grades.absent, 'case')} not compared: only one of the runs has this grader"
                )
        return [*said, *self._without_graders()]

    def _without_graders(self) -> list[str]:
        """Say of cases with no grader, whose tests alone decide, how many passed."""
        found: dict[tuple[str, str], list[Pair]] = {}
        for pair in self.joined.pairs:
            if not any(record.grades for record in (*pair.before, *pair.after)):
                found.setdefault((pair.suite, pair.model), []).append(pair)
        several = len({model for _, model in found}) > 1
        return [
            f"{suite}{f' of {model}' if several and model else ''}: {pluralize(len(pairs), 'case')} without a grader: "
            f"{_passing(pair.before for pair in pairs)} passed in the earlier run, {_passing(pair.after for pair in pairs)} in the later one"
            for (suite, model), pairs in found.items()
        ]

    def hints(self) -> list[str]:
        """For what is unclear, say which change this many cases show, and how many it takes to show one of 5 points.

        With a probability of 80 %, at a level of 5 % over everything that was compared; by the deviation of the differences that
        were found.
        """
        tested = sum((change.difference is not None) + (change.corpus is not None) for change in self.changes)
        several = len({change.model for change in self.changes}) > 1
        said = []
        for change in self.changes:
            text = _hint(change, ALPHA / max(tested, 1)) if change.verdict == "unclear" else None
            where = f"{change.suite}.{change.grader}" + (f" of {change.model}" if several and change.model else "")
            said += [f"{where}: {text}"] if text else []
        return said


def _passing(cases: Iterable[Sequence[CaseRecord]]) -> int:
    return sum(all(record.outcome == "passed" for record in repeats) for repeats in cases)


def _hint(change: Change, alpha: float) -> str | None:
    difference, bounds = change.difference, change.grades.bounds
    if difference is None or not difference.stderr:
        return None
    deviation = difference.stderr * math.sqrt(difference.n)
    least = statistics.detectable_effect(deviation, difference.n, alpha=alpha)
    said = f"{pluralize(difference.n, 'case')} like these show a change of {least:.2g} or more"
    points = 0.05 * (bounds[1] - bounds[0]) if bounds else None
    needed = statistics.required_size(deviation, points, alpha=alpha) if points else None
    if needed is None or needed <= difference.n:
        return said
    return f"{said}; for one of {points:g} it takes about {rounded_up(needed):,}"


def rounded_up(number: int) -> int:
    """Return the number with two digits: more than such an estimate deserves."""
    scale: int = 10 ** max(len(str(number)) - 2, 0)
    return math.ceil(number / scale) * scale


def _corpus_words(change: CorpusChange) -> str:
    said = f"the corpus-level metric of the compared cases was {change.before:.4f}, and is {change.after:.4f}"
    if change.interval is None or change.p is None or change.verdict == "same":
        return said
    low, high = change.interval
    return f"{said}: {change.difference:+.4f} ({low:+.4f} .. {high:+.4f}, p = {change.p:.2g}, {change.verdict})"


# -- Two runs -> their comparison, grader by grader, with the cases that flipped.


def compare(before: Iterable[CaseRecord], after: Iterable[CaseRecord]) -> Comparison:
    """Compare two runs."""
    joined = join(before, after)
    grouped: dict[tuple[str, str], list[Pair]] = {}
    for pair in joined.pairs:
        grouped.setdefault((pair.suite, pair.model), []).append(pair)
    changes = [_change(*key, grader, pairs) for key, pairs in grouped.items() for grader in _graders(pairs)]
    return Comparison(joined, tuple(_adjusted(changes)))


def _adjusted(changes: Sequence[Change]) -> list[Change]:
    """Return the changes with p values for the number of all of them."""
    found = [change.difference.p for change in changes if change.difference]
    wholes = [change.corpus.p for change in changes if change.corpus and change.corpus.p is not None]
    adjusted = statistics.holm([*found, *wholes])
    means, corpora = iter(adjusted[: len(found)]), iter(adjusted[len(found) :])
    return [
        replace(
            change,
            p=next(means) if change.difference else None,
            corpus=replace(change.corpus, p=next(corpora))
            if change.corpus and change.corpus.p is not None
            else change.corpus,
        )
        for change in changes
    ]


def _graders(pairs: Sequence[Pair]) -> list[str]:
    """Return the graders of either run. One that failed before it could name its entries is known by their names."""
    names = dict.fromkeys(
        grade.grader_key for pair in pairs for record in (*pair.after, *pair.before) for grade in record.grades
    )
    return [name for name in names if not any(other.startswith(f"{name}.") for other in names)]


def _change(suite: str, model: str, grader: str, pairs: Sequence[Pair]) -> Change:
    grades = paired_grades(pairs, grader)
    clusters = _clusters(grades.pairs)
    difference = statistics.paired_difference(grades.before, grades.after, clusters, bounds=grades.bounds)
    was = _parts(grader, [pair.before for pair in grades.pairs])
    now = _parts(grader, [pair.after for pair in grades.pairs])
    whole = corpus_change(was, now, clusters) if was and now else None
    lower = whole is not None and whole.lower_is_better
    return Change(suite, model, grader, grades, difference, None, tuple(_flips(grader, grades)), whole, lower)


def _parts(grader: str, cases: Iterable[Sequence[CaseRecord]]) -> list[list[CorpusPart]] | None:
    """Return what graded cases, each with its repeats, add to a corpus-level metric; `None` unless all of them do."""
    found = [[grade.part for record in repeats for grade in graded(record, grader)] for repeats in cases]
    known = [[part for part in parts if part is not None] for parts in found]
    return known if known == found else None


def _clusters(pairs: Sequence[Pair]) -> list[object] | None:
    """Return which cases belong together; `None` where each is on its own."""
    if all(pair.after[0].cluster is None for pair in pairs):
        return None
    labels: Mapping[int, object] = {index: pair.after[0].cluster for index, pair in enumerate(pairs)}
    return [index if label is None else label for index, label in labels.items()]


def _flips(grader: str, grades: PairedGrades) -> list[Flip]:
    """Return the cases that flipped, those that fell first, then by how far."""
    sides = [(_passed(pair.before, grader), _passed(pair.after, grader)) for pair in grades.pairs]
    judged = all(None not in side for side in sides)
    binary = {*grades.before, *grades.after} <= {0.0, 1.0}
    found = [
        Flip(pair, grader, was, now)
        for pair, was, now, side in zip(grades.pairs, grades.before, grades.after, sides, strict=True)
        if was != now and (binary or not judged or side[0] != side[1])
    ]
    return sorted(found, key=lambda flip: (flip.direction == "rose", -abs(flip.after - flip.before)))


def _passed(repeats: Sequence[CaseRecord], grader: str) -> bool | None:
    """Return the verdict of most repeats; `None` without one."""
    found = [grade.passed for record in repeats for grade in record.grades if grade.grader_key == grader]
    known = [passed for passed in found if passed is not None]
    return sum(known) * 2 > len(known) if known else None


# -- Corpus-level metrics of the same cases in two runs: what changed, and how far that may be chance.
#
# There is no formula for their error, and their value is not a mean of cases. So cases (or clusters) are drawn anew, the
# same ones for both runs (Koehn, EMNLP 2004; Berg-Kirkpatrick et al., EMNLP 2012): what varies between draws is the error.

Parts = Sequence[Sequence[corpus.CorpusPart]]
"""Of each case, what its samples add to the metric."""


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
    lower_is_better: bool = False

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
        if self.p >= ALPHA:
            return "unclear"
        return "worse" if (self.difference > 0) == self.lower_is_better else "better"


def corpus_change(before: Parts, after: Parts, clusters: Sequence[Hashable] | None = None) -> CorpusChange | None:
    """Compare the same cases; `None` unless every sample of both runs brings its part of the same metric."""
    was, now = ([part for case in run for part in case] for run in (before, after))
    former, value = corpus.combine(was), corpus.combine(now)
    if former is None or value is None or was[0].kind != now[0].kind:
        return None
    labels = list(range(len(before))) if clusters is None else list(clusters)
    if len(set(labels)) < 2:
        return CorpusChange(former, value, lower_is_better=corpus.lower_is_better(now[0].kind))
    import numpy

    drawn = resampled_corpora((before, after), labels)
    differences = drawn[:, 1] - drawn[:, 0]
    found = value - former
    # As exact as a p value from this many draws can be: with the one that was found among them, it is never 0.
    far = int((numpy.abs(differences - found) >= abs(found) * (1 - 1e-12)).sum())
    tail = (1 - LEVEL) / 2
    low, high = (float(end) for end in numpy.quantile(differences, [tail, 1 - tail]))
    p = (far + 1) / (len(drawn) + 1)
    return CorpusChange(former, value, Interval(low, high), p, lower_is_better=corpus.lower_is_better(now[0].kind))


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
