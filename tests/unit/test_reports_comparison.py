"""Flipped cases of a comparison with their texts, and what is said of cases that no grader judges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_evals.artifacts.sample import to_record
from pytest_evals.baselines.comparison import compare
from pytest_evals.baselines.file import BaselineReader, case_line, write_baseline
from pytest_evals.grades import Grade
from pytest_evals.reports.comparison import comparison_lines, flip_lines, flip_texts

from .recorded import sample_line

COMPLETION = {"finish_reason": "stop", "completion_tokens": 2, "latency": 0.5}
LIKELY = {"text": "yes", "logprob": -1.0, "tokens": 1, "bytes": 3}
CALL = {"by": "writer", "handle": "model", "model": "org/m", "messages": [], "text": "a draft"}


def case(value: float, *, thread: Any = None, completion: Any = None, **more: Any) -> dict[str, Any]:
    """A case whose grade is ``value``; without ``thread`` and ``completion`` it has no default turn."""
    line = sample_line("c1", Grade(value, "right", f"it is {value:g}"), **{"tasks": {}, **more})
    return {**line, "interaction": {**line["interaction"], "thread": thread or [], "completion": completion}}


def texts(was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    ((flip,),) = [change.flips for change in compare([to_record(was)], [to_record(now)]).changes]
    key = ("capitals", "smollm2", "c1", 1)
    return flip_texts(flip, {key: was}, {key: now}, 80)


def asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": "Capital?"}, {"role": "assistant", "content": text}]


def test_a_case_without_a_default_turn_shows_its_row_results_of_tasks_and_calls() -> None:
    was = case(1.0, tasks={"writer": "first", "facts": {"n": 2}}, calls=[CALL])
    now = case(0.0, tasks={"writer": "second", "facts": {"n": 3}}, calls=[{**CALL, "text": "another"}])
    assert texts(was, now) == [
        "-- capitals[c1] right fell: 1.000 -> 0.000",
        "row:       country=c1",
        "before:    writer: first",
        '           facts: {"n": 2}',
        "           call: writer asked org/m: a draft",
        "  because: it is 1",
        "after:     writer: second",
        '           facts: {"n": 3}',
        "           call: writer asked org/m: another",
        "  because: it is 0",
    ]


@pytest.mark.parametrize(
    ("made", "shown"),
    [
        # Calls of the test alone, without a task.
        ({"calls": [CALL]}, ["row:       country=c1", "before:    call: writer asked org/m: a draft"]),
        ({"calls": [{**CALL, "text": None, "error": {"kind": "engine", "message": "gone"}}]},
         ["row:       country=c1", "before:    call: writer asked org/m: engine error: gone"]),
        ({"calls": [{**CALL, "text": None, "likelihoods": [LIKELY, LIKELY]}]},
         ["row:       country=c1", "before:    call: writer asked org/m: likelihoods of 2 texts"]),
        # Neither: the test computed something by itself.
        ({}, ["row:       country=c1", "before:    (no completion)"]),
        # A task beside the default turn, and one that failed.
        ({"thread": asked("Paris"), "completion": {**COMPLETION, "text": "Paris"}, "tasks": {"steps": 3}},
         ["prompt:    Capital?", "row:       country=c1", "before:    Paris", "           steps: 3"]),
        ({"tasks": {"writer": "half"}, "error": {"kind": "task", "message": "TimeoutError: 30 s"}},
         ["row:       country=c1", "before:    writer: half", "           task error: TimeoutError: 30 s"]),
        # The default turn alone: its answer, its calls of tools.
        ({"thread": asked("Paris"), "completion": {**COMPLETION, "text": "Paris"}},
         ["prompt:    Capital?", "before:    Paris"]),
        ({"thread": asked(""), "completion": {**COMPLETION, "text": "", "tool_calls": [{"name": "find", "arguments": {"city": "Paris"}, "id": "1"}]}},
         ["prompt:    Capital?", 'before:    tool call: find(city="Paris")']),
        ({"thread": asked(""), "completion": {**COMPLETION, "text": ""}}, ["prompt:    Capital?", "before:"]),
    ],
)  # fmt: skip
def test_what_came_of_a_case_is_shown_whatever_it_did(made: dict[str, Any], shown: list[str], tmp_path: Path) -> None:
    was, now = case(1.0, **made), case(0.0, **made)
    assert texts(was, now)[1 : 1 + len(shown)] == shown
    # A baseline with texts has the same, and one without says so.
    for kept in (True, False):
        path = tmp_path / f"{kept}.jsonl"
        write_baseline(path, "main", [], [case_line(was, texts=kept)])
        (stored,) = BaselineReader(path).samples()
        lines = texts(stored, now)
        if kept and was["error"] is None:
            assert lines[1 : 1 + len(shown)] == shown
        elif not kept:
            assert "before:    (its text is not kept in the baseline)" in lines


def test_flipped_cases_of_several_suites_and_models_are_told_apart() -> None:
    was, now = (
        [
            to_record({**case(value), "suite": suite, "interaction": {**case(value)["interaction"], "source": model}})
            for suite in ("a", "b")
            for model in ("org/small", "org/large")
        ]
        for value in (1.0, 0.0)
    )
    flips = [flip for change in compare(was, now).changes for flip in change.flips]
    lines = flip_lines(flips, 80, {"org/small": "small", "org/large": "large"})
    assert [line.split()[:2] for line in lines[2:]] == [["a", "small"], ["a", "large"], ["b", "small"], ["b", "large"]]
    assert flip_lines(flips[:1], 80)[0].split() == ["flipped", "case", "grader", "grade"]


def test_in_sixty_columns_a_comparison_of_suites_and_models_keeps_its_intervals() -> None:
    was, now = (
        [
            to_record({**case(value), "suite": suite, "interaction": {**case(value)["interaction"], "source": model}})
            for suite in ("test_invoice_totals", "test_order_summaries")
            for model in ("scripted:bots:small", "scripted:bots:large")
        ]
        for value in (1.0, 0.0)
    )
    lines = comparison_lines(compare(was, now), 60)
    assert "95% interval" in lines[0]
    assert lines[2].startswith("test_invoice_totals")
    assert max(map(len, lines)) <= 60


def test_cases_that_no_grader_judges_are_counted_by_their_tests() -> None:
    was, now = ([to_record({**case(1.0), "grades": [], "outcome": outcome})] for outcome in ("passed", "failed"))
    assert compare(was, now).notes() == [
        "capitals: 1 case without a grader: 1 passed in the earlier run, 0 in the later one"
    ]
