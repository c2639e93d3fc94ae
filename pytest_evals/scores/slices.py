"""Parts of a suite that are worse than the rest of it: fields of rows that take few values, as ``level=hard``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_evals import statistics
from pytest_evals.scores.records import CaseRecord
from pytest_evals.scores.score import CaseGrades, Score
from pytest_evals.statistics.comparison import lower_tail

_MOST_VALUES = 12
"""A field with more of them tells cases apart, not kinds of cases."""
_FEWEST_CASES = 5
_ALPHA = 0.05
_VISIBLE = 0.0005
"""A difference that is smaller is none at the three decimals of a report: where no value differs, rounding alone makes some."""


@dataclass(frozen=True, slots=True)
class WeakSlice:
    """Cases with ``field=value`` are worse than the others: ``p`` is adjusted for all slices of the score that were tried."""

    suite: str
    model: str
    grader: str
    field: str
    value: str
    n: int
    mean: float
    interval: statistics.Interval | None
    rest: float
    p: float


def weak_slices(scores: Iterable[Score], records: Iterable[CaseRecord]) -> tuple[WeakSlice, ...]:
    """Return the slices that can hardly be worse by chance, those that are furthest below the rest first."""
    rows: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for record in records:
        rows.setdefault((record.suite, record.model), {}).setdefault(record.case_id, record.fields)
    found = [each for score in scores for each in _of_score(score, rows.get((score.suite, score.model), {}))]
    return tuple(sorted(found, key=lambda each: each.mean - each.rest))


def _of_score(score: Score, rows: Mapping[str, Mapping[str, Any]]) -> list[WeakSlice]:
    tried = []
    for field in dict.fromkeys(name for case in score.cases for name in rows.get(case.case_id, ())):
        groups = _groups(field, score.cases, rows)
        for value, cases in groups.items() if len(groups) <= _MOST_VALUES else ():
            others = [case for name, rest in groups.items() if name != value for case in rest]
            if min(len(cases), len(others)) >= _FEWEST_CASES:
                tried.append((field, value, cases, others))
    clustered = score.clusters is not None
    tails = [lower_tail(_means(cases), _means(rest), *_labels(cases, rest, clustered)) for _, _, cases, rest in tried]
    low = [_slice(score, *part, p) for part, p in zip(tried, statistics.holm(tails), strict=True) if p <= _ALPHA]
    return [each for each in low if each.rest - each.mean >= _VISIBLE]


def _groups(
    field: str, cases: Iterable[CaseGrades], rows: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[CaseGrades]]:
    """Return the cases by the value of a field; of a field that holds no plain values, nothing."""
    groups: dict[str, list[CaseGrades]] = {}
    for case in cases:
        value = rows.get(case.case_id, {}).get(field)
        if value is None:
            continue
        if not isinstance(value, (str, int, float)) or len(groups) > _MOST_VALUES:
            return {}
        # As a gate's slice would be written.
        text = str(value).lower() if isinstance(value, bool) else str(value)
        groups.setdefault(text, []).append(case)
    return groups


def _means(cases: Iterable[CaseGrades]) -> list[float]:
    return [case.mean for case in cases]


def _labels(
    cases: Sequence[CaseGrades], rest: Sequence[CaseGrades], clustered: bool
) -> tuple[list[str] | None, list[str] | None]:
    if not clustered:
        return None, None
    mine, others = ([case.cluster or case.case_id for case in part] for part in (cases, rest))
    return mine, others


def _slice(
    score: Score, field: str, value: str, cases: Sequence[CaseGrades], rest: Sequence[CaseGrades], p: float
) -> WeakSlice:
    part = score.of_cases(cases)
    return WeakSlice(
        score.suite,
        score.model,
        score.grader,
        field,
        value,
        len(cases),
        part.mean or 0.0,
        part.interval,
        score.of_cases(rest).mean or 0.0,
        p,
    )
