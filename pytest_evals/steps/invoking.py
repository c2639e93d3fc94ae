"""Calls the function of a step with what it asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_evals.grading.calling import call_grader
from pytest_evals.steps.workflow import Step


async def invoke(step: Step, given: Mapping[str, Any], item: pytest.Item) -> Any:
    """Return what the function of a step returns for the case ``item``, or raise what it raises."""
    __tracebackhide__ = True
    declaration = step.declaration
    if declaration.kind == "task":
        return await declaration.function(**given)
    if declaration.is_async:
        return await call_grader(declaration.function, (), given)
    if not declaration.ready_made:
        # It may wait for a call of its own, and nobody else should wait for that.
        return await asyncio.to_thread(call_grader, declaration.function, (), given)
    if "request" in declaration.parameters:
        given = {**given, "request": SimpleNamespace(node=item, fixturename=step.name, config=item.config)}
    return call_grader(declaration.function, (), given)
