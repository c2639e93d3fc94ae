"""A Python function in the place of a model."""

from __future__ import annotations

import dataclasses
import itertools
import json
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.completion import Likelihood
from pytest_evals.engines.protocol import Inbox, Request, Result, Started
from pytest_evals.engines.scripted import ScriptedEngine
from pytest_evals.errors import ModelError
from pytest_evals.generation import GenerationParams

Script = Callable[..., ScriptedEngine]
_number = itertools.count()


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Write a module and return the engine that calls its function ``answer``."""

    def make(source: str, function: str = "answer") -> ScriptedEngine:
        name = f"script_of_a_test_{next(_number)}"
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        monkeypatch.syspath_prepend(tmp_path)
        return ScriptedEngine(f"{name}:{function}")

    return make


def ask(key: str = "a", text: str = "What is it?", **params: Any) -> Request:
    return Request(key, "scripted:m:f", ({"role": "user", "content": text},), GenerationParams(**params))


def answers(engine: ScriptedEngine, *requests: Request) -> dict[str, Result]:
    events = list(engine.generate(Inbox(requests, closed=True)))
    announced: set[str] = set()
    results: dict[str, Result] = {}
    for event in events:
        if isinstance(event, Started):
            announced.update(event.ids)
        elif isinstance(event, Result):
            assert event.id in announced
            results[event.id] = event
    assert announced == results.keys() == {request.id for request in requests}
    return results


def message(result: Result, kind: str = "model") -> str:
    assert result.error is not None
    assert result.error.kind == kind
    return result.error.message


PLAIN = """
def answer(messages):
    return f"You said: {messages[-1]['content']}"
"""
ASYNC = """
import asyncio

async def answer(messages):
    await asyncio.sleep(0)
    return f"You said: {messages[-1]['content']}"
