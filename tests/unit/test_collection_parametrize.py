"""The items of a test: which ones there are, in which order, and what they are called."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_evals.collection.closure import RequestedFixtures
from pytest_evals.collection.item import RECORDED, CaseKey
from pytest_evals.collection.parametrize import case_keys, item_ids
from pytest_evals.errors import SuiteError
from pytest_evals.fixtures.dependencies import TaskGraph
from tests.unit.building import suite_of

OPEN = [{"id": "a"}, {"id": "b"}]
MODELS = ("scripted:one:answer", "scripted:two:answer")


def keys_of(rows: object, models: tuple[str, ...] = ("m",), prompt: str | None = "x", **wanted: Any) -> list[CaseKey]:
    terms = {"completion": False, "model": False, "judge": False, "asks": {}, **wanted}
    suite = suite_of(rows, prompt=prompt, id="id")
    return case_keys(suite, models, RequestedFixtures(TaskGraph(), {}, conditions={}, **terms), "test_a.py:1: test_a")


def test_one_model_s_cases_stand_together() -> None:
    keys = keys_of(OPEN, MODELS, completion=True)
    assert keys == [CaseKey(case_id, model) for model in MODELS for case_id in ("a", "b")]
    assert item_ids(keys, MODELS) == ["a-one-answer", "b-one-answer", "a-two-answer", "b-two-answer"]
    assert item_ids(keys[:2], MODELS[:1]) == ["a", "b"]


def test_a_test_that_asks_no_model_runs_once_for_each_case() -> None:
    assert keys_of(OPEN, MODELS) == [CaseKey("a", None), CaseKey("b", None)]


def test_completions_that_rows_bring_come_first_and_once() -> None:
    keys = keys_of([{"id": "a"}, {"id": "b", "completion": "B"}], MODELS, completion=True)
    assert keys == [CaseKey("b", RECORDED), *(CaseKey("a", model) for model in MODELS)]


@pytest.mark.parametrize("wanted", [{"model": True}, {"asks": {"choice": len}}])
def test_a_recorded_completion_is_not_mixed_with_answers_of_a_model(wanted: dict[str, Any]) -> None:
    rows = [{"id": "b", "completion": "B"}]
    assert keys_of(rows, **wanted) == [CaseKey("b", "m")]
    with pytest.raises(SuiteError, match="row 1 of inline brings a completion, and the test or a grader of it"):
        keys_of(rows, completion=True, **wanted)


def test_a_judge_grades_recorded_completions() -> None:
    rows = [{"id": "b", "completion": "B"}]
    assert keys_of(rows, completion=True, judge=True) == [CaseKey("b", RECORDED)]
    assert keys_of(rows, judge=True) == [CaseKey("b", None)]


def test_only_a_test_that_makes_its_own_prompts_needs_none() -> None:
    assert keys_of(OPEN, prompt=None, model=True) == [CaseKey("a", "m"), CaseKey("b", "m")]
    for wanted in ({"completion": True}, {"asks": {"choice": len}}):
        with pytest.raises(SuiteError, match="row 1 of inline has no prompt"):
            keys_of(OPEN, prompt=None, **wanted)
