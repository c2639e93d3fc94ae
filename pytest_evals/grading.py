"""``@grader``: a function becomes a fixture whose value is a `Grade`.

A sync grader runs in the setup of the test that asks for it, an async one ahead of all tests (see `steps`). What it returns
becomes a grade; what it raises becomes a grade with status ``error``, so that the other graders of the case still give
theirs, and the test then errors.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

import pytest

from pytest_evals.current import GRADER
from pytest_evals.errors import AwaitsAnswer, GradeError, NotApplicable, StepError, SuiteError
from pytest_evals.plain import described, one_line
from pytest_evals.steps.budget import LimitExceeded
from pytest_evals.steps.step import FLOW, Absent, Declaration, Flow, check_function, step_function
from pytest_evals.templates import check_condition
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
# The graders and tasks whose run_if is false for the case. Only items with such ones have it.
EXCLUDED: pytest.StashKey[frozenset[str]] = pytest.StashKey()
# What the templates of the grader that runs may name, where that is more than the case.
SCOPE: ContextVar[Mapping[str, Any] | None] = ContextVar("evals_scope", default=None)
# Whether graders may run programs that a model wrote.
RUN_CODE: pytest.StashKey[bool] = pytest.StashKey()


@overload
def grader(function: GraderFunction, /) -> Fixture: ...
@overload
def grader(
    *, name: str | None = None, threshold: float | None = None, run_if: str | None = None
) -> Callable[[GraderFunction], Fixture]: ...
def grader(
    function: GraderFunction | None = None,
    /,
    *,
    name: str | None = None,
    threshold: float | None = None,
    run_if: str | None = None,
) -> Any:
    """Make a function a grader: a fixture that gives a `Grade` to the case which runs.

    The function may ask for ``case``, ``completion``, tasks, other graders and any fixture. It returns a bool (right or
    wrong), a finite number, a `Grade`, a dict of these by name, or `None` when it does not apply to the case.

    Where it is async, it runs ahead of the tests, together with those of all cases, so that the calls of ``judge`` and
    ``model`` that it awaits are computed in batches; of ordinary fixtures it may then ask for those of class to session
    scope.

    Args:
        function: The function, when used without parentheses.
        name: The fixture's name and the grader's key; by default the function's name.
        threshold: A number that the function returns passes from here on; without it a number has no verdict.
        run_if: An expression over the case, as ``"item.kind == 'rag'"``; where it is false, the grader does not apply.
    """

    def decorate(function: GraderFunction) -> Fixture:
        return grader_fixture(function, name=name, threshold=threshold, run_if=run_if)

    return decorate if function is None else decorate(function)


def grader_fixture(
    function: GraderFunction,
    *,
    name: str | None = None,
    threshold: float | None = None,
    settings: Mapping[str, Any] | None = None,
    asks: Asks | None = None,
    check: Check | None = None,
    run_if: str | None = None,
    names: Collection[str] = (),
    runs_code: bool = False,
    models: Collection[str] = (),
) -> Fixture:
    """Return the fixture for ``function``.

    ``settings``: what a ready-made grader was given, checked against every case; ``check`` is called with what they are for
    the case, and raises `SuiteError` for what the grader cannot use. ``names``: what templates in the settings may name
    besides the case and tasks, because the grader renders them with it. ``asks``: the texts whose likelihood it needs, from
    a case's scope; they are asked for with the completions of all cases. ``models``: specifications of models that it calls.
    ``runs_code``: it runs what the model wrote, which has to be allowed.
    """
    check_function(function, "grader")
    if run_if is not None:
        check_condition(run_if)
    declaration = Declaration(
        "grader",
        function,
        run_if=run_if,
        threshold=threshold,
        settings=settings or {},
        names=tuple(names),
        ready_made=function.__module__.startswith("pytest_evals."),
    )
    if declaration.is_async:
        if asks is not None:
            raise SuiteError(f"grader {function.__name__!r} is async: it awaits model.choose(...) instead of asks=")
        fixture_function = step_function(declaration)
    else:
        fixture_function = _sync_fixture_function(declaration)
    fixture_function.__evals_settings__ = settings or {}  # type: ignore[attr-defined]  # marks the function as a grader, see settings_of
    fixture_function.__evals_check__ = check  # type: ignore[attr-defined]  # see check_of
    fixture_function.__evals_runs_code__ = runs_code  # type: ignore[attr-defined]  # see runs_code_of
    fixture_function.__evals_asks__ = asks  # type: ignore[attr-defined]  # see asks_of
    fixture_function.__evals_models__ = models  # type: ignore[attr-defined]  # see models_of
    return pytest.fixture(fixture_function) if name is None else pytest.fixture(name=name)(fixture_function)


def _sync_fixture_function(declaration: Declaration) -> Callable[..., Any]:
    function = declaration.function
    signature = inspect.signature(function)
    asks_request = "request" in signature.parameters

    @functools.wraps(function)
    def grade_case(*args: Any, request: pytest.FixtureRequest, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        flow = request.node.stash.get(FLOW, None)
        if flow is not None and flow.knows(request.fixturename or "", declaration):
            # Another step builds on it, so that it has run already.
            return flow.hand_over(request.fixturename or "", declaration, kwargs)
        if asks_request:
            kwargs["request"] = request
        return _grade(request, declaration.threshold, lambda: call_grader(function, args, kwargs), flow)

    parameters = list(signature.parameters.values())
    if not asks_request:
        parameters.append(inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY))
    # pytest reads the fixtures that a function asks for from its signature.
    grade_case.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # a function has this attribute when set
    grade_case.__evals_step__ = declaration  # type: ignore[attr-defined]  # see steps.declaration_of
    return grade_case


def call_grader(function: GraderFunction, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
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


def current_case(request: pytest.FixtureRequest) -> Case:
    """Return the case that runs, for graders that need no fixture for it: each fixture costs time in every case."""
    case: Case = request.node.stash[CASE]
    return case


def current_scope(request: pytest.FixtureRequest | None = None) -> Mapping[str, Any]:
    """Return what the templates of the grader that runs may name: the case, and the results of tasks that they name. A sync
    grader gives its ``request``, an async one has none.
    """
    scope = SCOPE.get()
    if scope is not None:
        return scope
    if request is None:
        raise SuiteError("current_scope() is for graders while they run")
    return current_case(request).scope


def settings_of(function: Any) -> Mapping[str, Any] | None:
    """Return the settings of a grader's fixture function, `None` when the function is not a grader."""
    settings: Mapping[str, Any] | None = getattr(function, "__evals_settings__", None)
    return settings


