"""Tools on the engine: shown by the chat template, called by the model, read from its tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers

from pytest_evals.completion import Message, ToolCall
from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers.replies import ReplyReader
from pytest_evals.engines.transformers.tool_calling import OfferedTools
from pytest_evals.generation import GenerationParams, parse_generation
from pytest_evals.replies.form import ReplyForm
from pytest_evals.tools import tool_schemas

from .conftest import FAMILIES, answers, make_tokenizer, open_engine, save_model, usage_of

HERMES = (
    "{%- if tools %}<system>{% for tool in tools %}{{ tool | tojson }}{% endfor %}Call: <tool_call>\n{}\n</tool_call><end>{% endif %}"
    "{%- for message in messages %}<{{ message.role if message.role != 'tool' else 'user' }}>{{ message.content }}"
    "{%- for call in message.tool_calls or [] %}<tool_call>\n"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}\n</tool_call>{% endfor %}<end>'
    "{%- endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
TOOLS = tool_schemas(
    [
        {
            "name": "add",
            "description": "Add.",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                "required": ["a", "b"],
            },
        },
        {"name": "now"},
    ]
)
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'


@pytest.fixture(scope="module")
def knowing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model whose chat template shows tools."""
    config = FAMILIES["llama"]()
    config.max_position_embeddings = 1024
    return save_model(tmp_path_factory.mktemp("tools"), config, make_tokenizer(HERMES))


def ask(
    key: str, messages: tuple[Message, ...] = ({"role": "user", "content": "1 + 2?"},), **generation: Any
) -> Request:
    params = parse_generation({"max_new_tokens": 120, "tools": list(TOOLS), **generation})
    return Request(key, "m", messages, params)


def test_a_call_is_read_from_the_reply(knowing: Path) -> None:
    engine = open_engine(knowing)
    first = answers(
        engine,
        [
            ask("a", choice=[f"Yes. {CALL}"]),
            ask("b", choice=["<tool_call>{"]),
            ask("c", choice=[CALL], tool_choice="none"),
        ],
    )
    called, broken, plain = (first[key].answer for key in "abc")
    assert (called.text, called.finish_reason) == ("Yes.", "tool_calls")
    assert called.tool_calls == (ToolCall("add", {"a": 1, "b": 2}, "call00000"),)
    assert called.raw == f"Yes. {CALL}"
    assert (broken.text, broken.tool_calls, broken.finish_reason) == ("<tool_call>{", (), "stop")
    assert "cut off" in (broken.tool_call_error or "")
    assert (plain.text, plain.tool_calls) == (CALL, ())
    tokenizer = transformers.AutoTokenizer.from_pretrained(knowing)
    shown = tokenizer.apply_chat_template(
        [{"role": "user", "content": "1 + 2?"}],
        tools=[dict(tool) for tool in TOOLS],
        add_generation_prompt=True,
        return_dict=False,
    )
    assert called.prompt_tokens == len(shown)
    assert (plain.prompt_tokens or 0) < len(shown)


def test_the_next_turn_goes_on_from_what_is_kept_of_the_one_before(knowing: Path) -> None:
    engine = open_engine(knowing)
    first = answers(engine, [ask("a", choice=[CALL])])["a"].answer
    following: tuple[Message, ...] = (
        {"role": "user", "content": "1 + 2?"},
        {"role": "assistant", "content": None, "tool_calls": [first.tool_calls[0].to_message()]},
        {"role": "tool", "tool_call_id": "call00000", "name": "add", "content": "3"},
    )
    before = usage_of(engine)["prompt_tokens"]
    second = answers(engine, [ask("b", following, choice=[CALL])])["b"].answer
    assert second.tool_calls[0].id == "call00001"
    kept = (first.prompt_tokens or 0) + (first.completion_tokens or 0)
    assert usage_of(engine)["prompt_tokens"] - before <= (second.prompt_tokens or 0) - kept + 2


