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
    """The model called the ``expected`` tools, in its reply or in all turns of a `tool_loop`.

    The value is the F1 of the calls, from 0 to 1: twice the matching calls over the calls expected and made. It passes if all match and the
    model made no other. With ``allow_extra`` the value is the recall.

    Args:
        expected: A call ``{"name": "get_weather", "arguments": {"city": "Paris"}}`` or a name whose arguments do not matter; a list of
            these; or a locator. An empty list expects no call.
        order: ``exact`` matches calls one by one, ``in_order`` by the longest common subsequence, ``any`` in any order.
        arguments: ``equal``; ``subset``: arguments that are not expected do not matter; ``ignore``: only names count; ``any_of``: each
            expected argument is a list of right values, with ``""`` if it may be left out (as in the Berkeley Function-Calling
            Leaderboard). Numbers are equal by value: 5 is 5.0.
        allow_extra: Whether the model may make other calls too.
        of: A task whose result is graded instead of the completion: a completion, or a list of calls.
        run_if: An expression over the case. Where it is false, the grader does not apply.

    Raises:
        SuiteError: A setting is wrong.
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
    """The model called no tool. A call that cannot be parsed counts as one.

    Args:
        of: A task whose result is graded instead of the completion.
        run_if: An expression over the case. Where it is false, the grader does not apply.
    """

    def grade(made: MadeCalls, request: pytest.FixtureRequest) -> Any:
        from pytest_evals.grades import Grade

        reason = f"called {_listed(made.calls)}" if made.calls else "called no tool"
        return Grade(not made.calls and not made.problems, request.fixturename or "", made.with_problems(reason))

    ready_made = _grading_calls(grade, of, "no_tool_calls")
    ready_made.__doc__ = "The model called no tool."
    return grader_fixture(ready_made, run_if=run_if)


def max_tool_calls(n: int, *, of: str | None = None, run_if: str | None = None) -> Fixture:
    """The model called tools at most ``n`` times, in all turns together.

    Args:
        n: The largest number of calls that passes.
        of: A task whose result is graded instead of the completion.
        run_if: An expression over the case. Where it is false, the grader does not apply.

    Raises:
        SuiteError: ``n`` is not a whole number of at least 0.
    """
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
