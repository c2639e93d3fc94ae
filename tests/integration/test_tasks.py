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


ODD = """
import asyncio
import sys

from pytest_evals import cases, grader, task

class Rude(Exception):
    def __str__(self):
        raise ValueError("no")

@task
async def odd(case):
    if case.id == "cancelled":
        inner = asyncio.get_running_loop().create_task(asyncio.sleep(1000))
        asyncio.get_running_loop().call_later(0, inner.cancel)
        await inner
    if case.id == "left":
        sys.exit(3)
    if case.id == "rude":
        raise Rude
    return object() if case.id == "object" else 1

@grader
def counted(judge):
    return len(judge.generate("x").result().text)

@cases([{"id": name} for name in ("fine", "cancelled", "left", "rude", "object")], id="id", prompt="q")
def test_odd(counted, odd): ...

@cases([{"id": "late"}], id="id", prompt="q")
def test_dynamic(request):
    request.getfixturevalue("odd")
"""


def test_nothing_that_a_step_raises_keeps_its_case_waiting(evals: Evals) -> None:
    evals.write(ODD, script=ECHO)
    result = evals.run("--evals-judge", "scripted:script:answer")
    result.assert_outcomes(passed=1, errors=4, failed=1)
    errors = {case_id: sample.error.message for case_id, sample in samples(evals).items() if sample.error}
    assert errors["cancelled"] == "StepError: was cancelled"
    assert errors["left"] == "StepError: raised SystemExit: 3"
    assert errors["rude"] == "Rude (its message cannot be shown)"
    assert "returned object" in errors["object"]
    assert "the artifact cannot hold" in errors["object"]
    assert errors["late"] == "SuiteError: task 'odd' runs ahead of the tests: name it among the arguments of the test"
    # A sync grader calls in the setup of its test.
    assert [(call.by, call.handle) for call in samples(evals)["fine"].calls] == [("counted", "judge")]


# -- what steps may ask for

SOURCES = """
import asyncio

import pytest

from pytest_evals import Completion, cases, grader, graders, task

made = []

@pytest.fixture(scope="module")
def shelf():
    made.append("shelf")
    return {"c0": "zero", "c1": "one", "c2": "two", "c3": "three", "c4": "four"}

@pytest.fixture(scope="session")
def client():
    made.append("client")
    return "client"

@task
async def retrieved(case, shelf, client, model):
    answer = await model.generate(f"retrieve {shelf[case.id]}")
    return [answer.text, client]

@grader
async def grounded(retrieved, judge):
    return (await judge.using("other").generate(f"ground {retrieved[0]}")).text.startswith("other")

short = graders.matches("[^ ]+ [^ ]+", full=True)
chosen = graders.choice(["yes", "no"], expected=0)
inside = graders.contains("{{retrieved.0}}", of="again")

@grader
def slow(case, judge):
    return judge.generate(f"sync {case.id}").result().text == f"[sync {case.id}]"

@task
async def again(retrieved):
    return f"again {retrieved[0]}"

@grader
async def cheap_first(short, chosen, slow, judge, record):
    record(asked=not short)
    assert chosen.value == 1 and slow
    return True if short else (await judge.generate("expensive")).text == "[expensive]"

ROWS = [{"id": f"c{n}"} for n in range(5)]

@cases(ROWS, id="id", prompt="answer {{item.id}}")
def test_sources(grounded, cheap_first, inside, retrieved):
    assert grounded and cheap_first and inside
    assert made == ["client", "shelf"]
    assert retrieved[1] == "client"
"""
MORE = """
async def other(messages):
    return "other"

def score(messages, text):
    return -float(text == "no")
"""


def test_fixtures_handles_and_sync_graders_in_steps_and_all_cases_together(evals: Evals) -> None:
    evals.write(SOURCES, script=TOGETHER + MORE)
    result = evals.run("--evals-judge", "scripted:script:answer", "-o", "evals_aliases=other = scripted:script:other")
    result.assert_outcomes(passed=5)
    for case_id, sample in samples(evals).items():
        word = {"c0": "zero", "c1": "one", "c2": "two", "c3": "three", "c4": "four"}[case_id]
        assert sample.tasks == {
            "retrieved": [f"[retrieve {word}]", "client"],
            "again": f"again [retrieve {word}]",
            "asked": False,
        }
        assert {(call.by, call.handle, call.model.rpartition(":")[2]) for call in sample.calls} == {
            ("chosen", "model", "answer"),
            ("retrieved", "model", "answer"),
            ("grounded", "judge", "other"),
            ("slow", "judge", "answer"),
        }


