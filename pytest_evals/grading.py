"""``@grader``: a function becomes a fixture whose value is a `Grade`.

A sync grader runs in the setup of the test that asks for it. What it returns becomes a grade; what it raises becomes a
grade with status ``error``, so that the other graders of the case still give theirs, and the test then errors.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

import pytest

from pytest_evals.errors import GradeError, NotApplicable, SuiteError
from pytest_evals.plain import one_line
from pytest_evals.timelimit import TimeLimitExceeded, time_limit

if TYPE_CHECKING:
    from pytest_evals.case import Case
    from pytest_evals.grades import Grade

GraderFunction = Callable[..., Any]
Asks = Callable[[Mapping[str, Any]], tuple[str, ...]]
Check = Callable[[Mapping[str, Any]], object]
Fixture = Any
"""What `pytest.fixture` returns; its class is not public."""


@dataclass(slots=True)
class Sheet:
    """The grades of one case while it runs, and what its graders raised."""

    grades: dict[str, Grade] = field(default_factory=dict)
    failures: dict[str, BaseException] = field(default_factory=dict)
    recorded: dict[str, Any] = field(default_factory=dict)


# The sheet of the case that is running. Only items that the plugin made into cases have one.
SHEET: pytest.StashKey[Sheet] = pytest.StashKey()
# The case that an item is.
CASE: pytest.StashKey[Case] = pytest.StashKey()
# Seconds that one grader may take; 0 is no limit.
TIME_LIMIT: pytest.StashKey[float] = pytest.StashKey()


@overload
def grader(function: GraderFunction, /) -> Fixture: ...
@overload
def grader(*, name: str | None = None, threshold: float | None = None) -> Callable[[GraderFunction], Fixture]: ...
def grader(
    function: GraderFunction | None = None, /, *, name: str | None = None, threshold: float | None = None
) -> Any:
    """Make a function a grader: a fixture that gives a `Grade` to the case which runs.

    The function may ask for ``case``, ``completion``, other graders and any fixture. It returns a bool (right or
    wrong), a finite number, a `Grade`, a dict of these by name, or `None` when it does not apply to the case.

    Args:
        function: The function, when used without parentheses.
        name: The fixture's name and the grader's key; by default the function's name.
        threshold: A number that the function returns passes from here on; without it a number has no verdict.
    """

    def decorate(function: GraderFunction) -> Fixture:
        return grader_fixture(function, name=name, threshold=threshold)

    return decorate if function is None else decorate(function)


def grader_fixture(
    function: GraderFunction,
    *,
    name: str | None = None,
    threshold: float | None = None,
    settings: Mapping[str, Any] | None = None,
    asks: Asks | None = None,
    check: Check | None = None,
) -> Fixture:
    """Return the fixture for ``function``.

    ``settings``: what a ready-made grader was given, checked against every case; ``check`` is called with what they are for
    the case, and raises `SuiteError` for what the grader cannot use. ``asks``: the texts whose likelihood
    it needs, from a case's scope; they are asked for with the completions of all cases.
    """
    if not callable(function) or isinstance(function, type):
        raise SuiteError(f"@grader takes a function, not {type(function).__name__}")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise SuiteError(
            f"grader {function.__name__!r} is async; graders are ordinary functions in this version, so write it without async"
        )
    if inspect.isgeneratorfunction(function):
        raise SuiteError(
            f"grader {function.__name__!r} yields; a grader returns its grade, and set-up goes into a fixture that it uses"
        )
    signature = inspect.signature(function)
    asks_request = "request" in signature.parameters

    @functools.wraps(function)
    def grade_case(*args: Any, request: pytest.FixtureRequest, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        if asks_request:
            kwargs["request"] = request
        return _grade(request, threshold, lambda: _call(function, args, kwargs))

    parameters = list(signature.parameters.values())
    if not asks_request:
        parameters.append(inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY))
    # pytest reads the fixtures that a function asks for from its signature.
    grade_case.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # a function has this attribute when set
    grade_case.__evals_settings__ = settings or {}  # type: ignore[attr-defined]  # marks the function as a grader, see settings_of
    grade_case.__evals_check__ = check  # type: ignore[attr-defined]  # see check_of
    grade_case.__evals_asks__ = asks  # type: ignore[attr-defined]  # see asks_of
    return pytest.fixture(grade_case) if name is None else pytest.fixture(name=name)(grade_case)


def _call(function: GraderFunction, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Call a grader, unless one that it builds on failed: its grade would be made of nothing."""
    __tracebackhide__ = True
    for value in kwargs.values():
        for grade in value.values() if isinstance(value, dict) else (value,):
            if getattr(grade, "status", None) == "error" and hasattr(grade, "grader_key"):
                raise GradeError(f"builds on the grader {grade.grader_key!r}, which failed: {grade.reasoning}")
    return function(*args, **kwargs)


