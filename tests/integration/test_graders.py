"""Graders are fixtures: every return type, composition, and what happens when one fails."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Evals

HEAD = "import pytest\nfrom pytest_evals import Grade, cases, grader, graders\n\n"
CASE = "\n@cases([{'country': 'France'}], prompt='Capital of {{item.country}}?', id='country')\n"


def grade_of(evals: Evals, key: str) -> tuple[float | None, bool | None, str]:
    (sample,) = evals.artifact.samples
    (grade,) = [grade for grade in sample.grades if grade.grader_key == key]
    return grade.value, grade.passed, grade.status


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ("True", (1.0, True, "graded")),
        ("False", (0.0, False, "graded")),
        ("0.25", (0.25, None, "graded")),
        ("3", (3.0, None, "graded")),
        ("None", (None, None, "not_applicable")),
        ("Grade(0.5, reasoning='half', passed=True)", (0.5, True, "graded")),
    ],
)
def test_what_a_grader_returns_becomes_a_grade(
    evals: Evals, returned: str, expected: tuple[float | None, bool | None, str]
) -> None:
    evals.write(f"{HEAD}@grader\ndef mine():\n    return {returned}\n{CASE}def test_it(mine): ...\n")
    evals.run().assert_outcomes(passed=1)
    assert grade_of(evals, "mine") == expected


def test_a_dict_gives_named_grades(evals: Evals) -> None:
    evals.write(
        HEAD
        + "@grader\ndef style(completion):\n    return {'tone': True, 'length': 2}\n"
        + CASE
        + """
def test_it(style):
    assert style['tone'] and style['length'] == 2
"""
    )
    evals.run("--evals-gate", "style.length.mean >= 2").assert_outcomes(passed=1)
    assert grade_of(evals, "style.tone") == (1.0, True, "graded")
    assert grade_of(evals, "style.length") == (2.0, None, "graded")


def test_a_threshold_gives_a_number_its_verdict(evals: Evals) -> None:
    evals.write(
        HEAD
        + "@grader(name='renamed', threshold=0.5)\ndef half():\n    return 0.5\n"
        + CASE
        + """
def test_it(renamed):
    assert renamed and renamed >= 0.5 and renamed == 0.5
"""
    )
    evals.run().assert_outcomes(passed=1)
    assert grade_of(evals, "renamed") == (0.5, True, "graded")


def test_a_grader_uses_graders_cases_and_fixtures_of_any_scope(evals: Evals) -> None:
    evals.write(
        HEAD
        + """
@pytest.fixture(scope="session")
def bonus():
    return 1

named = graders.contains("Paris")

@grader
def sum_up(named, case, bonus, request):
    assert request.node.name.startswith("test_it")
    return named.value + bonus + len(case["country"])
"""
        + CASE
        + "def test_it(sum_up):\n    assert sum_up == 8\n"
    )
    evals.run().assert_outcomes(passed=1)
    assert grade_of(evals, "named") == (1.0, True, "graded")


def test_graders_are_overridden_by_folder_and_work_in_classes(evals: Evals) -> None:
    evals.write(
        HEAD
        + """
class TestIt:
    @grader
    def mine(self, completion):
        return self.helper(completion.text)

    def helper(self, text):
        return text == "Paris"

    @cases([{'country': 'France'}], prompt='Capital of {{item.country}}?', id='country')
    def test_it(self, mine, shared):
        assert mine and shared
""",
        conftest__py="from pytest_evals import graders\nshared = graders.matches('^P')\n",
    )
    evals.run().assert_outcomes(passed=1)


def test_a_test_on_a_grade_that_does_not_apply_is_skipped_with_the_reason(evals: Evals) -> None:
    evals.write(f"{HEAD}@grader\ndef mine():\n    return None\n{CASE}def test_it(mine):\n    assert mine\n")
    result = evals.run("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*mine does not apply to this case*"])
    assert evals.ledger() == {"collected": 1, "not_applicable": 1}


FAILING = [
    ("raise RuntimeError('broken')", "RuntimeError: broken"),
    ("return float('nan')", "grader 'mine' returned nan; a grade is a finite number"),
    ("return float('-inf')", "grader 'mine' returned -inf"),
    ("return 'good'", "grader 'mine' returned str ('good'); a grader returns a bool"),
    ("return [1]", "grader 'mine' returned list"),
    ("return {1: True}", "the key 1"),
    ("return Grade(float('nan'))", "finite number"),
    ("return 10 ** 400", "not a number"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "message"), FAILING, ids=[body for body, _ in FAILING])
def test_a_grader_that_fails_is_the_error_of_the_case_and_never_a_miss(evals: Evals, body: str, message: str) -> None:
    gate = "@cases([{'q': 'x'}], prompt='x', gates=['mine.mean >= 0'])\n"
    evals.write(f"{HEAD}@grader\ndef mine():\n    {body}\n\n{gate}def test_it(mine):\n    assert mine\n")
    result = evals.run()
    result.assert_outcomes(errors=1, failed=1)
    assert message in result.stdout.str()
    result.stdout.no_fnmatch_line("*traceback entries are hidden*")
    result.stdout.fnmatch_lines(["gate FAILED*no case has a grade (1 error,*"])
    assert grade_of(evals, "mine") == (None, None, "error")
    (sample,) = evals.artifact.samples
    assert sample.outcome == "errored"
    assert sample.error is not None
    assert sample.error.kind == "grader"


def test_a_grader_that_never_returns_is_stopped_and_named(evals: Evals) -> None:
    evals.write(
        f"{HEAD}import time\n@grader\ndef mine():\n    while True:\n        time.sleep(0.01)\n{CASE}def test_it(mine): ...\n"
    )
    result = evals.run("-o", "evals_grader_timeout=0.2")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*grader 'mine' did not return within 0.2 s (evals_grader_timeout)*"])


def test_the_other_graders_of_a_case_still_give_their_grades(evals: Evals) -> None:
    evals.write(
        HEAD
        + """