def check_of(function: Any) -> Check | None:
    """Return what checks a grader's settings for a case, `None` when nothing does."""
    check: Check | None = getattr(function, "__evals_check__", None)
    return check


def runs_code_of(function: Any) -> bool:
    """Tell whether a grader runs programs that a model wrote."""
    return bool(getattr(function, "__evals_runs_code__", False))


def models_of(function: Any) -> Collection[str]:
    """Return the specifications of models that a grader calls besides the one under test and the judge."""
    models: Collection[str] = getattr(function, "__evals_models__", ())
    return models


def asks_of(function: Any) -> Asks | None:
    """Return what tells the texts whose likelihood a grader needs, `None` when it needs none."""
    asks: Asks | None = getattr(function, "__evals_asks__", None)
    return asks


def _grade(request: pytest.FixtureRequest, threshold: float | None, call: Callable[[], Any], flow: Flow | None) -> Any:
    __tracebackhide__ = True
    key = request.fixturename or ""
    item = request.node
    sheet = item.stash.get(SHEET, None)
    if sheet is None:
        raise SuiteError(f"grader {key!r} is used by {item.nodeid}, which is not an eval: put @cases(...) on it")
    failure: BaseException | None = None
    if key in item.stash.get(EXCLUDED, ()):
        grades = excluded(key)
    else:
        # A task that only templates name: its error is the case's.
        named = [request.getfixturevalue(alias) for alias in flow.aliases_of(key)] if flow is not None else []
        scope = SCOPE.set(flow.scope_of(key) if flow is not None else None)
        asking = GRADER.set(key)
        try:
            with time_limit(request.config.stash.get(TIME_LIMIT, 0.0)):
                check_present(named)
                value = call()
            grades = to_grades(value, key, threshold)
            failure = returned_failure(grades)
        except (Exception, pytest.skip.Exception, TimeLimitExceeded, LimitExceeded) as error:  # noqa: BLE001 - a grader is the user's code: whatever it raises is kept and shown as this case's error
            grades, failure = grades_of_error(key, error)
        finally:
            SCOPE.reset(scope)
            GRADER.reset(asking)
    if failure is not None:
        sheet.failures.setdefault(key, failure)
    sheet.grades.update({grade.grader_key: grade for grade in grades.values()})
    return given_to_test(grades)


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
    return {"": _without_value(key, "error", text)}, error


def returned_failure(grades: Mapping[str, Grade]) -> GradeError | None:
    """Return the failure of a grader that says itself, by a grade with status ``error``, that it has none."""
    for grade in grades.values():
        if grade.status == "error":
            return GradeError(f"grader {grade.grader_key!r}: {grade.reasoning or 'error'}")
    return None


def _without_value(key: str, status: Any, reasoning: str) -> Grade:
    from pytest_evals.grades import Grade

    return Grade(None, key, reasoning, status=status)


def to_grades(value: Any, key: str, threshold: float | None = None) -> dict[str, Grade]:
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
        return {name: _to_grade(entry, f"{key}.{name}" if name else key, threshold) for name, entry in value.items()}
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
