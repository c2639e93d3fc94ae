"""``graders.choice``: which of several texts a model finds the likeliest, for all cases in batches."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Evals

MODEL = """
import pathlib

CAPITALS = {"France": " Paris", "Japan": " Tokyo"}

def answer(messages):
    return "I do not know."

def score(messages, text):
    # Knows two capitals; and that long names are rare.
    with open("asked.txt", "a") as file:
        file.write(text + "\\n")
    country = messages[-1]["content"].rstrip("?").split()[-1]
    return (0 if CAPITALS.get(country) == text else -2.0) - len(text) / 10
"""
ROWS = [
    {"id": "fr", "country": "France", "options": [" Paris", " Rome"], "right": " Paris", "index": 0},
    {"id": "jp", "country": "Japan", "options": [" Kyoto", " Tokyo"], "right": "Tokyo", "index": 1},
    {"id": "it", "country": "Italy", "options": [" Rome", " Paris"], "right": " Rome", "index": 0},
    {"id": "pe", "country": "Peru", "options": [" Oslo", " Lima, the city of kings"], "right": 1, "index": 1},
]
SUITE = """
from pytest_evals import cases, graders

right = graders.choice(CHOICES, expected=EXPECTED)

@cases(ROWS, id="id", prompt="The capital of {{item.country}}?", MORE)
def test_it(right):
    assert right
