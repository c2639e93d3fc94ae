"""Graders made of graders: a weighted mean, and verdicts of all, any or most."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pytest_evals.errors import GradeError, SuiteError
from pytest_evals.graders.parts import Part, ask_for, entry_of, part_names
from pytest_evals.grading.fixture import Fixture, grader_fixture

if TYPE_CHECKING:
    from pytest_evals.grades import Grade

Verdict = Callable[[Sequence[bool]], bool]


def weighted(
    parts: Mapping[Part, float],
    *,
    how: Literal["mean", "sum"] = "mean",
    threshold: float | None = None,
    name: str | None = None,
) -> Fixture:
    """The weighted mean (or sum) of graders: ``{"exact": 3, "short": 1}``.

    A grader that does not apply leaves, and the weights of the others count; when none applies, this one does not either. An
    error of one is an error.
    """
    kind = "weighted"
    if not isinstance(parts, Mapping):
        raise SuiteError(f"{kind}: give a mapping of graders to weights, not {parts!r:.80}")
    names = part_names(kind, list(parts), sys._getframe(1))  # noqa: SLF001 - the documented way to the caller
    if how not in ("mean", "sum"):
        raise SuiteError(f"{kind}: how must be 'mean' or 'sum', not {how!r}")
    weights = dict(zip(names, (_weight(part, weight) for part, weight in parts.items()), strict=True))

    def combine(grades: Mapping[str, Grade]) -> Grade:
        return weigh(grades, weights, how, threshold)

    return _combined(kind, names, combine, name)


def all_of(*parts: Part, name: str | None = None) -> Fixture:
    """Passes when every grader that applies passes."""
    names = part_names("all_of", parts, sys._getframe(1))  # noqa: SLF001 - as above
    return _combined("all_of", names, lambda grades: _by_verdicts("all_of", grades, all), name)


def any_of(*parts: Part, name: str | None = None) -> Fixture:
    """Passes when some grader passes."""
    names = part_names("any_of", parts, sys._getframe(1))  # noqa: SLF001 - as above
    return _combined("any_of", names, lambda grades: _by_verdicts("any_of", grades, any), name)


def majority(*parts: Part, name: str | None = None) -> Fixture:
    """Passes when more than half of the graders that apply pass."""
    names = part_names("majority", parts, sys._getframe(1))  # noqa: SLF001 - as above

    def most(verdicts: Sequence[bool]) -> bool:
        return 2 * sum(verdicts) > len(verdicts)

    return _combined("majority", names, lambda grades: _by_verdicts("majority", grades, most), name)


def weigh(
    grades: Mapping[str, Grade], weights: Mapping[str, float], how: str = "mean", threshold: float | None = None
) -> Grade:
    """Return the weighted mean or sum of the grades that apply."""
    from pytest_evals.grades import Grade

    waiting = _pending(grades)
    if waiting is not None:
        return waiting
    applying = {key: grade.value for key, grade in grades.items() if grade.value is not None}
    if not applying:
        return Grade(None, "", "none of its graders applies", status="not_applicable")
    total = math.fsum(weights[key] * value for key, value in applying.items())
    all_weight, weight = math.fsum(weights.values()), math.fsum(weights[key] for key in applying)
    # A sum keeps its scale when a grader leaves: the others stand for it.
    scale = 1 / weight if how == "mean" else all_weight / weight
    value = total * scale
    passed = None if threshold is None else value >= threshold
    return Grade(value, "", _reasons(grades), passed, bounds=_bounds(grades, weights, scale))


def _bounds(grades: Mapping[str, Grade], weights: Mapping[str, float], scale: float) -> tuple[float, float] | None:
    """Return between what the weighted value can be, where that is known of every grade that applies."""
    ends = {key: _ends(grade) for key, grade in grades.items() if grade.value is not None}
    known = {key: end for key, end in ends.items() if end is not None}
    if len(known) < len(ends):
        return None
    low, high = (scale * math.fsum(weights[key] * end[side] for key, end in known.items()) for side in (0, 1))
    return low, high


def _ends(grade: Grade) -> tuple[float, float] | None:
    """Return the bounds of a part; those of a verdict without bounds are wrong and right."""
    return grade.bounds or ((0.0, 1.0) if grade.passed is not None and grade.value in (0, 1) else None)


def _weight(part: Part, weight: object) -> float:
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight) or weight <= 0:
        raise SuiteError(f"weighted: the weight of {part!r:.60} must be a number above 0, not {weight!r}")
    return float(weight)


def _combined(
    kind: str, names: Sequence[str], combine: Callable[[Mapping[str, Grade]], Grade], name: str | None
) -> Fixture:
    def combined(**given: Any) -> Any:
        return combine({key: entry_of(key, given) for key in names})

    ask_for(combined, list(dict.fromkeys(key.partition(".")[0] for key in names)))
    combined.__doc__ = f"{kind} of {', '.join(names)}"
    return grader_fixture(combined, name=name)


def _by_verdicts(kind: str, grades: Mapping[str, Grade], verdict: Verdict) -> Grade:
    from pytest_evals.grades import Grade

    waiting = _pending(grades)
    if waiting is not None:
        return waiting
    applying = {key: grade for key, grade in grades.items() if grade.status == "graded"}
    if not applying:
        return Grade(None, "", "none of its graders applies", status="not_applicable")
    for key, grade in applying.items():
        if grade.passed is None and grade.value not in (0, 1):
            raise GradeError(f"{kind}: {key} gave {grade.value:g} without a verdict; give that grader a threshold")
    return Grade(verdict([bool(grade) for grade in applying.values()]), "", _reasons(grades))


def _pending(grades: Mapping[str, Grade]) -> Grade | None:
    """Return a pending grade when some part has yet to be given."""
    from pytest_evals.grades import Grade

    pending = [key for key, grade in grades.items() if grade.status == "pending"]
    return Grade(None, "", f"waits for {', '.join(pending)}", status="pending") if pending else None


def _reasons(grades: Mapping[str, Grade]) -> str:
    return "; ".join(f"{key} {_shown(grade)}" for key, grade in grades.items())


def _shown(grade: Grade) -> str:
    if grade.value is None:
        return str(grade.status).replace("_", " ")
    return f"{grade.value:g}" if grade.passed is None else "passed" if grade.passed else "missed"