SCOPES = """
import pytest

from pytest_evals import cases, grader, task

@pytest.fixture(scope="session", params=["p", "q"])
def store(request):
    return request.param

@pytest.fixture(scope="class")
def ours():
    return []

@task
async def found(case, store, model):
    return (await model.generate(f"{case.id}{store}")).text

@task
async def kept(case, found, ours):
    ours.append(found)
    return len(ours)

@grader
async def right(found, store, case, judge):
    return (await judge.generate(found)).text == f"[[{case.id}{store}]]"

@cases([{"id": f"c{n}"} for n in range(6)], id="id", prompt="q")
class TestInside:
    def test_right(self, right, kept, store):
        assert right and 1 <= kept <= 6

@cases([{"id": f"c{n}"} for n in range(6)], id="id", prompt="q")
def test_outside(right, kept):
    # A test outside of classes has a fixture of class scope for itself.
    assert right and kept == 1
"""


def test_steps_have_the_fixtures_that_pytest_makes_for_their_own_case(evals_both: Evals) -> None:
    evals_both.write(SCOPES, script=ECHO)
    evals_both.run("--evals-judge", "scripted:script:answer").assert_outcomes(passed=24)


OVERRIDDEN = """
from pytest_evals import Completion, cases, grader, task

@task
async def completion(case, model):
    plan = await model.generate(f"plan {case.id}")
    return f"done with {plan.text}"

@grader
async def planned(completion, judge):
    return completion.text.startswith("done") and completion.messages[0]["content"] == "q"

@cases([{"id": "a"}], id="id", prompt="q")
def test_instead(planned, completion):
    assert planned and isinstance(completion, Completion)
"""
BUILT_UPON = """
from pytest_evals import cases, graders, task

@task
async def completion(completion, model):
    assert completion.text == "[q]"
    return await model.generate([*completion.messages, {"role": "user", "content": "better"}])

right = graders.exact_match("[better]")

@cases([{"id": "a"}, {"id": "b", "completion": "[q]"}], id="id", prompt="q")
def test_upon(right, completion):
    assert right
"""


def test_a_task_named_completion_takes_the_place_of_the_default_turn(evals_both: Evals) -> None:
    counting = ECHO.replace("    text =", "    open('calls', 'a').write(messages[-1]['content'] + ' ')\n    text =")
    evals_both.write(
        OVERRIDDEN, script=counting, test_upon__py=BUILT_UPON.replace(', {"id": "b", "completion": "[q]"}', "")
    )
    evals_both.run().assert_outcomes(passed=2)
    instead, upon = sorted(evals_both.artifact.samples, key=lambda sample: sample.suite)
    assert instead.interaction.completion is not None
    assert instead.interaction.completion.text == "done with [plan a]"
    assert [message.content for message in instead.interaction.thread] == ["q", "done with [plan a]"]
    assert upon.interaction.completion is not None
    assert [message.content for message in upon.interaction.thread] == ["q", "[q]", "better", "[better]"]
    assert (instead.tasks, upon.tasks) == ({}, {})
    # The default turn was generated for the one that builds on it.
    assert sorted((evals_both.pytester.path / "calls").read_text().split()) == ["a", "better", "plan", "q"]


# -- fields of results

FIELDS = """
import dataclasses

import pydantic
from pytest_evals import cases, graders, task

class Point(pydantic.BaseModel):
    text: str
    weight: float

@dataclasses.dataclass
class Draft:
    title: str
    points: list[Point]
    note: str | None = None

@task
def draft(case):
    return Draft("The " + case.id, [Point(text="first", weight=0.5), Point(text="second", weight=2)])

@task
async def mapped(draft):
    return {"draft": draft, "words": {"a": "x"}}

title = graders.exact_match("The {{item.id}}", of="draft.title")
second = graders.f1("{{draft.points.1.text}}", of="mapped.draft.points.1.text")
weight = graders.number(2, of="draft.points.1.weight")
nested = graders.matches("x", of="mapped.words.a")
misspelt = graders.contains("x", of="draft.titel")
beyond = graders.contains("x", of="draft.points.2.text")
empty = graders.contains("x", of="draft.note")
whole = graders.contains("x", of="draft")

@cases([{"id": "one"}, {"id": "two"}], id="id", prompt="q")
def test_fields(title, second, weight, nested):
    assert title and second.value == 1 and weight and nested

@cases([{"id": "one"}], id="id", prompt="q")
def test_wrong(misspelt, beyond, empty, whole): ...
"""


