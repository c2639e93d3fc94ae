"""What a case leaves when it has run: its completion, its calls, and its sample for the artifact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_evals.artifacts.sample import sample_id
from pytest_evals.collection.item import EVAL
from pytest_evals.collection.location import Location, location_of
from pytest_evals.completion import Completion, Failure
from pytest_evals.engines.prices import Prices
from pytest_evals.fixtures.context import GRADE_SHEET, GradeSheet
from pytest_evals.fixtures.declaration import CASE_TASKS
from pytest_evals.media.parts import recorded
from pytest_evals.runner.calls import grader_call
from pytest_evals.runner.case_tasks import CaseTaskRun
from pytest_evals.runner.outcome import CALLS, COMPLETION, RESULTS, STATE
from pytest_evals.runner.requests import choice_id
from pytest_evals.scores.content import content_of
from pytest_evals.scores.records import Outcome
from pytest_evals.suites.conversation import CONVERSATION

if TYPE_CHECKING:
    from pytest_evals.collection.item import EvalItem
    from pytest_evals.grades import Grade


def sample_of(item: pytest.Item, prices: Prices) -> dict[str, Any]:
    """Return the sample of a case that has run, with what it cost where there are ``prices``."""
    state = item.stash[STATE]
    completion = last_completion(item)
    if completion is not None and completion.latency is not None:
        state.timing["generation"] = completion.latency
        if completion.queued is not None:
            state.timing["queued"] = completion.queued
    line = sample_line(
        item.nodeid,
        item.stash[EVAL],
        outcome=state.outcome,
        completion=completion,
        sheet=item.stash[GRADE_SHEET],
        error=state.error if state.outcome == "errored" else None,
        timing=state.timing,
        location=location_of(item.stash[EVAL], item.config.rootpath),
        calls=_calls_of(item),
        root=item.config.rootpath,
    )
    if prices:
        _add_costs(line, prices)
    return line


def _add_costs(sample: Mapping[str, Any], prices: Prices) -> None:
    """Say of each answer of a sample what it cost, where that is known."""
    interaction = sample["interaction"]
    answers = [(interaction["source"], interaction["completion"]), *((call["model"], call) for call in sample["calls"])]
    for model, answer in answers:
        cost = None if answer is None else prices.cost(model, answer)
        if cost is not None:
            answer["cost"] = cost


def last_completion(item: pytest.Item) -> Completion | None:
    """Return the completion of the case: one that a task made in the place of the default turn, or that."""
    flow = item.stash.get(CASE_TASKS, None)
    made = flow.results.completion if isinstance(flow, CaseTaskRun) else None
    return made or item.stash.get(COMPLETION, None)


def _calls_of(item: pytest.Item) -> list[dict[str, Any]]:
    """Return the calls of the case: those of its steps, with late ones, then those of the test."""
    made = item.stash[CALLS][0].made
    flow = item.stash.get(CASE_TASKS, None)
    steps = flow.calls.made if isinstance(flow, CaseTaskRun) else []
    found = item.stash[EVAL]
    keys = {grader: choice_id(item.nodeid, grader) for grader in found.asks}
    answers = item.stash.get(RESULTS, {})
    weighed = [grader_call(grader, found.key.model, answers[key]) for grader, key in keys.items() if key in answers]
    return [*weighed, *steps, *made]


_GRADE = ("value", "grader_key", "reasoning", "passed", "status", "metadata")


def sample_line(
    nodeid: str,
    found: EvalItem,
    *,
    outcome: Outcome,
    completion: Completion | None,
    sheet: GradeSheet,
    error: Mapping[str, str] | None,
    timing: Mapping[str, float],
    location: Location,
    calls: Sequence[Mapping[str, Any]] = (),
    root: Path = Path(),
) -> dict[str, Any]:
    """Return the sample of a case, keys as the artifact has them; files of media are named as seen from ``root``."""
    key = found.key
    thread = completion.messages if completion else found.prepared.prompt
    return {
        "type": "sample",
        "id": sample_id(nodeid, key.model),
        "nodeid": nodeid,
        "suite": found.info.name,
        "case_id": key.id,
        "repeat": key.repeat,
        "cluster": found.cluster,
        "label": dict(found.label),
        "dataset_key": found.info.dataset_key,
        "location": location._asdict(),
        "interaction": {
            "thread": recorded(thread, root),
            "source": key.model,
            "completion": completion_data(completion),
            "metadata": {name: value for name, value in found.prepared.case.items() if name not in CONVERSATION},
        },
        "tasks": dict(sheet.recorded),
        "calls": [{**call, "messages": recorded(call["messages"], root)} for call in calls],
        "grades": grades_data(found, sheet, outcome, error),
        "outcome": outcome,
        "error": error,
        "timing": timing,
        "fingerprint": completion.fingerprint if completion else None,
        "content": content_of(found.prepared.prompt, found.prepared.case),
    }


_ALWAYS = ("text", "finish_reason", "prompt_tokens", "completion_tokens", "logprobs", "latency", "origin")
_APART = ("queued", "fingerprint", "likelihoods")


def completion_data(completion: Completion | None) -> dict[str, Any] | None:
    """Return a completion as the artifact has it: its conversation is the thread, and some of it is in the sample."""
    if completion is None:
        return None
    return dict.fromkeys(_ALWAYS) | {name: value for name, value in completion.to_dict().items() if name not in _APART}


def grades_data(
    found: EvalItem, sheet: GradeSheet, outcome: Outcome, error: Mapping[str, str] | None
) -> list[dict[str, Any]]:
    """Return the grades of a case. Each grader of the suite has one, also when it never came to run."""
    grades = [_grade_data(grade) for grade in sheet.grades.values()]
    given = {grade["grader_key"] for grade in grades}
    for key in found.graders:
        if key in given or any(name.startswith(f"{key}.") for name in given):
            continue
        if outcome == "skipped":
            status, reason = "not_applicable", "the case was skipped"
        else:
            status, reason = "error", f"did not run: {error['message'] if error else 'the test ended before it'}"
        grades.append(
            {"value": None, "grader_key": key, "reasoning": reason, "passed": None, "status": status, "metadata": {}}
        )
    return grades


def _grade_data(grade: Grade) -> dict[str, Any]:
    data = {name: getattr(grade, name) for name in _GRADE}
    return data if grade.bounds is None else {**data, "bounds": list(grade.bounds)}


def failure_data(failure: Failure) -> dict[str, str]:
    """Return an error of the model or the engine as the artifact has it."""
    return {"kind": failure.kind, "message": failure.message}
