"""OpenAI Evals' registry and the Evals API become suites."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.importing import evals_api, registry
from pytest_evals.importing.suite import ImportFileError, Suite

from .importing import assignments, check_form, write_files

SAMPLES = """{"input": [{"role": "system", "content": "One word."}, {"role": "user", "content": "Capital of Peru?"}], "ideal": "Lima"}
{"input": "Capital of Chad?", "ideal": ["N'Djamena", "Ndjamena"]}
"""
REGISTRY = """
cities:
  id: cities.dev.v0
  description: Capitals
  metrics: [accuracy]
cities.dev.v0:
  class: evals.elsuite.basic.match:Match
  args:
    samples_jsonl: cities/samples.jsonl
    num_few_shot: 1
    few_shot_jsonl: cities/shots.jsonl
cities.includes.v0:
  class: evals.elsuite.basic.includes:Includes
  args: {samples_jsonl: cities/samples.jsonl, ignore_case: true, max_tokens: 20}
cities.fuzzy.v0:
  class: evals.elsuite.basic.fuzzy_match:FuzzyMatch
  args: {samples_jsonl: cities/samples.jsonl}
cities.json.v0:
  class: evals.elsuite.basic.json_match:JsonMatch
  args: {samples_jsonl: cities/samples.jsonl}
cities.judged.v0:
  class: evals.elsuite.modelgraded.classify:ModelBasedClassify
  args: {samples_jsonl: cities/samples.jsonl, modelgraded_spec: polite, eval_type: cot_classify, colour: red}
cities.fact.v0:
  class: evals.elsuite.modelgraded.classify:ModelBasedClassify
  args: {samples_jsonl: cities/samples.jsonl, modelgraded_spec: fact}
cities.own.v0:
  class: mine.checks:Spelling
"""
POLITE = """
polite:
  prompt: |-
    Question: {input}
    Right: {ideal}
    Answer: {completion}
    Is it polite?
  choice_strings: [Yes, No, Partly]
  choice_scores: {Yes: 1.0, No: 0.0, Partly: 0.5}
  input_outputs: {input: completion}
