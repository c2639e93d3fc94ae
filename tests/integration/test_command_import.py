"""``pytest-evals import``: what it writes is collected, planned and run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_evals import cli
from pytest_evals.testing import Evals

PROMPTFOO = """
prompts: ["Capital of {{country}}?"]
providers: [openai:gpt-5-mini, bedrock:x]
tests:
  - vars: {country: Peru}
    assert: [{type: contains, value: Lima}, {type: not-contains, value: Rome}]
  - vars: {country: Italy}
    assert: [{type: equals, value: Rome}, {type: javascript, value: "1"}]
"""
REGISTRY = """
towns: {id: towns.v0}
towns.v0: {class: "evals.elsuite.basic.fuzzy_match:FuzzyMatch", args: {samples_jsonl: towns_samples.jsonl}}
"""
TASK = """
task: places
dataset_path: json
dataset_kwargs: {data_files: places_data.jsonl}
output_type: generate_until
num_fewshot: 1
doc_to_text: "Capital of {{country}}?"
doc_to_target: capital
filter_list: [{name: word, filter: [{function: regex, regex_pattern: "([A-Z][a-z]+)"}, {function: take_first}]}]
"""
QUIZ = """
task: quiz
dataset_path: json
dataset_kwargs: {data_files: quiz_data.jsonl}
output_type: multiple_choice
num_fewshot: 1
doc_to_text: "Capital of {{country}}?"
doc_to_choice: "{{choices.text}}"
doc_to_target: "{{choices.label.index(key)}}"
"""
EVAL = {
    "name": "tickets",
    "testing_criteria": [
        {"type": "string_check", "name": "label", "input": "{{sample.output_text}}", "operation": "eq", "reference": "{{item.label}}"},
        {"type": "label_model", "name": "tone", "labels": ["kind", "rude"], "passing_labels": ["kind"],
         "input": [{"role": "user", "content": "{{sample.output_text}}"}]},
    ],
}  # fmt: skip
MODEL = """
def score(messages, text):
    assert messages[-1]["content"].count("Capital of") == 2 and messages[-1]["content"].count("? Lima") <= 1
    return -1.0 if text == (" Rome" if messages[-1]["content"].endswith("Italy?") else " Lima") else -9.0

def answer(messages):
    text = messages[-1]["content"]
    if "Reply with JSON" in text:
        return '{"reasoning": "short", "choice": "kind"}'
    asked = text.rsplit("Capital of ", 1)[-1]
    return "Lima" if "Peru" in asked else "Rome" if "Italy" in asked else "billing"
"""


def test_imported_suites_are_collected_planned_and_run(
    evals: Evals, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "given"
    given.mkdir()
    rows = [{"country": "Peru", "capital": "Lima"}, {"country": "Italy", "capital": "Rome"}]
    (given / "travel.yaml").write_text(PROMPTFOO)
    (given / "towns.yaml").write_text(REGISTRY)
    (given / "towns_samples.jsonl").write_text('{"input": "Capital of Peru?", "ideal": "Lima"}\n')
    (given / "places.yaml").write_text(TASK)
    (given / "places_data.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    choices = {"text": ["Rome", "Lima"], "label": ["A", "B"]}
    quiz = [{"country": "Peru", "choices": choices, "key": "B"}, {"country": "Italy", "choices": choices, "key": "A"}]
    (given / "quiz.yaml").write_text(QUIZ)
    (given / "quiz_data.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in quiz))
    (given / "tickets.json").write_text(json.dumps(EVAL))
    (given / "tickets.jsonl").write_text('{"item": {"input": "My bill", "label": "billing"}}\n')
    output = ["--output", str(evals.pytester.path)]
    for tool, name in (
        ("promptfoo", "travel.yaml"),
        ("openai", "towns.yaml"),
        ("lm-eval", "places.yaml"),
        ("lm-eval", "quiz.yaml"),
        ("openai", "tickets.json"),
    ):
        assert cli.main(["import", tool, str(given / name), *output]) == 0
    said = capsys.readouterr()
    assert "tests[1]: the assertion javascript" in said.out
    assert "the provider bedrock:x" in said.out.replace("'", "")
    assert "wrote " in said.err
    assert cli.main(["import", "promptfoo", str(given / "travel.yaml"), *output]) == 2
    assert "--force" in capsys.readouterr().err
    assert cli.main(["import", "lm-eval", str(given / "tickets.json"), *output]) == 2
    assert cli.main(["import", "openai", str(given / "none.yaml"), *output]) == 2
    (evals.pytester.path / "script.py").write_text(MODEL)
    judged = ["--evals-judge", "scripted:script:answer"]
    planned = evals.run("--evals-plan", *judged)
    assert planned.ret == 0, planned.stdout.str()
    evals.run("--collect-only", "-q").stdout.fnmatch_lines(["8 tests collected*"])
    evals.run(*judged).assert_outcomes(passed=8)
    assert evals.grades("exact_match_word").keys() == {
        sample.case_id for sample in evals.artifact.samples if sample.suite == "test_places"
    }
