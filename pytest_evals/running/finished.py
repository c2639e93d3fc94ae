"""What a case leaves when it has run: its completion, its calls, and its sample for the artifact."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_evals.artifacts.sample import sample_line
from pytest_evals.completion import Completion
from pytest_evals.grading.sheet import SHEET
from pytest_evals.item import EVAL
from pytest_evals.location import location_of
from pytest_evals.requests import choice_id
from pytest_evals.running.state import CALLS, COMPLETION, RESULTS, STATE
from pytest_evals.steps.calls import grader_call
from pytest_evals.steps.case_flow import CaseFlow
from pytest_evals.steps.step import FLOW


def sample_of(item: pytest.Item) -> dict[str, Any]:
    """Return the sample of a case that has run."""
    state = item.stash[STATE]
    completion = last_completion(item)
    if completion is not None and completion.latency is not None:
        state.timing["generation"] = completion.latency
        if completion.queued is not None:
            state.timing["queued"] = completion.queued
    return sample_line(
        item.nodeid,
        item.stash[EVAL],
        outcome=state.outcome,
        completion=completion,
        sheet=item.stash[SHEET],
        error=state.error if state.outcome == "errored" else None,
        timing=state.timing,
        location=location_of(item.stash[EVAL], item.config.rootpath),
        calls=_calls_of(item),
    )


def last_completion(item: pytest.Item) -> Completion | None:
    """Return the completion of the case: one that a task made in the place of the default turn, or that."""
    flow = item.stash.get(FLOW, None)
    made = flow.results.completion if isinstance(flow, CaseFlow) else None
    return made or item.stash.get(COMPLETION, None)


def _calls_of(item: pytest.Item) -> list[dict[str, Any]]:
    """Return the calls of the case: those of its steps, with late ones, then those of the test."""
    made = item.stash[CALLS][0].made
    flow = item.stash.get(FLOW, None)
    steps = flow.calls.made if isinstance(flow, CaseFlow) else []
    found = item.stash[EVAL]
    keys = {grader: choice_id(item.nodeid, grader) for grader in found.asks}
    answers = item.stash.get(RESULTS, {})
    weighed = [grader_call(grader, found.key.model, answers[key]) for grader, key in keys.items() if key in answers]
    return [*weighed, *steps, *made]
