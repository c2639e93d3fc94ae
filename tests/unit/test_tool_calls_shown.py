"""Calls of tools and their results, as people read them in the terminal and on the page for reviewers."""

from __future__ import annotations

from typing import Any

from pytest_evals.completion import Completion, ToolCall
from pytest_evals.fixtures.context import GradeSheet
from pytest_evals.reports.cases import case_lines
from pytest_evals.review.cases import review_cases
from pytest_evals.runner.outcome import describe

from . import recorded

CALL = ToolCall("get_weather", {"city": "Rome", "days": [1, 2]}, "c1")
THREAD: list[Any] = [
    {"role": "user", "content": "Weather in Rome?"},
    {"role": "assistant", "content": "I look.", "tool_calls": [CALL.to_message()]},
    {"role": "tool", "tool_call_id": "c1", "name": "get_weather", "content": "sunny"},
    {"role": "assistant", "content": "It is sunny."},
]


def test_a_case_that_failed_is_described_turn_by_turn() -> None:
    completion = Completion("It is sunny.", tuple(THREAD), tool_call_error="the call is cut off")
    lines = describe(completion, GradeSheet(), None).splitlines()
    assert lines == [
        "[user] Weather in Rome?",
        "[assistant] I look.",
        'get_weather({"city": "Rome", "days": [1, 2]})',
        "[tool get_weather] sunny",
        "[assistant] It is sunny.",
        "a call that cannot be parsed: the call is cut off",
    ]


def test_a_case_is_listed_turn_by_turn() -> None:
    sample = recorded.sample_line()
    sample["interaction"]["thread"] = THREAD
    sample["interaction"]["completion"] |= {
        "text": "It is sunny.",
        "tool_calls": [{"name": "now", "arguments": {}, "id": "c2"}],
        "tool_call_error": "the call is cut off",
    }
    shown = "\n".join(case_lines(sample, 120))
    for part in (
        "Weather in Rome?",
        'get_weather(city="Rome", days=[1, 2])',
        "get_weather: sunny",
        "now()",
        "the call is cut off",
    ):
        assert part in shown
    assert shown.count("It is sunny.") == 1


def test_a_reviewer_sees_calls_and_results() -> None:
    sample = recorded.sample_line()
    sample["interaction"]["thread"] = THREAD
    sample["interaction"]["completion"] |= {"text": "It is sunny."}
    layout = {
        "direction": "column",
        "children": [{"label": "", "part": "conversation"}, {"label": "", "part": "completion"}],
    }
    question = {"text": "Is it right?", "kind": "choice", "choices": [["yes", 1], ["no", 0]]}
    grade = {
        **sample["grades"][0],
        "metadata": {"question": question, "shown": "x", "required": True, "reviewers": 1, "layout": layout},
    }
    sample["grades"] = [grade]
    (case,) = review_cases([sample])
    messages = case.layout["children"][0]["messages"]
    assert [(each["role"], each["content"]) for each in messages] == [
        ("user", "Weather in Rome?"),
        ("assistant", 'I look.\nget_weather(city="Rome", days=[1, 2])'),
        ("tool get_weather", "sunny"),
    ]
    assert case.layout["children"][1]["text"] == "It is sunny."
