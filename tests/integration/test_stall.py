"""An engine that hangs is ended and named; a slow one is left alone."""

from __future__ import annotations

import os
import time

import pytest

from .conftest import Evals

SUITE = """
from pytest_evals import cases

@cases([{"id": f"c{n}"} for n in range(6)], id="id", prompt="{{item.id}}")
def test_it(completion, case):
    assert completion.text == case.id
"""


def script(condition: str, deed: str) -> str:
    return f"""
import os, pathlib, time

pathlib.Path("pids").open("a").write(f"{{os.getpid()}}\\n")

def answer(messages):
    text = messages[-1]["content"]
    if {condition}:
        {deed}
    return text
"""


LIMIT = ("-o", "evals_stall_timeout=1")


def test_an_engine_that_hangs_is_ended_and_only_the_case_it_hangs_on_is_lost(evals_both: Evals) -> None:
    evals_both.write(SUITE, script=script("text == 'c2'", "time.sleep(600)"))
    began = time.monotonic()
    result = evals_both.run(*LIMIT)
    assert time.monotonic() - began < 300
    result.assert_outcomes(passed=5, errors=1)
    (sample,) = [sample for sample in evals_both.artifact.samples if sample.outcome == "errored"]
    assert sample.case_id == "c2"
    assert sample.error is not None
    assert sample.error.kind == "engine"
    assert sample.error.message.startswith(
        "this request ended the engine's process 2 times; the process ended by SIGKILL"
    )
    assert "(it gave no sign of life for 1 s (evals_stall_timeout))" in sample.error.message
    result.stdout.fnmatch_lines(["*answer: an engine process ended by SIGKILL (it gave no sign of life for 1 s*"])
    for pid in (evals_both.pytester.path / "pids").read_text().split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def test_an_engine_that_hangs_once_loses_nothing(evals: Evals) -> None:
    once = "text == 'c2' and not pathlib.Path('hung').exists()"
    evals.write(SUITE, script=script(once, "pathlib.Path('hung').touch(); time.sleep(600)"))
    result = evals.run(*LIMIT)
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(["*an engine process ended by SIGKILL (it gave no sign of life for 1 s*"])


def test_an_engine_that_answers_now_and_then_is_not_ended(evals: Evals) -> None:
    evals.write(SUITE, script=script("True", "time.sleep(0.7)"))
    result = evals.run("-o", "evals_stall_timeout=3")
    result.assert_outcomes(passed=6)
    assert "no sign of life" not in result.stdout.str()
    assert len((evals.pytester.path / "pids").read_text().split()) == 1


def test_loading_and_having_nothing_to_do_are_no_stall(evals: Evals) -> None:
    evals.write(
        # The cases wait, and the engine has answered long ago.
        SUITE.replace("    assert", "    __import__('time').sleep(1.5 if case.id == 'c1' else 0)\n    assert"),
        script="import time\ntime.sleep(2.5)\n" + script("False", "pass"),
    )
    result = evals.run(*LIMIT)
    result.assert_outcomes(passed=6)
    assert "no sign of life" not in result.stdout.str()
    assert len((evals.pytester.path / "pids").read_text().split()) == 1


def test_an_engine_that_hangs_in_a_call_of_a_test_is_ended_too(evals: Evals) -> None:
    source = """
import pytest
from pytest_evals import cases
from pytest_evals.errors import ModelCallError

@cases([{"id": "a"}], id="id", prompt="{{item.id}}")
def test_it(model):
    with pytest.raises(ModelCallError, match="evals_stall_timeout"):
        model.generate("hang").result()
    assert model.generate("go on").result().text == "go on"
"""
    evals.write(source, script=script("text == 'hang'", "time.sleep(600)"))
    evals.run(*LIMIT).assert_outcomes(passed=1)
