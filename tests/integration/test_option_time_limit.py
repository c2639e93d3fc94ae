"""``--evals-time-limit``: no model is asked after that; cases with answers are graded, the others do not run."""

from __future__ import annotations

import re

import pytest

from .conftest import Evals

# The time is over when the model says so: how fast the machine is must not matter.
CLOCK = """
import threading, time
from pathlib import Path

from pytest_evals.runner import time_limit

OVER = Path(__file__).with_name("over")

class WhenTold(time_limit.TimeLimit):
    @property
    def left(self):
        return 0.0 if OVER.exists() else 1000.0

    def call_at_end(self, function):
        cancelled = threading.Event()

        def watch():
            while not OVER.exists():
                if cancelled.wait(0.02):
                    return
            function()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        thread.cancel = cancelled.set
        return thread

time_limit.TimeLimit = WhenTold
"""
SCRIPT = """
import asyncio
from pathlib import Path

answered = []

async def answer(messages):
    text = messages[-1]["content"]
    if text == "slow" and not Path("fast").exists():
        while not {"x", "y", "z"} <= set(answered):
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        Path("over").touch()
        await asyncio.sleep(100)
    answered.append(text)
    return text
"""
SUITE = """
from pytest_evals import cases, grader, graders, task

exact = graders.exact_match("item.q")

@cases([{"id": "a", "q": "x"}, {"id": "b", "q": "slow"}, {"id": "c", "q": "y"}],
       prompt="{{item.q}}", id="id", gates=["exact.mean >= 0.5"])
def test_some(exact):
    assert exact

@cases([{"id": "a", "q": "z"}], prompt="{{item.q}}", id="id", gates=["exact.mean >= 0.5"])
def test_all(exact):
    assert exact

@grader
async def judged(completion, judge):
    try:
        return (await judge.generate("slow")).text == "slow"
    except Exception:
        return 0.0

@cases([{"id": "a", "q": "x"}], prompt="{{item.q}}", id="id")
def test_judged(judged):
    assert judged

@cases([{"id": "a", "q": "x"}], prompt="{{item.q}}", id="id")
def test_asks_itself(model):
    try:
        model.generate("slow").result()
    except Exception:
        pass

@task
def late(case):
    return 1

@cases([{"id": "a", "q": "x"}], prompt="{{item.q}}", id="id")
def test_its_own_work(case):
    pass

def test_that_is_no_eval():
    pass
"""


def test_cases_with_answers_are_graded_and_the_others_do_not_run(evals_both: Evals) -> None:
    evals = evals_both
    evals.write(SUITE, SCRIPT)
    (evals.pytester.path / "conftest.py").write_text(CLOCK, encoding="utf-8")
    arguments = ("--evals-judge=scripted:script:answer", "-rs")
    result = evals.run("--evals-time-limit=1h30m", *arguments)
    text = " ".join(result.stdout.str().split())
    assert result.ret == pytest.ExitCode.INTERRUPTED, text
    samples = {(sample.suite, sample.case_id): sample.outcome for sample in evals.artifact.samples}
    assert {("test_some", "a"), ("test_some", "c"), ("test_all", "a")} == {*samples}, text
    assert set(samples.values()) == {"passed"}
    assert "interrupted: the time limit of 1h30m (evals_time_limit) was over: 4 of 7 cases did not run" in text
    resume = text.partition("to go on: pytest ")[2]
    assert all(option in resume for option in ("--evals-time-limit=1h30m", "--evals-resume=run.jsonl"))
    assert "not run: the time limit of 1h30m (evals_time_limit) was over" in text
    gates = {gate["suite"]: gate["verdict"] for gate in evals.lines()[-1]["gates"]}
    assert gates == {"test_some": "not judged", "test_all": "passed"}
    assert not evals.artifact.complete
    for name, file in (("over", None), ("fast", "")):
        path = evals.pytester.path / name
        path.unlink() if file is None else path.touch()
    evals.path.rename(evals.pytester.path / "old.jsonl")
    result = evals.run("--evals-time-limit=2h", "--evals-resume=old.jsonl", *arguments)
    assert result.ret == pytest.ExitCode.OK, result.stdout.str()
    # With what had been answered for cases that then did not run.
    taken = re.search(r"resumed from old.jsonl: (\d) completions taken over", " ".join(result.stdout.str().split()))
    assert taken is not None
    assert int(taken[1]) >= 3


def test_the_time_is_that_of_the_whole_run_and_ends_it(evals: Evals) -> None:
    evals.write(SUITE.partition("@grader")[0], "import time\n\ndef answer(messages):\n    time.sleep(100)\n")
    evals.pytester.makeini("[pytest]\nevals_time_limit = 1")
    result = evals.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*the time limit of 1s (evals_time_limit) was over: 4 of 4 cases did not run*"])
    # An option wins over the configuration file, and 0 is no limit.
    evals.write(SUITE.partition("@grader")[0], "def answer(messages):\n    return messages[-1]['content']\n")
    assert evals.run("--evals-time-limit=0").ret == pytest.ExitCode.OK


def test_what_is_no_length_of_time_is_a_usage_error(evals: Evals) -> None:
    evals.write(SUITE)
    for written in ("soon", "", "2 days", "-1", "1h30"):
        result = evals.run(f"--evals-time-limit={written}")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"*--evals-time-limit: {written!r} is not a length of time (write 90, 90s,*"])
