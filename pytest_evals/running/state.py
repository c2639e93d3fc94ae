"""What is kept of a case while it runs."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_evals.completion import Completion
from pytest_evals.engines.protocol import Result
from pytest_evals.grading.sheet import SHEET
from pytest_evals.running.verdicts import State
from pytest_evals.steps.calls import Caller, Calls
from pytest_evals.steps.step import FLOW

# The answers to an item's requests by the request's id, kept for reruns of the item.
RESULTS: pytest.StashKey[dict[str, Result]] = pytest.StashKey()
# The completion that was delivered to the case.
COMPLETION: pytest.StashKey[Completion] = pytest.StashKey()
# How the case stands so far.
STATE: pytest.StashKey[State] = pytest.StashKey()
# The calls of models that the case made, and who makes more of them for its test.
CALLS: pytest.StashKey[tuple[Calls, Caller]] = pytest.StashKey()


def forget_case(item: pytest.Item) -> None:
    """Drop all that was kept of a case: thousands of finished ones need not be. A rerun is no other case."""
    forget(item, RESULTS, COMPLETION, STATE, SHEET, FLOW, CALLS)


def forget(item: pytest.Item, *keys: pytest.StashKey[Any]) -> None:
    """Drop what an item keeps under these keys, if it does."""
    for key in keys:
        if key in item.stash:
            del item.stash[key]