@grader
def broken():
    raise ValueError("no")

@grader
def fine(completion):
    return completion.text == "Paris"

@grader
def builds_on_it(broken):
    return broken.value
"""
        + CASE
        + "def test_it(broken, fine, builds_on_it):\n    assert fine\n"
    )
    result = evals.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "*ValueError: no*",
            "*- Eval -*",
            "[[]user[]] Capital of France?",
            "[[]assistant[]] *",
            "<broken error: *no>",
            "<fine 1 passed>",
            "<builds_on_it error: *>",
        ]
    )
    assert grade_of(evals, "fine") == (1.0, True, "graded")
    assert grade_of(evals, "builds_on_it")[2] == "error"


def test_an_error_in_the_test_itself_is_an_error_and_not_a_miss(evals: Evals) -> None:
    evals.write(
        f"{HEAD}@grader\ndef mine():\n    return True\n\n"
        "@cases([{'q': 'x'}], prompt='x', gates=['mine.mean >= 0'])\ndef test_it(mine):\n    {}['missing']\n"
    )
    evals.run().assert_outcomes(failed=1)
    assert evals.ledger() == {"collected": 1, "errored": 1}


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ("@grader\ndef mine():\n    yield 1", "grader 'mine' yields"),
        ("mine = graders.one_of([])", "one_of needs at least one text"),
        ("mine = graders.contains('')", "none may be empty"),
        ("mine = graders.matches('(')", "is not a regular expression"),
        ("mine = graders.exact_match('x', normalize=['upper'])", "unknown step 'upper' (known: case"),
        ("mine = graders.number(1, tolerance=-1)", "tolerance must be"),
        ("mine = graders.json_schema({'type': 'objct'})", "not a valid JSON Schema"),
        ("mine = graders.json_schema('no.json')", "no.json cannot be read"),
    ],
)
def test_a_grader_that_cannot_work_is_refused_where_it_is_written(evals: Evals, definition: str, message: str) -> None:
    evals.write(f"{HEAD}{definition}\n{CASE}def test_it(mine): ...\n")
    result = evals.run()
    result.assert_outcomes(errors=1)
    assert message in result.stdout.str()


def test_a_grader_in_an_ordinary_test_says_what_is_missing(evals: Evals) -> None:
    evals.write(f"{HEAD}named = graders.contains('x')\ndef test_it(named): ...\ndef test_case(case): ...\n")
    result = evals.run()
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*put @cases(...) on*"])


def test_ready_made_graders_grade_a_recorded_completion_without_a_model(evals: Evals) -> None:
    evals.write(
        HEAD
        + """
exact = graders.exact_match("{{item.capital}}", normalize=["case", "punctuation"])
choice = graders.one_of("item.accepted")
digits = graders.matches(r"^[^0-9]+$")
answer = graders.number("item.n", tolerance=0.5)
valid = graders.json_valid()
shape = graders.json_schema("schema.json")

@cases([{"completion": "PARIS.", "capital": "paris", "accepted": ["PARIS.", "x"]}])
def test_text(exact, choice, digits):
    assert exact and choice and digits

@cases([{"completion": "So the answer is 1,200.4.", "n": 1200}])
def test_number(answer, completion):
    assert answer
    assert completion.finish_reason == "recorded" and completion.prompt_tokens is None

@cases([{"completion": '```json\\n{"a": 1}\\n```'}])
def test_json(valid, shape):
    assert valid and shape
""",
        schema__json='{"type": "object", "required": ["a"]}',
    )
    result = evals.run("--evals-model", "scripted:no_such_module:f", model=None)
    result.assert_outcomes(passed=3)
    assert {sample.interaction.source for sample in evals.artifact.samples} == {"recorded"}


def test_record_attaches_values_to_the_case(evals: Evals) -> None:
    evals.write(
        HEAD
        + CASE
        + """
def test_it(completion, record):
    record("steps", 3)
    record(path=["a", "b"])
