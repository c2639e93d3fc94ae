"""Mistakes that people make in a suite, and what they are told: one line with the place and what to write."""

from __future__ import annotations

from typing import Any

import pytest

HEAD = "from pytest_evals import cases, grader, graders, task\nimport pytest\n"
NAMED = "named = graders.contains('{{item.capital}}')\n"
CASES = "@cases('rows.jsonl', prompt='What is the capital of {{item.country}}?', id='id')\n"
TEST = CASES + "def test_c(named):\n    assert named\n"
ROWS = '{"id": "fr", "country": "France", "capital": "Paris"}\n{"id": "jp", "country": "Japan", "capital": "Tokyo"}\n'


def with_gates(gates: str) -> str:
    return HEAD + NAMED + TEST.replace("id='id'", f"id='id', gates={gates}")


def with_data(data: str, more: str = "") -> str:
    return HEAD + NAMED + more + TEST.replace("'rows.jsonl'", data).replace(", id='id'", "")


# The suite, and what its collection error says.
AT_COLLECTION = {
    "argument_of_cases": (
        HEAD + NAMED + TEST.replace("prompt=", "promt="),
        "cases() has no argument 'promt'; did you mean 'prompt'?",
    ),
    "argument_of_grader": (
        HEAD + "@grader(treshold=0.5)\ndef named(completion):\n    return 1.0\n" + TEST,
        "grader() has no argument 'treshold'; did you mean 'threshold'?",
    ),
    "argument_of_ready_made": (
        HEAD + "named = graders.contains(expected='x')\n" + TEST,
        "contains() has no argument 'expected' (it has needles, ",
    ),
    "judge_without_response": (
        HEAD + "named = graders.judge('Is it right?')\n" + TEST,
        "graders.judge() with a prompt of your own needs 'response', the class of the reply; to have one criterion judged, write",
    ),
    "argument_of_judge": (
        HEAD + "named = graders.judge.binary('Is it right?', modle='x')\n" + TEST,
        "judge.binary: ",
    ),
    "argument_without_its_name": (
        HEAD + NAMED + TEST.replace("prompt=", ""),
        "by name only: write cases(data, prompt=...)",
    ),
    "missing_argument": (HEAD + "named = graders.contains()\n" + TEST, "contains() needs 'needles' (its arguments: "),
    "grader_from_the_package": (
        "from pytest_evals import exact_match\n",
        "pytest_evals has no 'exact_match'; it is a grader: from pytest_evals import graders",
    ),
    "misspelt_import": ("from pytest_evals import Completions\n", "pytest_evals has no 'Completions'; did you mean"),
    "plain_function": (
        HEAD + "def named(completion):\n    return True\n" + TEST,
        "named is a plain function (test_plain_function.py:3): write @grader above it",
    ),
    "plain_function_of_a_grader": (
        HEAD + "def draft(case):\n    return 1\n@grader\ndef named(draft):\n    return True\n" + TEST,
        "draft is a plain function (test_plain_function_of_a_grader.py:3)",
    ),
    "fixture_in_a_gate": (
        with_gates("['named.mean >= 1']").replace(NAMED, "@pytest.fixture\ndef named(completion):\n    return True\n"),
        "'named' is a fixture, and no grader: write @grader in the place of @pytest.fixture",
    ),
    "gate_on_what_is_not_asked_for": (
        with_gates("['named.mean >= 1']").replace("test_c(named)", "test_c(completion)").replace("assert named", "..."),
        "the test does not ask for the grader 'named'",
    ),
    "gates_as_mapping": (with_gates("{'named': 0.8}"), "write gates=['named.mean >= 0.8']"),
    "gate_without_a_statistic": (with_gates("['named >= 0.8']"), "did you mean 'named.mean'?"),
    "name_of_another_tool": (
        HEAD + "@grader\ndef named(response):\n    return True\n" + TEST,
        "there is no task, grader or fixture of that name; did you mean 'completion'?",
    ),
    "misspelt_data": (with_data("'row.jsonl'"), "paths are relative to the test file; did you mean 'rows.jsonl'?"),
    "gate_of_a_name": (with_gates("['named']"), "did you mean 'named.mean >= 0.8'?"),
    "gate_with_one_equals_sign": (with_gates("['named.mean = 1']"), "did you mean 'named.mean == 1'?"),
    "gate_on_accuracy": (with_gates("['named.accuracy >= 0.8']"), "accuracy is the mean of grades"),
    "grader_twice": (
        HEAD + NAMED + "named = graders.contains('x')\n" + TEST,
        "test_grader_twice.py:4: the grader 'named' is defined a second time (first in line 3)",
    ),
    "test_twice": (HEAD + NAMED + TEST + TEST, "the test 'test_c' is defined a second time (first in line 5)"),
    "grader_named_case": (
        HEAD + "@grader\ndef case(completion):\n    return True\n" + CASES + "def test_c(case):\n    assert case\n",
        "a grader cannot be named 'case'",
    ),
    "generator": (
        with_data("rows()", "def rows():\n    yield {'country': 'France', 'capital': 'Paris'}\n"),
        "a generator can be read only once; give the function itself, without calling it",
    ),
    "tuples": (with_data("[('France', 'Paris')]"), "not tuple, as in {'field1': 'France', 'field2': 'Paris'}"),
    "texts": (with_data("['France']"), "not str, as in {'question': 'France'}"),
    "columns": (with_data("{'country': ['France'], 'capital': ['Paris']}"), "pandas.DataFrame(data) makes rows"),
    "name_on_the_hub": (
        with_data("'openai/gsm8k'"),
        "write data=datasets.load_dataset('openai/gsm8k', split='test')",
    ),
    "list_in_json_lines": (with_data("'list.jsonl'"), "JSON Lines has one row a line (a file with a list is .json)"),
    "skip_of_a_list": (
        HEAD + NAMED + TEST.replace("id='id'", "id='id', skip=['item.id']"),
        "skip is an expression over the row",
    ),
    "fewshot_without_answer": (
        HEAD + NAMED + TEST.replace("id='id'", "id='id', fewshot={'k': 1}"),
        "fewshot: 'answer' is the template of an example's answer",
    ),
    "fewshot_with_unknown_key": (
        HEAD + NAMED + TEST.replace("id='id'", "id='id', fewshot={'n': 1, 'anwser': 'x'}"),
        "fewshot: unknown key 'n'",
    ),
    "fewshot_of_too_few_rows": (
        HEAD + NAMED + TEST.replace("id='id'", "id='id', fewshot={'k': 2, 'answer': 'item.capital'}"),
        "has 2 rows, and 2 examples besides the case's own are asked for",
    ),
}


