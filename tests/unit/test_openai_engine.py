"""The engine against a scripted server: each fault of a server, and what becomes of the requests that meet it."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.completion import Completion, Message, ToolCall
from pytest_evals.engines.openai import servers
from pytest_evals.engines.openai.loading import load
from pytest_evals.engines.protocol import Event, Inbox, Noted, Request, Result, Working
from pytest_evals.engines.spec import parse_spec
from pytest_evals.errors import ModelError
from pytest_evals.generation import GenerationParams
from tests.openai_server import Body, Reply, Script, ScriptedServer, said

Serve = Callable[..., ScriptedServer]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_FIRST_PAUSE", 0.01)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers, and ends them."""
    started = []

    def start(script: Script | None = None, **told: Any) -> ScriptedServer:
        server = ScriptedServer(**told)
        server.script = script or server.script
        started.append(server.start())
        return server

    yield start
    for server in started:
        server.stop()


def request(text: str, key: str | None = None, choices: Sequence[str] = (), **params: Any) -> Request:
    messages: tuple[Message, ...] = ({"role": "user", "content": text},)
    return Request(key or text, "openai:tiny", messages, GenerationParams(**params), tuple(choices))


def events(spec: str, requests: Sequence[Request]) -> list[Event]:
    engine = load(parse_spec(f"openai:{spec}", Path()), lambda _text: None)
    try:
        return list(engine.generate(Inbox(requests, closed=True)))
    finally:
        engine.close()


def results(spec: str, *requests: Request) -> dict[str, Result]:
    found = [event for event in events(spec, requests) if isinstance(event, Result)]
    assert sorted(result.id for result in found) == sorted(request.id for request in requests), "one result for each"
    return {result.id: result for result in found}


def answer(spec: str, asked: Request) -> Completion:
    return results(spec, asked)[asked.id].answer


def error(spec: str, asked: Request) -> tuple[str, str]:
    failure = results(spec, asked)[asked.id].error
    assert failure is not None
    return failure.kind, failure.message


def failing(times: int, reply: Reply) -> Script:
    """A server that answers a prompt so for some times, then as it should."""
    return lambda body, asked: reply if asked < times else Reply(f"It says {said(body)}")


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=429, headers={"retry-after": "0.05"}),
        Reply(status=429),
        Reply(status=503, headers={"retry-after": "0"}),
        Reply(status=500),
        Reply(status=502, error="<html>"),
        Reply("a b c d e f", breaks=True),
        Reply(raw="<html>busy</html>"),
        Reply(raw=""),
        Reply(raw='{"choices": []}'),
        Reply(raw='{"choices": [{"message"'),
        Reply("a", finish="abort"),
        Reply(message={"content": "a"}, finish="error"),
    ],
    ids=["429", "429 without a time", "503", "500", "502", "cut", "html", "nothing", "empty", "half", "abort", "error"],
)
@pytest.mark.parametrize("streams", [True, False], ids=["stream", "whole"])
def test_what_may_pass_is_tried_again_and_nothing_is_lost(serve: Serve, reply: Reply, *, streams: bool) -> None:
    server = serve(failing(2, reply), streams=streams)
    asked = [request(f"number {number}") for number in range(5)]
    found = results(f"tiny@{server.url}", *asked)
    assert {key: result.answer.text for key, result in found.items()} == {
        each.id: f"It says {each.id}" for each in asked
    }
    assert all(server.asked(each.id) == 3 for each in asked)


