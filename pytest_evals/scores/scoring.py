"""Grades of many cases -> one score a suite, model and grader."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pytest_evals import statistics
from pytest_evals.scores import corpus
from pytest_evals.scores.records import CaseRecord, GradeRecord, grades_of
from pytest_evals.scores.score import CaseGrades, Score


def compute_score(suite: str, model: str, grader: str, records: Iterable[CaseRecord]) -> Score:
    """Sum up what one grader said of the cases of one suite and model."""
    graded: list[tuple[CaseRecord, GradeRecord, float]] = []
    counts = {"not_applicable": 0, "error": 0, "pending": 0}
    for record in records:
        for grade in grades_of(record, grader):
            if grade.status == "graded" and grade.value is not None:
                graded.append((record, grade, grade.value))
            else:
                counts[grade.status] += 1
    values = tuple(value for _, _, value in graded)
    verdicts = [grade.passed for _, grade, _ in graded]
    unsaid = all(grade.passed is None and grade.bounds is None for _, grade, _ in graded)
    if values and unsaid and set(values) <= {0.0, 1.0}:
        # A grader that returns 1 and 0, and says no more about them, means right and wrong.
        verdicts = [value == 1 for value in values]
    known = tuple(verdict for verdict in verdicts if verdict is not None)
    lost = (counts["not_applicable"], counts["error"], counts["pending"])
    parts = [grade.part for _, grade, _ in graded if grade.part]
    whole = corpus.combine(parts) if len(parts) == len(graded) else None
    cases = _cases(
        (record, value, verdict, grade.part) for (record, grade, value), verdict in zip(graded, verdicts, strict=True)
    )
    bounds = common_bounds([grade for _, grade, _ in graded])
    return Score(suite, model, grader, values, known, *lost, corpus=whole, cases=cases, bounds=bounds)


def common_bounds(grades: Iterable[GradeRecord]) -> statistics.Bounds | None:
    """Return between what all values of these graded grades can be; `None` where that is not known of some.

    Zeros and ones without bounds are wrong and right.
    """
    # The same few pairs stand at all of them.
    found = {grade.bounds or ((0.0, 1.0) if grade.value in (0, 1) else None) for grade in grades}
    known = [each for each in found if each is not None]
    if not known or len(known) < len(found):
        return None
    return min(low for low, _ in known), max(high for _, high in known)


def _cases(
    samples: Iterable[tuple[CaseRecord, float, bool | None, corpus.Part | None]],
) -> tuple[CaseGrades, ...]:
    grouped: dict[str, list[tuple[CaseRecord, float, bool | None, corpus.Part | None]]] = {}
    for sample in samples:
        grouped.setdefault(sample[0].case_id, []).append(sample)
    return tuple(
        CaseGrades(
            case_id,
            tuple(value for _, value, _, _ in repeats),
            tuple(verdict for _, _, verdict, _ in repeats if verdict is not None),
            repeats[0][0].cluster,
            tuple(part for _, _, _, part in repeats if part is not None),
        )
        for case_id, repeats in grouped.items()
    )


def compute_scores(records: Sequence[CaseRecord]) -> list[Score]:
    """Return a score for each suite, model and grader, in the order of their first appearance."""
    parts: dict[tuple[str, str], list[CaseRecord]] = {}
    for record in records:
        parts.setdefault((record.suite, record.model), []).append(record)
    # By suite, then model, then grader, each as first seen.
    suites = list(dict.fromkeys(suite for suite, _ in parts))
    models = list(dict.fromkeys(model for _, model in parts))
    order = sorted(parts, key=lambda key: (suites.index(key[0]), models.index(key[1])))
    return [compute_score(*key, grader, parts[key]) for key in order for grader in _graders(parts[key])]


def _graders(records: Iterable[CaseRecord]) -> list[str]:
    """Return the names that grades have, without those of graders that failed before they could name their entries."""
    grades = [grade for record in records for grade in record.grades]
    named = dict.fromkeys(grade.grader_key for grade in grades)
    graded = {grade.grader_key for grade in grades if grade.status == "graded"}
    entered = {name.rpartition(".")[0] for name in named if "." in name}
    return [name for name in named if name in graded or name not in entered]