def test_a_model_that_has_to_call_a_tool_writes_a_call_that_its_schema_allows(knowing: Path) -> None:
    pytest.importorskip("xgrammar")
    engine = open_engine(knowing)
    for name, answer in answers(
        engine, [ask(f"{n}", ({"role": "user", "content": "x" * n},), tool_choice="required") for n in range(1, 4)]
    ).items():
        completion = answer.answer
        if completion.finish_reason == "length":
            continue
        (call,) = completion.tool_calls
        assert call.name in ("add", "now"), name
        assert set(call.arguments) == ({"a", "b"} if call.name == "add" else set())


def test_tools_are_refused_where_the_chat_template_shows_none(tiny: Path, knowing: Path) -> None:
    refused = answers(open_engine(tiny), [ask("a")])["a"].error
    assert refused is not None
    assert (refused.kind, refused.parameter) == ("unsupported", "tools")
    assert "has a chat template that shows no tools; leave them out for this model" in refused.message
    plain = answers(open_engine(knowing, "?template=none"), [ask("a")])["a"].error
    assert plain is not None
    assert "has no chat template" in plain.message


def reader_of(special: list[str], form: str, template: dict[str, Any] | None = None) -> tuple[Any, ReplyReader]:
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    if template is not None:
        tokenizer.response_template = template
    return tokenizer, ReplyReader(tokenizer, ReplyForm()).offering(OfferedTools(TOOLS, form, 0), ())


@pytest.mark.parametrize(
    ("special", "form", "text"),
    [
        (["[TOOL_CALLS]", "[ARGS]"], "mistral", 'Ok[TOOL_CALLS]add[ARGS]{"a": 1, "b": 2}'),
        (["<|tool_call>", "<tool_call|>", '<|"|>'], "gemma", "Ok<|tool_call>call:add{a:1,b:2}<tool_call|>"),
        (
            ["<start_function_call>", "<end_function_call>", "<escape>"],
            "functiongemma",
            "Ok<start_function_call>call:add{a:<escape>1<escape>,b:2}<end_function_call>",
        ),
        (["<tool_call>", "</tool_call>"], "hermes", f"Ok{CALL}"),
        (
            ["<|python_tag|>", "<|eom_id|>"],
            "bare",
            '<|python_tag|>{"name": "add", "parameters": {"a": 1, "b": 2}}<|eom_id|>',
        ),
        (
            ["<|start|>", "<|channel|>", "<|message|>", "<|constrain|>", "<|call|>", "<|end|>"],
            "harmony",
            '<|channel|>commentary to=functions.add <|constrain|>json<|message|>{"a": 1, "b": 2}<|call|>',
        ),
    ],
)
def test_marks_that_are_special_tokens_are_seen_before_these_are_dropped(
    special: list[str], form: str, text: str
) -> None:
    tokenizer, reader = reader_of(special, form)
    reply = reader.read(tokenizer(text, add_special_tokens=False)["input_ids"])
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [("add", {"a": 1, "b": 2})]
    assert reply.text == ("Ok" if text.startswith("Ok") else "")
    assert reply.raw == text


RESPONSE_TEMPLATE = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<assistant>",
    "fields": {
        "tool_calls": {
            "open": "@call ",
            "close": "@",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {"close": "<end>", "content": "text"},
    },
}


def test_the_response_template_of_a_tokenizer_reads_its_calls() -> None:
    tokenizer, reader = reader_of([], "bare", RESPONSE_TEMPLATE)

    def read(text: str) -> Any:
        return reader.read(tokenizer(text, add_special_tokens=False)["input_ids"])

    reply = read('Ok. @call {"name": "add", "arguments": {"a": 1, "b": 2}}@@call {"name": "now", "arguments": {}}@')
    assert [(call.name, dict(call.arguments)) for call in reply.tool_calls] == [("add", {"a": 1, "b": 2}), ("now", {})]
    assert reply.text == "Ok."
    assert read("No call.").text == "No call."
    broken = read('@call {"name": "add", "argum@')
    assert (broken.text, broken.tool_calls) == ('@call {"name": "add", "argum@', ())
    assert broken.tool_call_error
    assert json.dumps(GenerationParams(tools=TOOLS).to_dict())