def test_of_names_a_field_of_a_task_s_result_as_templates_do(evals_both: Evals) -> None:
    evals_both.write(FIELDS, script=ECHO)
    evals_both.run().assert_outcomes(passed=2, errors=1)
    wrong = next(sample for sample in evals_both.artifact.samples if sample.suite == "test_wrong")
    assert {grade.grader_key: (grade.status, grade.reasoning) for grade in wrong.grades} == {
        "misspelt": (
            "error",
            "TemplateError: unknown field 'titel' in 'draft.titel': draft has title, points, note; did you mean 'title'?",
        ),
        "beyond": ("error", "TemplateError: no element '2' in 'draft.points.2.text': draft.points is a list of 2"),
        "empty": (
            "error",
            "SuiteError: 'draft.note' is None for this case, and this grader reads text",
        ),
        "whole": (
            "error",
            "SuiteError: 'draft' gave Draft, and this grader reads text; name one of its fields, as draft.title",
        ),
    }


# -- plain functions, and functions that block

PLAIN = """
import contextvars

from pytest_evals import cases, grader, graders, task
from pytest_evals.errors import NotApplicable

@task
def draft(case, model):
    # Nobody has an answer before all cases have asked.
    first = model.generate(f"draft {case.id}").result()
    second = model.generate([*first.messages, {"role": "user", "content": f"shorter {case.id}"}]).result()
    return second.text

@task(run_if="item.id != 'c4'")
def spare(case): return case.id

@task
def odd(case):
    if case.id == "c0":
        raise NotApplicable("not this one")
    if case.id == "c1":
        raise StopIteration("odd")
    if case.id == "c2":
        return later()
    return case.id

async def later(): return "later"

@task
def forgotten(case, model):
    return model.generate(case.id)

@grader
async def good(draft, judge):
    return (await judge.generate(f"judge {draft}")).text == f"[judge {draft}]"

same = graders.contains("{{draft}}", of="draft")
ROWS = [{"id": f"c{n}"} for n in range(5)]

@cases(ROWS, id="id", prompt="q")
def test_plain(good, same, draft, case):
    assert good and same and draft == f"[shorter {case.id}]"

@cases(ROWS, id="id", prompt="q")
def test_spare(spare): ...

@cases(ROWS, id="id", prompt="q")
def test_odd(odd, case):
    assert odd == ("later" if case.id == "c2" else case.id)

@cases(ROWS[:1], id="id", prompt="q")
def test_forgotten(forgotten): ...
"""


def test_plain_functions_are_tasks_whose_calls_meet_too(evals: Evals) -> None:
    evals.write(PLAIN, script=TOGETHER.replace("if len(here) == CASES", "if len(here) == CASES or kind[0] == 'c'"))
    result = evals.run("--evals-judge", "scripted:script:answer")
    result.assert_outcomes(passed=12, skipped=2, errors=2)
    found = {sample.nodeid.partition("::")[2]: sample for sample in evals.artifact.samples}
    plain = found["test_plain[c3]"]
    assert plain.tasks == {"draft": "[shorter c3]"}
    assert [(call.by, call.handle) for call in plain.calls] == [
        ("draft", "model"), ("draft", "model"), ("good", "judge")
    ]  # fmt: skip
    assert {name: found[f"test_odd[{name}]"].outcome for name in ("c0", "c1", "c2", "c3")} == {
        "c0": "skipped", "c1": "errored", "c2": "passed", "c3": "passed"
    }  # fmt: skip
    errors = {name: sample.error.message for name, sample in found.items() if sample.error}
    assert errors == {
        "test_odd[c1]": "RuntimeError: coroutine raised StopIteration",
        "test_forgotten[c0]": "SuiteError: returned PendingCall, which has yet to be waited for; await it, or take its result()",
    }


BLOCKING = """
from pytest_evals import cases, task

@task
async def slow(case): return case.id

@task
def quick(case): return case.id

@cases([{"id": f"c{n}"} for n in range(4)], id="id", prompt="q")
def test_it(slow, quick): ...
"""
EVERYTHING_BLOCKS = "import pytest_evals.runner.threads\n\npytest_evals.runner.threads.MOST_SECONDS = -1\n"