@pytest.mark.parametrize(
    ("reply", "kind", "message"),
    [
        (Reply(status=400, error={"message": "too long"}), "model", "the server refused this request: 400: too long"),
        (Reply(status=404, error={"message": "gone"}), "model", "the server refused this request: 404: gone"),
        (
            Reply(status=429, error={"message": "pay", "code": "insufficient_quota"}),
            "model",
            "the server refused this request: 429: pay",
        ),
        (
            Reply("a", finish="content_filter"),
            "model",
            "the server failed on this request: its content filter ended the answer",
        ),
    ],
)
def test_what_a_server_refuses_is_asked_once_and_is_the_error_of_that_case(
    serve: Serve, reply: Reply, kind: str, message: str
) -> None:
    server = serve(lambda body, _asked: reply if said(body) == "bad" else Reply("fine"))
    found = results(f"tiny@{server.url}", request("bad"), request("good"))
    failure = found["bad"].error
    assert failure is not None
    assert (failure.kind, failure.message) == (kind, message)
    assert found["good"].answer.text == "fine"
    assert server.asked("bad") == 1


def test_a_request_on_which_the_server_fails_each_time_is_given_up_and_the_others_go_on(serve: Serve) -> None:
    server = serve(
        lambda body, _asked: Reply(status=500, error={"message": "boom"}) if said(body) == "bad" else Reply("fine")
    )
    found = results(f"tiny@{server.url}?retries=2", request("bad"), request("good"))
    failure = found["bad"].error
    assert failure is not None
    assert failure.message == "the server failed on this request: tried 3 times; 500: boom"
    assert server.asked("bad") == 3
    assert found["good"].answer.text == "fine"


def test_a_server_that_is_silent_is_not_waited_for_for_ever(serve: Serve) -> None:
    server = serve(lambda _body, asked: Reply("a b", pauses=30 if asked == 0 else 0))
    assert answer(f"tiny@{server.url}?timeout=0.3", request("x")).text == "a b"


def test_slow_pieces_are_no_silence(serve: Serve) -> None:
    server = serve(lambda _body, _asked: Reply("a b c d e f", pauses=0.15))
    assert answer(f"tiny@{server.url}?timeout=0.6&retries=0", request("x")).text == "a b c d e f"
    assert server.asked("x") == 1


def test_a_server_that_goes_is_waited_for_and_then_all_that_waits_is_an_error_with_the_reason(serve: Serve) -> None:
    server = serve()
    engine = load(parse_spec(f"openai:tiny@{server.url}?retries=2", Path()), lambda _text: None)
    server.stop()
    found = list(engine.generate(Inbox([request(f"{n}") for n in range(40)], closed=True)))
    engine.close()
    failures = [event.error for event in found if isinstance(event, Result)]
    assert len(failures) == 40
    assert {failure.kind for failure in failures if failure} == {"engine"}
    for failure in failures:
        assert failure is not None
        assert failure.message.startswith(f"no server is left that could answer: {server.url}: no connection: ")
        assert failure.message.endswith("(tried 3 times)")


def test_a_server_that_comes_back_is_asked_again(serve: Serve) -> None:
    server = serve()
    engine = load(parse_spec(f"openai:tiny@{server.url}?retries=8", Path()), lambda _text: None)
    port = int(server.url.split(":")[2].split("/")[0])
    server.stop()
    back = ScriptedServer()
    threading.Timer(0.3, lambda: back.start(port=port)).start()
    found = list(engine.generate(Inbox([request(f"{n}") for n in range(20)], closed=True)))
    engine.close()
    back.stop()
    assert sum(isinstance(event, Result) and event.completion is not None for event in found) == 20


def test_servers_share_one_backlog_and_the_work_of_one_that_goes(serve: Serve) -> None:
    first, second, third = serve(), serve(), serve()

    def leave(body: Body, _asked: int) -> Reply:
        threading.Thread(target=third.stop).start()
        time.sleep(0.2)
        return Reply(f"It says {said(body)}")

    third.script = leave
    urls = f"{first.url},{second.url},{third.url}"
    asked = [request(f"number {number}") for number in range(100)]
    found = results(f"tiny@{urls}?concurrency=4&retries=3", *asked)
    assert all(found[each.id].answer.text == f"It says {each.id}" for each in asked)
    assert min(len(first.bodies), len(second.bodies)) > 20
    assert max(server.most_active for server in (first, second)) <= 4


