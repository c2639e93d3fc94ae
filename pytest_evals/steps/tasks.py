"""``@task``: a function becomes a fixture whose value is its result for the case."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import inspect
import uuid
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, overload

import pytest

from pytest_evals.completion import Completion
from pytest_evals.errors import SuiteError
from pytest_evals.plain import one_line
from pytest_evals.steps.fixture import check_function, step_function
from pytest_evals.steps.step import Declaration
from pytest_evals.templates.expressions import check_condition

TaskFunction = Callable[..., Any]
_AS_TEXT = (datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID, PurePath)


@overload
def task(function: TaskFunction, /) -> Any: ...
@overload
def task(*, name: str | None = None, run_if: str | None = None) -> Callable[[TaskFunction], Any]: ...
def task(function: TaskFunction | None = None, /, *, name: str | None = None, run_if: str | None = None) -> Any:
    """Make a function a task: a fixture that gives its result to the case which runs.

    The tasks of all cases run together, ahead of the tests, so that the calls that they make of models are computed in
    batches: async functions in one event loop, plain ones in threads. A task may ask for ``case``, ``completion``, ``model``, ``judge``, other tasks, graders, and fixtures of class
    to session scope. What it returns must be plain data, a dataclass or a pydantic model: it stands in the artifact.

    Args:
        function: The function, when used without parentheses.
        name: The task's alias, which is the fixture's name; by default the function's name.
        run_if: An expression over the case, as ``"item.kind == 'rag'"``; where it is false, the task does not apply.
    """

    def decorate(function: TaskFunction) -> Any:
        check_function(function, "task")
        if run_if is not None:
            check_condition(run_if)
        fixture_function = step_function(Declaration("task", function, run_if=run_if))
        return pytest.fixture(fixture_function) if name is None else pytest.fixture(name=name)(fixture_function)

    return decorate if function is None else decorate(function)


def plain_data(value: Any) -> Any:
    """Return the result of a task as the artifact and templates have it; a completion is its text.

    Raises `SuiteError` for what is no data.
    """
    value = _opened(value)
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain_data(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain_data(entry) for entry in value]
    if inspect.isawaitable(value):
        raise SuiteError(
            f"returned {type(value).__name__}, which has yet to be waited for; await it, or take its result()"
        )
    raise SuiteError(
        f"returned {type(value).__name__} ({one_line(repr(value), 60)}), which the artifact cannot hold; return plain data, a "
        "dataclass or a pydantic model"
    )


def _opened(value: Any) -> Any:
    """Return what an object of a known kind consists of."""
    if isinstance(value, Completion):
        return value.text
    if isinstance(value, enum.Enum):
        return value.value
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {entry.name: getattr(value, entry.name) for entry in dataclasses.fields(value)}
    return str(value) if isinstance(value, _AS_TEXT) else value