def test_the_score_card_names_a_step_that_holds_up_the_others_once(evals_both: Evals) -> None:
    evals_both.write(BLOCKING, script=ECHO, conftest__py=EVERYTHING_BLOCKS)
    result = evals_both.run()
    result.assert_outcomes(passed=4)
    notes = " ".join(line.strip() for line in result.outlines)
    words = "task 'slow' (test_suite.py:3) kept all cases waiting for 0.0 s: it blocks the event loop; make it a plain def, which"
    assert notes.count(words) == 1


# -- limits

ENDLESS = """
import asyncio

from pytest_evals import cases, grader, task

@task
async def forever(case, model):
    while case.id == "calls":
        try:
            await model.generate("again", temperature=1.0)
        except Exception:
            pass
    return "fine"

@task
async def wordy(case, model):
    while case.id == "tokens":
        await model.generate("a b c d e f g h i j")

@task
async def asleep(case, model):
    await model.generate("slow")
    await asyncio.sleep(60 if case.id == "time" else 0)

@grader
async def drowsy(case):
    await asyncio.sleep(60 if case.id == "drowsy" else 0)

@cases([{"id": name} for name in ("fine", "calls", "tokens", "time", "drowsy", "test")], id="id", prompt="q")
def test_limits(case, forever, wordy, asleep, drowsy, model):
    while case.id == "test":
        try:
            model.generate("again").result()
        except Exception:
            pass
"""


def test_a_step_that_goes_on_for_ever_is_an_error_that_names_the_limit(evals: Evals) -> None:
    slow = "import time\n" + ECHO.replace(
        "    text =", "    time.sleep(0.7 * (messages[-1]['content'] == 'slow'))\n    text ="
    )
    evals.write(ENDLESS, script=slow)
    options = ("evals_case_calls=7", "evals_case_tokens=70", "evals_step_timeout=0.5", "evals_grader_timeout=0.5")
    result = evals.run(*(part for option in options for part in ("-o", option)))
    result.assert_outcomes(passed=1, errors=4, failed=1)
    errors = {sample.case_id: sample.error for sample in evals.artifact.samples if sample.error}
    assert "called models more than 7 times (evals_case_calls)" in errors["calls"].message
    assert "used 82 tokens, more than 70 (evals_case_tokens)" in errors["tokens"].message
    assert "task 'asleep' took more than 0.5 s for itself" in errors["time"].message
    assert "evals_step_timeout" in errors["time"].message
    assert "did not return within 0.5 s (evals_grader_timeout)" in errors["drowsy"].message
    assert "called models more than 7 times (evals_case_calls)" in errors["test"].message
    assert [errors[name].kind for name in ("calls", "tokens", "time", "drowsy", "test")] == [
        "task", "task", "task", "grader", "test"
    ]  # fmt: skip
    result.stdout.fnmatch_lines(["*await asyncio.sleep(60 if*"])


# -- mistakes