def test_left_to_itself_it_finds_what_a_server_takes(serve: Serve) -> None:
    busy = threading.Semaphore(6)

    def script(body: Body, _asked: int) -> Reply:
        if not busy.acquire(blocking=False):
            return Reply(status=429)
        time.sleep(0.01)
        busy.release()
        return Reply(f"It says {said(body)}")

    server = serve(script)
    asked = [request(f"number {number}") for number in range(120)]
    found = events(f"tiny@{server.url}", asked)
    assert sum(isinstance(event, Result) and event.completion is not None for event in found) == 120
    usage = [event.usage for event in found if isinstance(event, Working)][-1]
    assert usage is not None
    assert usage["throttled"] > 0
    assert 1 <= usage["most_concurrency"] <= 16


def test_without_complaints_it_grows(serve: Serve) -> None:
    server = serve(lambda _body, _asked: Reply("a", pauses=0.05))
    found = events(f"tiny@{server.url}", [request(f"number {number}") for number in range(150)])
    usage = [event.usage for event in found if isinstance(event, Working)][-1]
    assert usage is not None
    assert usage["most_concurrency"] > 24
    assert server.most_active > 20


@pytest.mark.parametrize(
    ("reply", "text", "reasoning", "raw"),
    [
        (Reply(message={"content": "Paris", "reasoning_content": "Hm."}), "Paris", "Hm.", None),
        (Reply(message={"content": None, "reasoning": "Hm."}), "", "Hm.", None),
        (Reply("<think>Hm.</think>Paris"), "Paris", "Hm.", "<think>Hm.</think>Paris"),
        (Reply("Hm.</think>Paris"), "Paris", "Hm.", "Hm.</think>Paris"),
        (Reply(message={"content": None}), "", None, ""),
        (Reply(""), "", None, ""),
        (Reply(message={"content": None, "refusal": "No."}), "No.", None, "No."),
    ],
)
def test_thoughts_are_as_the_server_tells_them_else_as_those_of_any_model(
    serve: Serve, reply: Reply, text: str, reasoning: str | None, raw: str | None
) -> None:
    found = answer(f"tiny@{serve(lambda _body, _asked: reply).url}", request("x"))
    assert (found.text, found.reasoning, found.raw) == (text, reasoning, raw)


def test_counts_are_those_of_the_server_and_none_is_made_up(serve: Serve) -> None:
    usages: dict[str, Any] = {
        "right": {"prompt_tokens": 11, "completion_tokens": 7},
        "none": None,
        "odd": {"completion_tokens": "7", "prompt_tokens": -1},
        "many": {"completion_tokens": 9000},
    }
    server = serve(lambda body, _asked: Reply("a b", usage=usages[said(body)]))
    found = events(f"tiny@{server.url}", [request(name) for name in usages])
    counts = {
        event.id: (event.answer.prompt_tokens, event.answer.completion_tokens)
        for event in found
        if isinstance(event, Result)
    }
    assert counts == {"right": (11, 7), "none": (None, None), "odd": (None, None), "many": (1, 9000)}
    notes = sorted(event.text for event in found if isinstance(event, Noted))
    assert [note.partition(" for ")[0].partition(" (")[0] for note in notes] == [
        "the server gives no usable counts of tokens",
        "the server wrote more tokens than max_new_tokens allows",
    ]


def test_a_model_that_is_seen_to_think_gets_the_room_that_was_allowed_for_it(serve: Serve) -> None:
    def script(body: Body, _asked: int) -> Reply:
        if body["max_tokens"] < 50:
            return Reply(message={"content": None, "reasoning_content": "Hm, hm"}, finish="length")
        return Reply(message={"content": "Paris", "reasoning_content": "Hm."})

    server = serve(script)
    assert answer(f"tiny@{server.url}", request("x", max_new_tokens=10, thinking_allowance=90)).text == "Paris"
    assert [body["max_tokens"] for body in server.bodies] == [10, 100]
    assert answer(f"tiny@{server.url}", request("y", max_new_tokens=10)).finish_reason == "length"