"""


@pytest.mark.parametrize("source", [PLAIN, ASYNC], ids=["sync", "async"])
def test_a_script_answers_every_request(source: str, script: Script) -> None:
    results = answers(script(source), *(ask(str(number), f"hello {number}") for number in range(40)))
    assert {key: result.answer.text for key, result in results.items()} == {
        str(number): f"You said: hello {number}" for number in range(40)
    }


@pytest.mark.parametrize("source", [PLAIN, ASYNC], ids=["sync", "async"])
def test_tokens_are_counted_in_words(source: str, script: Script) -> None:
    result = answers(script(source), ask("a", "one two three"))["a"]
    assert (result.answer.prompt_tokens, result.answer.completion_tokens, result.answer.finish_reason) == (3, 5, "stop")
    assert result.answer.latency is not None
    assert result.answer.latency >= 0


@pytest.mark.parametrize("word", ["", "async "], ids=["sync", "async"])
def test_what_a_script_raises_is_the_error_of_that_case_alone(word: str, script: Script) -> None:
    engine = script(f"""
        {word}def answer(messages):
            if messages[-1]["content"] == "bad":
                raise KeyError("no such city")
            return "fine"
    """)
    results = answers(engine, ask("a", "bad"), ask("b", "good"))
    assert message(results["a"]).endswith(":answer raised KeyError: 'no such city'")
    assert results["b"].answer.text == "fine"


@pytest.mark.parametrize("word", ["", "async "], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("returned", "kind"), [("None", "NoneType"), ("5", "int"), ("b'x'", "bytes"), ("['x']", "list")]
)
def test_a_script_that_returns_no_text_is_told_so(word: str, returned: str, kind: str, script: Script) -> None:
    engine = script(f"{word}def answer(messages): return {returned}")
    assert message(answers(engine, ask())["a"]).endswith(
        f":answer returned {kind}, and a script returns the completion as str"
    )


@pytest.mark.parametrize(
    ("stop", "text"),
    [((), "one two three"), (("two",), "one "), (("three", "two"), "one "), (("four",), "one two three"), (("o",), "")],
)
def test_the_text_ends_before_the_first_stop_string(stop: tuple[str, ...], text: str, script: Script) -> None:
    engine = script("def answer(messages): return 'one two three'")
    assert answers(engine, ask(stop=stop))["a"].answer.text == text


@pytest.mark.parametrize("source", [PLAIN, ASYNC], ids=["sync", "async"])
def test_log_probabilities_are_refused(source: str, script: Script) -> None:
    results = answers(script(source), ask("a", logprobs=True), ask("b"))
    assert "cannot honour the generation parameter 'logprobs'" in message(results["a"], "unsupported")
    assert results["b"].error is None


def test_sampling_parameters_mean_nothing_to_a_script(script: Script) -> None:
    result = answers(script(PLAIN), ask(temperature=0.7, top_k=5, top_p=0.5, seed=3, max_new_tokens=1))["a"]
    assert result.answer.text == "You said: What is it?"


@pytest.mark.parametrize("source", [PLAIN, ASYNC], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("json_schema", {"type": "object"}),
        ("regex", "a+"),
        ("choice", ("a", "b")),
        ("chat_template_kwargs", {"a": 1}),
        ("max_thinking_tokens", 5),
        ("sampling", "model"),
    ],
)
def test_what_a_script_cannot_honour_is_refused_for_that_case(
    name: str, value: Any, source: str, script: Script
) -> None:
    results = answers(script(source), ask("a", temperature=1.0, **{name: value}), ask("b", temperature=1.0))
    assert f"cannot honour the generation parameter {name!r}" in message(results["a"], "unsupported")
    assert results["b"].error is None


def test_a_penalty_and_min_p_mean_nothing_to_a_script(script: Script) -> None:
    assert answers(script(PLAIN), ask(min_p=0.1, repetition_penalty=2.0))["a"].error is None


def test_a_script_cannot_change_the_conversation(script: Script) -> None:
    engine = script("""
        def answer(messages):
            messages[0]["content"] = "changed"
            messages.clear()
            return "done"
    """)
    request = ask()
    answers(engine, request)
    assert request.messages == ({"role": "user", "content": "What is it?"},)


def test_the_fingerprint_depends_on_conversation_and_parameters(script: Script) -> None:
    requests = [ask("a"), ask("b"), ask("c", "another"), ask("d", stop=("x",))]
    prints = [result.answer.fingerprint for result in answers(script(PLAIN), *requests).values()]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_async_calls_run_at_the_same_time(script: Script) -> None:
    engine = script("""
        import asyncio

        waiting, everybody = [], asyncio.Event()

        async def answer(messages):
            waiting.append(1)
            if len(waiting) == 5:
                everybody.set()
            await asyncio.wait_for(everybody.wait(), 60)
            return "together"
    """)
    assert {result.answer.text for result in answers(engine, *(ask(key) for key in "abcde")).values()} == {"together"}


@pytest.mark.parametrize("source", [PLAIN, ASYNC], ids=["sync", "async"])
def test_requests_may_arrive_while_others_are_answered(source: str, script: Script) -> None:
    inbox = Inbox([ask("a")])
    events = script(source).generate(inbox)
    assert next(events) == Started(("a",))
    inbox.put([ask("b")])
    inbox.close()
    assert {event.id for event in events if isinstance(event, Result)} == {"a", "b"}


@pytest.mark.parametrize("source", [PLAIN, ASYNC], ids=["sync", "async"])
def test_an_idle_script_waits_for_requests(source: str, script: Script) -> None:
    inbox = Inbox()
    found: list[str] = []

    def work() -> None:
        found.extend(event.id for event in script(source).generate(inbox) if isinstance(event, Result))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    inbox.put([ask("late")])
    inbox.close()
    thread.join(60)
    assert found == ["late"]


def test_an_aborted_script_stops_before_the_next_request(script: Script) -> None:
    inbox = Inbox([ask("a"), ask("b"), ask("c")])
    events = script(PLAIN).generate(inbox)
    next(events)
    assert isinstance(next(events), Result)
    inbox.abort()
    assert list(events) == []


# -- likelihoods

SCORE = """
def score(messages, text):
    return -1.5 * len(text) if "?" in messages[-1]["content"] else 0