def current_case(request: pytest.FixtureRequest) -> Case:
    """Return the case that runs, for graders that need no fixture for it: each fixture costs time in every case."""
    case: Case = request.node.stash[CASE]
    return case


def settings_of(function: Any) -> Mapping[str, Any] | None:
    """Return the settings of a grader's fixture function, `None` when the function is not a grader."""
    settings: Mapping[str, Any] | None = getattr(function, "__evals_settings__", None)
    return settings


def check_of(function: Any) -> Check | None:
    """Return what checks a grader's settings for a case, `None` when nothing does."""
    check: Check | None = getattr(function, "__evals_check__", None)
    return check


def asks_of(function: Any) -> Asks | None:
    """Return what tells the texts whose likelihood a grader needs, `None` when it needs none."""
    asks: Asks | None = getattr(function, "__evals_asks__", None)
    return asks


def _grade(request: pytest.FixtureRequest, threshold: float | None, call: Callable[[], Any]) -> Any:
    __tracebackhide__ = True
    key = request.fixturename or ""
    sheet = request.node.stash.get(SHEET, None)
    if sheet is None:
        raise SuiteError(
            f"grader {key!r} is used by {request.node.nodeid}, which is not an eval: put @cases(...) on it"
        )
    try:
        with time_limit(request.config.stash.get(TIME_LIMIT, 0.0)):
            value = call()
        grades = to_grades(value, key, threshold)
    except NotApplicable as reason:
        grades = {"": _without_value(key, "not_applicable", str(reason))}
    except pytest.skip.Exception as reason:
        grades = {"": _without_value(key, "not_applicable", str(reason))}
    except GradeError as error:
        # Another grader's failure, which is reported already.
        grades = {"": _without_value(key, "error", str(error))}
        sheet.failures.setdefault(key, error)
    except TimeLimitExceeded as error:
        message = f"did not return within {error.seconds:g} s (evals_grader_timeout)"
        grades = {"": _without_value(key, "error", message)}
        sheet.failures[key] = GradeError(f"grader {key!r} {message}")
    except Exception as error:  # noqa: BLE001 - a grader is the user's code: whatever it raises is kept and shown as this case's error
        grades = {"": _without_value(key, "error", f"{type(error).__name__}: {error}")}
        sheet.failures[key] = error
    sheet.grades.update({grade.grader_key: grade for grade in grades.values()})
    return grades.get("", grades)


def _without_value(key: str, status: Any, reasoning: str) -> Grade:
    from pytest_evals.grades import Grade

    return Grade(None, key, reasoning, status=status)


def to_grades(value: Any, key: str, threshold: float | None = None) -> dict[str, Grade]:
    """Return what a grader returned as grades: one under ``""``, or one a name of the dict, whose keys are
    ``grader.name``.

    Raises `GradeError` for anything else, NaN and infinities among it.
    """
    if isinstance(value, Mapping):
        if not value:
            raise GradeError(f"grader {key!r} returned an empty dict; None says that there is nothing to grade")
        for name in value:
            if not isinstance(name, str) or not name:
                raise GradeError(f"grader {key!r} returned a dict with the key {name!r}; the keys are names of grades")
        return {name: _to_grade(entry, f"{key}.{name}", threshold) for name, entry in value.items()}
    return {"": _to_grade(value, key, threshold)}


def _shown(value: object) -> str:
    try:
        return one_line(repr(value), 60)
    except Exception:  # noqa: BLE001 - a value's own repr may fail; an integer of 5,000 digits has none
        return f"a value of type {type(value).__name__}"


def _to_grade(value: Any, key: str, threshold: float | None) -> Grade:
    from pytest_evals.grades import Grade

    if isinstance(value, Grade):
        return value if value.grader_key == key else value.model_copy(update={"grader_key": key})
    if value is None:
        return Grade(None, key, status="not_applicable")
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
        return Grade(bool(value), key)
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
    return Grade(number, key, passed=None if threshold is None else number >= threshold)
