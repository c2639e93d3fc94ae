"""Tasks and async graders: run ahead of the tests, together, so that their calls are computed in batches."""

from __future__ import annotations

from typing import Any

from .conftest import Evals

TOGETHER = """
import asyncio

CASES = 5
arrived = {}

async def answer(messages):
    # Nobody gets an answer before the same call of all cases is here: a run that made its calls one after another would
    # stand still here.
    text = messages[-1]["content"]
    kind = text.split()[0]
    here, everybody = arrived.setdefault(kind, (set(), asyncio.Event()))
    here.add(text)
    if len(here) == CASES:
        everybody.set()
    await asyncio.wait_for(everybody.wait(), 30)
    return f"[{text}]"
"""
CHAIN = """
import asyncio
import dataclasses

from pytest_evals import cases, grader, graders, task

@dataclasses.dataclass
class Draft:
    text: str
    turns: int

@task
async def draft(case, model):
    first = await model.generate(f"draft {case.id}")
    second = await model.generate([*first.messages, {"role": "user", "content": f"shorter {case.id}"}])
    return Draft(second.text, len(second.messages))

@grader
async def good(draft, case, judge):
    verdict = await judge.generate(f"judge {draft.text}")
    return verdict.text == f"[judge [shorter {case.id}]]"

@grader
def long(good, draft):
    return len(draft.text) * bool(good)

same = graders.exact_match("[answer {{item.id}}]")
named = graders.contains("{{draft.text}}", of="echo")
located = graders.contains("draft.text", of="echo")

@task
async def echo(draft):
    return f"echo of {draft.text}"

@cases([{"id": f"c{n}"} for n in range(5)], id="id", prompt="answer {{item.id}}", gates=["good.mean >= 1"])
def test_chain(draft, good, long, same, named, located):
    assert good and same and named and located
    assert long > 5 and draft.turns == 4
"""


def samples(evals: Evals) -> dict[str, Any]:
    return {sample.case_id: sample for sample in evals.artifact.samples}


def test_the_steps_of_all_cases_run_together_and_stand_in_the_artifact(evals: Evals) -> None:
    evals.write(CHAIN, script=TOGETHER)
    result = evals.run("--evals-judge", "scripted:script:answer")
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["evals: scripted:script:answer; judge scripted:script:answer; *"])
    run = evals.artifact.run
    assert run.judge["model"] == "scripted:script:answer"
    found = samples(evals)
    for case_id in ("c0", "c4"):
        sample = found[case_id]
        assert sample.tasks == {
            "draft": {"text": f"[shorter {case_id}]", "turns": 4},
            "echo": f"echo of [shorter {case_id}]",
        }
        assert sample.interaction.completion.text == f"[answer {case_id}]"
        assert [(call.by, call.handle, call.text) for call in sample.calls] == [
            ("draft", "model", f"[draft {case_id}]"),
            ("draft", "model", f"[shorter {case_id}]"),
            ("good", "judge", f"[judge [shorter {case_id}]]"),
        ]
        assert sample.calls[1].messages[1].content == f"[draft {case_id}]"
        assert sample.calls[0].completion_tokens == 2
        assert {grade.grader_key: grade.value for grade in sample.grades} == {
            "good": 1, "long": 12, "same": 1, "named": 1, "located": 1
        }  # fmt: skip


ECHO = """
def answer(messages):
    text = messages[-1]["content"]
    if "refuse" in text:
        raise ValueError("too rude")
    return f"[{text}]"
"""
TROUBLE = """
import pytest

from pytest_evals import cases, grader, task
from pytest_evals.errors import NotApplicable

@task
async def broken(case):
    if case.id == "raises":
        raise LookupError("no such thing")
    if case.id == "other":
        raise NotApplicable("not this one")
    return "fine"

@grader
async def judged(broken, case, judge):
    answer = await judge.generate("refuse" if case.id == "refused" else "judge")
    return answer.text == "[judge]"

@grader
async def alone(case):
    return True

@task(run_if="item.kind == 'rag'")
async def passages(case):
    return [case.id]

@grader(run_if="item.kind == 'rag'")
def counted(passages):
    return len(passages)

@grader
async def built(passages):
    return bool(passages)

ROWS = [{"id": name, "kind": "rag" if name == "fine" else "plain"} for name in ("fine", "raises", "other", "refused")]

@cases(ROWS, id="id", prompt="q")
def test_trouble(alone, counted, built, judged):
    assert judged

@cases(ROWS, id="id", prompt="q")
def test_direct(passages):
    assert passages
"""


def test_a_step_that_fails_or_does_not_apply_is_a_matter_of_its_case_alone(evals_both: Evals) -> None:
    evals_both.write(TROUBLE, script=ECHO)
    result = evals_both.run("--evals-judge", "scripted:script:answer")
    result.assert_outcomes(passed=2, errors=2, skipped=4)
    result.stdout.fnmatch_lines(["*LookupError: no such thing"])
    found = {sample.nodeid.partition("::")[2]: sample for sample in evals_both.artifact.samples}
    grades = {
        name: {grade.grader_key: grade.status for grade in sample.grades}
        for name, sample in found.items()
        if "trouble" in name
    }
    ok, bad, no = "graded", "error", "not_applicable"
    assert grades == {
        "test_trouble[fine]": {"judged": ok, "alone": ok, "counted": ok, "built": ok},
        "test_trouble[raises]": {"judged": bad, "alone": ok, "counted": no, "built": no},
        "test_trouble[other]": {"judged": no, "alone": ok, "counted": no, "built": no},
        "test_trouble[refused]": {"judged": bad, "alone": ok, "counted": no, "built": no},
    }
    error = found["test_trouble[raises]"].error
    assert error is not None
    assert (error.kind, error.message) == ("task", "LookupError: no such thing")
    reasons = {grade.grader_key: grade.reasoning for grade in found["test_trouble[raises]"].grades}
    assert reasons["judged"] == "builds on the task 'broken', which failed: LookupError: no such thing"
    refused = found["test_trouble[refused]"].error
    assert refused is not None
    assert refused.kind == "grader"
    assert "too rude" in refused.message
    assert found["test_trouble[refused]"].calls[0].error is not None
    assert {name: sample.outcome for name, sample in found.items() if "direct" in name} == {
        "test_direct[fine]": "passed",
        "test_direct[raises]": "skipped",
        "test_direct[other]": "skipped",
        "test_direct[refused]": "skipped",
    }
