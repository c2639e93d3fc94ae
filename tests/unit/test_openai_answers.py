"""What servers send, in the dialects of several: answers, failures, and how many requests they are sent at a time."""

from __future__ import annotations

import email.utils
import time
from typing import Any

import pytest

from pytest_evals.completion import Message
from pytest_evals.engines.openai.answers import ServedAnswer
from pytest_evals.engines.openai.bodies import Dialect, chat_message
from pytest_evals.engines.openai.concurrency import MOST, START, ConcurrencyLimit
from pytest_evals.engines.openai.failures import (
    BrokenAnswerError,
    RefusalError,
    ThrottledError,
    WithheldError,
    failure_of,
    retry_seconds,
)
from pytest_evals.engines.openai.likelihoods import continuation
from pytest_evals.errors import UnsupportedError
from pytest_evals.generation import GenerationParams


def answer(*pieces: dict[str, Any], most: int = 10, ended: bool = True) -> ServedAnswer:
    found = ServedAnswer()
    for piece in pieces:
        found.take(piece)
    found.finish(most, ended=ended)
    return found


def whole(message: Any, finish: str | None = "stop", **usage: Any) -> dict[str, Any]:
    return {"choices": [{"message": message, "finish_reason": finish}], "usage": usage or None}


def piece(delta: Any, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish, **more}]}


def test_a_message_in_one_piece_and_one_in_pieces_are_the_same() -> None:
    usage: dict[str, Any] = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    one = answer(whole({"role": "assistant", "content": "Paris."}, **usage))
    pieces = (piece({"role": "assistant"}), piece({"content": "Par"}), piece({"content": "is."}), piece({}, "stop"))
    assert answer(*pieces, {"choices": [], "usage": usage}) == one
    assert (one.text, one.finish_reason, one.prompt_tokens, one.completion_tokens) == ("Paris.", "stop", 3, 2)


@pytest.mark.parametrize(
    ("message", "text", "reasoning"),
    [
        ({"content": None}, "", None),
        ({"content": ""}, "", None),
        ({}, "", None),
        (None, "", None),
        ({"content": "a", "reasoning_content": "b"}, "a", "b"),
        ({"content": "a", "reasoning": "b"}, "a", "b"),
        ({"content": "a", "reasoning_content": None, "reasoning": None}, "a", None),
        ({"content": "a", "reasoning": {"effort": "low"}}, "a", None),
        ({"content": None, "refusal": "I will not."}, "I will not.", None),
        ({"content": "<think>b</think>a"}, "<think>b</think>a", None),
    ],
)
def test_content_and_reasoning_are_read(message: Any, text: str, reasoning: str | None) -> None:
    found = answer(whole(message))
    assert (found.text, found.reasoning) == (text, reasoning)