"""


def weigh(*choices: str, key: str = "a", text: str = "What is it?", **params: Any) -> Request:
    return dataclasses.replace(ask(key, text, **params), choices=choices)


@pytest.mark.parametrize("source", [PLAIN, ASYNC], ids=["sync", "async"])
def test_the_function_score_gives_the_likelihood_of_each_choice(source: str, script: Script) -> None:
    results = answers(script(source + SCORE), weigh("yes", "not at all", " ä"), ask("b"), weigh("x", key="c", text="!"))
    assert results["a"].answer.likelihoods == (
        Likelihood("yes", -4.5, 1, 3),
        Likelihood("not at all", -15.0, 3, 10),
        Likelihood(" ä", -3.0, 1, 3),
    )
    assert results["a"].answer.text == ""
    assert results["a"].answer.completion_tokens == 0
    assert results["b"].answer.text == "You said: What is it?"
    assert results["b"].answer.likelihoods is None
    # A whole number is one too.
    assert results["c"].answer.likelihoods == (Likelihood("x", 0.0, 1, 1),)


def test_blank_texts_count_as_one_token(script: Script) -> None:
    likelihoods = answers(script(PLAIN + SCORE), weigh("  "))["a"].answer.likelihoods
    assert likelihoods is not None
    (found,) = likelihoods
    assert (found.tokens, found.per_token) == (1, -3.0)


@pytest.mark.parametrize("source", [PLAIN, ASYNC], ids=["sync", "async"])
@pytest.mark.parametrize("rest", ["", "score = 5"], ids=["nothing", "no-function"])
def test_without_the_function_choices_are_refused(source: str, rest: str, script: Script) -> None:
    results = answers(script(f"{source}\n{rest}\n"), weigh("yes", "no"), ask("b"))
    assert (
        message(results["a"], "unsupported")
        == "scripted:m:f cannot tell how likely a text is; choices need a model that can"
    )
    assert results["b"].error is None


def test_a_model_named_score_does_not_score(script: Script) -> None:
    engine = script("def score(messages): return 'five'", function="score")
    results = answers(engine, weigh("yes", "no"), ask("b"))
    assert "cannot tell how likely a text is" in message(results["a"], "unsupported")
    assert results["b"].answer.text == "five"


@pytest.mark.parametrize("source", [PLAIN, ASYNC], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise KeyError(text)", ":answer raised KeyError: 'bad'"),
        ("return None", ":answer raised TypeError: "),
        ("return 'likely'", ":answer raised ValueError: "),
        ("return float('nan')", " returned [nan]; a log-likelihood is a finite number"),
        ("return float('-inf')", " returned [-inf]; a log-likelihood is a finite number"),
    ],
)
def test_a_score_that_fails_is_the_error_of_that_case_alone(source: str, body: str, words: str, script: Script) -> None:
    engine = script(f"{source}\ndef score(messages, text):\n    if text == 'bad':\n        {body}\n    return -1.0\n")
    results = answers(engine, weigh("bad"), weigh("good", key="b"))
    assert words in message(results["a"])
    assert results["b"].answer.likelihoods == (Likelihood("good", -1.0, 1, 4),)


def test_a_score_cannot_change_the_conversation_for_the_next_choice(script: Script) -> None:
    engine = script(PLAIN + "\ndef score(messages, text):\n    return -float(len(messages.pop()['content']))\n")
    found = answers(engine, weigh("a", "b"))["a"].answer.likelihoods or ()
    assert [each.logprob for each in found] == [-11.0, -11.0]


def test_choices_that_carry_a_parameter_that_cannot_be_honoured_are_refused(script: Script) -> None:
    results = answers(script(PLAIN + SCORE), weigh("a", "b", chat_template_kwargs={"enable_thinking": False}))
    assert "cannot honour the generation parameter 'chat_template_kwargs'" in message(results["a"], "unsupported")


# -- what cannot be loaded


def test_a_module_that_is_missing_is_named() -> None:
    with pytest.raises(ModelError) as caught:
        ScriptedEngine("no_such_module:answer")
    assert "scripted:no_such_module:answer: module 'no_such_module' cannot be imported" in str(caught.value)
    assert "it is looked for in pytest's rootdir and on its import path" in str(caught.value)


def test_a_module_that_fails_says_how(script: Script) -> None:
    with pytest.raises(ModelError, match=r"cannot be imported \(ZeroDivisionError: division by zero\)"):
        script("1 / 0")


def test_a_function_that_is_missing_is_suggested(script: Script) -> None:
    with pytest.raises(ModelError, match=r"has no function 'anser'; did you mean 'answer'\?"):
        script(PLAIN, function="anser")


def test_what_is_no_function_is_refused(script: Script) -> None:
    with pytest.raises(ModelError, match="has no function 'answer'"):
        script("answer = 5")


def test_the_engine_says_what_it_is(script: Script) -> None:
    info = script(PLAIN).info
    assert info.device == "python"
    assert str(info.identity["function"]).endswith(":answer")


# -- what a script takes, and says of itself


@pytest.mark.parametrize("word", ["", "async "], ids=["sync", "async"])
def test_a_script_that_takes_the_parameters_gets_all_of_them_and_is_refused_none(word: str, script: Script) -> None:
    engine = script(f"""
        import json

        {word}def answer(messages, params, tools=()):
            return json.dumps([len(tools), sorted(name for name in params), params["temperature"], params["regex"]])
    """)
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    result = answers(engine, ask(temperature=0.5, regex="a+", sampling="model", tools=(tool,)))["a"]
    tools, names, temperature, regex = json.loads(result.answer.text)
    assert (tools, temperature, regex) == (1, 0.5, "a+")
    known = {entry.name for entry in dataclasses.fields(GenerationParams)}
    assert set(names) == known - {"n", "tools", "tool_choice"}
    assert "parameter 'n'" in message(answers(engine, ask(n=2, temperature=1.0))["a"], "unsupported")


def test_a_completion_of_a_script_keeps_its_counts_and_its_end(script: Script) -> None:
    engine = script("""
        from pytest_evals.completion import Completion

        def answer(messages, params):
            if params["logprobs"]:
                return Completion("a b", logprobs=(-0.5, -0.25))
            return Completion("a b", finish_reason="length", prompt_tokens=41, completion_tokens=7, reasoning="c d", reasoning_tokens=3)
    """)
    found = answers(engine, ask())["a"].answer
    assert (found.prompt_tokens, found.completion_tokens, found.reasoning_tokens) == (41, 7, 3)
    assert found.finish_reason == "length"
    assert answers(engine, ask(logprobs=True))["a"].answer.logprobs == (-0.5, -0.25)


def test_an_object_of_a_script_may_have_counts_and_an_end_too(script: Script) -> None:
    engine = script("""
        def answer(messages):
            return {"text": "a b", "finish_reason": "length", "completion_tokens": 0}
    """)
    found = answers(engine, ask())["a"].answer
    assert (found.prompt_tokens, found.completion_tokens, found.finish_reason) == (3, 0, "length")


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (
            '{"text": "a", "finish_reason": "eos"}',
            "returned the finish_reason 'eos' (known: stop, length, tool_calls, recorded)",
        ),
        ('{"text": "a", "prompt_tokens": -1}', "returned prompt_tokens=-1; a count of tokens is a whole number"),
        ('{"text": "a", "completion_tokens": "7"}', "returned completion_tokens='7'"),
        ('{"text": "a", "completion_tokens": True}', "returned completion_tokens=True"),
        ("Completion(None)", "returned a Completion whose text is NoneType"),
        ("Completion('a', completion_tokens=1.5)", "returned completion_tokens=1.5"),
    ],
)
def test_what_cannot_be_of_a_completion_is_the_error_of_that_case(returned: str, words: str, script: Script) -> None:
    engine = script(f"from pytest_evals.completion import Completion\ndef answer(messages): return {returned}")
    assert words in message(answers(engine, ask())["a"])


def test_a_script_that_was_asked_for_log_probabilities_and_gives_none_is_told_so(script: Script) -> None:
    engine = script("def answer(messages, params): return 'a'")
    assert "was asked for log-probabilities and returned none" in message(answers(engine, ask(logprobs=True))["a"])


def test_what_a_script_states_is_part_of_its_identity(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    source = """
        import os

        def identity():
            return {"endpoint": os.environ["OF_A_TEST"]}

        def answer(messages):
            return "a"
    """
    found = []
    for endpoint in ("http://a", "http://b"):
        monkeypatch.setenv("OF_A_TEST", endpoint)
        engine = script(source)
        assert engine.info.identity["stated"] == {"endpoint": endpoint}
        found.append(answers(engine, ask())["a"].answer.fingerprint)
    assert found[0] != found[1]


@pytest.mark.parametrize("body", ["return {1, 2}", "return float('nan')", "raise KeyError('URL')"])
def test_an_identity_that_is_no_plain_data_is_refused(body: str, script: Script) -> None:
    with pytest.raises(ModelError, match=r"identity\(\) of 'script_of_a_test_\d+' must return plain data"):
        script(f"def identity(): {body}\ndef answer(messages): return 'a'")


def test_a_function_identity_that_takes_something_is_another_one(script: Script) -> None:
    assert "stated" not in script("def identity(x): return x\ndef answer(messages): return 'a'").info.identity
