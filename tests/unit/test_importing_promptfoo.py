"""Configurations of promptfoo become suites."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_evals.importing import promptfoo
from pytest_evals.importing.promptfoo_tests import of_short_form
from pytest_evals.importing.providers import specification
from pytest_evals.importing.suite import ImportFileError, Suite
from pytest_evals.importing.writing import write

from .importing import assignments, check_form, write_files

TRAVEL = """
description: Travel
prompts:
  - "Capital of {{country}}?"
  - file://chat.json
  - file://prompt.py
providers:
  - openai:chat:gpt-5-mini
  - id: huggingface:text-generation:org/name
  - anthropic:messages:claude
defaultTest:
  assert:
    - {type: not-icontains, value: as an ai}
    - {type: cost, threshold: 0.01}
tests:
  - description: France
    vars: {country: France, capital: Paris}
    assert:
      - {type: contains, value: "{{capital}}"}
      - {type: levenshtein, value: Paris, threshold: 3}
      - {type: javascript, value: output.length < 9}
      - {type: equals, value: {a: 1}}
  - vars: {country: [Japan, Chad]}
    assert:
      - {type: contains, value: city}
      - {type: icontains-any, value: "tokyo, n'djamena"}
      - {type: regex, value: '(?<word>\\w+)\\.'}
      - {type: regex, value: '[[:alpha:'}
      - {type: starts-with, value: "It (is)"}
      - {type: contains-json}
      - {type: is-json, value: {type: object}}
      - {type: llm-rubric, value: names a city}
"""
CHAT = '[{"role": "system", "content": "Be brief."}, {"role": "user", "content": {{ country | dump }}}]'


def read(folder: Path, text: str, files: Mapping[str, str] | None = None) -> Suite:
    write_files(folder, {"travel.yaml": text, **(files or {})})
    return promptfoo.read(folder / "travel.yaml")


def test_prompts_tests_and_assertions_are_carried_over(tmp_path: Path) -> None:
    suite = read(tmp_path, TRAVEL, {"chat.json": CHAT})
    check_form(suite)
    first, second = suite.evals
    assert first.options["prompt"] == "Capital of {{item.country}}?"
    assert second.options["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "{{item.country}}"},
    ]
    assert first.options["model"] == [
        "openai:gpt-5-mini@https://api.openai.com/v1?key_env=OPENAI_API_KEY",
        "hf:org/name",
    ]
    assert (first.asserted, second.asserted) == (["passed"], ["passed"])
    rows = suite.rows["travel.jsonl"]
    assert [(row["id"], row["country"], row["capital"]) for row in rows] == [
        ("france", "France", "Paris"),
        ("test-2", "Japan", ""),
        ("test-3", "Chad", ""),
    ]
    assert [row["expected_contains"] for row in rows] == ["Paris", "city", "city"]
    assert [row["expected_levenshtein"] for row in rows] == ["Paris", None, None]
    assert rows[1]["expected_icontains_any"] == ["tokyo", "n'djamena"]
    assert rows[1]["expected_regex"] == r"(?P<word>\w+)\."
    assert rows[1]["expected_starts_with"] == r"\AIt\ \(is\)"
    assert rows[0]["expected_equals_json"] == {"const": {"a": 1}}
    found = assignments(suite)
    assert found["contains"] == "graders.contains('item.expected_contains')"
    assert found["icontains_any"].endswith("require='any', run_if='item.expected_icontains_any is not none')")
    assert "return not not_icontains_part.passed" in found["not_icontains"]
    assert "length - same <= 3" in found["levenshtein"]
    assert found["passed"].startswith("graders.all_of('not_icontains', 'contains', 'levenshtein'")


def test_what_is_not_carried_over_is_said_with_its_places(tmp_path: Path) -> None:
    notes = read(tmp_path, TRAVEL, {"chat.json": CHAT}).notes
    for listed in (
        "description: Travel",
        "the prompt file://prompt.py: code makes it",
        "the provider anthropic:messages:claude",
        "tests[0], tests[1]: the assertion cost",
        "tests[0]: the assertion javascript: 'output.length < 9'",
        "tests[1]: the assertion regex: '[[:alpha:' is not a regular expression of Python",
    ):
        assert any(
            listed in note.replace("'anthropic:messages:claude'", "anthropic:messages:claude") for note in notes
        ), listed


def test_an_assertion_of_all_tests_needs_no_field(tmp_path: Path) -> None:
    text = """
