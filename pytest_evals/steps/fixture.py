"""The pytest fixture of a step: it computes nothing, and hands over what the step's run left."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Self

import pytest

from pytest_evals.declaration import MARK
from pytest_evals.errors import SuiteError
from pytest_evals.steps.step import FLOW, Declaration, Kind


def check_function(function: Callable[..., Any], kind: Kind) -> None:
    """Raise `SuiteError` for what can be neither task nor grader."""
    if not callable(function) or isinstance(function, type):
        raise SuiteError(f"@{kind} takes a function, not {type(function).__name__}")
    name = function.__name__
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        returned = "its grade" if kind == "grader" else "its result"
        raise SuiteError(
            f"{kind} {name!r} yields; a {kind} returns {returned}, and set-up goes into a fixture that it uses"
        )


def step_function(declaration: Declaration) -> Callable[..., Any]:
    """Return the function of a step's pytest fixture: it asks for what the step asks for, and hands over its result."""
    function = declaration.function
    signature = inspect.signature(function)
    place = declaration.called(function.__name__)
    if "request" in signature.parameters and not declaration.ready_made:
        raise SuiteError(
            f"{place} asks for 'request', which exists only while a test is set up; it runs ahead of all tests, so name "
            "what it needs among its arguments"
        )
    if next(iter(signature.parameters), None) == "self":
        raise SuiteError(f"{place} is a method; it runs ahead of all tests, so write it as a function of the module")

    def hand_over(*, request: pytest.FixtureRequest, **given: Any) -> Any:
        __tracebackhide__ = True
        if only_setup(request.config):
            pytest.skip("--setup-only and --setup-plan run no tasks and async graders")
        flow = request.node.stash.get(FLOW, None)
        key = request.fixturename or ""
        if flow is None and request.node.get_closest_marker(MARK) is not None:
            raise SuiteError(
                f"{declaration.kind} {key!r} runs ahead of the tests: name it among the arguments of the test"
            )
        if flow is None:
            raise SuiteError(
                f"{declaration.kind} {key!r} is used by {request.node.nodeid}, which is not an eval: put @cases(...) on "
                "it, and run it with --evals"
            )
        for alias in flow.aliases_of(key):
            # A task that only a template names: a fixture that it waits for comes into being now.
            request.getfixturevalue(alias)
        return flow.hand_over(key, declaration, given)

    parameters = [parameter for parameter in signature.parameters.values() if parameter.name != "request"]
    request = inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY)
    hand_over.__signature__ = signature.replace(parameters=[*_keywords(parameters), request])  # type: ignore[attr-defined]  # pytest reads it
    hand_over.__name__ = function.__name__
    hand_over.__doc__ = function.__doc__
    hand_over.__module__ = function.__module__
    hand_over.__wrapped__ = function  # type: ignore[attr-defined]  # where pytest --fixtures says that it stands
    hand_over.__evals_step__ = declaration  # type: ignore[attr-defined]  # see declaration_of
    return Unbound(hand_over)


class Unbound:
    """A function that stays itself as an attribute of a class: a grader that is made or written there takes no instance."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self._function = function

    def __get__(self, instance: object, owner: type | None = None) -> Self:
        return self

    def __call__(self, **given: Any) -> Any:
        """Call the function."""
        __tracebackhide__ = True
        return self._function(**given)


def _keywords(parameters: list[inspect.Parameter]) -> list[inspect.Parameter]:
    return [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=inspect.Parameter.empty)
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and parameter.default is parameter.empty
    ]


def only_setup(config: pytest.Config) -> bool:
    """Tell whether fixtures are to be shown or set up and nothing is to be run."""
    return bool(config.getoption("setuponly", False) or config.getoption("setupplan", False))
