"""The fixture ``model``: calls of the model under test beyond the default turn."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Evals

SCRIPT = """
import asyncio

def answer(messages):
    text = messages[-1]["content"]
    if text == "bad":
        raise ValueError("too rude")
    return " | ".join(f"{message['role']}: {message['content']}" for message in messages)

def score(messages, text):
    return -float(len(text)) - len(messages[-1]["content"]) / 100
"""
SUITE = """
import asyncio

import pytest

from pytest_evals import cases, grader
from pytest_evals.errors import ModelCallError, SuiteError

BEFORE

@cases([{"id": "a", "q": "one"}, {"id": "b", "q": "three"}], id="id", prompt="{{item.q}}" MORE)
def test_it(ARGUMENTS):
    BODY
"""


def suite(body: str, arguments: str = "case, model, record", more: str = "", before: str = "") -> str:
    text = SUITE.replace("BODY", body.strip().replace("\n", "\n    ")).replace("ARGUMENTS", arguments)
    return text.replace("MORE", more).replace("BEFORE", before.strip())


def tasks(evals: Evals) -> dict[str, dict[str, Any]]:
    return {sample.case_id: sample.tasks for sample in evals.artifact.samples}


# -- what calls return


def test_generate_completes_the_prompt_of_the_case_or_another(evals_both: Evals) -> None:
    body = """
