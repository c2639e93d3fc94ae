"""Two runs -> what changed, grader by grader, and the cases behind it.

Only cases that both runs have, with the same row and with a grade in both, are compared; all others are counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pytest_evals import corpus, statistics
from pytest_evals.baseline.joining import Joined, Pair, PairedGrades, join, paired_grades
from pytest_evals.records import CaseRecord
from pytest_evals.statistics import Difference

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

    ``p`` is adjusted (Holm) for the number of graders that were compared at once.
    """

    suite: str
    model: str
    grader: str
    grades: PairedGrades
    difference: Difference | None
    p: float | None
    flips: tuple[Flip, ...]
    corpus: tuple[float | None, float | None] = (None, None)
    """The corpus-level metric of the compared cases, before and after, where grades bring one."""

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

    def to_row(self) -> dict[str, Any]:
        """Return plain data."""
        difference = self.difference
        return {
            "suite": self.suite,
            "model": self.model,
            "grader": self.grader,
            "n": len(self.grades.pairs),
            "before": self.before,
            "after": self.after,
            "corpus_before": self.corpus[0],
            "corpus_after": self.corpus[1],
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
            said += [f"{where}: {_cases(number)} not compared: no grade {run}" for number, run in lost if number]
            was, now = change.corpus
            if was is not None and now is not None:
                said.append(f"{where}: the corpus-level metric of the compared cases was {was:.4f}, and is {now:.4f}")
            if grades.absent:
                said.append(f"{where}: {_cases(grades.absent)} not compared: only one of the runs has this grader")
        return said


def _cases(number: int) -> str:
    return f"{number} case{'' if number == 1 else 's'}"


def compare(before: Iterable[CaseRecord], after: Iterable[CaseRecord]) -> Comparison:
    """Compare two runs."""
    joined = join(before, after)
    grouped: dict[tuple[str, str], list[Pair]] = {}
    for pair in joined.pairs:
        grouped.setdefault((pair.suite, pair.model), []).append(pair)
    changes = [_change(*key, grader, pairs) for key, pairs in grouped.items() for grader in _graders(pairs)]
    tested = [change for change in changes if change.difference is not None]
    adjusted = statistics.holm([change.difference.p for change in tested if change.difference])
    by_id = {id(change): p for change, p in zip(tested, adjusted, strict=True)}
    return Comparison(joined, tuple(replace(change, p=by_id.get(id(change))) for change in changes))


def _graders(pairs: Sequence[Pair]) -> list[str]:
    """Return the graders of either run. One that failed before it could name its entries is known by their names."""
    names = dict.fromkeys(
        grade.grader_key for pair in pairs for record in (*pair.after, *pair.before) for grade in record.grades
    )
    return [name for name in names if not any(other.startswith(f"{name}.") for other in names)]


def _change(suite: str, model: str, grader: str, pairs: Sequence[Pair]) -> Change:
    grades = paired_grades(pairs, grader)
    difference = statistics.paired_difference(grades.before, grades.after, _clusters(grades.pairs))
    whole = (
        _corpus(grader, [record for pair in grades.pairs for record in pair.before]),
        _corpus(grader, [record for pair in grades.pairs for record in pair.after]),
    )
    return Change(suite, model, grader, grades, difference, None, tuple(_flips(grader, grades)), whole)


def _corpus(grader: str, records: Sequence[CaseRecord]) -> float | None:
    """Return the corpus-level metric of graded cases; `None` unless each brings its part of it."""
    grades = [grade for record in records for grade in record.grades if grade.grader_key == grader]
    parts = [grade.part for grade in grades if grade.status == "graded"]
    known = [part for part in parts if part is not None]
    return corpus.combine(known) if len(known) == len(parts) else None


def _clusters(pairs: Sequence[Pair]) -> list[object] | None:
    """Return which cases belong together; `None` where each stands alone."""
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