HEAD = "import pytest\nfrom pytest_evals import cases, grader, graders, task\n"
USE = "\n@cases([{'id': 'a', 'kind': 'x'}], id='id', prompt='q')\ndef test_it(step): ...\n"
MISTAKES = {
    "circle": (
        "@task\nasync def step(other): ...\n@grader\nasync def other(step): ...",
        "tasks ask for each other in a circle: task 'step' (test_circle.py:3) -> grader 'other' (test_circle.py:5) -> task 'step'",
    ),
    "unknown": (
        "@task\nasync def draft(): ...\n@task\nasync def step(draught): ...",
        "task 'step' (test_unknown.py:5) asks for 'draught', and there is no task, grader or fixture of that name; did you mean 'draft'?",
    ),
    "function_scope": (
        "@pytest.fixture\ndef client(): ...\n@grader\nasync def step(client): ...",
        "grader 'step' (test_function_scope.py:5) asks for the fixture 'client', which is made anew for each test; tasks and async graders run ahead of all tests, so make it class-, module-, package- or session-scoped",
    ),
    "with_request": ("@task\nasync def step(request): ...", "task 'step' (test_with_request.py:3) asks for 'request'"),
    "unknown_of": (
        "@task\nasync def draft(): ...\nstep = graders.contains('x', of='drafd.text')",
        "grader 'step' asks for 'drafd', and there is no task, grader or fixture of that name; did you mean 'draft'?",
    ),
    "unknown_sync": (
        "@pytest.fixture\ndef client(): ...\n@grader\ndef step(klient): ...",
        "grader 'step' (test_unknown_sync.py:5) asks for 'klient', and there is no task, grader or fixture of that name; did",
    ),
    "unknown_test": (
        "@grader\ndef steps(): ...",
        "test_unknown_test.py:6: the test 'test_it' asks for 'step', and there is no task, grader or fixture of that name; did you mean 'steps'?",
    ),
    "yielding": ("@task\nasync def step(case):\n    yield 1", "task 'step' yields; a task returns its result"),
    "no_function": ("step = task('step')", "@task takes a function, not str"),
    "method": (
        "class Steps:\n    @grader\n    async def step(self, case): ...",
        "grader 'step' (test_method.py:4) is a method; it runs ahead of all tests, so write it as a function of the module",
    ),
    "sync_with_request": (
        "@grader\ndef inner(request): ...\n@grader\nasync def step(inner): ...",
        "builds on the grader 'inner' (test_sync_with_request.py:3), which asks for 'request'",
    ),
    "own_name": ("@task\nasync def step(step): ...", "asks for its own name, and overrides nothing"),
    "condition": (
        "@task(run_if='item.kind ==')\nasync def step(case): ...",
        "run_if 'item.kind ==' is not well formed",
    ),
    "condition_field": (
        "@grader(run_if=\"item.kin == 'rag'\")\ndef step(case): ...",
        "row 1 of inline: grader 'step' (test_condition_field.py:3): run_if \"item.kin == 'rag'\": unknown field 'kin'",
    ),
    "template": (
        "@task\nasync def draft(case): ...\nstep = graders.contains('{{draft}} {{item.nope}}')",
        "unknown field 'nope' in 'item.nope'",
    ),
    "not_text": (
        "step = graders.contains('x', of='no such task')",
        "of is the name of a task, perhaps with a field of its result ('draft', 'draft.title'), not 'no such task'",
    ),
    "choices": (
        "@task\nasync def draft(case): ...\nstep = graders.choice(['{{draft}}', 'x'], expected=0)",
        "grader step: the texts that it weighs come from the case; for the results of tasks write an async grader that awaits model.choose(...) or model.score(...)",
    ),
}


def test_what_cannot_work_is_an_error_of_collection_that_says_where_and_what_to_do(evals: Evals) -> None:
    modules = {f"test_{name}__py": f"{HEAD}{source}\n{USE}" for name, (source, _) in MISTAKES.items()}
    evals.write("", script=ECHO, **modules)
    result = evals.run()
    result.assert_outcomes(errors=len(MISTAKES))
    output = result.stdout.str()
    assert [name for name, (_, message) in MISTAKES.items() if message not in output] == []
    assert not evals.path.exists()


# -- ways of running

WAYS = """
import pathlib

from pytest_evals import cases, grader, task

@task
async def draft(case, completion, model):
    return (await model.generate(f"draft {completion.text}", temperature=0.5)).text

@grader
async def good(draft, judge):
    return (await judge.generate(f"judge {draft}")).text == f"[judge {draft}]"

@cases([{"id": name} for name in ("a", "b", "c")], id="id", prompt="{{item.id}}", gates=["good.mean >= 0"])
def test_it(case, draft, good):
    seen = pathlib.Path(f"seen-{case.id}")
    tried = seen.exists()
    seen.write_text(draft)
    assert good
    if not tried and case.id == "b":
        raise OSError("first try")
"""
COUNTING = """
import pathlib

def answer(messages):
    text = messages[-1]["content"]
    with open("calls", "a") as file:
        file.write(f"{text}\\n")
    # The second time that c is asked, it is another one.
    again = pathlib.Path("calls").read_text().splitlines().count("c") > 1
    return f"[{text}!]" if again and text == "c" else f"[{text}]"
"""


def calls(evals: Evals) -> list[str]:
    return (evals.pytester.path / "calls").read_text().splitlines()