def test_a_stop_string_ends_the_text_also_where_the_server_leaves_it_in(serve: Serve) -> None:
    found = answer(f"tiny@{serve(lambda _b, _a: Reply('one. two. three')).url}", request("x", stop=(". t", "three")))
    assert (found.text, found.finish_reason) == ("one", "stop")


def test_a_request_that_cannot_be_sent_is_the_error_of_its_case(serve: Serve) -> None:
    found = results(f"tiny@{serve().url}", request("half \ud800"), request("good"))
    failure = found["half \ud800"].error
    assert failure is not None
    assert failure.message.startswith("this request cannot be sent, or its answer not be read: UnicodeEncodeError")
    assert found["good"].answer.text == "It says good"


def test_characters_that_end_lines_elsewhere_stay_in_the_text(serve: Serve) -> None:
    text = "a\u2028b\u2029c\x85d\u00e9 \U0001f600 \x0be\x1cf\r\ng"
    for streams in (True, False):
        server = serve(lambda _body, _asked: Reply(text), streams=streams)
        assert answer(f"tiny@{server.url}", request("x")).text == text


def test_samples_are_requests_with_seeds_of_their_own(serve: Serve) -> None:
    server = serve(lambda body, _asked: Reply(f"seed {body['seed']}"))
    params = GenerationParams(n=3, temperature=1.0, seed=5)
    found = answer(f"tiny@{server.url}", request("x", n=3, temperature=1.0, seed=5))
    seeds = [params.sample_seed(sample) % 2**31 for sample in range(3)]
    assert [sample.text for sample in found.samples] == [f"seed {seed}" for seed in seeds]
    assert found.text == "seed 5"


def test_tool_calls_are_read_and_those_that_cannot_be_stay_text(serve: Serve) -> None:
    good = {"index": 0, "id": "c1", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    bad = {"index": 1, "id": "c2", "function": {"name": "weather", "arguments": '{"city": '}}

    def script(body: Body, _asked: int) -> Reply:
        if said(body) != "x":
            return Reply("ok", usage={"prompt_tokens": 80 if "tools" in body else 20})
        return Reply(message={"content": None, "tool_calls": [good, bad]}, finish="tool_calls")

    tools = ({"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}},)
    found = answer(f"tiny@{serve(script).url}", request("x", tools=tools))
    assert found.tool_calls == (ToolCall("weather", {"city": "Oslo"}, "c1"),)
    assert found.finish_reason == "tool_calls"
    assert found.tool_call_error == "the arguments of a call are not a JSON object"
    assert json.loads(found.text) == {"name": "weather", "arguments": '{"city": '}


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"repetition_penalty": 1.1}, "repetition_penalty"),
        ({"regex": "a+"}, "regex"),
        ({"choice": ("a", "b")}, "choice"),
        ({"max_thinking_tokens": 5}, "max_thinking_tokens"),
        ({"sampling": "model"}, "sampling"),
    ],
)
def test_what_no_server_is_known_to_do_is_refused_by_name(serve: Serve, params: dict[str, Any], name: str) -> None:
    server = serve()
    assert error(f"tiny@{server.url}", request("x", **params)) == (
        "unsupported",
        f"openai:tiny cannot honour the generation parameter {name!r}; leave it out for this model",
    )
    assert not server.bodies


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
PROBED = [
    ({"temperature": 0.5, "top_k": 3}, "top_k"),
    ({"temperature": 0.5, "top_p": 0.9}, "top_p"),
    ({"temperature": 0.5, "min_p": 0.1}, "min_p"),
    ({"json_schema": {"type": "object"}}, "json_schema"),
    ({"chat_template_kwargs": {"enable_thinking": False}}, "chat_template_kwargs"),
    ({"tools": (TOOL,)}, "tools"),
    ({"logprobs": True}, "logprobs"),
]


