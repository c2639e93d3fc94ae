"""What cases cost, as scores: tokens, latency, errors. The same statistics, intervals and slices as those of graders."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from pytest_evals.scores.records import CaseRecord, GradeRecord
from pytest_evals.scores.score import Score
from pytest_evals.scores.scoring import compute_score

_MEASURES: Mapping[str, Callable[[CaseRecord], float | None]] = {
    "tokens": lambda record: record.tokens,
    "prompt_tokens": lambda record: record.prompt_tokens,
    "latency": lambda record: record.latency,
    "errors": lambda record: None if record.outcome == "skipped" else float(broke(record)),
}


def budget_score(suite: str, model: str, budget: str, records: Iterable[CaseRecord]) -> Score:
    """Return the score of a budget. A case that broke before it cost anything is an error of it, as of a grader."""
    measure = _MEASURES[budget]
    return compute_score(
        suite, model, budget, [replace(each, grades=(_grade(budget, measure, each),)) for each in records]
    )


def _grade(budget: str, measure: Callable[[CaseRecord], float | None], record: CaseRecord) -> GradeRecord:
    value = measure(record)
    if value is not None:
        # A token is not a right answer: one of each case says nothing of right and wrong.
        bounds = None if budget == "errors" else (0.0, math.inf)
        return GradeRecord(budget, float(value), None, "graded", bounds=bounds)
    return GradeRecord(budget, None, None, "error" if broke(record) else "not_applicable")


def broke(record: CaseRecord) -> bool:
    """Tell whether something broke in the case: the model, a grader, the test itself."""
    return record.outcome == "errored" or any(grade.status == "error" for grade in record.grades)