@pytest.fixture
def suite(evals: Any) -> Any:
    evals.pytester.path.joinpath("rows.jsonl").write_text(ROWS)
    evals.pytester.path.joinpath("list.jsonl").write_text('[{"country": "France"}, {"country": "Japan"}]\n')
    return evals


def test_mistakes_found_at_collection_say_what_to_write(suite: Any) -> None:
    suite.pytester.makepyfile(**{f"test_{name}": text for name, (text, _) in AT_COLLECTION.items()})
    result = suite.run("-q", "-rA")
    printed = " ".join(result.stdout.str().split())
    assert {name: said for name, (_, said) in AT_COLLECTION.items() if said not in printed} == {}
    assert "Traceback" not in printed
    assert result.parseoutcomes() == {"errors": len(AT_COLLECTION)}


# -- Mistakes of the command line.


def test_unknown_options_name_the_nearest_one(suite: Any) -> None:
    suite.write(HEAD + NAMED + TEST)
    for word, said in {
        "--evals-modle=x": "there is no option --evals-modle; did you mean '--evals-model'?",
        "--eval": "there is no option --eval; did you mean '--evals'?",
        "-evals": "there is no option -evals; did you mean '--evals'?",
        "--Evals-Model": "there is no option --Evals-Model; did you mean '--evals-model'?",
        "--evals=test_suite.py": "--evals is a switch without a value; put a space before the path: pytest --evals test_suite.py",
        "--evals=true": "--evals is a switch without a value; write --evals",
        "--evals=no": "--evals is a switch without a value; leave it out",
    }.items():
        result = suite.pytester.runpytest_subprocess(word)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"*{said}*"])


def test_a_case_that_does_not_exist_is_answered_with_the_nearest_one(suite: Any) -> None:
    suite.write(HEAD + NAMED + TEST)
    result = suite.run("test_suite.py::test_c[frr]")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*test_suite.py::test_c[[]frr[]]: there is no such case; did you mean test_suite.py::test_c[[]fr[]]?*"]
    )


# -- Mistakes that only a running test shows.

AT_RUN = """
@cases("rows.jsonl", prompt="What is the capital of {{item.country}}?", id="id", limit=1)
def test_it(named, completion, case):
    with pytest.raises(TypeError, match="write 'assert named', without calling it"):
        named(completion)
    with pytest.raises(AttributeError, match="a grade has no 'score'; did you mean 'value'?"):
        named.score
    with pytest.raises(KeyError) as raised:
        case["capitol"]
    assert str(raised.value) == "case 'fr' has no field 'capitol' (fields: id, country, capital); did you mean 'capital'?"
    assert "capitol" not in case and case.get("capitol") is None
    for mistake in (lambda: "Paris" in completion, lambda: len(completion), lambda: completion[0], lambda: list(completion)):
        with pytest.raises(TypeError, match="a completion is not a text; use completion.text"):
            mistake()
    with pytest.raises(TypeError, match="compare completion.text"):
        completion != "Paris"
    with pytest.raises(AttributeError, match="a completion has no 'lower'; its text has: completion.text.lower"):
        completion.lower
    assert completion == completion
    assert completion
"""


def test_a_grade_a_case_and_a_completion_say_how_they_are_used(suite: Any) -> None:
    suite.write(HEAD + NAMED + AT_RUN)
    suite.run().assert_outcomes(passed=1)


def test_a_text_that_is_the_name_of_a_field_is_noticed(suite: Any) -> None:
    suite.write(HEAD + "named = graders.contains('capital')\n" + TEST)
    printed = " ".join(suite.run().stdout.str().split())
    assert "the grader 'named' is given the text 'capital', which is the name of a field of the rows" in printed