"""


def suite(
    choices: str = '"item.options"', expected: str = '"item.right"', more: str = "gates=['right.mean >= 0.7']",
    rows: object = ROWS,
) -> str:  # fmt: skip
    text = SUITE.replace("CHOICES", choices).replace("EXPECTED", expected).replace("MORE", more)
    return text.replace("ROWS", repr(rows))


def grades(evals: Evals) -> dict[str, Any]:
    return {sample.case_id: sample.grades[0] for sample in evals.artifact.samples}


def test_a_choice_is_graded_gated_and_recorded(evals_both: Evals) -> None:
    evals_both.write(suite(), script=MODEL)
    result = evals_both.run("-v")
    result.assert_outcomes(passed=3, xfailed=1)
    result.stdout.fnmatch_lines(["gate PASSED*test_it: right.mean >= 0.7: 0.75 (n=4)"])
    found = grades(evals_both)
    assert {key: grade.value for key, grade in found.items()} == {"fr": 1, "jp": 1, "it": 1, "pe": 0}
    assert found["jp"].metadata == {"choice": 1, "logprobs": [-2.6, -0.6], "tokens": [1, 1]}
    assert found["pe"].metadata == {"choice": 0, "logprobs": [-2.5, -4.4], "tokens": [1, 5]}
    assert found["fr"].reasoning == "chose ' Paris' (87%)"
    assert found["pe"].reasoning == "chose ' Oslo' (87%), expected ' Lima, the city of kings' (13%)"
    for sample in evals_both.artifact.samples:
        # Nothing was generated, and the case names its model all the same.
        assert sample.interaction.completion is None
        assert sample.interaction.source == "scripted:script:answer"
        assert sample.interaction.thread[-1].role == "user"


def test_a_gate_that_the_choices_do_not_meet_fails_the_run(evals_both: Evals) -> None:
    evals_both.write(suite(more="gates=['right.mean >= 0.8']"), script=MODEL)
    result = evals_both.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["gate FAILED*right.mean >= 0.8: 0.75, not >= 0.8 (n=4)"])


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ('"item.options"', '"item.index"'),
        ('["{{item.options.0}}", "{{item.options.1}}"]', '"item.index"'),
        ('["{{item.options.0}}", "{{item.options.1}}"]', '"{{item.right}}"'),
    ],
)
def test_choices_and_the_right_one_may_be_templates_and_locators(evals: Evals, choices: str, expected: str) -> None:
    rows = [row for row in ROWS if row["id"] != "pe"]
    evals.write(suite(choices, expected, rows=rows), script=MODEL)
    evals.run().assert_outcomes(passed=3)


def test_choices_may_be_the_same_for_all_cases_and_the_right_one_too(evals: Evals) -> None:
    evals.write(suite('[" Rome", " Paris"]', "' Paris'", more=""), script=MODEL)
    evals.run().assert_outcomes(passed=1, failed=3)
    assert {key: grade.value for key, grade in grades(evals).items()} == {"fr": 1, "jp": 0, "it": 0, "pe": 0}


@pytest.mark.parametrize(("by", "value"), [("sum", 0), ("token", 1), ("byte", 1)])
def test_means_may_be_compared_where_lengths_differ(evals: Evals, by: str, value: int) -> None:
    rows = [row for row in ROWS if row["id"] == "pe"]
    evals.write(suite(expected=f'"item.right", by="{by}"', more="", rows=rows), script=MODEL)
    evals.run()
    assert grades(evals)["pe"].value == value


def test_completion_and_choice_may_be_asked_for_in_one_test(evals_both: Evals) -> None:
    source = suite().replace(
        "def test_it(right):", "def test_it(right, completion, record):\n    record(text=completion.text)"
    )
    evals_both.write(source, script=MODEL)
    evals_both.run().assert_outcomes(passed=3, xfailed=1)
    for sample in evals_both.artifact.samples:
        assert sample.interaction.completion is not None
        assert sample.tasks["text"] == sample.interaction.completion.text == "I do not know."
        assert sample.grades[0].metadata.keys() == {"choice", "logprobs", "tokens"}


def test_several_choices_of_one_case_are_told_apart(evals: Evals) -> None:
    source = suite().replace("def test_it(right):", "def test_it(right, wrong):")
    more = "wrong = graders.choice([' Rome', ' Oslo'], expected=1)\n\n@cases"
    evals.write(source.replace("@cases", more), script=MODEL)
    evals.run()
    (first, *_) = [{grade.grader_key: grade for grade in sample.grades} for sample in evals.artifact.samples]
    assert (first["right"].value, first["wrong"].value) == (1, 0)
    assert first["right"].metadata["logprobs"] == [-0.6, -2.5]
    assert first["wrong"].metadata["logprobs"] == [-2.5, -2.5]


def test_a_grader_may_build_on_a_choice(evals: Evals) -> None:
    source = suite().replace("def test_it(right):", "def test_it(sure):").replace("assert right", "assert sure")
    own = "@grader\ndef sure(right):\n    return min(right.metadata['logprobs']) < -2.55\n\n@cases"
    evals.write(source.replace("@cases", own).replace("import cases", "import cases, grader"), script=MODEL)
    result = evals.run()
    result.assert_outcomes(passed=3, xfailed=1)
    rows = {row["grader"]: row["mean"] for row in evals.artifact.scores()}
    assert rows == {"right": 0.75, "sure": 0.75}


def test_every_model_makes_its_own_choice(evals_both: Evals) -> None:
    other = "import script\n\ndef echo(messages):\n    return ''\n\ndef score(messages, text):\n    return -float(len(text))\n"
    evals_both.write(suite(more=""), script=MODEL, other__py=other)
    evals_both.run("--evals-model", "scripted:other:echo")
    means = {row["model"]: (row["n"], row["mean"]) for row in evals_both.artifact.scores()}
    assert means == {"scripted:script:answer": (4, 0.75), "scripted:other:echo": (4, 0.25)}


# -- when what is asked


def test_all_choices_are_asked_for_before_the_first_case_runs(evals: Evals) -> None:
    source = suite().replace(
        "    assert right", "    assert right\n    record(asked=len(open('asked.txt').readlines()))"
    )
    evals.write(source.replace("(right):", "(right, record):"), script=MODEL)
    # The first case waits until the model has answered all; if it was asked for less, that is never.
    waits = f"""
import pathlib, pytest, time

@pytest.fixture(autouse=True)
def _slow():
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if pathlib.Path("asked.txt").exists() and len(open("asked.txt").readlines()) == {2 * len(ROWS)}:
            break
        time.sleep(0.01)