@pytest.mark.parametrize(("params", "name"), PROBED)
def test_what_a_server_passes_over_is_refused_by_name_and_found_out_once(
    serve: Serve, params: dict[str, Any], name: str
) -> None:
    stories = itertools.count()
    server = serve(lambda _body, _asked: Reply(f"story {next(stories)}", usage={"prompt_tokens": 20}))
    found = results(f"tiny@{server.url}", *(request("x", str(number), **params) for number in range(10)))
    for result in found.values():
        assert result.error is not None
        assert result.error.kind == "unsupported"
        assert repr(name) in result.error.message
    assert len(server.bodies) <= 10


@pytest.mark.parametrize(("params", "name"), PROBED)
def test_what_a_server_obeys_is_sent(serve: Serve, params: dict[str, Any], name: str) -> None:
    def script(body: Body, _asked: int) -> Reply:
        if body.get("chat_template_kwargs") == 7:
            return Reply(status=400, error={"message": "it must be an object"})
        if "enum" in json.dumps(body.get("response_format", "")):
            return Reply('{"probe": "kestrel-41"}')
        if said(body) != "x":
            return Reply("the same", usage={"prompt_tokens": 80 if "tools" in body else 20})
        chat = {"content": [{"token": "a", "logprob": -0.5}]} if body.get("logprobs") else None
        return Reply("fine", logprobs=chat)

    server = serve(script)
    found = answer(f"tiny@{server.url}", request("x", **params))
    assert found.text == "fine"
    sent = next(body for body in server.bodies if said(body) == "x")
    assert ("response_format" if name == "json_schema" else name) in sent
    assert found.logprobs == ((-0.5,) if name == "logprobs" else None)


def test_a_server_that_wants_other_names_is_spoken_to_in_its_way(serve: Serve) -> None:
    def script(body: Body, _asked: int) -> Reply:
        if "stream_options" in body:
            return Reply(status=400, error={"message": "Unrecognized request argument supplied: stream_options"})
        if "max_tokens" in body:
            message = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
            return Reply(status=400, error={"message": message})
        return Reply("fine")

    server = serve(script)
    found = results(f"tiny@{server.url}?retries=0", *(request("x", str(number)) for number in range(30)))
    assert all(result.answer.text == "fine" for result in found.values())
    assert server.bodies[-1]["max_completion_tokens"] == 256


def test_plain_prompts_go_to_completions_and_choices_are_weighed_there(serve: Serve) -> None:
    def script(body: Body, _asked: int) -> Reply:
        if not body.get("echo"):
            return Reply("fine")
        words = [word if place == 0 else f" {word}" for place, word in enumerate(said(body).split(" "))]
        values = [None, *(-float(len(word)) for word in words[1:])]
        likely = [None, *({word: -0.1} for word in words[1:])]
        return Reply("x", logprobs={"tokens": words, "token_logprobs": values, "top_logprobs": likely})

    server = serve(script)
    spec = f"tiny@{server.url}?template=none"
    assert answer(spec, request("Say it")).text == "fine"
    assert server.bodies[-1]["prompt"] == "Say it"
    found = answer(spec, request("The sky is", choices=(" blue", " very green")))
    assert found.likelihoods is not None
    assert [(each.text, each.logprob, each.tokens) for each in found.likelihoods] == [
        (" blue", -5.0, 1),
        (" very green", -11.0, 2),
    ]
    assert found.prompt_tokens == 3
    assert error(spec, request("x", json_schema={}))[0] == "unsupported"


