"""Completions with thoughts: graders see the answer, and each place shows both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_evals import cli

from .conftest import Evals

GIVEN = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "unit" / "data" / "thoughts.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]
GRADERS = """
from pytest_evals import cases, graders

number = graders.number("item.expected", run_if="item.grader == 'number'")
exact_match = graders.exact_match("item.expected", run_if="item.grader == 'exact_match'")
contains = graders.contains("item.expected", run_if="item.grader == 'contains'")
json_schema = graders.json_schema("item.expected", run_if="item.grader == 'json_schema'")
python_tests = graders.python_tests("item.expected", run_if="item.grader == 'python_tests'")

@cases("thoughts.jsonl", id="id", gates=["number.mean >= 0"])
def test_thoughts(number, exact_match, contains, json_schema, python_tests):
    pass
"""


@pytest.mark.parametrize("source", ["recorded", "model"])
def test_graders_see_the_answer_of_a_model_that_thinks(evals: Evals, source: str) -> None:
    rows = [row if source == "recorded" else {**row, "said": row["completion"], "completion": None} for row in GIVEN]
    suite = GRADERS if source == "recorded" else GRADERS.replace('id="id"', 'id="id", prompt="{{item.said}}"')
    script = "def answer(messages):\n    return messages[-1]['content']\n"
    evals.write(suite, script, **{"thoughts.jsonl": rows})
    result = evals.run("--evals-run-code", model=None if source == "recorded" else "scripted:script:answer")
    result.stdout.fnmatch_lines(["*2 of 13 completions ended inside their reasoning, without an answer*"])
    found = {
        sample.case_id: grade.passed
        for sample in evals.artifact.samples
        for grade in sample.grades
        if grade.status != "not_applicable"
    }
    assert found == {row["id"]: row["passes"] for row in GIVEN}


SCRIPT = """
def answer(messages):
    country = messages[-1]["content"]
    if country == "Chad":
        return "<think>\\nLyon? No. It is N'Djamena"
    return {"France": "<think>\\nLyon? No.\\n</think>\\n\\nParis", "Peru": "Lima"}[country]


def judge(messages):
    asked = messages[-1]["content"]
    verdict = "PASS" if "Lyon" in asked.split("[BEGIN")[1] else "FAIL"
    return f"<think>PASS or FAIL? The answer may be wrong.</think>{verdict}"
"""
SUITE = """
from pytest_evals import cases, grader, graders

named = graders.contains("{{item.capital}}")
thought = graders.contains("Lyon", of="completion.reasoning")
tagged = graders.contains("<think>", of="completion.raw")
doubted = graders.judge.binary("mentions a city that is not meant", answer="{{completion.reasoning}}")
written = graders.judge.binary("Was it thought over? {{completion.reasoning}} {{completion}}")
asked = graders.human("Is it right?")

@grader
def short(completion):
    last = completion.messages[-1]
    assert last.get("reasoning_content") == completion.reasoning
    assert last["content"] == completion.text == str(completion)
    return (completion.reasoning_tokens or 0) < 10

@cases([
    {"country": "France", "capital": "Paris"}, {"country": "Peru", "capital": "Lima"}, {"country": "Chad", "capital": "N'Djamena"},
], id="country", prompt="{{item.country}}", gates=["named.mean >= 0.5"])
def test_capitals(named, thought, tagged, doubted, written, short, asked):
    assert named
