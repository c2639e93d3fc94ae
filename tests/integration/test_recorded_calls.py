"""Calls that tasks and graders made of models: answered from the recorded run, where they are the same."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Evals
from .test_option_replay import asked, keep

SUITE = """
from pytest_evals import cases, grader, graders, task

picked = graders.choice(["yes", "no, never"], expected="yes")

@task
async def draft(model, case):
    return (await model.generate(f"draft {case.q}")).text

@grader
async def approved(draft, judge, completion):
    verdict = await judge.generate(f"judge {draft} {completion.text}", temperature=1.0)
    return "DRAFT" in verdict.text

@cases([{"id": "a", "q": "x"}, {"id": "b", "q": "y"}], id="id", prompt="say {{item.q}}")
def test_it(approved, picked):
    assert approved and picked
"""
SCRIPT = """
def note(text):
    with open("asked", "a") as file:
        file.write(text + "\\n")

def answer(messages):
    note(messages[-1]["content"])
    return messages[-1]["content"].upper()

def grade(messages):
    note(messages[-1]["content"])
    return messages[-1]["content"]

def score(messages, text):
    note(f"score {text}")
    return -float(len(text))
"""
MODELS = ("--evals-model", "scripted:script:answer", "--evals-judge", "scripted:script:grade")


@pytest.fixture
def recorded(evals: Evals) -> Evals:
    evals.write(SUITE, SCRIPT)
    evals.run(*MODELS, model=None).assert_outcomes(passed=2)
    assert len(asked(evals)) == 2 * (1 + 1 + 1 + 2)
    keep(evals)
    return evals


def origins(evals: Evals) -> set[Any]:
    return {call["origin"]["source"] for line in evals.lines()[1:-1] for call in line["calls"]}


def test_a_replay_takes_the_judge_of_the_run_unless_another_is_named(recorded: Evals) -> None:
    result = recorded.run("--evals-replay", "old.jsonl", model=None)
    result.assert_outcomes(passed=2)
    assert "the judge scripted:script:grade only for what is not recorded" in result.stdout.str()
    assert asked(recorded) == []
    recorded.run("--evals-replay", "old.jsonl", "--evals-judge", "scripted:script:answer", model=None)
    assert asked(recorded)


def test_a_replay_asks_a_judge_only_what_it_was_not_asked(recorded: Evals) -> None:
    judge = ("--evals-judge", "scripted:script:grade")
    recorded.run("--evals-replay", "old.jsonl", *judge, model=None).assert_outcomes(passed=2)
    assert (asked(recorded), origins(recorded)) == ([], {"replay"})
    recorded.write(SUITE.replace("judge {draft}", "weigh {draft}"), SCRIPT)
    recorded.run("--evals-replay", "old.jsonl", *judge, model=None).assert_outcomes(passed=2)
    assert asked(recorded) == ["weigh DRAFT X SAY X", "weigh DRAFT Y SAY Y"]
    assert origins(recorded) == {"replay", None}
    recorded.write(SUITE.replace("draft {case.q}", "sketch {case.q}"), SCRIPT)
    result = recorded.run("--evals-replay", "old.jsonl", *judge, model=None)
    result.assert_outcomes(errors=2)
    assert "old.jsonl has no answer to this call, and in a replay the model under test is not asked" in " ".join(
        line["error"]["message"] for line in recorded.lines()[1:-1]
    )
    assert asked(recorded) == []


def test_a_resumed_run_takes_over_calls_of_the_same_models(recorded: Evals) -> None:
    resumed = recorded.run("--evals-resume", "old.jsonl", *MODELS, model=None)
    resumed.assert_outcomes(passed=2)
    assert (asked(recorded), origins(recorded)) == ([], {"resume"})
    said = " ".join(resumed.stdout.str().split())
    assert "resumed from old.jsonl: 2 completions and 6 answers to calls taken over, none generated" in said
    # What was taken over was not generated in this run.
    assert sum(use["completions"] for use in recorded.lines()[-1]["throughput"]["models"]) == 0
    recorded.run("--evals-resume", "old.jsonl", "--evals-seed", "4", *MODELS, model=None).assert_outcomes(passed=2)
    # Only the judge samples, so only its seed has changed.
    assert asked(recorded) == ["judge DRAFT X SAY X", "judge DRAFT Y SAY Y"]
    keep(recorded)
    recorded.run("--evals-resume", "old.jsonl", *MODELS, "--evals-cache", "write", model=None).assert_outcomes(passed=2)
    asked(recorded)
    recorded.run(*MODELS, "--evals-cache", "read", model=None)
    assert origins(recorded) >= {"cache"}
