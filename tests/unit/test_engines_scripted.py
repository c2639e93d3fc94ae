"""A Python function in the place of a model."""

from __future__ import annotations

import itertools
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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


def message(result: Result) -> str:
    assert result.error is not None
    assert result.error.kind == "model"
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
    assert {key: result.text for key, result in results.items()} == {
        str(number): f"You said: hello {number}" for number in range(40)
    }


@pytest.mark.parametrize("source", [PLAIN, ASYNC], ids=["sync", "async"])
def test_tokens_are_counted_in_words(source: str, script: Script) -> None:
    result = answers(script(source), ask("a", "one two three"))["a"]
    assert (result.prompt_tokens, result.completion_tokens, result.finish_reason) == (3, 5, "stop")
    assert result.latency is not None
    assert result.latency >= 0


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
    assert results["b"].text == "fine"


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
    assert answers(engine, ask(stop=stop))["a"].text == text


@pytest.mark.parametrize("source", [PLAIN, ASYNC], ids=["sync", "async"])
def test_log_probabilities_are_refused(source: str, script: Script) -> None:
    results = answers(script(source), ask("a", logprobs=True), ask("b"))
    assert "cannot honour the generation parameter 'logprobs'" in message(results["a"])
    assert results["b"].error is None


def test_sampling_parameters_mean_nothing_to_a_script(script: Script) -> None:
    result = answers(script(PLAIN), ask(temperature=0.7, top_k=5, top_p=0.5, seed=3, max_new_tokens=1))["a"]
    assert result.text == "You said: What is it?"


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
    prints = [result.fingerprint for result in answers(script(PLAIN), *requests).values()]
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
            await asyncio.wait_for(everybody.wait(), 10)
            return "together"
    """)
    assert {result.text for result in answers(engine, *(ask(key) for key in "abcde")).values()} == {"together"}


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
    thread.join(10)
    assert found == ["late"]


def test_an_aborted_script_stops_before_the_next_request(script: Script) -> None:
    inbox = Inbox([ask("a"), ask("b"), ask("c")])
    events = script(PLAIN).generate(inbox)
    next(events)
    assert isinstance(next(events), Result)
    inbox.abort()
    assert list(events) == []


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
