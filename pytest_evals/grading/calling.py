"""Calls graders: a sync one in the setup of the test that asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from pytest_evals.current import GRADER
from pytest_evals.errors import GradeError, NotApplicable, SuiteError
from pytest_evals.grading.returned import excluded, given_to_test, grades_of_error, returned_failure, to_grades
from pytest_evals.grading.scope import SCOPE
from pytest_evals.grading.sheet import EXCLUDED, SHEET, TIME_LIMIT
from pytest_evals.steps.budget import LimitExceeded
from pytest_evals.steps.step import Absent, Declaration, Flow
from pytest_evals.timelimit import TimeLimitExceeded, time_limit

if TYPE_CHECKING:
    from pytest_evals.grades import Grade


def grade_now(
    request: pytest.FixtureRequest, declaration: Declaration, call: Callable[[], Any], flow: Flow | None
) -> Any:
    """Grade the case of ``request`` by ``call``: enter its grades, and what it raised, on the sheet of the case; return what
    the test gets of them. Raises `SuiteError` where the test is no eval.
    """
    __tracebackhide__ = True
    key = request.fixturename or ""
    sheet = request.node.stash.get(SHEET, None)
    if sheet is None:
        raise SuiteError(
            f"grader {key!r} is used by {request.node.nodeid}, which is not an eval: put @cases(...) on it"
        )
    if key in request.node.stash.get(EXCLUDED, ()):
        grades, failure = excluded(key), None
    else:
        grades, failure = _grades(request, declaration, call, flow)
    if failure is not None:
        sheet.failures.setdefault(key, failure)
    sheet.grades.update({grade.grader_key: grade for grade in grades.values()})
    return given_to_test(grades)


def _grades(
    request: pytest.FixtureRequest, declaration: Declaration, call: Callable[[], Any], flow: Flow | None
) -> tuple[dict[str, Grade], BaseException | None]:
    __tracebackhide__ = True
    key = request.fixturename or ""
    # A task that only templates name: its error is the case's.
    named = [request.getfixturevalue(alias) for alias in flow.aliases_of(key)] if flow is not None else []
    scope = SCOPE.set(flow.scope_of(key) if flow is not None else None)
    asking = GRADER.set(key)
    try:
        with time_limit(request.config.stash.get(TIME_LIMIT, 0.0)):
            check_present(named)
            value = call()
        grades = to_grades(value, key, declaration.threshold, declaration.bounds)
        return grades, returned_failure(grades)
    except (Exception, pytest.skip.Exception, TimeLimitExceeded, LimitExceeded) as error:  # noqa: BLE001 - a grader is the user's code: whatever it raises is kept and shown as this case's error
        return grades_of_error(key, error)
    finally:
        SCOPE.reset(scope)
        GRADER.reset(asking)


def call_grader(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Call a grader, unless one that it builds on failed: its grade would be made of nothing. One that builds on a task
    which does not apply does not apply either.
    """
    __tracebackhide__ = True
    check_present(kwargs.values())
    for value in kwargs.values():
        for grade in value.values() if isinstance(value, dict) else (value,):
            if getattr(grade, "status", None) == "error" and hasattr(grade, "grader_key"):
                raise GradeError(f"builds on the grader {grade.grader_key!r}, which failed: {grade.reasoning}")
    return function(*args, **kwargs)


def check_present(values: Iterable[Any]) -> None:
    """Raise `NotApplicable` when one of them is a task that does not apply to the case."""
    for value in values:
        if isinstance(value, Absent):
            raise NotApplicable(f"builds on {value.reason}")