"""


@pytest.fixture(scope="module")
def cities(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    folder = tmp_path_factory.mktemp("registry")
    write_files(
        folder,
        {
            "evals/cities.yaml": REGISTRY,
            "modelgraded/polite.yaml": POLITE,
            "data/cities/samples.jsonl": SAMPLES,
            "data/cities/shots.jsonl": json.dumps(
                {"sample": [
                    {"role": "system", "name": "example_user", "content": "Capital of Italy?"},
                    {"role": "system", "name": "example_assistant", "content": "Rome"},
                ]}
            ),
        },
    )  # fmt: skip
    return registry.read(folder / "evals/cities.yaml")


def test_each_entry_with_a_class_is_a_suite(cities: Suite) -> None:
    check_form(cities)
    assert [(each.function, each.asserted, each.scored) for each in cities.evals] == [
        ("test_cities", ["match"], []),
        ("test_cities_includes_v0", ["includes"], []),
        ("test_cities_fuzzy_v0", ["fuzzy_match"], ["f1_score"]),
        ("test_cities_json_v0", ["json_match"], []),
        ("test_cities_judged_v0", ["polite"], []),
        ("test_cities_fact_v0", ["fact"], []),
    ]
    assert assignments(cities)["includes"] == "graders.contains('item.ideal', require='any', ignore_case=True)"
    assert cities.evals[1].options == {"messages": "item.input", "generation": {"max_new_tokens": 20}}


def test_samples_are_conversations_with_examples_and_lists_of_ideals(cities: Suite) -> None:
    first, second = cities.rows["cities.jsonl"]
    assert [turn["content"] for turn in first["input"]] == [
        "One word.",
        "Capital of Italy?",
        "Rome",
        "Capital of Peru?",
    ]
    assert [turn["role"] for turn in first["input"]] == ["system", "user", "assistant", "user"]
    assert (first["ideal"], second["ideal"]) == (["Lima"], ["N'Djamena", "Ndjamena"])
    assert second["input"] == [{"role": "user", "content": "Capital of Chad?"}]


def test_what_is_not_carried_over_is_said(cities: Suite) -> None:
    notes = "\n".join(cities.notes)
    assert "cities.own.v0: the class mine.checks:Spelling is Python code" in notes
    assert "the argument colour: 'red'" in notes
    assert "instead of by cot_classify" in notes
    assert all(f"# - {note[:40]}" in cities.source() for note in cities.notes)


def test_a_judge_keeps_its_prompt_its_choices_and_their_scores(cities: Suite) -> None:
    found = assignments(cities)
    assert found["POLITE_SCORES"] == "{'Yes': 1.0, 'No': 0.0, 'Partly': 0.5}"
    assert "Question: {{ question }}\\nRight: {{ item.ideal }}\\nAnswer: {{ completion }}" in found["POLITE_PROMPT"]
    assert 'choice: Literal["Yes", "No", "Partly"]' in cities.source()


def grade(suite: Suite, name: str, text: str, ideal: list[str]) -> Any:
    """Call a function of a suite as the plain function that it is written as."""
    plain = suite.source().replace("@grader\n", "").split("\n@cases")[0]
    scope: dict[str, Any] = {}
    exec(compile(plain, "suite", "exec", dont_inherit=True), scope)  # noqa: S102 - the suite that this test made
    return scope[name]({"ideal": ideal}, type("Completion", (), {"text": text}))


@pytest.mark.parametrize(
    ("name", "text", "ideal", "right"),
    [
        ("match", "Lima is it", ["Lima"], True),
        ("match", "It is Lima", ["Lima"], False),
        ("match", "lima", ["Lima"], False),
        ("fuzzy_match", "The city of Lima!", ["lima"], True),
        ("fuzzy_match", "Lima", ["the city of Lima, Peru"], True),
        ("fuzzy_match", "", ["Lima"], False),
        ("fuzzy_match", "a", ["the"], True),
        ("json_match", '{"b": 1, "a": [2]}', ['{"a": [2], "b": 1}'], True),
        ("json_match", '{"a": [2]}', ['{"a": [3]}', "[]"], False),
        ("json_match", "no JSON", ["{}"], False),
    ],
)
def test_the_classes_grade_as_openai_evals_does(
    cities: Suite, name: str, text: str, ideal: list[str], right: bool
) -> None:
    assert bool(grade(cities, name, text, ideal)) is right


def test_a_registry_without_samples_or_classes_is_refused(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {"evals/x.yaml": REGISTRY, "evals/none.yaml": "a: {id: b}", "evals/bad.yaml": "a: [", "evals/list.yaml": "[]"},
    )
    for name, message in {
        "x": "looked for",
        "none": "no entry with a 'class'",
        "bad": "not well formed",
        "list": "not a mapping",
    }.items():
        with pytest.raises(ImportFileError, match=message):
            registry.read(tmp_path / f"evals/{name}.yaml")


CRITERIA = [
    {"type": "string_check", "name": "Equal", "input": "{{ sample.output_text }}", "operation": "eq", "reference": "{{ item.label }}"},
    {"type": "string_check", "name": "Unequal", "input": "{{sample.output_text}}", "operation": "ne", "reference": "sorry"},
    {"type": "string_check", "name": "Like", "input": "{{sample.output_text}}", "operation": "like", "reference": "bill"},
    {"type": "string_check", "name": "Ilike", "input": "{{sample.output_text}}", "operation": "ilike", "reference": "bill"},
    {"type": "string_check", "name": "Tool", "input": "{{sample.output_tools[0].name}}", "operation": "eq", "reference": "x"},
    *(
        {"type": "text_similarity", "name": f"by {metric}", "input": "{{sample.output_text}}", "reference": "{{item.label}}",
         "evaluation_metric": metric, **limit}
        for metric, limit in [("fuzzy_match", {"pass_threshold": 0.8}), ("rouge_l", {}), ("bleu", {}), ("cosine", {}), ("gleu", {})]
    ),
    {"type": "label_model", "name": "Tone", "model": "o3", "labels": ["kind", "rude"], "passing_labels": ["kind"],
     "input": [{"role": "developer", "content": "Classify."}, {"role": "user", "content": "It says: {{sample.output_text}}"}]},
    {"type": "score_model", "name": "Help", "model": "o3", "range": [1, 7], "pass_threshold": 5,
     "input": [{"role": "user", "content": [{"type": "input_text", "text": "Rate for {{item.ticket}}."}]}]},
    {"type": "python", "name": "Code", "source": "def grade(sample, item): return 1"},
]  # fmt: skip
RUN = {
    "type": "completions",
    "model": "gpt-5-mini",
    "source": {"type": "file_content", "content": [{"item": {"ticket": "My bill", "label": "billing"}}]},
    "input_messages": {"type": "template", "template": [{"role": "user", "content": "Label: {{item.ticket}}"}]},
    "sampling_params": {"temperature": 0.5, "max_completion_tokens": 9, "reasoning_effort": "low"},
}


def test_criteria_of_the_evals_api_are_graders(tmp_path: Path) -> None:
    write_files(
        tmp_path, {"eval.json": json.dumps({"name": "Tickets", "testing_criteria": CRITERIA, "data_source": RUN})}
    )
    suite = evals_api.read(tmp_path / "eval.json")
    check_form(suite)
    found = assignments(suite)
    assert found["equal"] == "graders.exact_match('{{ item.label }}')"
    assert "return not equals_unequal.passed" in found["unequal"]
    assert found["like"] == "graders.contains('bill')"
    assert found["ilike"] == "graders.contains('bill', ignore_case=True)"
    assert found["by_fuzzy_match"] == "graders.levenshtein('{{item.label}}', threshold=0.8)"
    assert found["by_rouge_l"] == "graders.rouge('{{item.label}}', kind='L')"
    assert found["TONE_SCORES"] == "{'kind': True, 'rude': False}"
    assert "system='Classify.'" in found["tone"]
    assert "threshold=5" in found["help"]
    assert "Rate for {{item.ticket}}.\\n\\n{{ completion }}" in found["HELP_PROMPT"]
    (made,) = suite.evals
    assert made.asserted == ["equal", "unequal", "like", "ilike", "by_fuzzy_match", "tone", "help"]
    assert made.scored == ["by_rouge_l", "by_bleu", "by_cosine"]
    assert made.options["generation"] == {"temperature": 0.5, "max_new_tokens": 9}
    assert suite.rows == {"tickets.jsonl": [{"ticket": "My bill", "label": "billing"}]}
    for listed in ("Tool: ", "by gleu: ", "Code: a grader of type python", "reasoning_effort"):
        assert any(listed in note for note in suite.notes), listed


def test_rows_come_from_a_file_where_the_eval_holds_none(tmp_path: Path) -> None:
    rows = '{"item": {"q": "a?", "label": "a"}, "sample": {"output_text": "It is a"}}\n'
    write_files(tmp_path, {"e.json": json.dumps({"testing_criteria": CRITERIA[:1]}), "r.jsonl": rows})
    suite = evals_api.read(tmp_path / "e.json", tmp_path / "r.jsonl")
    assert suite.rows["e.jsonl"] == [{"q": "a?", "label": "a", "completion": "It is a"}]
    with pytest.raises(ImportFileError, match="--rows"):
        evals_api.read(tmp_path / "e.json")