"""
    evals.pytester.makeconftest(waits)
    evals.run().assert_outcomes(passed=3, xfailed=1)
    first = evals.artifact.samples[0]
    assert first.tasks["asked"] == 2 * len(ROWS)


def test_the_plan_counts_choices_as_requests_and_loads_nothing(evals: Evals) -> None:
    evals.write(suite(), script="raise SystemExit('an engine was started')")
    result = evals.run("--evals-plan", "-k", "not jp")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        ["3 cases are selected", "model scripted:script:answer: 3 requests", "*at most 0 new tokens"]
    )


def test_the_plan_counts_completions_and_choices_of_a_case(evals: Evals) -> None:
    evals.write(suite().replace("(right):", "(right, completion):"), script=MODEL)
    result = evals.run("--evals-plan")
    result.stdout.fnmatch_lines(["model scripted:script:answer: 8 requests", "*at most 1,024 new tokens"])


@pytest.mark.parametrize("option", ["--collect-only", "--setup-plan", "--setup-only"])
def test_no_model_is_loaded_when_nothing_runs(evals: Evals, option: str) -> None:
    evals.write(suite(), script="open('loaded', 'w').close()\n" + MODEL)
    result = evals.run(option)
    assert result.ret == pytest.ExitCode.OK
    assert not (evals.pytester.path / "asked.txt").exists()
    if option == "--collect-only":
        assert not (evals.pytester.path / "loaded").exists()


def test_skipped_and_deselected_cases_ask_nothing(evals: Evals) -> None:
    evals.write(suite(), script=MODEL)
    evals.pytester.makeconftest(
        "import pytest\n\ndef pytest_collection_modifyitems(items):\n"
        "    [item.add_marker(pytest.mark.skip) for item in items if '[fr]' in item.nodeid]\n"
    )
    evals.run("-k", "fr or jp").assert_outcomes(passed=1, skipped=1)
    assert (evals.pytester.path / "asked.txt").read_text().split() == ["Kyoto", "Tokyo"]


def test_a_choice_that_is_asked_for_late_is_refused_with_what_to_do(evals: Evals) -> None:
    late = "def test_it(completion, request):\n    assert request.getfixturevalue('right')"
    evals.write(suite(more="").replace("def test_it(right):\n    assert right", late), script=MODEL)
    result = evals.run()
    result.stdout.fnmatch_lines(["*the grader 'right' asks a model: name it among the arguments of the test*"])
    assert evals.ledger() == {"collected": 4, "errored": 4}


# -- what cannot be asked


@pytest.mark.parametrize(
    ("choices", "expected", "message"),
    [
        ('["a"]', "0", "*choices must be two or more different strings, not ?'a'?*"),
        ('["a", "a"]', "0", "*choices must be two or more different strings*"),
        ("5", "0", "*choices must be a list of non-empty strings, not 5*"),
        ('["a", "b"]', '0, by="mean"', "*choice: by must be one of sum, token, byte, char, not 'mean'*"),
    ],
)
def test_a_setting_that_is_wrong_for_all_cases_is_found_where_it_is_written(
    evals: Evals, choices: str, expected: str, message: str
) -> None:
    evals.write(suite(choices, expected), script=MODEL)
    result = evals.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([f"test_suite.py:3: {message}"])


@pytest.mark.parametrize(
    ("choices", "expected", "message"),
    [
        ('["a", "b"]', "'c'", "expected 'c' is neither one of the choices nor the index of one: ['a', 'b']"),
        ('["a", "b"]', "2", "expected 2 is neither one of the choices nor the index of one: ['a', 'b']"),
        (
            '["a", "b"]',
            '"item.right"',
            "expected 'Peru' is neither one of the choices nor the index of one: ['a', 'b']",
        ),
        ('"item.options"', "0", "choices must be a list of non-empty strings, not 'Lima'"),
        ('["{{item.right}}", "Peru"]', "0", "choices must be two or more different strings, not ['Peru', 'Peru']"),
        ('"item.option"', "0", "unknown field 'option' in 'item.option'"),
        ('["a", "b"]', '"item.rihgt"', "unknown field 'rihgt' in 'item.rihgt'"),
    ],
)
def test_a_setting_that_is_wrong_for_a_case_names_the_place_and_the_row(
    evals: Evals, choices: str, expected: str, message: str
) -> None:
    evals.write(
        suite(choices, expected).replace(repr(ROWS), '"rows.jsonl"'),
        script=MODEL,
        rows__jsonl='{"id": "a", "country": "Peru", "options": "Lima", "right": "Peru"}\n',
    )
    result = evals.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    (line,) = [line for line in result.stdout.lines if "grader right: " in line]
    assert "test_suite.py:5: " in line
    assert "rows.jsonl:1: grader right: " in line
    assert message in line


def test_a_row_that_brings_its_completion_is_refused_beside_a_choice(evals: Evals) -> None:
    rows = [ROWS[0], {**ROWS[1], "completion": "Tokyo"}]
    evals.write(suite(rows=rows).replace("(right):", "(right, completion):"), script=MODEL)
    result = evals.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*row 2 of inline brings a completion, and the test or a grader of it asks a model*"])


def test_a_recorded_completion_that_the_test_does_not_use_is_no_hindrance(evals: Evals) -> None:
    rows = [{**row, "completion": "recorded"} for row in ROWS]
    evals.write(suite(rows=rows), script=MODEL)
    evals.run().assert_outcomes(passed=3, xfailed=1)
    assert {sample.interaction.source for sample in evals.artifact.samples} == {"scripted:script:answer"}


def test_a_suite_without_a_prompt_has_nothing_to_weigh_choices_after(evals: Evals) -> None:
    source = suite().replace('prompt="The capital of {{item.country}}?", ', "")
    evals.write(source, script=MODEL)
    result = evals.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*has no prompt: give cases(..., prompt=...)*"])


def test_a_model_that_cannot_score_is_the_error_of_each_case_and_no_miss(evals_both: Evals) -> None:
    evals_both.write(suite(), script="def answer(messages):\n    return 'Paris'\n")
    result = evals_both.run()
    result.assert_outcomes(errors=4, failed=1)
    assert evals_both.ledger() == {"collected": 4, "errored": 4}
    for sample in evals_both.artifact.samples:
        assert sample.error is not None
        assert sample.error.kind == "unsupported"
        assert "cannot tell how likely a text is; choices need a model that can" in sample.error.message
        assert [(grade.grader_key, grade.status, grade.value) for grade in sample.grades] == [("right", "error", None)]


def test_a_score_that_fails_is_the_error_of_its_case_alone(evals_both: Evals) -> None:
    failing = MODEL.replace("    country =", "    if text == ' Kyoto':\n        raise KeyError(text)\n    country =")
    evals_both.write(suite(more=""), script=failing)
    evals_both.run().assert_outcomes(passed=2, errors=1, failed=1)
    (sample,) = [sample for sample in evals_both.artifact.samples if sample.outcome == "errored"]
    assert sample.case_id == "jp"
    assert sample.error is not None
    assert sample.error.message == "scripted:script:answer raised KeyError: ' Kyoto'"


def test_what_cannot_be_honoured_is_refused_for_choices_too(evals: Evals) -> None:
    evals.write(suite(more="generation={'template': {'enable_thinking': False}}"), script=MODEL)
    result = evals.run()
    result.assert_outcomes(errors=4)
    result.stdout.fnmatch_lines(["*cannot honour the generation parameter 'chat_template_kwargs'*"])


def test_hostile_choices_do_no_harm(evals: Evals) -> None:
    # The second one is shorter, and so the likelier one.
    rows = [{"id": "a", "country": "X", "options": ["\x1b[2J\r", "\u202eb"], "right": 0}]
    evals.write(suite(rows=rows, more=""), script=MODEL)
    result = evals.run("-v", "-rA")
    result.assert_outcomes(failed=1)
    out = result.stdout.str()
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "expected '\\x1b[2J\\r'" in (grades(evals)["a"].reasoning or "")
