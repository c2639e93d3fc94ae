"""Two runs -> their comparison, grader by grader, with the cases that flipped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pytest_evals import statistics
from pytest_evals.baseline.comparison import Change, Comparison, Flip
from pytest_evals.baseline.corpora import corpus_change
from pytest_evals.baseline.joining import Pair, PairedGrades, graded, join, paired_grades
from pytest_evals.scores.corpus import Part
from pytest_evals.scores.records import CaseRecord


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
    return Change(suite, model, grader, grades, difference, None, tuple(_flips(grader, grades)), whole)


def _parts(grader: str, cases: Iterable[Sequence[CaseRecord]]) -> list[list[Part]] | None:
    """Return what graded cases, each with its repeats, add to a corpus-level metric; `None` unless all of them do."""
    found = [[grade.part for record in repeats for grade in graded(record, grader)] for repeats in cases]
    known = [[part for part in parts if part is not None] for parts in found]
    return known if known == found else None


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