def weighed(text: str) -> list[Any]:
    """A prompt's tokens as vLLM's ``prompt_logprobs`` has them: by id, with the likeliest one where that is another."""
    words = [word if place == 0 else f" {word}" for place, word in enumerate(text.split(" "))]
    entries: list[Any] = [None]
    for word in words[1:]:
        found = {str(len(word) + 100): {"logprob": -float(len(word)), "rank": 3, "decoded_token": word}}
        if word != " blue":
            found["7"] = {"logprob": -0.5, "rank": 1, "decoded_token": " so"}
        entries.append(found)
    return entries


@pytest.mark.parametrize("inside", [True, False])
def test_choices_are_weighed_by_prompt_logprobs_where_there_is_no_echo(serve: Serve, *, inside: bool) -> None:
    def script(body: Body, _asked: int) -> Reply:
        if not body.get("prompt_logprobs"):
            return Reply(status=400, error={"message": "echo is not supported"}) if body.get("echo") else Reply("fine")
        choice = {"index": 0, "text": "x", "finish_reason": "length"}
        found = {"prompt_logprobs": weighed(said(body))}
        answered = {"choices": [{**choice, **found}]} if inside else {"choices": [choice], **found}
        return Reply(raw=json.dumps(answered))

    server = serve(script)
    choices = (" blue", " very green", "s")
    found = results(
        f"tiny@{server.url}?template=none",
        request("The sky is", choices=choices[:2]),
        request("a b", choices=choices[2:]),
    )
    likelihoods = found["The sky is"].answer.likelihoods
    assert likelihoods is not None
    assert [(each.logprob, each.tokens, each.bytes, each.greedy) for each in likelihoods] == [
        (-5.0, 1, 5, True),
        (-11.0, 2, 11, False),
    ]
    assert found["The sky is"].answer.prompt_tokens == 3
    failure = found["a b"].error
    assert failure is not None
    assert "'s' does not begin where a token begins" in failure.message


def test_prompt_logprobs_that_cannot_be_read_are_no_likelihoods(serve: Serve) -> None:
    odd = [[None, None, {}], [None, {"5": {"logprob": -1.0}}], "none", [None, {"5": -1.0}, {"6": -1.0}, {"7": -1.0}]]
    for value in odd:
        raw = json.dumps({"choices": [{"text": "x", "prompt_logprobs": value}]})
        server = serve(lambda body, _asked, raw=raw: Reply(raw=raw) if body.get("prompt_logprobs") else Reply("x"))
        kind, message = error(f"tiny@{server.url}?template=none", request("x", choices=(" a", " b")))
        assert (kind, "does not give the log-probabilities of a prompt" in message) == ("unsupported", True)


def test_choices_are_refused_where_the_server_shows_no_likelihoods(serve: Serve) -> None:
    server = serve()
    kind, message = error(f"tiny@{server.url}?template=none", request("x", choices=(" a", " b")))
    assert (kind, "does not give the log-probabilities of a prompt" in message) == ("unsupported", True)
    kind, message = error(f"tiny@{server.url}", request("x", choices=(" a", " b")))
    assert (kind, "cannot tell how likely a text is" in message) == ("unsupported", True)


# -- Before anything is asked


def refused(spec: str) -> str:
    with pytest.raises(ModelError) as caught:
        load(parse_spec(f"openai:{spec}", Path()), lambda _text: None)
    return str(caught.value)


def test_an_address_where_nothing_listens_is_an_error(serve: Serve) -> None:
    gone = serve()
    gone.stop()
    assert refused(f"tiny@{gone.url}").startswith(f"{gone.url}: no connection: ")


def test_a_server_that_is_no_model_server_is_an_error(serve: Serve) -> None:
    page = serve(lambda _body, _asked: Reply(raw="<html>"), models=None)
    assert f"{page.url} does not answer as a server with OpenAI's API: GET /models: 404" in refused(f"tiny@{page.url}")
    other = serve(lambda _body, _asked: Reply(status=404), models=None)
    assert f"{other.url} is not a server with OpenAI's API, or has no model 'tiny'" in refused(f"tiny@{other.url}")


