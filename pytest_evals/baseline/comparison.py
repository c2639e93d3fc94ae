"""What changed between two runs, grader by grader, and the cases behind it.

Only cases that both runs have, with the same row and with a grade in both, are compared; all others are counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from pytest_evals import statistics
from pytest_evals.baseline.corpora import CorpusChange
from pytest_evals.baseline.joining import Joined, Pair, PairedGrades
from pytest_evals.statistics import Difference
from pytest_evals.wording import counted

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
        return "better" if self.difference.mean > 0 else "worse"

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
                f"{where}: {counted(number, 'case')} not compared: no grade {run}" for number, run in lost if number
            ]
            if change.corpus:
                said.append(f"{where}: {_corpus_words(change.corpus)}")
            if grades.absent:
                said.append(
                    f"{where}: {counted(grades.absent, 'case')} not compared: only one of the runs has this grader"
                )
        return said

    def hints(self) -> list[str]:
        """Say, of what is unclear, which change so many cases show, and how many it takes to show one of 5 points.

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


def _hint(change: Change, alpha: float) -> str | None:
    difference, bounds = change.difference, change.grades.bounds
    if difference is None or not difference.stderr:
        return None
    deviation = difference.stderr * math.sqrt(difference.n)
    least = statistics.detectable_effect(deviation, difference.n, alpha=alpha)
    said = f"{counted(difference.n, 'case')} like these show a change of {least:.2g} or more"
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
