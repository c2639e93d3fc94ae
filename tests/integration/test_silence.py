"""Nothing is green that did not run: what does nothing says so."""

from __future__ import annotations

import sys

import pytest

from .conftest import Evals

ROWS = '[{"id": "a", "completion": "Paris"}, {"id": "b", "completion": "Lima"}]'
RECORDED = """
from pytest_evals import cases, graders

named = graders.contains("Paris")

@cases({rows}, {arguments}id="id")
def test_it({asked}):
    assert named or True
"""


def said(result: pytest.RunResult) -> str:
    return " ".join(result.stdout.str().split())


# -- unittest


UNITTEST = """
import unittest
from pytest_evals import cases, graders

named = graders.contains("x")
CASES = cases([{"id": "a", "completion": "x"}], id="id")

"""
FORMS = {
    "class": "@CASES\nclass TestUnit(unittest.TestCase):\n    def test_unit(self): ...\n",
    "method": "class TestUnit(unittest.TestCase):\n    @CASES\n    def test_unit(self, named): ...\n",
    "module": "pytestmark = CASES\n\nclass TestUnit(unittest.TestCase):\n    def test_unit(self): ...\n",
    "inherited": "@CASES\nclass Base: ...\n\nclass TestUnit(Base, unittest.TestCase):\n    def test_unit(self): ...\n",
    "async": "@CASES\nclass TestUnit(unittest.IsolatedAsyncioTestCase):\n    async def test_unit(self): ...\n",
    "other name": "@CASES\nclass Capitals(unittest.TestCase):\n    def test_unit(self): ...\n",
    "inherited test": "class Base(unittest.TestCase):\n    @CASES\n    def test_unit(self): ...\n\nclass TestUnit(Base): ...\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_cases_on_a_unittest_class_or_method_are_refused(evals: Evals, form: str) -> None:
    evals.write(f"{UNITTEST}{FORMS[form]}")
    result = evals.run()
    name = {"other name": "Capitals", "inherited test": "Base"}.get(form, "TestUnit")
    assert f"test_suite.py:5: {name} is a unittest.TestCase, whose tests take neither fixtures" in said(result)
    assert result.ret == pytest.ExitCode.INTERRUPTED


def test_other_unittest_classes_beside_evals_run_as_ever(evals_both: Evals) -> None:
    evals_both.write(
        f"{UNITTEST}from unittest import TestCase\n\nclass TestUnit(TestCase):\n    def test_unit(self): ...\n\n"
        "@CASES\nclass TestPlain:\n    def test_named(self, named):\n        assert named\n"
    )
    evals_both.run().assert_outcomes(passed=2)


# -- graders that say nothing


SILENT = """
from pytest_evals import cases, grader

@grader
def silent(completion):
    completion.text == "x"

@grader
async def later(completion): ...

@grader
def partly(case):
    return True if case["id"] == "a" else None

@grader(run_if="item.id == 'c'")
def never(completion):
    return True

@cases([{"id": "a"}, {"id": "b"}], prompt="{{item.id}}", id="id", repeat=2, generation={"temperature": 1})
def test_it(silent, later, partly, never): ...
"""


def test_a_grader_that_returned_none_for_every_case_is_named(evals_both: Evals) -> None:
    evals_both.write(SILENT)
    text = said(evals_both.run())
    for name in ("silent", "later"):
        assert (
            f"test_it: the grader '{name}' returned None for each of its 4 cases, so that nothing is graded; is a return missing?"
            in text
        )
    assert "'partly'" not in text
    assert "'never'" not in text
    assert "'silent' returned None for its only case" in said(evals_both.run("-k", "a-r1"))


# -- completions of the data where a model could be asked


@pytest.mark.parametrize(
    ("arguments", "model", "beside"),
    [
        ('prompt="Capital?", ', None, "prompt="),
        ('messages=[{"role": "user", "content": "Capital?"}], ', None, "messages="),
        ('model="scripted:script:answer", ', None, "model="),
        ('prompt="Capital?", model="scripted:script:answer", ', None, "prompt= and model="),
        ("", "scripted:script:answer", "--evals-model"),
        ('prompt="Capital?", ', "scripted:script:answer", "prompt= and --evals-model"),
    ],
)
def test_completions_of_the_data_beside_a_question_or_a_model_are_said_in_header_and_card(
    evals_both: Evals, arguments: str, model: str | None, beside: str
) -> None:
    evals_both.write(RECORDED.format(rows=ROWS, arguments=arguments, asked="named"))
    result = evals_both.run(model=model)
    line = f"recorded: 2 of 2 answers come from the data, no model was asked (test_it, beside {beside})"
    header, _, card = said(result).partition("score card")
    assert line in header
    assert line in card
    assert result.ret == pytest.ExitCode.OK
    refused = evals_both.run("-o", "evals_recorded=refuse", model=model)
    assert f"row 1 of inline brings a completion, beside {beside}, so that no model would be asked" in said(refused)
    assert "evals_recorded = refuse" in said(refused)
    assert refused.ret != pytest.ExitCode.OK


def test_some_of_the_answers_may_come_from_the_data(evals_both: Evals) -> None:
    rows = (
        '[{"id": "a", "completion": "Paris"}, {"id": "b", "completion": None}, {"id": "c", "completion": float("nan")}]'
    )
    evals_both.write(RECORDED.format(rows=rows, arguments='prompt="Capital?", ', asked="named"))
    line = "recorded: 1 of 3 answers come from the data, no model was asked for them"
    assert said(evals_both.run()).count(line) == 2
    assert sorted(str(sample.interaction.source) for sample in evals_both.artifact.samples) == [
        "recorded",
        "scripted:script:answer",
        "scripted:script:answer",
    ]


def test_a_blank_cell_is_no_recorded_completion(evals: Evals) -> None:
    evals.write(
        RECORDED.format(rows='"rows.csv"', arguments='prompt="Capital of France?", ', asked="named"),
        rows__csv="id,completion\na,\nb,Paris\n",
    )
    assert "recorded: 1 of 2 answers come from the data" in said(evals.run())
    assert evals.artifact.samples[1].interaction.source == "scripted:script:answer"


@pytest.mark.parametrize("choice", ["allow", "refuse"])
def test_what_only_brings_answers_is_graded_without_a_word(evals_both: Evals, choice: str) -> None:
    evals_both.write(RECORDED.format(rows=ROWS, arguments="", asked="named"))
    result = evals_both.run("-o", f"evals_recorded={choice}", model=None)
    result.assert_outcomes(passed=2)
    assert "recorded:" not in result.stdout.str()


def test_the_configuration_file_chooses_a_model_for_rows_with_conversations(evals: Evals) -> None:
    row = '{"id": "a", "completion": "Paris", "messages": [{"role": "user", "content": "Capital?"}]}'
    evals.write(RECORDED.format(rows=f"[{row}]", arguments="", asked="named"))
    evals.pytester.makeini("[pytest]\nevals_models = scripted:script:answer\n")
    text = said(evals.run(model=None))
    assert "recorded: 1 of 1 answer come from the data, no model was asked (test_it, beside the model scripted:" in text
    assert "recorded:" not in said(evals.run("-o", "evals_models=", model=None))


def test_the_plan_says_so_too_and_a_wrong_choice_is_a_usage_error(evals: Evals) -> None:
    evals.write(RECORDED.format(rows=ROWS, arguments='prompt="x", ', asked="named"))
    assert "recorded: 2 of 2 answers come from the data" in said(evals.run("--evals-plan"))
    result = evals.run("-o", "evals_recorded=deny")
    result.stderr.fnmatch_lines(["*evals_recorded: 'deny' is unknown (known: allow, refuse)*"])


# -- os._exit


EXITING = """
import os, threading
from pytest_evals import cases, grader, task

@grader
def leaves(case):
    {grader}
    return True

@task
async def drafts(case):
    {task}
    return "x"

@cases([{{"id": name, "completion": "x"}} for name in "abcdef"], id="id", gates=["leaves.mean >= 0.5"])
def test_it(leaves, drafts, case):
    {test}
"""
PLACES = ("grader", "task", "test")


@pytest.mark.parametrize("place", PLACES)
def test_a_case_that_leaves_the_process_is_an_error_and_the_others_run(evals_both: Evals, place: str) -> None:
    leaving = dict.fromkeys(PLACES, "pass") | {place: "case['id'] == 'b' and os._exit(0)"}
    evals_both.write(EXITING.format(**leaving))
    result = evals_both.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert evals_both.ledger() == {"collected": 6, "passed": 5, "errored": 1}
    (error,) = [sample.error for sample in evals_both.artifact.samples if sample.case_id == "b"]
    assert error is not None
    assert "os._exit(0) was called, which would have ended the whole run" in error.message


@pytest.mark.parametrize(
    "leaving",
    [
        *("__import__('os')._exit(os.EX_OK)", "os._exit(status=0)", "os._exit(False)", "__import__(os.name)._exit(0)"),
        *("os.execv('/bin/true', ['true'])", "os.execlp('true', 'true')", "os.execve('/bin/true', ['true'], {})"),
    ],
)
def test_no_way_of_leaving_ends_green(evals: Evals, leaving: str) -> None:
    evals.write(EXITING.format(grader="pass", task="pass", test=leaving))
    assert evals.run().ret not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


def test_leaving_while_modules_are_imported_does_not_end_green(evals: Evals) -> None:
    evals.write(f"import os\nos._exit(0)\n{EXITING.format(grader='pass', task='pass', test='pass')}")
    result = evals.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "os._exit(0) was called" in said(result)


def test_forked_children_and_other_statuses_leave_as_ever(evals: Evals) -> None:
    forked = (
        "child = os.fork()\n    if child == 0: os._exit(0)\n    assert os.waitpid(child, 0)[1] == 0\n"
        "    import multiprocessing\n    process = multiprocessing.get_context('fork').Process(target=int)\n"
        "    process.start(); process.join(); assert process.exitcode == 0"
    )
    evals.write(EXITING.format(grader="pass", task="pass", test=forked))
    evals.run().assert_outcomes(passed=6)
    evals.write(EXITING.format(grader="pass", task="pass", test="os._exit(7)"))
    assert evals.run().ret == 7


def test_a_forked_process_that_comes_back_out_of_its_test_ends_there(evals: Evals) -> None:
    forked = "child = os.fork()\n    if child == 0: BODY\n    assert os.waitpid(child, 0)[1] >> 8 == 70"
    for body in ("return", "raise ValueError('x')", "raise SystemExit(0)"):
        evals.write(EXITING.format(grader="pass", task="pass", test=forked.replace("BODY", body)))
        result = evals.run()
        result.assert_outcomes(passed=6)
        assert result.stdout.str().count("score card") == 1
        assert evals.artifact.complete


def test_after_the_session_the_process_may_leave_as_it_likes(evals: Evals) -> None:
    evals.write(EXITING.format(grader="pass", task="pass", test="pass"))
    program = "import os, pytest; status = pytest.main(['--evals', '-q', '-p', 'no:xdist']); os._exit(0 if status == 0 else 9)"
    result = evals.pytester.run(sys.executable, "-c", program)
    assert result.ret == 0