def test_a_model_that_the_server_does_not_have_is_an_error_that_lists_what_it_has(serve: Serve) -> None:
    server = serve(models=("tiny-7b", "llama3:latest"))
    assert refused(f"tiny@{server.url}") == (
        f"{server.url} has no model 'tiny' (it has: llama3:latest, tiny-7b); did you mean 'tiny-7b'?"
    )
    assert answer(f"llama3@{server.url}", request("x")).text == "It says x"


def test_a_server_without_a_list_of_models_is_asked_for_one_token(serve: Serve) -> None:
    for models in (None, ()):
        server = serve(models=models)
        found = load(parse_spec(f"openai:tiny@{server.url}", Path()), lambda _text: None)
        found.close()
        assert any("no list of models" in note for note in found.info.notes)
        assert [body["max_tokens"] for body in server.bodies] == [1]


def test_a_key_that_is_missing_or_wrong_is_an_error_without_the_key(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(key="right-and-secret")
    assert "wants a key (401: Incorrect API key provided: None.)" in refused(f"tiny@{server.url}")
    monkeypatch.setenv("MINE", "wrong-and-secret")
    message = refused(f"tiny@{server.url}?key_env=MINE")
    assert "does not accept the key in MINE (401" in message
    assert "wrong-and-secret" not in message
    monkeypatch.setenv("MINE", "right-and-secret")
    assert answer(f"tiny@{server.url}?key_env=MINE", request("x")).text == "It says x"
    monkeypatch.delenv("MINE")
    assert "key_env names a variable of the environment that is not set" in refused(f"tiny@{server.url}?key_env=MINE")


def test_one_server_of_several_that_is_not_there_is_noted(serve: Serve) -> None:
    here, gone = serve(), serve()
    gone.stop()
    engine = load(parse_spec(f"openai:tiny@{here.url},{gone.url}?retries=1", Path()), lambda _text: None)
    assert any(note.startswith(f"{gone.url}: no connection") for note in engine.info.notes)
    found = list(engine.generate(Inbox([request(f"{n}") for n in range(9)], closed=True)))
    engine.close()
    assert sum(isinstance(event, Result) and event.completion is not None for event in found) == 9


def test_a_server_that_falls_over_a_wrong_template_variable_reads_them(serve: Serve) -> None:
    def script(body: Body, _asked: int) -> Reply:
        return Reply(status=500) if body.get("chat_template_kwargs") == 7 else Reply("fine")

    server = serve(script)
    asked = request("x", chat_template_kwargs={"enable_thinking": False})
    assert answer(f"tiny@{server.url}", asked).text == "fine"
    assert server.bodies[-1]["chat_template_kwargs"] == {"enable_thinking": False}
    # One on which everything fails is not taken for that.
    kind, message = error(f"tiny@{serve(lambda _body, _asked: Reply(status=500)).url}?retries=1", asked)
    assert (kind, message) == ("model", "the server failed on this request: tried 2 times; 500: no")


# -- Servers that take more than they can do


def test_a_server_that_opens_streams_and_lets_requests_wait_is_not_sent_more_and_more(serve: Serve) -> None:
    turn = threading.Lock()

    def one_at_a_time(body: Body, _asked: int) -> Reply:
        return Reply(f"It says {said(body)}", before=lambda: held(turn, 0.06))

    server = serve(one_at_a_time)
    asked = [request(f"number {number}") for number in range(24)]
    # The sixteenth waits longer than the server may be silent.
    found = events(f"tiny@{server.url}?timeout=0.5&retries=50", asked)
    assert {event.id: event.answer.text for event in found if isinstance(event, Result)} == {
        each.id: f"It says {each.id}" for each in asked
    }
    usage = [event.usage for event in found if isinstance(event, Working)][-1]
    assert usage is not None
    assert usage["most_concurrency"] < 16
    assert usage["retries"] > 0


def held(lock: threading.Lock, seconds: float) -> None:
    with lock:
        time.sleep(seconds)