prompts: ["{{q}}"]
defaultTest:
  assert:
    - {type: contains, value: "{{a}}"}
    - {type: similar, value: "{{a}}", threshold: 0.6, metric: meaning}
    - {type: rouge-n, value: "{{a}}", weight: 0}
    - {type: llm-rubric, value: "answers {{q}} politely", threshold: 0.8}
tests: [{vars: {q: x, a: b}}, {vars: {q: y, a: c}}]
"""
    suite = read(tmp_path, text)
    check_form(suite)
    found = assignments(suite)
    assert found["contains"] == "graders.contains('{{item.a}}')"
    assert found["meaning"] == "graders.embedding_similarity('{{item.a}}', threshold=0.6)"
    assert found["rouge_n"] == "graders.rouge('{{item.a}}', kind='1', threshold=0.75)"
    assert found["llm_rubric"] == (
        "graders.judge.scale('answers {{item.q}} politely', low=0, high=10, normalize=True, threshold=0.8)"
    )
    assert (suite.evals[0].asserted, suite.evals[0].scored) == (["contains", "meaning", "llm_rubric"], ["rouge_n"])
    assert suite.rows["travel.jsonl"] == [{"id": "test-1", "q": "x", "a": "b"}, {"id": "test-2", "q": "y", "a": "c"}]


def test_a_threshold_of_the_tests_weighs_their_assertions(tmp_path: Path) -> None:
    text = """
prompts: [p]
defaultTest:
  threshold: 0.5
  assert: [{type: contains, value: a, weight: 3}, {type: icontains, value: b}]
tests: [{vars: {q: x}}]
"""
    assert assignments(read(tmp_path, text))["passed"] == (
        "graders.weighted({'contains': 3.0, 'icontains': 1.0}, threshold=0.5)"
    )


def test_tests_come_from_csv_yaml_and_scenarios(tmp_path: Path) -> None:
    files = {
        "t.csv": "q,__expected,__expected2,__description,__metadata:level\nx,contains: a,not-regex: ^no,first,hard\ny,b,,,\n",
        "more/one.yaml": "- vars: {q: z}\n  assert: [{$ref: '#/assertionTemplates/short'}]\n",
        "notes/1.md": "first\n",
        "notes/2.md": "second\n",
        "p.txt": "One {{q}}\n---\nTwo {{q}}\n",
    }
    text = """
