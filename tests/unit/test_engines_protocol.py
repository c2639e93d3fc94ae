"""What travels between processes, and the inbox of an engine."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from pytest_evals.completion import Failure
from pytest_evals.engines.protocol import Capabilities, Inbox, Request, Result, refusal
from pytest_evals.generation import GenerationParams


def ask(key: str, **params: Any) -> Request:
    return Request(key, "smollm2", ({"role": "user", "content": f"{key} \ud800"},), GenerationParams(**params))


@pytest.mark.parametrize(
    "request_",
    [ask("a"), ask("b", stop=("x", "y"), temperature=0.5, seed=7, logprobs=True, template={"enable_thinking": False})],
    ids=["plain", "full"],
)
def test_a_request_survives_the_wire(request_: Request) -> None:
    assert Request.from_dict(json.loads(json.dumps(request_.to_dict()))) == request_


@pytest.mark.parametrize(
    "result",
    [
        Result("a"),
        Result("a", "", finish_reason="length", prompt_tokens=0, completion_tokens=0, logprobs=()),
        Result("a", "text \ud800", "stop", 5, 2, (-0.5, -1e-9), 0.25, "f00"),
        Result("a", error=Failure("model", "refused")),
    ],
    ids=["plain", "empty", "full", "error"],
)
def test_a_result_survives_the_wire(result: Result) -> None:
    assert Result.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_what_a_result_does_not_have_does_not_travel() -> None:
    assert Result("a", "text").to_dict() == {"id": "a", "text": "text", "finish_reason": "stop"}


# -- refusals


def test_a_parameter_at_its_default_is_never_refused() -> None:
    assert refusal(ask("a"), Capabilities(frozenset())) is None


def test_a_parameter_that_the_engine_honours_is_not_refused() -> None:
    assert refusal(ask("a", stop=("x",), temperature=0.5), Capabilities()) is None


@pytest.mark.parametrize(("name", "value"), [("logprobs", True), ("template", {"a": 1})])
def test_a_parameter_that_the_engine_cannot_honour_is_named(name: str, value: object) -> None:
    refused = refusal(ask("a", **{name: value}), Capabilities())
    assert refused is not None
    assert refused.kind == "model"
    assert refused.message == f"smollm2 cannot honour the generation parameter {name!r}; leave it out for this model"


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
    thread.join(10)
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
    thread.join(10)
    assert received == [str(number) for number in range(200)]