def test_a_rerun_of_a_case_has_the_results_of_its_steps(evals_both: Evals) -> None:
    evals_both.write(WAYS, script=COUNTING)
    result = evals_both.run("--evals-judge", "scripted:script:answer", "--reruns", "2")
    result.assert_outcomes(passed=3)
    assert "1 rerun" in result.stdout.str()
    # Nothing was asked twice.
    assert sorted(calls(evals_both)) == sorted(
        text for name in "abc" for text in (name, f"draft [{name}]", f"judge [draft [{name}]]")
    )
    assert samples(evals_both)["b"].tasks == {"draft": "[draft [b]]"}


def test_a_run_that_ends_early_or_runs_nothing_leaves_no_step_behind(evals: Evals) -> None:
    hanging = "import asyncio\n" + WAYS.replace(
        "return (await model", 'await asyncio.sleep(1000 * (case.id == "c"))\n    return (await model'
    )
    evals.write(hanging, script=COUNTING)
    judge = ("--evals-judge", "scripted:script:answer")
    result = evals.run(*judge, "-x")
    result.assert_outcomes(passed=1, failed=1)
    assert [sample.outcome for sample in evals.artifact.samples] == ["passed", "errored"]
    assert not evals.artifact.complete
    (evals.pytester.path / "calls").unlink()
    evals.run("--setup-only").assert_outcomes(skipped=3)
    evals.run("--collect-only").assert_outcomes()
    plan = evals.run("--evals-plan", *judge)
    plan.stdout.fnmatch_lines(
        [
            "tests, tasks and graders of test_it make further calls, which are not counted",
            "judge scripted:script:answer",
        ]
    )
    assert not (evals.pytester.path / "calls").exists()
    # One case alone, as an IDE runs it.
    evals.run(*judge, "test_suite.py::test_it[a]").assert_outcomes(passed=1)
    assert calls(evals) == ["a", "draft [a]", "judge [draft [a]]"]


def test_an_audit_runs_the_steps_of_a_case_again_where_its_text_changed(evals: Evals) -> None:
    evals.write(WAYS.replace('== f"[judge {draft}]"', '== "[judge [draft [c]]]"'), script=COUNTING)
    evals.run("--evals-judge", "scripted:script:answer", "--evals-audit", "3")
    summary = evals.lines()[-1]
    assert summary["audit"]["checked"] == 3
    assert [name.rpartition("[")[2] for name in summary["audit"]["texts"]] == ["c]"]
    assert summary["audit"]["grades"] == summary["audit"]["texts"]
    assert "judge [draft [c!]]" in calls(evals)


INTERRUPTED = """
import asyncio
import os
import pathlib
import signal

from pytest_evals import cases, task

# A process started in the background of a shell ignores Ctrl-C, and so would its children.
signal.signal(signal.SIGINT, signal.default_int_handler)

@task
async def first(case):
    return case.id

@task
async def stuck(case, first):
    if case.id == "b":
        # The case before it is finished: its line follows that of the run.
        path = pathlib.Path("run.jsonl")
        while not path.exists() or path.read_bytes().count(b"\\n") < 2:
            await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(1000)

@cases([{"id": name} for name in ("a", "b", "c")], id="id")
def test_it(first, stuck): ...
"""


def test_ctrl_c_while_steps_run_keeps_what_was_finished(evals: Evals) -> None:
    evals.write(INTERRUPTED)
    result = evals.run()
    assert result.ret == 2
    assert [(sample.case_id, sample.tasks) for sample in evals.artifact.samples] == [
        ("a", {"first": "a", "stuck": None})
    ]
    assert evals.artifact.summary is not None
    assert "KeyboardInterrupt" in str(evals.artifact.summary.interruption)


UNJUDGED = """
from pytest_evals import cases, grader

@grader(run_if="false")
async def judged(judge):
    return bool(await judge.generate("x"))

@cases([{"id": "a"}], id="id", prompt="q")
def test_it(judged, completion): ...
"""


def test_without_a_judge_named_the_score_card_says_who_judges(evals: Evals) -> None:
    evals.write(UNJUDGED)
    result = evals.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*judge: smollm2, since none was named; --evals-judge or evals_judge names one*"])
    assert evals.artifact.run.judge == {"model": "smollm2"}
    for option in (("--evals-judge", "nope:x"), ("-o", "evals_judge=nope:x")):
        refused = evals.run(*option)
        assert refused.ret == 4
        refused.stderr.fnmatch_lines(
            [f"*{option[-1].partition('=')[0].removesuffix('nope:x') or '--evals-judge'}: *unknown engine 'nope'*"]
        )
