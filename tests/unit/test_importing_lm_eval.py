"""Tasks of lm-evaluation-harness become suites."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.importing import lm_eval
from pytest_evals.importing.suite import ImportFileError, Suite

from .importing import assignments, check_form, write_files

BASE = """
task: base
dataset_path: org/quiz
dataset_name: easy
output_type: multiple_choice
test_split: test
validation_split: validation
training_split: train
doc_to_text: "Question: {{question}}\\nAnswer:"
metadata: {version: 1}
"""
MATHS = r"""
task: sums
tag: [maths]
dataset_path: json
dataset_kwargs: {data_files: {test: sums.jsonl}}
output_type: generate_until
test_split: test
doc_to_text: "Q: {{q}}\nA:"
doc_to_target: "{{answer.split('####')[-1].strip()}}"
generation_kwargs: {until: ["Q:"], do_sample: false, temperature: 0.0, max_gen_toks: 64}
metric_list:
  - {metric: exact_match, ignore_case: true, regexes_to_ignore: [",", "\\$"]}
  - {metric: rougeL}
  - {metric: !function utils.own}
filter_list:
  - {name: strict, filter: [{function: regex, regex_pattern: '#### (\-?[0-9\.,]+)'}, {function: take_first}]}
  - {name: last, filter: [{function: regex, group_select: -1, regex_pattern: '(-?[$0-9.,]{2,})|(-?[0-9]+)'}]}
  - {name: vote, filter: [{function: majority_vote}]}
"""


def read(folder: Path, text: str, files: Mapping[str, str] | None = None) -> Suite:
    write_files(folder, {"task.yaml": text, "base.yaml": BASE, **(files or {})})
    return lm_eval.read(folder / "task.yaml")


def test_a_multiple_choice_is_chosen_by_likelihood(tmp_path: Path) -> None:
    suite = read(
        tmp_path,
        """