"""
    )
    evals.run().assert_outcomes(passed=1)
    assert evals.artifact.samples[0].tasks == {"steps": 3, "path": ["a", "b"]}


def test_record_refuses_what_the_artifact_cannot_hold(evals: Evals) -> None:
    evals.write(HEAD + CASE + "def test_it(completion, record):\n    record('x', object())\n")
    result = evals.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*record: 'x' cannot be kept in the artifact*"])


def test_an_override_may_build_on_the_models_own_completion(evals: Evals) -> None:
    evals.write(
        HEAD
        + """
import dataclasses

@pytest.fixture
def completion(completion):
    return dataclasses.replace(completion, text=completion.text.upper())

exact = graders.exact_match("PARIS")
"""
        + CASE
        + "def test_it(exact):\n    assert exact\n"
    )
    evals.run("--evals-model", "scripted:pytest_evals.testing:echo").assert_outcomes(passed=1, failed=1)


def test_overriding_completion_replaces_the_model(evals: Evals) -> None:
    evals.write(
        HEAD
        + """
from pytest_evals.testing import make_completion

@pytest.fixture
def completion(case):
    return make_completion(case["q"].upper())

exact = graders.exact_match("ABC")

@cases([{"q": "abc"}])
def test_it(exact):
    assert exact
"""
    )
    evals.run("--evals-model", "scripted:no_such_module:f", model=None).assert_outcomes(passed=1)


def test_rows_bring_schemas_and_columns_with_any_names(evals: Evals) -> None:
    evals.write(
        HEAD
        + """
right = graders.exact_match("item['Correct Answer']", run_if="item['Answer kind'] == 'city'")
shape = graders.json_schema("item.schema", of="completion")
listed = graders.one_of("item['a.b']")

@cases([{"completion": "Paris", "Correct Answer": "Paris", "Answer kind": "city"}])
def test_names(right):
    assert right

@cases([{"completion": '{"v": "2026-11-30"}', "schema": {"properties": {"v": {"format": "date"}}}},
        {"completion": '{"v": "soon"}', "schema": {"properties": {"v": {"format": "date"}}}}])
def test_shapes(shape):
    assert shape

@cases([{"completion": "Rome", "a.b": ["Paris", "Rome"]}], prompt="{{item['a.b'][0]}}")
def test_lists(listed):
    assert listed
"""
    )
    evals.run().assert_outcomes(passed=3, failed=1)


@pytest.mark.parametrize(
    ("grader", "row", "words"),
    [
        ("one_of('item.a')", {"a": "Paris,London"}, "one_of takes a list of choices*got text: 'Paris,London'"),
        ("exact_match('item.Correct Answer')", {"Correct Answer": "x"}, 'and quotes: item[[]"Correct Answer"[]]'),
        ("exact_match('{item.a}')", {"a": "x"}, "a template has two, {{item.a}}"),
        ("json_schema('item.a')", {"a": {"$ref": "#/x"}}, "the $ref '#/x' leads nowhere"),
        ("json_schema('item.a')", {"a": "schema.json"}, "a row's schema is an object, and not str"),
        ("bleu('item.a')", {"a": "今天天氣很好"}, "write tokenize='zh'"),
        ("f1('item.a')", {"a": "['x', 'y']"}, "is a text that holds a list"),
    ],
)
def test_a_setting_that_was_meant_otherwise_is_an_error_of_collection(
    evals: Evals, grader: str, row: dict[str, Any], words: str
) -> None:
    evals.write(f"{HEAD}mine = graders.{grader}\n@cases([{ {'completion': 'x', **row}!r}])\ndef test_it(mine): ...\n")
    result = evals.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*row 1 of inline: grader mine: *{words}*"])


def test_what_a_schema_leaves_unchecked_stands_in_the_grade_and_on_the_score_card(evals_both: Evals) -> None:
    evals_both.write(
        HEAD
        + "shape = graders.json_schema({'properties': {'v': {'format': 'password'}}})\n"
        + "@cases([{'completion': '{}'}, {'completion': '[]'}])\ndef test_it(shape):\n    assert shape\n"
    )
    result = evals_both.run()
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["shape: json_schema does not check the format 'password', which is none of JSON*"])
    grades = [grade for sample in evals_both.artifact.samples for grade in sample.grades]
    assert [grade.metadata for grade in grades] == [
        {"unchecked": ["the format 'password', which is none of JSON Schema's"]}
    ] * 2


def test_a_value_that_cannot_be_checked_is_an_error_and_no_miss(evals: Evals) -> None:
    deep = "[" * 10_000 + "]" * 10_000
    evals.write(
        HEAD
        + "valid = graders.json_valid()\nshape = graders.json_schema({'items': {'$ref': '#'}})\n"
        + f"@cases([{{'completion': '{deep}'}}])\ndef test_it(valid, shape): ...\n"
    )
    evals.run().assert_outcomes(errors=1)
    assert grade_of(evals, "valid") == (1.0, True, "graded")
    assert grade_of(evals, "shape")[2] == "error"
