"""Calls the function of a step with what it asked for."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_evals.grading.calling import call_grader
from pytest_evals.steps.threads import StepThreads
from pytest_evals.steps.workflow import Step


async def invoke(
    step: Step, given: Mapping[str, Any], item: pytest.Item, threads: StepThreads, waiting: AbstractContextManager[None]
) -> Any:
    """Return what the function of a step returns for the case ``item``, or raise what it raises. ``waiting`` is entered while
    it cannot start.
    """
    __tracebackhide__ = True
    declaration = step.declaration
    if declaration.ready_made and "request" in declaration.parameters:
        given = {**given, "request": SimpleNamespace(node=item, fixturename=step.name, config=item.config)}
    # Whether what a task was given applies is looked at before this.
    call = (
        partial(declaration.function, **given)
        if declaration.kind == "task"
        else partial(call_grader, declaration.function, (), given)
    )
    if declaration.is_async:
        return await call()
    if not declaration.waits:
        return call()
    value = await threads.run(call, waiting)
    # What a decorator made of an async function may not look like one.
    return await value if inspect.iscoroutine(value) else value
