"""What travels between processes, and the inbox of an engine."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from pytest_evals.completion import Completion, Failure, Likelihood, ToolCall
from pytest_evals.engines.protocol import Capabilities, Inbox, Request, Result, refusal
from pytest_evals.generation import GenerationParams


def ask(key: str, **params: Any) -> Request:
    return Request(key, "smollm2", ({"role": "user", "content": f"{key} \ud800"},), GenerationParams(**params))


def weigh(*choices: str, alone: bool = False) -> Request:
    return Request("a", "smollm2", ({"role": "user", "content": "?"},), GenerationParams(), choices, alone)


@pytest.mark.parametrize(
    "request_",
    [
        ask("a"),
        ask(
            "b",
            stop=("x", "y"),
            temperature=0.5,
            seed=7,
            logprobs=True,
            chat_template_kwargs={"enable_thinking": False},
        ),
        ask("c", n=3, temperature=1.0, min_p=0.1, repetition_penalty=1.5),
        ask("d", json_schema={"type": "object", "properties": {"a": {"enum": [1, None]}}}),
        ask("e", choice=("yes", "no \ud800")),
        weigh(" yes", "no \ud800", " yes"),
        weigh(alone=True),
    ],
    ids=["plain", "full", "samples", "schema", "guided", "choices", "alone"],
)
def test_a_request_survives_the_wire(request_: Request) -> None:
    assert Request.from_dict(json.loads(json.dumps(request_.to_dict()))) == request_


def test_a_request_that_says_nothing_of_choices_has_none() -> None:
    data = {key: value for key, value in ask("a").to_dict().items() if key not in {"choices", "alone"}}
    assert Request.from_dict(data) == ask("a")


@pytest.mark.parametrize(
    ("request_", "repeatable"),
    [(ask("a"), True), (ask("a", temperature=0.1), False), (weigh("x"), True)],
    ids=["greedy", "sampled", "choices"],
)
def test_greedy_texts_and_likelihoods_are_the_same_again(request_: Request, repeatable: bool) -> None:
    assert request_.repeatable == repeatable


@pytest.mark.parametrize(
    "result",
    [
        Result("a", Completion()),
        Result("a", Completion("", finish_reason="length", prompt_tokens=0, completion_tokens=0)),
        Result("a", Completion("text \ud800", (), "stop", None, 5, 2, (-0.5, -1e-9), latency=0.25, fingerprint="f00")),
        Result("a", error=Failure("model", "refused")),
        Result(
            "a",
            Completion(
                "one", samples=(Completion("one"), Completion("two \ud800", reasoning="hm")), latency=0.5, queued=1.5
            ),
        ),
        Result(
            "a",
            Completion(
                "It is Paris.",
                finish_reason="tool_calls",
                reasoning="Lyon?",
                reasoning_tokens=4,
                tool_calls=(ToolCall("find", {"city": "Paris", "near": [1, None]}, "c0"), ToolCall("stop")),
                raw="<think>Lyon?</think>It is Paris.",
            ),
        ),
        Result(
            "a", Completion(likelihoods=(Likelihood(" yes", -1.5, 2, 4, greedy=True), Likelihood("no", -2.5, 1, 2)))
        ),
    ],
    ids=["plain", "empty", "full", "error", "samples", "parts", "likelihoods"],
)
def test_a_result_survives_the_wire(result: Result) -> None:
    assert Result.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_what_a_result_does_not_have_does_not_travel() -> None:
    completion = {"text": "text", "finish_reason": "stop"}
    assert Result("a", Completion("text")).to_dict() == {"id": "a", "completion": completion}


def test_an_error_in_the_place_of_an_answer_is_not_overlooked() -> None:
    with pytest.raises(RuntimeError, match="refused"):
        _ = Result("a", error=Failure("model", "refused")).answer


# -- refusals


def test_a_parameter_at_its_default_is_never_refused() -> None:
    assert refusal(ask("a"), Capabilities(params=frozenset())) is None


def test_a_parameter_that_the_engine_honours_is_not_refused() -> None:
    assert refusal(ask("a", stop=("x",), temperature=0.5), Capabilities()) is None


@pytest.mark.parametrize(("name", "value"), [("logprobs", True), ("chat_template_kwargs", {"a": 1})])
def test_a_parameter_that_the_engine_cannot_honour_is_named(name: str, value: object) -> None:
    refused = refusal(ask("a", **{name: value}), Capabilities())
    assert refused is not None
    assert refused.kind == "unsupported"
    assert refused.message == f"smollm2 cannot honour the generation parameter {name!r}; leave it out for this model"


@pytest.mark.parametrize(
    ("name", "value"), [("n", 2), ("json_schema", {}), ("regex", "a"), ("choice", ("a",)), ("logprobs", True)]
)
def test_what_only_some_engines_can_do_is_refused_by_the_others(name: str, value: object) -> None:
    refused = refusal(ask("a", **{name: value}), Capabilities())
    assert refused is not None
    assert f"{name!r}" in refused.message
    assert refusal(ask("a", **{name: value}), Capabilities(params=frozenset({name}))) is None


def test_choices_are_refused_by_an_engine_without_likelihoods() -> None:
    refused = refusal(weigh("a"), Capabilities())
    assert refused == Failure("unsupported", "smollm2 cannot tell how likely a text is; choices need a model that can")
    assert refusal(weigh("a"), Capabilities(likelihoods=True)) is None
    assert refusal(weigh(), Capabilities()) is None


# -- the inbox


def taken(inbox: Inbox, limit: int | None = None, *, wait: bool = False) -> list[str]:
    return [request.id for request in inbox.take(limit, wait=wait)]


def test_requests_leave_in_the_order_in_which_they_came() -> None:
    inbox = Inbox([ask("a")])
    inbox.put([ask("b"), ask("c")])
    assert taken(inbox, 2) == ["a", "b"]
    assert taken(inbox, 2) == ["c"]
    assert taken(inbox) == []


def test_without_a_limit_everything_is_taken() -> None:
    assert taken(Inbox([ask("a"), ask("b")])) == ["a", "b"]


def test_a_closed_inbox_gives_what_it_holds_and_then_the_end() -> None:
    inbox = Inbox([ask("a")], closed=True)
    assert taken(inbox, wait=True) == ["a"]
    assert taken(inbox, wait=True) == []
    assert not inbox.aborted


def test_an_abort_drops_what_waits() -> None:
    inbox = Inbox([ask("a")])
    inbox.abort()
    assert taken(inbox, wait=True) == []
    assert inbox.aborted


@pytest.mark.parametrize(
    ("event", "received"),
    [(lambda inbox: inbox.put([ask("a")]), ["a"]), (Inbox.close, []), (Inbox.abort, [])],
    ids=["put", "close", "abort"],
)
def test_who_waits_is_woken(event: Any, received: list[str]) -> None:
    inbox = Inbox()
    results: list[list[str]] = []
    thread = threading.Thread(target=lambda: results.append(taken(inbox, wait=True)), daemon=True)
    thread.start()
    event(inbox)
    thread.join(60)
    assert results == [received]


def test_no_request_is_lost_or_taken_twice_between_threads() -> None:
    inbox = Inbox()
    received: list[str] = []

    def work() -> None:
        while keys := taken(inbox, 3, wait=True):
            received.extend(keys)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    for number in range(200):
        inbox.put([ask(str(number))])
    inbox.close()
    thread.join(60)
    assert received == [str(number) for number in range(200)]