prompts: p.txt
assertionTemplates: {short: {type: javascript, value: output.length < 3}}
tests: [file://t.csv, file://more/*.yaml, "https://docs.google.com/spreadsheets/d/x", {vars: {q: "file://notes/*.md"}, assert: [{$ref: other.yaml#/a}]}]
scenarios: [{config: [{vars: {q: v}}, {vars: {q: w}}], tests: [{assert: [{type: equals, value: "{{q}}"}]}]}]
"""
    suite = read(tmp_path, text, files)
    check_form(suite)
    rows = suite.rows["travel.jsonl"]
    assert [each.options["prompt"] for each in suite.evals] == ["One {{item.q}}", "Two {{item.q}}"]
    assert [row["q"] for row in rows] == ["x", "y", "z", "first", "second", "v", "w"]
    assert [row["expected_contains"] for row in rows] == ["a", None, None, None, None, None, None]
    assert [row["expected_equals"] for row in rows] == [None, "b", None, None, None, "v", "w"]
    assert rows[0]["metadata"] == {"level": "hard"}
    assert rows[0]["expected_regex"] == "^no"
    assert any("docs.google.com" in note for note in suite.notes)
    assert any("other.yaml#/a" in note for note in suite.notes)
    assert any("one.yaml[0]: the assertion javascript" in note for note in suite.notes)


@pytest.mark.parametrize(
    ("written", "assertion"),
    [
        ("Paris", {"type": "equals", "value": "Paris"}),
        ("contains: Paris", {"type": "contains", "value": "Paris"}),
        ("not-icontains:x: y", {"type": "not-icontains", "value": "x: y"}),
        ("similar(0.8): a b", {"type": "similar", "value": "a b", "threshold": 0.8}),
        ("levenshtein(2):abc", {"type": "levenshtein", "value": "abc", "threshold": 2.0}),
        ("contains-all: a, b", {"type": "contains-all", "value": ["a", "b"]}),
        ("grade: is polite", {"type": "llm-rubric", "value": "is polite"}),
        ("fn: output.length", {"type": "javascript", "value": "output.length"}),
        ("is-json", {"type": "is-json"}),
        ("note: not an assertion", {"type": "equals", "value": "note: not an assertion"}),
    ],
)
def test_short_forms_of_csv_are_read(written: str, assertion: dict[str, object]) -> None:
    assert of_short_form(written) == assertion


@pytest.mark.parametrize(
    ("provider", "config", "model"),
    [
        ("openai:gpt-5", {}, "openai:gpt-5@https://api.openai.com/v1?key_env=OPENAI_API_KEY"),
        ("openai:chat:m", {"apiBaseUrl": "http://h/v1", "apiKeyEnvar": "K"}, "openai:m@http://h/v1?key_env=K"),
        ("ollama:chat:llama3.2:1b", {}, "openai:llama3.2:1b@http://127.0.0.1:11434"),
        ("huggingface:text-generation:org/name", {}, "hf:org/name"),
        ("huggingface:text-classification:org/name", {}, None),
        ("openai:embedding:x", {}, None),
        ("bedrock:x", {}, None),
        ("file://provider.py", {}, None),
        ("openai:{{env.MODEL}}", {}, None),
    ],
)
def test_providers_are_models_where_one_can_be_named(provider: str, config: dict[str, str], model: str | None) -> None:
    assert specification(provider, config) == model


def test_configurations_that_hold_nothing_are_refused(tmp_path: Path) -> None:
    for text, message in {
        "tests: []": "no 'prompts'",
        "prompts: [file://p.py]": "no prompt can be carried over",
        "prompts: [p]\ntests: file://t.py": "no test can be carried over",
        "prompts: [p]\ntests: file://none.csv": "not found",
        "prompts: [p]\ntests: [{assert: [{$ref: '#/assertionTemplates/x'}]}]": "leads to no assertion",
    }.items():
        with pytest.raises(ImportFileError, match=message):
            read(tmp_path, text)


def test_yaml_is_read_as_javascript_reads_it_and_parts_of_the_output_are_not_graded(tmp_path: Path) -> None:
    text = """
prompts: ["{{item}} {{on}} {{flag}}"]
tests:
  - vars: {item: Yes, on: off, flag: true}
    assert: [{type: contains, value: No}, {type: contains-any, value: [a], transform: output.b}]
"""
    suite = read(tmp_path, text)
    check_form(suite)
    assert suite.rows["travel.jsonl"] == [{"id": "test-1", "item": "Yes", "on": "off", "flag": "true"}]
    assert suite.evals[0].options["prompt"] == "{{item.item}} {{item.on}} {{item.flag}}"
    assert assignments(suite)["contains"] == "graders.contains('No')"
    assert any(
        "tests[0]: the assertion contains-any of a part of the output ('output.b')" in note for note in suite.notes
    )


def test_files_that_exist_are_only_overwritten_with_force(tmp_path: Path) -> None:
    suite = read(tmp_path, "prompts: [p]\ntests: [{vars: {when: 2020-01-02}}]")
    paths = write(suite, tmp_path / "new")
    assert [path.name for path in paths] == ["test_travel.py", "travel.jsonl"]
    assert paths[1].read_text() == '{"id": "test-1", "when": "2020-01-02"}\n'
    paths[1].unlink()
    with pytest.raises(ImportFileError, match=r"test_travel\.py exists already; .*--force"):
        write(suite, tmp_path / "new")
    assert not paths[1].exists()
    write(suite, tmp_path / "new", force=True)
    assert paths[1].exists()
