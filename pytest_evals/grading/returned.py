"""What a grader returned, or raised -> its grades."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

from pytest_evals.errors import AwaitsAnswer, GradeError, NotApplicable, StepError
from pytest_evals.frames import to_the_point
from pytest_evals.plain import described, one_line
from pytest_evals.statistics.bounded import within
from pytest_evals.timelimit import TimeLimitExceeded

if TYPE_CHECKING:
    from pytest_evals.grades import Grade


def given_to_test(grades: Mapping[str, Grade]) -> Any:
    """Return what a test or another grader gets of a grader: its own grade, with those by name as its parts; without one of
    its own, the dict.
    """
    own = grades.get("")
    parts = {name: grade for name, grade in grades.items() if name}
    return grades if own is None else own.with_parts(parts) if parts else own


def excluded(key: str) -> dict[str, Grade]:
    """Return the grades of a grader whose ``run_if`` is false for the case."""
    return {"": _without_value(key, "not_applicable", "run_if is false for this case")}


def grades_of_error(key: str, error: BaseException) -> tuple[dict[str, Grade], BaseException | None]:
    """Return what a grader that raised gives to the case, and the failure that the case has from it, if any."""
    if isinstance(error, (NotApplicable, pytest.skip.Exception)):
        status = "pending" if isinstance(error, AwaitsAnswer) else "not_applicable"
        return {"": _without_value(key, status, str(error))}, None
    if isinstance(error, TimeLimitExceeded):
        message = f"did not return within {error.seconds:g} s (evals_grader_timeout)"
        # Its traceback shows where it was when its time was up.
        failure = GradeError(f"grader {key!r} {message}").with_traceback(error.__traceback__)
        return {"": _without_value(key, "error", message)}, failure
    # GradeError and StepError: another one's failure, which is reported already.
    text = str(error) if isinstance(error, (GradeError, StepError)) else described(error)
    return {"": _without_value(key, "error", text)}, to_the_point(error)


def returned_failure(grades: Mapping[str, Grade]) -> GradeError | None:
    """Return the failure of a grader that says itself, by a grade with status ``error``, that it has none."""
    for grade in grades.values():
        if grade.status == "error":
            return GradeError(f"grader {grade.grader_key!r}: {grade.reasoning or 'error'}")
    return None


def _without_value(key: str, status: Any, reasoning: str) -> Grade:
    from pytest_evals.grades import Grade

    return Grade(None, key, reasoning, status=status)


def to_grades(
    value: Any, key: str, threshold: float | None = None, bounds: tuple[float, float] | None = None
) -> dict[str, Grade]:
    """Return what a grader returned as grades: one under ``""``, or one a name of the dict, whose keys are
    ``grader.name``. A dict may hold the grader's own grade too, under ``""``.

    Raises `GradeError` for anything else, NaN and infinities among it.
    """
    if isinstance(value, Mapping):
        if not value:
            raise GradeError(f"grader {key!r} returned an empty dict; None says that there is nothing to grade")
        for name in value:
            if not isinstance(name, str):
                raise GradeError(f"grader {key!r} returned a dict with the key {name!r}; the keys are names of grades")
        return {
            name: _to_grade(entry, f"{key}.{name}" if name else key, threshold, bounds) for name, entry in value.items()
        }
    return {"": _to_grade(value, key, threshold, bounds)}


def _shown(value: object) -> str:
    try:
        return one_line(repr(value), 60)
    except Exception:  # noqa: BLE001 - a value's own repr may fail; an integer of 5,000 digits has none
        return f"a value of type {type(value).__name__}"


def _to_grade(value: Any, key: str, threshold: float | None, bounds: tuple[float, float] | None) -> Grade:
    from pytest_evals.grades import Grade

    if isinstance(value, Grade):
        return _as_given(value, key, bounds)
    if value is None:
        return Grade(None, key, status="not_applicable")
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
        return Grade(bool(value), key)
    if inspect.isawaitable(value):
        raise GradeError(
            f"grader {key!r} returned {type(value).__name__}, which has yet to be waited for; await it in an async grader, or "
            "take its result()"
        )
    if not isinstance(value, (int, float)) and not (hasattr(value, "__float__") and getattr(value, "ndim", 0) == 0):
        raise GradeError(
            f"grader {key!r} returned {type(value).__name__} ({_shown(value)}); "
            "a grader returns a bool, a finite number, a Grade, a dict of these, or None"
        )
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise GradeError(f"grader {key!r} returned {_shown(value)}, which is not a number: {error}") from error
    if not math.isfinite(number):
        raise GradeError(
            f"grader {key!r} returned {number}; a grade is a finite number, or None where there is nothing to grade"
        )
    _check_within(number, key, bounds)
    return Grade(number, key, passed=None if threshold is None else number >= threshold, bounds=bounds)


def _as_given(grade: Grade, key: str, bounds: tuple[float, float] | None) -> Grade:
    """Return a grade that a grader made itself, under its key; a number has the grader's bounds unless it brings its own."""
    update: dict[str, Any] = {} if grade.grader_key == key else {"grader_key": key}
    if bounds is not None and grade.bounds is None and grade.value is not None:
        _check_within(grade.value, key, bounds)
        update["bounds"] = bounds
    return grade.model_copy(update=update) if update else grade


def _check_within(number: float, key: str, bounds: tuple[float, float] | None) -> None:
    if bounds is not None and not within(number, bounds):
        raise GradeError(f"grader {key!r} returned {number:g}, outside of its bounds {bounds[0]:g} to {bounds[1]:g}")