"""


def test_thoughts_are_graded_where_they_are_named_and_shown_folded_everywhere(
    evals: Evals, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evals.write(SUITE, SCRIPT)
    page, summary = tmp_path / "report.html", tmp_path / "summary.md"
    result = evals.run(
        "--evals-judge", "scripted:script:judge", "--evals-html", str(page), "--evals-summary", str(summary)
    )
    result.assert_outcomes(passed=2, xfailed=1)
    grades = {
        sample.case_id: {grade.grader_key: grade.passed for grade in sample.grades} for sample in evals.artifact.samples
    }
    for country, thinks in (("France", True), ("Peru", False), ("Chad", True)):
        found = grades[country]
        assert found["named"] is (country != "Chad")
        assert (found["thought"], found["tagged"], found["doubted"]) == (thinks, thinks, thinks)
    france, _, chad = evals.artifact.samples
    completion = france.interaction.completion
    assert completion is not None
    assert (completion.text, completion.reasoning, completion.reasoning_tokens) == ("Paris", "Lyon? No.", 2)
    assert completion.raw == "<think>\nLyon? No.\n</think>\n\nParis"
    assert france.interaction.thread[-1].reasoning_content == "Lyon? No."
    assert chad.interaction.completion is not None
    assert (chad.interaction.completion.text, chad.interaction.completion.finish_reason) == ("", "length")
    calls = [call for call in france.calls if call.by == "doubted" and call.error is None]
    assert [(call.text, call.reasoning) for call in calls] == [("PASS", "PASS or FAIL? The answer may be wrong.")]
    # Where it is shown.
    assert "Lyon? No." in page.read_text(encoding="utf-8")
    assert "<details><summary>Reasoning</summary>" in summary.read_text(encoding="utf-8")
    path = str(evals.path)
    assert cli.main(["cases", path, "-v"]) == 0
    shown = capsys.readouterr().out
    assert "(2 tokens) Lyon? No." in shown
    assert (
        cli.main(
            ["cases", path, "--where", "reasoning and 'Lyon' in reasoning", "--fields", "case_id,reasoning_tokens"]
        )
        == 0
    )
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:] if line.strip()][:1]
    assert cli.main(["export", path, "--to", "inspect", "-o", str(tmp_path / "logs")]) == 0
    (log,) = (tmp_path / "logs").iterdir()
    sample: dict[str, Any] = json.loads(log.read_text(encoding="utf-8"))["samples"][0]
    blocks = [{"type": "reasoning", "reasoning": "Lyon? No."}, {"type": "text", "text": "Paris"}]
    assert sample["messages"][-1]["content"] == sample["output"]["choices"][0]["message"]["content"] == blocks
    assert sample["output"]["usage"]["reasoning_tokens"] == 2


PARTS = """
from pytest_evals import ToolCall, cases, graders

said = graders.exact_match("item.says")
city = graders.exact_match("Paris", of="completion.tool_calls.0.arguments.city", run_if="item.calls")

@cases([
    {"id": "parts", "completion": {"text": "<think> is a tag", "reasoning": "hm"}, "says": "<think> is a tag", "calls": False},
    {"id": "calls", "completion": {"text": "", "tool_calls": [{"name": "find", "arguments": {"city": "Paris"}}]}, "says": "",
     "calls": True},
    {"id": "plain", "completion": "<think>hm</think>Paris", "says": "Paris", "calls": False},
], id="id")
def test_parts(said, city, completion, case):
    assert said
    if case.calls:
        assert completion.tool_calls == (ToolCall("find", {"city": "Paris"}),)
        assert completion.messages[-1]["content"] is None
    else:
        assert completion.reasoning == "hm"
"""


def test_a_recorded_completion_may_come_in_its_parts(evals: Evals) -> None:
    evals.write(PARTS)
    evals.run(model=None).assert_outcomes(passed=3)
    by_id = {sample.case_id: sample for sample in evals.artifact.samples}
    completion = by_id["calls"].interaction.completion
    assert completion is not None
    assert [(call.name, call.arguments) for call in completion.tool_calls] == [("find", {"city": "Paris"})]
    assert by_id["calls"].interaction.thread[-1].tool_calls[0]["function"]["arguments"] == '{"city": "Paris"}'


def test_how_thoughts_are_told_apart_is_an_option_of_the_model(evals: Evals) -> None:
    suite = """
from pytest_evals import cases, graders
plain = graders.contains("Lyon")
@cases([{"id": "fr"}], id="id", prompt="France")
def test_it(plain, completion):
    pass
"""
    evals.write(suite, SCRIPT)
    for wish, text in (("none", "<think>\nLyon? No.\n</think>\n\nParis"), ("auto", "Paris")):
        evals.run(model=f"scripted:script:answer?reasoning={wish}")
        (sample,) = evals.artifact.samples
        assert sample.interaction.completion is not None
        assert sample.interaction.completion.text == text
    result = evals.run(model="scripted:script:answer?reasoning=yes")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*reasoning must be auto, none or OPEN..CLOSE (as <think>..</think>), not 'yes'*"])
