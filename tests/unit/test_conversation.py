"""The conversation of a case: whose it is, and what is none."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_evals.completion import ToolCall
from pytest_evals.errors import DatasetError, SuiteError, TemplateError
from pytest_evals.suites.conversation import RecordedCompletion, check_messages
from tests.unit.building import PROMPT, ROWS, first, refusal, talk

CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"city": "Rome"}'}}


def test_a_prompt_is_the_users_message() -> None:
    assert talk(first(prompt=PROMPT)) == [("user", "Capital of France?")]


def test_a_system_message_stands_first() -> None:
    prepared = first(prompt=PROMPT, system="You know {{item.country}}.")
    assert talk(prepared) == [("system", "You know France."), ("user", "Capital of France?")]


def test_a_system_message_replaces_that_of_the_row() -> None:
    messages = [{"role": "system", "content": "old"}, {"role": "user", "content": "hi"}]
    assert talk(first([{"messages": messages}], system="new")) == [("system", "new"), ("user", "hi")]


def test_the_row_is_not_changed_by_a_system_message() -> None:
    row = {"messages": [{"role": "system", "content": "old"}, {"role": "user", "content": "hi"}]}
    first([row], system="new")
    assert row["messages"][0]["content"] == "old"


def test_messages_are_templates() -> None:
    messages = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": "It is"}]
    assert talk(first(messages=messages)) == [("user", "Capital of France?"), ("assistant", "It is")]


@pytest.mark.parametrize("locator", ["item.talk", "{{item.talk}}"])
def test_messages_may_be_a_locator(locator: str) -> None:
    row = {"talk": [{"role": "user", "content": "{{not a template}}"}]}
    assert talk(first([row], messages=locator)) == [("user", "{{not a template}}")]


def test_a_rows_own_messages_are_the_conversation() -> None:
    assert talk(first([{"messages": [{"role": "user", "content": "hi"}]}])) == [("user", "hi")]


def test_a_prompt_goes_before_a_rows_messages() -> None:
    row = {"messages": [{"role": "user", "content": "hi"}], "q": "x"}
    assert talk(first([row], prompt="{{item.q}}")) == [("user", "x")]


def test_extra_keys_of_a_message_are_kept_and_rendered() -> None:
    messages = [{"role": "user", "content": "hi", "name": "{{item.country}}"}]
    assert first(messages=messages).prompt[0]["name"] == "France"


def test_a_suite_without_a_conversation_says_what_to_give() -> None:
    prepared = first()
    assert prepared.prompt == ()
    assert prepared.problem is not None
    assert "give cases(..., prompt=...) or messages=, or rows with a 'messages' field" in prepared.problem


def test_prompt_and_messages_exclude_each_other() -> None:
    assert "give either prompt= or messages=, not both" in refusal(SuiteError, prompt="a", messages="item.m")


def test_a_prompt_that_is_no_text_says_where_conversations_go() -> None:
    message = refusal(SuiteError, prompt=[{"role": "user", "content": "x"}])
    assert "prompt must be a string, not list; a conversation goes into messages=" in message


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "messages must be a list of {'role', 'content'} with at least one entry, not []"),
        ("hi", "messages must be a list of {'role', 'content'} with at least one entry, not 'hi'"),
        ({"role": "user", "content": "x"}, "messages must be a list"),
        (["hi"], "message 1 must be an object with 'role' and 'content', not 'hi'"),
        ([{"role": "user"}], "message 1 must have a 'content': a text, or a list of parts"),
        ([{"role": "user", "content": None}], "null is allowed beside 'tool_calls' only"),
        ([{"role": "user", "content": []}], "message 1 must have a 'content': a text, or a list of parts"),
        ([{"role": "user", "content": 5}], "message 1 must have a 'content': a text, or a list of parts"),
        (
            [{"role": "user", "content": [{"type": "video"}]}],
            "message 1 has a part {'type': 'video'} (known types: text",
        ),
        ([{"role": "user", "content": [{"type": "text"}]}], "message 1 has a part of type 'text' without its 'text'"),
        (
            [{"role": "user", "content": "x", "tool_calls": [CALL]}],
            "tool_calls is a list, in a message of the assistant",
        ),
        ([{"role": "assistant", "content": "x", "tool_calls": "y"}], "tool_calls is a list, in a message"),
        (
            [{"role": "assistant", "content": "x", "tool_calls": [{"name": "f"}]}],
            "message 1 has a tool call {'name': 'f'}",
        ),
        (
            [{"role": "user", "content": "x"}, {"role": "tool", "content": "5"}],
            "message 2 is a tool's answer to a call, and no message before it makes",
        ),
        (
            [
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "content": "5", "tool_call_id": "c2"},
            ],
            "message 2 is a tool's answer to the call 'c2', which no message before it makes",
        ),
        ([{"content": "x"}], "message 1 has the role None (known: system, user, assistant, tool, developer)"),
        (
            [{"role": "user", "content": "a"}, {"role": "bot", "content": "x"}],
            "message 2 has the role 'bot' (known: system, user",
        ),
    ],
)
def test_bad_messages_of_a_row_name_place_and_message(messages: object, words: str) -> None:
    message = refusal(DatasetError, [{"messages": messages}])
    assert "row 1 of inline: " in message
    assert words in message


def test_a_message_of_the_suite_that_is_no_object_is_refused() -> None:
    assert "messages must be a list of {'role', 'content'}, found str" in refusal(SuiteError, messages=["hi"])


@pytest.mark.parametrize("argument", ["prompt", "system"])
def test_an_unknown_field_of_a_template_names_the_row(argument: str) -> None:
    arguments = {"prompt": "x", argument: "{{item.captal}}"}
    message = refusal(TemplateError, [ROWS[0], {"country": "Chad"}], **arguments)
    assert ".py:" in message
    assert "row 1 of inline: unknown field 'captal'" in message


def test_a_field_that_only_some_rows_lack_names_the_row_that_lacks_it() -> None:
    message = refusal(TemplateError, [ROWS[0], {"country": "Chad"}], prompt="{{item.capital}}")
    assert "row 2 of inline: unknown field 'capital' in 'item.capital': item has country" in message


# -- recorded completions


def test_a_recorded_completion_is_kept_as_it_is() -> None:
    prepared = first([{"completion": " {{x}} "}])
    assert prepared.recorded == " {{x}} "


def test_an_empty_completion_is_recorded_too() -> None:
    assert first([{"completion": ""}]).recorded == ""


def test_a_completion_of_null_is_not_recorded() -> None:
    assert first([{"completion": None}], prompt="x").recorded is None


def test_a_recorded_completion_may_come_in_its_parts() -> None:
    calls = [{"name": "find", "arguments": {"city": "Paris"}}, CALL]
    recorded = {"text": "<think> is a tag", "reasoning": "hm", "tool_calls": calls}
    read = (ToolCall("find", {"city": "Paris"}), ToolCall("find", {"city": "Rome"}, "c1"))
    assert first([{"completion": recorded}]).recorded == RecordedCompletion("<think> is a tag", "hm", read)
    assert first([{"completion": {"text": ""}}]).recorded == RecordedCompletion("")
    assert first([{"completion": {"tool_calls": [CALL]}}]).recorded == RecordedCompletion("", None, read[1:])


@pytest.mark.parametrize(
    ("recorded", "words"),
    [
        (5, "must be the recorded text, or an object with 'text', 'reasoning' and 'tool_calls', not int"),
        (["a"], "must be the recorded text, or an object with 'text', 'reasoning' and 'tool_calls', not list"),
        ({}, "must have a 'text'"),
        ({"reasoning": "hm"}, "must have a 'text'"),
        ({"text": None}, "text must be a text, not NoneType"),
        ({"text": "a", "reasoning": ["hm"]}, "reasoning must be a text, not list"),
        ({"text": "a", "content": "b"}, "has an unknown part 'content' (known: text, reasoning, tool_calls)"),
        ({"text": "a", "tool_calls": {"name": "f"}}, "tool_calls must be a list, not dict"),
        ({"text": "a", "tool_calls": [{}]}, "tool call 1 must be an object with a 'name' and 'arguments', not {}"),
        (
            {"text": "a", "tool_calls": [{"name": "f", "arguments": "{"}]},
            "tool call 1: its arguments are not valid JSON",
        ),
        ({"text": "a", "tool_calls": [{"name": "f", "arguments": [1]}]}, "its arguments must be an object, not list"),
        ({"text": "a", "tool_calls": [{"name": "f", "id": 5}]}, "tool call 1: its id must be a text, not 5"),
    ],
)
def test_a_recorded_completion_of_the_wrong_shape_is_refused(recorded: object, words: str) -> None:
    message = refusal(DatasetError, [{"completion": recorded}])
    assert "row 1 of inline: the field 'completion'" in message
    assert words in message


# -- messages as OpenAI writes them


def test_content_may_come_in_parts() -> None:
    parts = [{"type": "text", "text": "Capital of "}, {"type": "text", "text": "France?", "cache_control": {}}]
    prepared = first([{"messages": [{"role": "user", "content": parts}]}])
    assert talk(prepared) == [("user", "Capital of France?")]
    assert prepared.prompt[0]["content"] == [{"type": "text", "text": text} for text in ("Capital of ", "France?")]


def test_the_texts_of_parts_are_templates() -> None:
    parts = [{"type": "text", "text": "Capital of {{item.country}}?"}]
    assert talk(first(messages=[{"role": "user", "content": parts}])) == [("user", "Capital of France?")]


def test_a_conversation_with_calls_of_tools_is_taken_as_it_was_recorded() -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None},
        {"role": "tool", "tool_call_id": "c1", "content": {"city": "Rome"}},
        {"role": "assistant", "content": "Rome.", "reasoning_content": "The tool says so."},
        {"role": "user", "content": "Sure?"},
    ]
    prepared = first([{"messages": messages}])
    assert [message["content"] for message in prepared.prompt[2:4]] == [None, '{"city": "Rome"}']
    assert prepared.prompt[2]["tool_calls"] == [CALL]
    assert talk(prepared)[2] == ("assistant", "")


@pytest.mark.parametrize(
    ("message", "content", "reasoning"),
    [
        ({"content": "a", "reasoning": "t"}, "a", "t"),
        ({"content": "a", "reasoning_content": "t"}, "a", "t"),
        ({"content": "a", "reasoning": None}, "a", None),
        (
            {"content": [{"type": "thinking", "thinking": "t", "signature": "x"}, {"type": "text", "text": "a"}]},
            [{"type": "text", "text": "a"}],
            "t",
        ),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "t"}, {"type": "text", "text": "u"}]},
                    {"type": "output_text", "text": "a"},
                ]
            },
            [{"type": "text", "text": "a"}],
            "tu",
        ),
        ({"content": [{"type": "reasoning", "text": "t"}], "tool_calls": [CALL]}, "", "t"),
    ],
)
def test_thoughts_of_earlier_turns_stand_in_one_place(
    message: dict[str, Any], content: object, reasoning: str | None
) -> None:
    asked = {"role": "user", "content": [{"type": "input_text", "text": "q"}]}
    question, answer = check_messages([asked, {"role": "assistant", **message}])
    assert question["content"] == [{"type": "text", "text": "q"}]
    assert (answer["content"], answer.get("reasoning_content")) == (content, reasoning)