@pytest.mark.parametrize(
    ("sent", "finish"),
    [
        ("stop", "stop"),
        ("eos", "stop"),
        ("eos_token", "stop"),
        ("stop_sequence", "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        (None, "stop"),
    ],
)
def test_reasons_of_servers_are_those_of_completions(sent: str | None, finish: str) -> None:
    assert answer(whole({"content": "a"}, sent)).finish_reason == finish


def test_an_answer_without_a_reason_that_is_as_long_as_was_allowed_was_cut() -> None:
    assert answer(whole({"content": "a"}, None, completion_tokens=10)).finish_reason == "length"


@pytest.mark.parametrize("count", [-1, "7", None, 1.5, True, 0])
def test_a_count_that_cannot_be_is_none(count: Any) -> None:
    assert answer(whole({"content": "a b"}, completion_tokens=count, prompt_tokens=1)).completion_tokens is None


def test_counts_of_thoughts_and_of_what_the_server_kept_are_read() -> None:
    details: dict[str, Any] = {
        "completion_tokens_details": {"reasoning_tokens": 4},
        "prompt_tokens_details": {"cached_tokens": 6},
    }
    found = answer(whole({"content": "a"}, completion_tokens=5, prompt_tokens=9, **details))
    assert (found.reasoning_tokens, found.cached_tokens) == (4, 6)
    assert (
        answer(whole({"content": "a"}, completion_tokens_details=None, prompt_tokens_details=None)).cached_tokens == 0
    )


@pytest.mark.parametrize(
    ("pieces", "ended"),
    [
        ((piece({"content": "a"}),), False),
        ((), False),
        ((piece({"content": "a"}, "abort"),), True),
        ((piece({"content": "a"}, "error"),), True),
    ],
)
def test_an_answer_that_broke_off_is_none(pieces: tuple[dict[str, Any], ...], *, ended: bool) -> None:
    with pytest.raises(BrokenAnswerError):
        answer(*pieces, ended=ended)


def test_halves_of_characters_are_joined_and_lone_ones_replaced() -> None:
    assert answer(piece({"content": "a\ud83d"}), piece({"content": "\ude00b"}, "stop")).text == "a\U0001f600b"
    assert answer(piece({"content": "a\ud83d"}, "stop")).text == "a\ufffd"
    assert answer(piece({"content": "a", "reasoning": "\udc00"}, "stop")).reasoning == "\ufffd"


def test_a_log_probability_that_is_no_number_is_no_answer() -> None:
    for value in (float("nan"), float("-inf"), "low"):
        with pytest.raises(BrokenAnswerError):
            answer(piece({"content": "a"}, "stop", logprobs={"content": [{"logprob": value}]}))


@pytest.mark.parametrize("data", [{"choices": ["x"]}, {"choices": [{"message": "x"}]}, {"choices": {"a": 1}}])
def test_what_is_no_answer_is_a_failure_and_no_crash(data: dict[str, Any]) -> None:
    with pytest.raises(BrokenAnswerError, match="it sent something that is not an answer"):
        answer(data)


def test_an_answer_that_a_filter_ended_is_withheld() -> None:
    with pytest.raises(WithheldError):
        answer(whole({"content": "a"}, "content_filter"))


def test_tool_calls_are_put_together() -> None:
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    found = answer(
        piece({"tool_calls": [first]}),
        piece({"tool_calls": [{"index": 0, "function": {"arguments": '{"city": '}}]}),
        piece({"tool_calls": [{"index": 1, "id": "c2", "function": {"name": "time", "arguments": "{}"}}]}),
        piece({"tool_calls": [{"index": 0, "function": {"arguments": '"Oslo"}'}}]}),
        piece({}, "tool_calls"),
    )
    assert [(call.id, call.name, call.arguments) for call in found.calls] == [
        ("c1", "weather", '{"city": "Oslo"}'),
        ("c2", "time", "{}"),
    ]


def test_log_probabilities_are_read_in_both_forms() -> None:
    chat = {"content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1}]}
    assert answer(piece({"content": "ab"}, "stop", logprobs=chat)).logprobs == [-0.5, -1.0]
    plain = {"choices": [{"text": "ab", "finish_reason": "stop", "logprobs": {"token_logprobs": [-0.5, -1]}}]}
    assert answer(plain).logprobs == [-0.5, -1.0]
    assert answer(whole({"content": "a"})).logprobs is None


@pytest.mark.parametrize(
    ("status", "data", "kind", "said"),
    [
        (400, {"error": {"message": "too long", "param": "messages"}}, RefusalError, "400: too long (messages)"),
        (404, {"detail": "Not Found"}, RefusalError, "404: Not Found"),
        (422, {"detail": [{"loc": ["body"], "msg": "bad"}]}, RefusalError, '422: [{"loc": ["body"], "msg": "bad"}]'),
        (400, {"error": "plain"}, RefusalError, "400: plain"),
        (400, "<html>bad</html>", RefusalError, "400: <html>bad</html>"),
        (413, "", RefusalError, "413: no reason given"),
        (401, {"error": {"message": "no key"}}, RefusalError, "401: no key"),
        (429, {"error": {"message": "slow down"}}, ThrottledError, "429: slow down"),
        (429, {"error": {"message": "pay", "code": "insufficient_quota"}}, RefusalError, "429: pay"),
        (503, "", ThrottledError, "503: no reason given"),
        (500, {"error": {"message": "boom"}}, BrokenAnswerError, "500: boom"),
        (502, "<html>", BrokenAnswerError, "502: <html>"),
        (504, None, BrokenAnswerError, "504: no reason given"),
        (408, {}, BrokenAnswerError, "408: no reason given"),
        (200, {"error": {"message": "in a stream", "code": 400}}, RefusalError, "400: in a stream"),
        (200, {"error": {"message": "in a stream"}}, BrokenAnswerError, "500: in a stream"),
    ],
)
def test_errors_are_told_by_what_another_try_would_give(status: int, data: Any, kind: type, said: str) -> None:
    error = failure_of(status, data)
    assert (type(error), str(error)) == (kind, said)


def test_how_long_to_wait_is_a_number_or_a_date() -> None:
    assert retry_seconds("7") == 7
    assert retry_seconds("0.25") == 0.25
    assert retry_seconds("-3") == 0
    assert [retry_seconds(text) for text in (None, "", "soon", "nan")] == [None] * 4
    later = retry_seconds(email.utils.formatdate(time.time() + 60, usegmt=True))
    assert later is not None
    assert 50 < later < 61
    assert retry_seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0


def _answers(limit: ConcurrencyLimit, count: int) -> None:
    for _ in range(count):
        limit.answered(limit.limit, 0.1, 1.0)


def test_the_limit_doubles_in_the_time_that_a_server_takes_to_begin() -> None:
    limit = ConcurrencyLimit()
    assert limit.limit == START
    assert [limit.begun(START, 0.1) for _ in range(START)] == [True] * START
    assert limit.limit == 2 * START
    assert not limit.begun(limit.limit, 0.3), "three times as long as the quickest: its answer tells whether it waited"
    assert limit.limit == 2 * START
    limit.answered(limit.limit, 0.3, 1.0)
    assert limit.limit == 2 * START + 1, "it was worked on for longer than it waited"
    limit.answered(limit.limit, 0.6, 1.0)
    assert limit.limit == 2 * START + 1, "it was in a queue"
    for _ in range(1000):
        limit.begun(limit.limit, 0.1)
    assert limit.limit == MOST


def test_a_refusal_halves_the_limit_which_soon_is_as_many_as_the_server_had() -> None:
    limit = ConcurrencyLimit()
    limit.throttled(sent=1.0, now=2.0, active=START)
    assert limit.limit == START // 2
    for active in range(START - 1, 20, -1):
        limit.throttled(sent=1.5, now=2.1, active=active)
    assert limit.limit == START // 2, "what was sent before says nothing of the new limit"
    _answers(limit, 20 - START // 2)
    assert limit.limit == 20
    _answers(limit, 19)
    assert limit.limit == 20, "one more is tried after a round of answers"
    _answers(limit, 1)
    assert limit.limit == 21
    limit.throttled(sent=3.0, now=4.0, active=21)
    assert limit.limit == 20, "one too many is not a reason to send half as many"
    _answers(limit, 39)
    assert limit.limit == 20, "and it is tried again after two rounds"
    _answers(limit, 1)
    assert limit.limit == 21
    _answers(limit, 21 + 22)
    assert limit.limit == 23, "what is taken is not tried again"


def test_a_burst_of_refusals_lowers_the_limit_to_what_the_server_had_and_no_further_than_a_quarter() -> None:
    for taken, expected in ((12, 12), (0, START // 4)):
        limit = ConcurrencyLimit()
        for active in range(START, taken, -1):
            limit.throttled(sent=1.0, now=2.0, active=active)
        assert limit.limit == expected


def test_where_as_few_as_before_are_refused_the_limit_grows_by_one_a_round() -> None:
    limit = ConcurrencyLimit()
    limit.throttled(sent=1.0, now=2.0, active=START)
    _answers(limit, 4)
    assert limit.limit == START // 2 + 4
    limit.throttled(sent=3.0, now=4.0, active=START // 2 + 4)
    assert limit.limit == START // 4 + 2
    _answers(limit, START // 4 + 3)
    assert limit.limit == START // 4 + 3
    for moment in range(5, 20):
        limit.throttled(sent=moment, now=moment, active=limit.limit)
    assert limit.limit == 1
    _answers(limit, 100_000)
    assert limit.limit == MOST


def test_the_limit_stays_where_it_is_not_used_where_answers_are_slow_to_begin_and_where_it_is_given() -> None:
    limit = ConcurrencyLimit(patience=5)
    limit.answered(3, 0.1, 1.0)
    limit.begun(3, 0.1)
    limit.answered(START, 6, 100.0)
    limit.begun(START, 6)
    assert limit.limit == START
    fixed = ConcurrencyLimit(3)
    fixed.answered(3, 0.1, 1.0)
    fixed.begun(3, 0.1)
    fixed.throttled(1, 2, 3)
    assert fixed.limit == 3


def test_parameters_are_sent_under_the_names_of_the_api_and_defaults_are_not() -> None:
    dialect = Dialect("m", extra={"user": "x"})
    messages: tuple[Message, ...] = ({"role": "user", "content": "a"},)
    assert dialect.body(messages, GenerationParams(max_new_tokens=5)) == {
        "user": "x",
        "model": "m",
        "messages": [{"role": "user", "content": "a"}],
        "max_tokens": 5,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    schema = {"type": "object"}
    params = GenerationParams(
        temperature=0.5, top_k=3, top_p=0.9, min_p=0.1, stop=("a",), seed=2**40 + 7, logprobs=True, json_schema=schema
    )
    body = dialect.body(messages, params)
    assert {name: body[name] for name in ("temperature", "top_k", "top_p", "min_p", "stop", "seed", "logprobs")} == {
        "temperature": 0.5,
        "top_k": 3,
        "top_p": 0.9,
        "min_p": 0.1,
        "stop": ["a"],
        "seed": 7,
        "logprobs": True,
    }
    assert body["response_format"]["json_schema"]["schema"] == schema
    assert dialect.body(messages, params, 1)["seed"] != 7
    assert dialect.body(messages, GenerationParams(temperature=0.5))["top_p"] == 1.0
    plain = Dialect("m", plain=True).body(({"role": "user", "content": "a"}, {"role": "user", "content": "b"}), params)
    assert (plain["prompt"], plain["logprobs"], "messages" in plain) == ("a\nb", 1, False)


@pytest.mark.parametrize(
    ("refusal", "changed"),
    [
        ("Unsupported parameter: 'max_tokens' ... Use 'max_completion_tokens' instead.", {"max_tokens": "max_completion_tokens"}),
        ("Unrecognized request argument supplied: stream_options", {"stream_usage": False}),
        ("streaming is not supported", {"stream": False}),
    ],
)  # fmt: skip
def test_a_dialect_is_learned_from_a_refusal_once(refusal: str, changed: dict[str, Any]) -> None:
    dialect = Dialect("m")
    assert dialect.learn(refusal, 0)
    assert {name: getattr(dialect, name) for name in changed} == changed
    assert not dialect.learn(refusal, 1)
    assert not dialect.learn("the prompt is too long", 1)
    assert dialect.learn("sent before that was known", 0)


def test_images_are_sent_as_data_and_sound_is_refused(tmp_path: Any) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG")
    message: Any = {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image", "image": str(path)}]}
    url = {"url": "data:image/png;base64,iVBORw=="}
    assert chat_message(message)["content"] == [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": url}]
    with pytest.raises(UnsupportedError, match="'audio'"):
        chat_message({"role": "user", "content": [{"type": "audio", "audio": "a.wav"}]})


def test_a_continuation_is_told_from_its_prompt_by_the_texts_of_tokens() -> None:
    echoed: dict[str, list[Any]] = {
        "tokens": ["The", " cat", " sat", " down", "!"],
        "token_logprobs": [None, -1.0, -2.0, -0.5, -9.0],
        "top_logprobs": [None, {" cat": -1.0}, {" ran": -1.5, " sat": -2.0}, {" down": -0.5}, {"!": -9.0}],
    }
    found, prompt = continuation(echoed, "The cat", " sat down")
    assert (found.logprob, found.tokens, found.bytes, found.greedy, prompt) == (-2.5, 2, 9, False, 2)
    assert continuation(echoed, "The cat sat", " down")[0].greedy
    # With a token of the server's own before the text, which offsets may count or not.
    own = {name: ["<s>" if name == "tokens" else None, *values] for name, values in echoed.items()}
    for offsets in ([0, 0, 3, 7, 11, 16], [0, 3, 6, 10, 14, 19]):
        again, _ = continuation({**own, "text_offset": offsets}, "The cat", " sat down")
        assert again == found


@pytest.mark.parametrize(("prompt", "choice"), [("The ca", "t sat"), ("The cat sat down!", " x"), ("The cat ", "sat")])
def test_a_continuation_that_shares_a_token_with_its_prompt_is_refused(prompt: str, choice: str) -> None:
    echoed = {"tokens": ["The", " cat", " sat", "!"], "token_logprobs": [None, -1.0, -2.0, -3.0]}
    with pytest.raises(UnsupportedError, match="does not begin where a token begins"):
        continuation(echoed, prompt, choice)