include: base.yaml
task: quiz
num_fewshot: 2
doc_to_choice: "{{choices.text}}"
doc_to_target: "{{choices.label.index(answerKey)}}"
metric_list: [{metric: acc}, {metric: acc_norm}, {metric: f1}]
""",
    )
    check_form(suite)
    found = assignments(suite)
    assert found["acc"] == "graders.choice('item.lm_choices', expected='item.lm_gold')"
    assert found["acc_norm"] == "graders.choice('item.lm_choices', expected='item.lm_gold', by='char')"
    assert "datasets.load_dataset('org/quiz', 'easy', split='test')" in found["rows"]
    assert "datasets.load_dataset('org/quiz', 'easy', split='train')" in found["examples"]
    (made,) = suite.evals
    assert (made.asserted, made.scored) == (["acc"], ["acc_norm"])
    assert made.options["prompt"] == "Question: {{item.question}}\nAnswer:"
    assert made.options["fewshot"]["k"] == 2
    assert any("the metric f1" in note for note in suite.notes)
    assert any("metadata" in note for note in suite.notes)


class FakeDatasets:
    """Takes the place of the package ``datasets``."""

    @staticmethod
    def load_dataset(*_names: str, split: str) -> list[dict[str, Any]]:
        label = {"text": ["red", "blue"], "label": ["A", "B"]}
        return [{"question": split, "choices": label, "answerKey": "B", "label": 1, "a": "x", "b": "y"}]


@pytest.mark.parametrize(
    ("choices", "target", "expected"),
    [
        ("{{choices.text}}", "{{choices.label.index(answerKey)}}", ([" red", " blue"], 1)),
        ("{{[a, b]}}", "label", ([" x", " y"], 1)),
        ("{{choices.label}}", "answerKey", ([" A", " B"], "B")),
        (f"{{{{[{', '.join(['a', 'b'] * 12)}]}}}}", "{{0 + 1}}", ([" x", " y"] * 12, 1)),
        ("{{choices['text']}}", "{{1 if answerKey == 'B' else 0}}", ([" red", " blue"], 1)),
    ],
)
def test_rows_get_their_choices_and_the_right_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choices: str, target: str, expected: object
) -> None:
    suite = read(
        tmp_path, f"include: base.yaml\ndoc_to_choice: {json.dumps(choices)}\ndoc_to_target: {json.dumps(target)}\n"
    )
    check_form(suite)
    monkeypatch.setitem(__import__("sys").modules, "datasets", FakeDatasets)
    scope: dict[str, Any] = {}
    exec(compile(suite.source().split("\n@cases")[0], "suite", "exec", dont_inherit=True), scope)  # noqa: S102 - the suite that this test made
    (row,) = scope["rows"]()
    assert (row["lm_choices"], row["lm_gold"]) == expected


def test_choices_that_are_written_out_need_no_field(tmp_path: Path) -> None:
    suite = read(
        tmp_path, 'include: base.yaml\ndoc_to_choice: ["no", "{{yes}}"]\ndoc_to_target: 1\ntarget_delimiter: "\\n"\n'
    )
    check_form(suite)
    assert assignments(suite)["acc"] == "graders.choice(['\\nno', '\\n{{item.yes}}'], expected=1)"


def test_generated_answers_are_filtered_and_compared_as_there(tmp_path: Path) -> None:
    suite = read(tmp_path, MATHS, {"sums.jsonl": '{"q": "1+1?", "answer": "two #### 2"}\n'})
    check_form(suite)
    (made,) = suite.evals
    assert made.asserted == ["exact_match_strict", "exact_match_last"]
    assert made.scored == ["rougel"]
    assert made.data == "sums.jsonl"
    assert made.options["generation"] == {"stop": ["Q:"], "max_new_tokens": 64}
    assert made.options["tags"] == ["maths"]
    assert suite.rows == {"sums.jsonl": [{"q": "1+1?", "answer": "two #### 2"}]}
    for listed in ("majority_vote", "!function utils.own"):
        assert any(listed in note for note in suite.notes), listed
    plain = suite.source().replace("@grader\n", "").split("\n@cases")[0]
    scope: dict[str, Any] = {}
    exec(compile(plain, "suite", "exec", dont_inherit=True), scope)  # noqa: S102 - the suite that this test made

    def graded(name: str, text: str, answer: str) -> bool:
        result = scope[name]({"answer": answer}, type("Completion", (), {"text": text}))
        return bool(result)

    assert graded("exact_match_strict", "so #### 1,234", "#### 1234")
    assert not graded("exact_match_strict", "so 1234", "#### 1234")
    assert graded("exact_match_last", "3 and then $1,234", "#### 1234")
    assert graded("exact_match_last", "first 7 then 2", "#### 2")
    assert not graded("exact_match_last", "first 2 then 7", "#### 2")


def test_exact_match_without_a_filter_is_ready_made(tmp_path: Path) -> None:
    text = "task: t\ndataset_path: d\ndoc_to_text: q\ndoc_to_target: a\nmetric_list: [{metric: exact_match, ignore_case: true}]\n"
    suite = read(tmp_path, text)
    check_form(suite)
    assert assignments(suite)["exact_match"] == "graders.exact_match('{{item.a}}', normalize=['case'])"
    assert suite.evals[0].options == {"prompt": "{{item.q}}", "generation": {"stop": ["\n\n"]}}


def test_likelihoods_of_whole_texts_are_perplexities(tmp_path: Path) -> None:
    rolling = read(
        tmp_path,
        "task: wiki\ndataset_path: d\noutput_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: !function p.detok\n"
        "process_results: !function p.results\n",
    )
    check_form(rolling)
    found = assignments(rolling)
    assert found["word_perplexity"] == "graders.perplexity('{{item.doc_to_target}}', per='word')"
    assert found["bits_per_byte"] == "graders.perplexity('{{item.doc_to_target}}', per='byte', bits=True)"
    assert any("doc_to_target: !function p.detok" in note for note in rolling.notes)
    last = read(
        tmp_path, 'task: l\ndataset_path: d\noutput_type: loglikelihood\ndoc_to_text: q\ndoc_to_target: "{{a}}"\n'
    )
    check_form(last)
    assert "await model.score(' ' + str(case['a']))" in assignments(last)["acc"]


def test_groups_and_tasks_without_a_prompt_are_refused(tmp_path: Path) -> None:
    for text, message in {
        "group: g\ntask: [a, b]": "a group of tasks",
        "task: t\ndataset_path: d": "no doc_to_text",
        "task: t\noutput_type: other": "none of generate_until",
        "include: task.yaml": "includes itself",
        "include: none.yaml": "cannot be read",
    }.items():
        with pytest.raises(ImportFileError, match=message):
            read(tmp_path, text)
