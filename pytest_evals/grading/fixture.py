"""``@grader``: a function becomes a fixture whose value is a `Grade`.

A sync grader runs in the setup of the test that asks for it, an async one ahead of all tests (see `steps`). What it returns
becomes a grade; what it raises becomes a grade with status ``error``, so that the other graders of the case still give
theirs, and the test then errors.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, overload

import pytest

from pytest_evals.errors import SuiteError
from pytest_evals.grading.calling import call_grader, grade_now
from pytest_evals.statistics.bounded import check_bounds
from pytest_evals.steps.fixture import Unbound, check_function, step_function
from pytest_evals.steps.step import FLOW, Asks, Check, Declaration
from pytest_evals.templates.expressions import check_condition

GraderFunction = Callable[..., Any]
Fixture = Any
"""What `pytest.fixture` returns; its class is not public."""


@overload
def grader(function: GraderFunction, /) -> Fixture: ...
@overload
def grader(
    *,
    name: str | None = None,
    threshold: float | None = None,
    bounds: tuple[float, float] | None = None,
    run_if: str | None = None,
) -> Callable[[GraderFunction], Fixture]: ...
def grader(
    function: GraderFunction | None = None,
    /,
    *,
    name: str | None = None,
    threshold: float | None = None,
    bounds: tuple[float, float] | None = None,
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
        bounds: The lowest and the highest number that the function can return, as ``(0, 1)``: the interval of their mean then
            keeps within them. A number outside is an error of the grader.
        run_if: An expression over the case, as ``"item.kind == 'rag'"``; where it is false, the grader does not apply.
    """

    def decorate(function: GraderFunction) -> Fixture:
        return grader_fixture(function, name=name, threshold=threshold, bounds=bounds, run_if=run_if)

    return decorate if function is None else decorate(function)


def grader_fixture(
    function: GraderFunction,
    *,
    name: str | None = None,
    threshold: float | None = None,
    bounds: tuple[float, float] | None = None,
    settings: Mapping[str, Any] | None = None,
    asks: Asks | None = None,
    check: Check | None = None,
    run_if: str | None = None,
    names: Collection[str] = (),
    runs_code: bool = False,
    waits: bool = False,
    seconds: float = 0.0,
    models: Collection[str] = (),
) -> Fixture:
    """Return the fixture for ``function``.

    ``settings``: what a ready-made grader was given, checked against every case; ``check`` is called with what they are for
    the case, and raises `SuiteError` for what the grader cannot use. ``names``: what templates in the settings may name
    besides the case and tasks, because the grader renders them with it. ``asks``: the texts whose likelihood it needs, from
    a case's scope; they are asked for with the completions of all cases. ``models``: specifications of models that it calls.
    ``runs_code``: it runs what the model wrote, which has to be allowed. ``waits``: a ready-made sync one takes its time,
    and ``seconds`` is the most, where it knows that; the time limit of graders must be longer.
    """
    check_function(function, "grader")
    if run_if is not None:
        check_condition(run_if)
    ready_made = function.__module__.startswith("pytest_evals.")
    try:
        known = None if bounds is None else check_bounds(bounds)
    except ValueError as error:
        raise SuiteError(f"grader {name or function.__name__!r}: {error}") from None
    declaration = Declaration(
        "grader",
        function,
        run_if=run_if,
        threshold=threshold,
        bounds=known,
        settings=settings or {},
        names=tuple(names),
        ready_made=ready_made,
        waits=waits or runs_code or not ready_made,
        seconds=seconds,
        check=check,
        asks=asks,
        runs_code=runs_code,
        models=tuple(models),
    )
    if declaration.is_async:
        if asks is not None:
            raise SuiteError(f"grader {function.__name__!r} is async: it awaits model.choose(...) instead of asks=")
        fixture_function = step_function(declaration)
    else:
        fixture_function = _sync_fixture_function(declaration)
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
        return grade_now(request, declaration, lambda: call_grader(function, args, kwargs), flow)

    parameters = list(signature.parameters.values())
    if not asks_request:
        parameters.append(inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY))
    # pytest reads the fixtures that a function asks for from its signature.
    grade_case.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # a function has this attribute when set
    grade_case.__evals_step__ = declaration  # type: ignore[attr-defined]  # see steps.declaration_of
    return grade_case if next(iter(signature.parameters), None) == "self" else Unbound(grade_case)
