"""Graders of the tools that a model called, in one reply or in all turns of a conversation."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import pytest

from pytest_evals.completion import ToolCall
from pytest_evals.errors import SuiteError
from pytest_evals.fixtures.context import current_scope
from pytest_evals.fixtures.grader import Fixture, grader_fixture
from pytest_evals.graders.templating import depends_on_case
from pytest_evals.graders.tools.matching import Arguments, Order, compare, expected_calls
from pytest_evals.graders.tools.trajectory import MadeCalls, made_calls
from pytest_evals.templates.locators import is_path, steps_of
from pytest_evals.templates.rendering import render

__all__ = ["max_tool_calls", "no_tool_calls", "tool_calls"]


def tool_calls(
    expected: object,
    *,
    order: Order = "any",
    arguments: Arguments = "equal",
    allow_extra: bool = False,
    of: str | None = None,
    run_if: str | None = None,
) -> Fixture:
    """The model called the ``expected`` tools: in its reply, or in all turns of a `tool_loop`.

    The value is the F1 of the calls: twice the number of calls that match, divided by the number of calls expected and made. It
    passes where all match and no other call was made. With ``allow_extra`` further calls are not a fault, and the value is the recall.

    Args:
        expected: Calls as ``{"name": "get_weather", "arguments": {"city": "Paris"}}``, or names alone, whose arguments do not matter:
            a list, one, or a locator of either. An empty list says that no tool is to be called.
        order: ``exact`` matches the calls one by one, ``in_order`` the longest common subsequence, ``any`` as many as can be.
        arguments: ``equal``; ``subset``: those that are expected are equal, others do not matter; ``ignore``: only names are
            compared; ``any_of``: each expected argument is a list of the values that are right, with ``""`` among them where
            it may be left out (as in the Berkeley Function-Calling Leaderboard). Numbers are equal by value: 5 is 5.0.
        allow_extra: Whether the model may make other calls too.
        of: A task whose result is graded in the place of the completion: a completion, or calls in a list.
        run_if: An expression over the case; where it is false, the grader does not apply.
    """
    if order not in get_args(Order):
        raise SuiteError(f"tool_calls: order must be one of {', '.join(get_args(Order))}, not {order!r}")
    if arguments not in get_args(Arguments):
        raise SuiteError(f"tool_calls: arguments must be one of {', '.join(get_args(Arguments))}, not {arguments!r}")
    if not isinstance(allow_extra, bool):
        raise SuiteError(f"tool_calls: allow_extra must be true or false, not {allow_extra!r}")
    dynamic = _depends_on_case(expected)
    fixed = None if dynamic else expected_calls(expected, arguments)

    def grade(made: MadeCalls, request: pytest.FixtureRequest) -> Any:
        from pytest_evals.grades import Grade

        wanted = expected_calls(render(expected, current_scope(request)), arguments) if fixed is None else fixed
        result = compare(wanted, made.calls, order, arguments, allow_extra=allow_extra)
        return Grade(
            result.value,
            request.fixturename or "",
            made.with_problems(result.reason),
            passed=result.passed,
            metadata=result.details(),
            bounds=(0, 1),
        )

    settings = {"expected": expected} if dynamic else None
    ready_made = _grading_calls(grade, of, "tool_calls")
    ready_made.__doc__ = "The model called the expected tools."
    check = (lambda rendered: expected_calls(rendered["expected"], arguments)) if settings else None
    return grader_fixture(ready_made, settings=settings, check=check, bounds=(0, 1), run_if=run_if)


def no_tool_calls(*, of: str | None = None, run_if: str | None = None) -> Fixture:
    """The model called no tool, and did not try to: a call that cannot be parsed is one that it tried to make."""

    def grade(made: MadeCalls, request: pytest.FixtureRequest) -> Any:
        from pytest_evals.grades import Grade

        reason = f"called {_listed(made.calls)}" if made.calls else "called no tool"
        return Grade(not made.calls and not made.problems, request.fixturename or "", made.with_problems(reason))

    ready_made = _grading_calls(grade, of, "no_tool_calls")
    ready_made.__doc__ = "The model called no tool."
    return grader_fixture(ready_made, run_if=run_if)


def max_tool_calls(n: int, *, of: str | None = None, run_if: str | None = None) -> Fixture:
    """The model called tools at most ``n`` times, in all turns together."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 0:
        raise SuiteError(f"max_tool_calls takes a whole number of at least 0, not {n!r}")

    def grade(made: MadeCalls, request: pytest.FixtureRequest) -> Any:
        from pytest_evals.grades import Grade

        reason = f"{len(made.calls)} calls, and at most {n} are allowed"
        return Grade(len(made.calls) <= n, request.fixturename or "", made.with_problems(reason))

    ready_made = _grading_calls(grade, of, "max_tool_calls")
    ready_made.__doc__ = "The model called tools at most ``n`` times."
    return grader_fixture(ready_made, run_if=run_if)


def _depends_on_case(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(_depends_on_case(entry) for entry in value.values())
    if isinstance(value, (list, tuple)):
        return any(_depends_on_case(entry) for entry in value)
    return depends_on_case(value)


def _listed(calls: Sequence[ToolCall]) -> str:
    return ", ".join(call.name for call in calls)


def _grading_calls(
    grade: Callable[[MadeCalls, pytest.FixtureRequest], Any], of: str | None, who: str
) -> Callable[..., Any]:
    """Return the function of a grader that grades the calls of the completion, or of the task that ``of`` names."""
    path = "completion" if of is None else of
    if not isinstance(path, str) or not is_path(path) or steps_of(path)[1]:
        raise SuiteError(f"{who}: of is the name of a task, not {of!r}")

    def ready_made(*, request: pytest.FixtureRequest, **given: Any) -> Any:
        return grade(made_calls(given[path], request.node, path), request)

    kind = inspect.Parameter.KEYWORD_ONLY
    ready_made.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # pytest reads the names of fixtures from it
        [inspect.Parameter(path, kind), inspect.Parameter("request", kind)]
    )
    return ready_made