own = model.generate()
text = model.generate("Say it", max_new_tokens=5)
talk = model.generate([{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hi"}])
completion = own.result()
assert completion.text == str(completion) == f"user: {case.q}"
assert completion.messages[-1] == {"role": "assistant", "content": completion.text}
assert completion.messages[0]["content"] == case.q
assert (completion.finish_reason, completion.model) == ("stop", model.name)
assert (completion.prompt_tokens, completion.completion_tokens) == (1, 2)
assert completion.latency >= 0 and completion.fingerprint
record(text=text.result().text, talk=talk.result().text, name=model.name)
"""
    evals_both.write(suite(body), script=SCRIPT)
    evals_both.run().assert_outcomes(passed=2)
    found = {"text": "user: Say it", "talk": "system: Be brief | user: Hi", "name": "scripted:script:answer"}
    assert tasks(evals_both) == {"a": found, "b": found}
    assert {sample.interaction.source for sample in evals_both.artifact.samples} == {"scripted:script:answer"}
    # The default turn was not asked for.
    assert {sample.interaction.completion for sample in evals_both.artifact.samples} == {None}


def test_choose_and_score_weigh_texts_as_the_answer(evals_both: Evals) -> None:
    body = """
choice = model.choose([" yes", " no", " by all means"]).result()
assert (choice.index, choice.text, str(choice)) == (1, " no", " no")
assert sum(choice.probabilities) == pytest.approx(1) and max(choice.probabilities) == choice.probabilities[1]
assert [each.text for each in choice.likelihoods] == [" yes", " no", " by all means"]
assert choice.likelihoods[0].logprob == -4.0 - len(case.q) / 100
assert model.choose([" yes", " no", " by all means"], by="token").result().index == 1
assert model.choose(["xx", "y y y"], "longer prompt", by="token").result().text == "y y y"
assert model.choose(("a", "b"), by="byte").result().index == 0
likelihood = model.score(" maybe so").result()
assert (likelihood.text, likelihood.tokens, likelihood.bytes) == (" maybe so", 2, 9)
assert likelihood.per_token == likelihood.logprob / 2
assert model.score("x", "0123456789").result().logprob == -1.1
assert model.score("x", [{"role": "user", "content": "0123456789"}]).result().logprob == -1.1
"""
    evals_both.write(suite(body), script=SCRIPT)
    evals_both.run().assert_outcomes(passed=2)


def test_calls_may_be_awaited_one_after_another_and_together(evals_both: Evals) -> None:
    body = """
async def converse():
    first = await model.generate("first")
    second, choice, likelihood = await asyncio.gather(
        wait(model.generate(f"after {first.text}")), wait(model.choose(["a", "bb"])), wait(model.score("ccc"))
    )
    return second.text, choice.text, likelihood.text

async def wait(call):
    return await call

record(found=asyncio.run(converse()))
"""
    evals_both.write(suite(body), script=SCRIPT)
    evals_both.run().assert_outcomes(passed=2)
    found = {"found": ["user: after user: first", "a", "ccc"]}
    assert tasks(evals_both) == {"a": found, "b": found}


TOGETHER = """
import asyncio

here, everybody = [], asyncio.Event()

async def answer(messages):
    # Nobody gets an answer before all three calls of a case are here.
    here.append(messages)
    if len(here) % 3 == 0:
        everybody.set()
    await asyncio.wait_for(everybody.wait(), 20)
    everybody.clear()
    return messages[-1]["content"]
"""


def test_calls_made_before_waiting_are_computed_together(evals: Evals) -> None:
    body = """
calls = [model.generate(f"{case.id}{number}") for number in range(3)]
record(found=[call.result().text for call in reversed(calls)])
"""
    evals.write(suite(body), script=TOGETHER)
    evals.run().assert_outcomes(passed=2)
    assert tasks(evals) == {"a": {"found": ["a2", "a1", "a0"]}, "b": {"found": ["b2", "b1", "b0"]}}


def test_a_grader_may_call_the_model_too(evals_both: Evals) -> None:
    grading = """
@grader
def same(completion, model):
    return model.generate().result().text == completion.text

@grader
def brief(same, model, case):
    return model.choose([" yes", " certainly"], f"Is {case.q} brief?").result().text == " yes"
"""
    evals_both.write(suite("assert same and brief", "same, brief", ", gates='brief.mean >= 1'", grading), script=SCRIPT)
    result = evals_both.run()
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["gate PASSED*brief.mean >= 1: 1 (n=2)"])
    assert evals_both.ledger() == {"collected": 2, "passed": 2}


def test_every_model_is_called_in_its_own_cases(evals_both: Evals) -> None:
    script = SCRIPT + "\ndef other(messages):\n    return 'other'\n"
    evals_both.write(suite("record(text=model.generate('x').result().text, name=model.name)"), script=script)
    evals_both.run("--evals-model", "scripted:script:other").assert_outcomes(passed=4)
    found = {
        (sample.interaction.source, sample.tasks["name"], sample.tasks["text"])
        for sample in evals_both.artifact.samples
    }
    assert found == {
        ("scripted:script:answer", "scripted:script:answer", "user: x"),
        ("scripted:script:other", "scripted:script:other", "other"),
    }


# -- seeds

SEEDS = """
seeds = []
original = model._request

def request(prompt, params, choices):
    made = original(prompt, params, choices)
    seeds.append(made.params.seed)
    return made

model._request = request
for generation in ({"temperature": 1.0}, {"temperature": 1.0}, {}, {"temperature": 0.5, "seed": 7}, {"temperature": 1.0}):
    model.generate(**generation).result()
record(seeds=seeds)
"""


def test_the_seed_of_a_sampled_call_depends_on_the_case_and_on_what_it_called_before(evals: Evals) -> None:
    def seeds(*arguments: str) -> dict[str, list[int | None]]:
        evals.run(*arguments)
        return {case: found["seeds"] for case, found in tasks(evals).items()}

    evals.write(suite(SEEDS), script=SCRIPT)
    everything = seeds()
    assert len({seed for found in everything.values() for seed in found}) == 2 * 3 + 2
    for found in everything.values():
        # A greedy call needs none, and a given one counts.
        assert (found[2], found[3]) == (None, 7)
    assert seeds("-k", "[b]") == {"b": everything["b"]}
    assert seeds("-n", "2", "-p", "xdist") == everything
    other = seeds("--evals-seed", "1000")
    assert not set(other["a"][:2]) & set(everything["a"])


# -- errors


def test_a_call_without_an_answer_raises_and_the_others_are_answered(evals_both: Evals) -> None:
    body = """
bad, good = model.generate("bad"), model.generate("good")
with pytest.raises(ModelCallError) as caught:
    bad.result()
record(message=str(caught.value), good=good.result().text)
"""
    evals_both.write(suite(body), script=SCRIPT)
    evals_both.run().assert_outcomes(passed=2)
    assert tasks(evals_both)["a"] == {
        "message": "no answer (model error): scripted:script:answer raised ValueError: too rude",
        "good": "user: good",
    }


def test_an_error_that_nobody_catches_is_the_error_of_its_case(evals_both: Evals) -> None:
    evals_both.write(suite("model.generate('bad' if case.id == 'a' else 'good').result()"), script=SCRIPT)
    evals_both.run().assert_outcomes(passed=1, failed=1)
    (sample,) = [sample for sample in evals_both.artifact.samples if sample.outcome == "errored"]
    assert sample.case_id == "a"
    assert sample.error is not None
    assert (
        "ModelCallError: no answer (model error): scripted:script:answer raised ValueError: too rude"
        in sample.error.message
    )


def test_an_error_in_a_grader_is_an_error_and_no_miss(evals: Evals) -> None:
    grading = "@grader\ndef judged(model):\n    return model.generate('bad').result().text == 'x'"
    evals.write(suite("assert judged", "judged", ", gates='judged.mean >= 0'", grading), script=SCRIPT)
    result = evals.run()
    result.assert_outcomes(errors=2, failed=1)
    assert evals.ledger() == {"collected": 2, "errored": 2}


def test_an_engine_that_dies_of_a_call_is_the_error_of_that_call(evals: Evals) -> None:
    body = """
with pytest.raises(ModelCallError, match=r"no answer \\\\(engine error\\\\): this request ended the engine's process 2 times"):
    model.generate("die").result()
record(after=model.generate("live").result().text)
"""
    script = "import os\n\ndef answer(messages):\n    return messages[-1]['content'] if messages[-1]['content'] != 'die' else os._exit(3)\n"
    evals.write(suite(body.replace("\\\\", "\\")), script=script)
    evals.run("-k", "[a]").assert_outcomes(passed=1)
    assert tasks(evals) == {"a": {"after": "live"}}


def test_what_a_model_cannot_do_is_said_of_that_call(evals: Evals) -> None:
    body = """
for call in (
    model.generate(logprobs=True),
    model.generate(n=2, temperature=1.0),
    model.generate(json_schema={"type": "object"}),
    model.generate(regex="a+"),
    model.generate(choice=["a", "b"]),
):
    with pytest.raises(ModelCallError, match="cannot honour the generation parameter"):
        call.result()
with pytest.raises(ModelCallError, match="cannot tell how likely a text is"):
    model.choose(["a", "b"]).result()
with pytest.raises(ModelCallError, match="cannot tell how likely a text is"):
    model.score("a").result()
"""
    evals.write(suite(body), script="def answer(messages):\n    return 'x'\n")
    evals.run("-k", "[a]").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("model.generate(max_tokens=5)", "generation: unknown parameter 'max_tokens'"),
        ("model.generate(temperature=-1)", "generation: temperature must be a number from 0 to 100, not -1"),
        ("model.generate([])", "messages must be a list of {'role', 'content'} with at least one entry, not []"),
        ("model.generate(['hello'])", "message 1 must be an object with 'role' and 'content', not 'hello'"),
        ("model.generate([{'role': 'user'}])", "message 1 must have a 'content': a text, or a list of parts"),
        ("model.score('a', [{'content': 'hello'}])", "message 1 has the role None (known: system, user, "),
        ("model.choose(['a', 'b'], 5)", "the prompt of a call is a string or a conversation: messages must be a list"),
        ("model.choose(['a'])", "choices must be two or more different strings, not ['a']"),
        ("model.choose('ab')", "choices must be a list of non-empty strings, not 'ab'"),
        ("model.choose(['a', 'b'], by='mean')", "by must be one of sum, token, byte, char, not 'mean'"),
        ("model.score('')", "model.score takes a non-empty text, not ''"),
        ("model.score(['a'])", "model.score takes a non-empty text, not ['a']"),
    ],
)
def test_a_call_that_makes_no_sense_is_refused_at_once(evals: Evals, call: str, message: str) -> None:
    body = f"with pytest.raises(SuiteError) as caught:\n    {call}\nrecord(message=str(caught.value))"
    evals.write(suite(body), script=SCRIPT)
    evals.run("-k", "[a]").assert_outcomes(passed=1)
    assert message in tasks(evals)["a"]["message"]


def test_a_suite_without_a_prompt_gives_one_with_each_call(evals_both: Evals) -> None:
    body = """
with pytest.raises(SuiteError, match="has no prompt"):
    model.generate()
record(text=model.generate(f"Say {case.q}").result().text)
"""
    evals_both.write(suite(body).replace(', prompt="{{item.q}}"', ""), script=SCRIPT)
    evals_both.run().assert_outcomes(passed=2)
    assert tasks(evals_both) == {"a": {"text": "user: Say one"}, "b": {"text": "user: Say three"}}


def test_a_test_that_is_no_eval_is_told_what_the_fixture_is_for(evals: Evals) -> None:
    evals.write("def test_it(model): ...\n", script=SCRIPT)
    result = evals.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*the fixture 'model' is for evals: put @cases(...) on *test_it*"])


def test_a_row_that_brings_its_completion_is_refused_beside_the_fixture(evals: Evals) -> None:
    source = suite("...", "completion, model").replace('"q": "three"', '"q": "three", "completion": "x"')
    evals.write(source, script=SCRIPT)
    result = evals.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*test_suite.py:*: test_it: row 2 of inline brings a completion, and*"])


def test_a_fixture_of_the_users_own_takes_its_place(evals: Evals) -> None:
    own = "@pytest.fixture\ndef model():\n    return 'mine'\n"
    evals.write(suite("assert model == 'mine'", before=own), script="raise SystemExit('an engine was started')")
    evals.run().assert_outcomes(passed=2)
    assert {sample.interaction.source for sample in evals.artifact.samples} == {None}


@pytest.mark.parametrize("option", ["--collect-only", "--setup-plan"])
def test_no_call_is_made_when_nothing_runs(evals: Evals, option: str) -> None:
    evals.write(suite("model.generate().result()"), script="open('called', 'w').close()\n" + SCRIPT)
    assert evals.run(option).ret == pytest.ExitCode.OK
    if option == "--collect-only":
        assert not (evals.pytester.path / "called").exists()


def test_a_case_that_runs_again_asks_again(evals: Evals) -> None:
    body = """
texts = [call.result().text for call in [model.generate("x"), model.generate("y")]]
with open("texts.txt", "a") as file:
    print(*texts, file=file)
assert texts != ["1", "2"]
"""
    counting = "calls = []\n\ndef answer(messages):\n    calls.append(1)\n    return str(len(calls))\n"
    evals.write(suite(body), script=counting)
    evals.run("--reruns", "1", "-k", "[a]").assert_outcomes(passed=1)
    assert (evals.pytester.path / "texts.txt").read_text() == "1 2\n3 4\n"


def test_a_call_is_computed_once_however_often_its_result_is_asked_for(evals: Evals) -> None:
    body = """
call = model.generate("x")

async def again():
    return await call

assert {call.result().text, call.result().text, asyncio.run(again()).text} == {"1"}
bad = model.generate("bad")
for _ in range(2):
    with pytest.raises(ModelCallError, match="attempt 2"):
        bad.result()
"""
    counting = """
calls = []

def answer(messages):
    calls.append(1)
    if messages[-1]["content"] == "bad":
        raise ValueError(f"attempt {len(calls)}")
    return str(len(calls))
"""
    evals.write(suite(body), script=counting)
    evals.run("-k", "[a]").assert_outcomes(passed=1)
