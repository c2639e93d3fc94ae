"""Calls of tools as families of models write them. Many of the replies are those of the tests of vLLM and SGLang."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from pytest_evals.completion import ToolCall
from pytest_evals.tool_calls.forms import ANY, BARE, HARMONY, form_of
from pytest_evals.tool_calls.numbering import calls_in, numbered
from pytest_evals.tool_calls.reading import ParsedCalls
from pytest_evals.tool_calls.required import required_call
from pytest_evals.tools import tool_schemas
from tests.unit.tool_calls import made, read

HERMES_CASES: list[tuple[str, list[tuple[str, Any]], str]] = [
    (
        '<tool_call>\n{"name": "final_answer", "arguments": {"trigger": true}}\n</tool_call>',
        [("final_answer", {"trigger": True})],
        "",
    ),
    (
        '<tool_call>\n{"name": "final_answer", "arguments": {"trigger": true}}',
        [("final_answer", {"trigger": True})],
        "",
    ),
    (
        'Sure, let me check the weather.<tool_call>{"name": "get_weather", "arguments": {"city": "NYC"}}</tool_call>',
        [("get_weather", {"city": "NYC"})],
        "Sure, let me check the weather.",
    ),
    (
        (
            '<tool_call>{"name": "search", "arguments": {"q": "cats"}}</tool_call><tool_call>{"name": "search", "arguments": {"q": '
            '"dogs"}}</tool_call>'
        ),
        [("search", {"q": "cats"}), ("search", {"q": "dogs"})],
        "",
    ),
    (
        '<tool_call>\n{"name": "get_db", "arguments": "{\\"param\\": \\"max\\"}"}\n</tool_call>',
        [("get_db", {"param": "max"})],
        "",
    ),
    (
        (
            '<tool_call>{"name": "get_weather", "arguments": {"city": "Paris"}} , {"name": "search", "arguments": {"query": "x"}}'
            "</tool_call>"
        ),
        [("get_weather", {"city": "Paris"}), ("search", {"query": "x"})],
        "",
    ),
    (
        '<tool_call> {"name": "get_weather", "arguments": {"city": "杭州"}} </tool_call>',
        [("get_weather", {"city": "杭州"})],
        "",
    ),
    (
        '<tool_call>{"name": "write", "arguments": {"text": "close it with </tool_call>, or {\\"so\\": 1}"}}</tool_call> done',
        [("write", {"text": 'close it with </tool_call>, or {"so": 1}'})],
        "done",
    ),
    ('<tool_call>{"name": "now"}</tool_call>', [("now", {})], ""),
    ('<tool_call>{"name": "now", "arguments": null}</tool_call>', [("now", {})], ""),
    ('<tool_call> [{"name": "get_weather", "arguments": {"city": "Tokyo"}}]', [("get_weather", {"city": "Tokyo"})], ""),
    (
        '<tool_call>{"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}</tool_call>',
        [("f", {"a": 1})],
        "",
    ),
    ("This is not a tool call.", [], "This is not a tool call."),
    (
        "Tools are called between `<tool_call>` and `</tool_call>`.",
        [],
        "Tools are called between `<tool_call>` and `</tool_call>`.",
    ),
]


@pytest.mark.parametrize(("text", "calls", "left"), HERMES_CASES)
def test_hermes_and_qwen(text: str, calls: list[tuple[str, Any]], left: str) -> None:
    reply = read(text, "hermes")
    assert (made(reply), reply.text, reply.errors) == (calls, left, ())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('<tool_call>\n{"name": "final_answer", "arguments": {"trigger": true}', "cut off"),
        (
            '<tool_call>\n{"name": "do_thing", "arguments": "hello"}\n</tool_call>',
            "the arguments of do_thing are not an object",
        ),
        ('<tool_call>{"name": "f", "arguments": {"x": NaN}}</tool_call>', "NaN is not a JSON number"),
        ('<tool_call>{"name": "f", "arguments": {"x": 1e999}}</tool_call>', "1e999 is not a JSON number"),
        ("<tool_call>{'name': 'f', 'arguments': {}}</tool_call>", "is not valid JSON"),
        ('<tool_call>{"arguments": {}}</tool_call>', "names no function"),
        ('<tool_call>{"name": 3, "arguments": {}}</tool_call>', "is not a function's name"),
        ("<tool_call>Paris</tool_call> and more", "is not valid JSON"),
        ("<tool_call>", "cut off"),
    ],
)
def test_a_call_that_cannot_be_parsed_stays_in_the_text_with_its_reason(text: str, reason: str) -> None:
    reply = read(text, "hermes")
    assert (reply.calls, reply.text) == ((), text)
    assert reason in reply.errors[0]


def test_a_good_call_beside_a_bad_one_is_called() -> None:
    reply = read(
        '<tool_call>{"name": }</tool_call>\n<tool_call>{"name": "search", "arguments": {}}</tool_call>', "hermes"
    )
    assert made(reply) == [("search", {})]
    assert reply.text == '<tool_call>{"name": }</tool_call>'
    assert len(reply.errors) == 1


CODER_CALL = (
    "<tool_call>\n<function=get_weather>\n<parameter=city>\nDallas\n</parameter>\n<parameter=days>\n2\n</parameter>\n"
    "</function>\n</tool_call>"
)


@pytest.mark.parametrize("form", ["hermes", "qwen-coder"])
@pytest.mark.parametrize(
    ("text", "calls", "left"),
    [
        (CODER_CALL, [("get_weather", {"city": "Dallas", "days": 2})], ""),
        (f"Sure!{CODER_CALL}", [("get_weather", {"city": "Dallas", "days": 2})], "Sure!"),
        (f"{CODER_CALL}\n{CODER_CALL}", [("get_weather", {"city": "Dallas", "days": 2})] * 2, ""),
        (
            (
                "<tool_call>\n<function=get_weather>\n<parameter=city>\nDallas\n<parameter=state>\nTX\n</parameter>\n</function>\n"
                "</tool_call>"
            ),
            [("get_weather", {"city": "Dallas", "state": "TX"})],
            "",
        ),
        (
            (
                '<tool_call>\n<function=typed>\n<parameter=data>\n{"width": 10, \n "height": 20}\n</parameter>\n<parameter=word>\n'
                "def f():\n    return 1\n</parameter>\n</function>\n</tool_call>"
            ),
            [("typed", {"data": {"width": 10, "height": 20}, "word": "def f():\n    return 1"})],
            "",
        ),
        ("<tool_call>\n<function=now>\n</function>\n</tool_call>", [("now", {})], ""),
        ('<tool_call>{"name": "search", "arguments": {"query": "x"}}</tool_call>', [("search", {"query": "x"})], ""),
    ],
)
def test_qwen_coder(form: str, text: str, calls: list[tuple[str, Any]], left: str) -> None:
    reply = read(text, form)
    assert (made(reply), reply.text, reply.errors) == (calls, left, ())


def test_qwen_coder_without_its_outer_mark_and_llama_functions() -> None:
    reply = read("<function=get_weather>\n<parameter=city>\nDallas\n</parameter>\n</function>", "qwen-coder")
    assert made(reply) == [("get_weather", {"city": "Dallas"})]
    assert made(read('<function=search>{"query": "x"}</function>', "qwen-coder")) == [("search", {"query": "x"})]


@pytest.mark.parametrize(
    ("argument", "raw", "value"),
    [
        ("whole", "42", 42),
        ("whole", "3.0", 3),
        ("whole", "many", "many"),
        ("share", "3.14", 3.14),
        ("share", "2", 2),
        ("share", "inf", "inf"),
        ("on", "True", True),
        ("on", "0", False),
        ("on", "yes", "yes"),
        ("word", "42", "42"),
        ("word", "true", "true"),
        ("data", '{"key": "value"}', {"key": "value"}),
        ("data", "{'key': True}", {"key": True}),
        ("data", "[1]", "[1]"),
        ("list", '["a", "b"]', ["a", "b"]),
        ("maybe", "5", 5),
        ("maybe", "null", None),
        ("either", "some text", "some text"),
        ("kinds", "42", 42),
        ("optional", "None", None),
        ("optional", "no", "no"),
        ("level", "2", 2),
        ("level", "max", "max"),
        ("unknown", "7", "7"),
    ],
)
def test_an_argument_that_is_written_as_text_has_the_type_that_its_tool_declares(
    argument: str, raw: str, value: Any
) -> None:
    reply = read(f"<function=typed><parameter={argument}>{raw}</parameter></function>", "qwen-coder")
    assert reply.calls[0].arguments == {argument: value}
    assert type(reply.calls[0].arguments[argument]) is type(value)


MISTRAL_CASES: list[tuple[str, list[tuple[str, Any]], str]] = [
    ('[TOOL_CALLS][{"name": "add", "arguments":{"a": 3.5, "b": 4}}]', [("add", {"a": 3.5, "b": 4})], ""),
    ('[TOOL_CALLS]  [ {"name":"add" , "arguments" : {"a": "3", "b": 4} } ]', [("add", {"a": "3", "b": 4})], ""),
    ('[TOOL_CALLS] [{"arguments":{"name": "John Doe"}, "name": "get_age"}]', [("get_age", {"name": "John Doe"})], ""),
    ('Hello[TOOL_CALLS] [{"name": "add", "arguments":{"a": 1}}]', [("add", {"a": 1})], "Hello"),
    ('[TOOL_CALLS] [{"name": "add", "arguments":{}}]\nextra trailing data', [("add", {})], "extra trailing data"),
    ('[TOOL_CALLS]{"name": "add", "arguments": {}}', [("add", {})], ""),
    (
        '[TOOL_CALLS] [{"name":"step", "arguments":{"content":"```\\nANSWER: [City Name] - [Weather]\\n```"}}]',
        [("step", {"content": "```\nANSWER: [City Name] - [Weather]\n```"})],
        "",
    ),
    ('[TOOL_CALLS]add_this_and_that{"a": 3.5, "b": 4}', [("add_this_and_that", {"a": 3.5, "b": 4})], ""),
    ('[TOOL_CALLS]add{"a": 3.5}[TOOL_CALLS]multiply{"a": 3}', [("add", {"a": 3.5}), ("multiply", {"a": 3})], ""),
    ('[TOOL_CALLS]next_step[ARGS]{"decision": "TOOL"}', [("next_step", {"decision": "TOOL"})], ""),
    (
        'hi{hi[TOOL_CALLS]bash{"command": "print(\\"hello world!\\")\\nre.compile(r\'{}\')"}',
        [("bash", {"command": "print(\"hello world!\")\nre.compile(r'{}')"})],
        "hi{hi",
    ),
]


@pytest.mark.parametrize(("text", "calls", "left"), MISTRAL_CASES)
def test_mistral_old_and_new(text: str, calls: list[tuple[str, Any]], left: str) -> None:
    reply = read(text, "mistral")
    assert (made(reply), reply.text, reply.errors) == (calls, left, ())


@pytest.mark.parametrize(
    "text",
    [
        "[TOOL_CALLS] not json at all",
        "[TOOL_CALLS]toolname_no_args",
        '[TOOL_CALLS]bash{"command": "cut',
        "[TOOL_CALLS]",
    ],
)
def test_mistral_calls_that_are_none(text: str) -> None:
    reply = read(text, "mistral")
    assert (reply.calls, reply.text, len(reply.errors)) == ((), text, 1)


def test_mistral_ids() -> None:
    reply = read(
        '[TOOL_CALLS]f[CALL_ID]VvvODy9mT[ARGS]{"a": 1}[TOOL_CALLS] [{"name": "g", "arguments": {}, "id": "bbc5b7ede"}]',
        "mistral",
    )
    assert [call.id for call in reply.calls] == ["VvvODy9mT", "bbc5b7ede"]


LLAMA_CASES: list[tuple[str, list[tuple[str, Any]], str]] = [
    (
        '{"name": "searchTool", "parameters": {"query": "q", "limit": 10}}',
        [("searchTool", {"query": "q", "limit": 10})],
        "",
    ),
    ('{"name": "searchTool", "arguments": {"query": "q"}}', [("searchTool", {"query": "q"})], ""),
    (
        '{"name": "a", "parameters": {"query": "1"}}; {"name": "b", "parameters": {}} ;\n{"name": "c", "parameters": {}}',
        [("a", {"query": "1"}), ("b", {}), ("c", {})],
        "",
    ),
    (
        'Here is the result: {"name": "search", "parameters": {}} Would you like to know more?',
        [("search", {})],
        "Here is the result: Would you like to know more?",
    ),
    (
        '{"name": "search", "parameters": {"query": "test {value} [complex]"}} I used {search} for this.',
        [("search", {"query": "test {value} [complex]"})],
        "I used {search} for this.",
    ),
    (
        '{"name": "search", "parameters": {"query": "He said \\"Hello {world}\\""}}',
        [("search", {"query": 'He said "Hello {world}"'})],
        "",
    ),
    (
        '{"name": "search", "parameters": {"query": "q"}} The arguments were {"query": "q"}',
        [("search", {"query": "q"})],
        'The arguments were {"query": "q"}',
    ),
    (
        '{"name": "deep", "parameters": {"a": {"b": {"c": {"d": "deep"}}}}}',
        [("deep", {"a": {"b": {"c": {"d": "deep"}}}})],
        "",
    ),
    ('{"type": "function", "name": "search", "parameters": {"query": "q"}}', [("search", {"query": "q"})], ""),
    ('{"type": "function", "function": "search", "parameters": {"query": "q"}}', [("search", {"query": "q"})], ""),
    ('<|python_tag|>{"name": "search", "parameters": {"query": "q"}}<|eom_id|>', [("search", {"query": "q"})], ""),
    (
        '<|python_tag|>brave_search.call(query="weather in Menlo Park")',
        [("brave_search", {"query": "weather in Menlo Park"})],
        "",
    ),
    ('```json\n{"name": "search", "parameters": {"query": "q"}}\n```', [("search", {"query": "q"})], ""),
    ('[{"name": "search", "arguments": {"query": "q"}}]', [("search", {"query": "q"})], ""),
    (
        "[get_weather(city='San Francisco', metric='celsius')]",
        [("get_weather", {"city": "San Francisco", "metric": "celsius"})],
        "",
    ),
    (
        "[register_user(name='John Doe', age=37, address={'city': 'SF'}, role=None, passed=True, aliases=['John'])]",
        [
            (
                "register_user",
                {
                    "name": "John Doe",
                    "age": 37,
                    "address": {"city": "SF"},
                    "role": None,
                    "passed": True,
                    "aliases": ["John"],
                },
            )
        ],
        "",
    ),
    ("[get_weather(), search(query=[])]", [("get_weather", {}), ("search", {"query": []})], ""),
    (
        r"[get_weather(city='Martha\'s Vineyard', metric='\"cool units\"')]",
        [("get_weather", {"city": "Martha's Vineyard", "metric": '"cool units"'})],
        "",
    ),
    ("[get_weather('Paris', days=2)]", [("get_weather", {"city": "Paris", "days": 2})], ""),
    ("[search(query='grep -F \"]\" log.txt')]", [("search", {"query": 'grep -F "]" log.txt'})], ""),
    ("[search(query='a\nb')]", [("search", {"query": "a\nb"})], ""),
    (
        "[search(query=-1.5, tags={'b', 'a'}, on=true, off=null)]",
        [("search", {"query": -1.5, "tags": ["b", "a"], "on": True, "off": None})],
        "",
    ),
    ("[grocery.order(items=[{'name': 'noodles'}])]", [("grocery.order", {"items": [{"name": "noodles"}]})], ""),
    (
        "This is some text before [get_weather(city='London')]",
        [("get_weather", {"city": "London"})],
        "This is some text before",
    ),
    (
        "[get_weather(city='Berlin')] and [search(query='restaurants')]",
        [("get_weather", {"city": "Berlin"}), ("search", {"query": "restaurants"})],
        "and",
    ),
]


@pytest.mark.parametrize("form", [BARE, ANY])
@pytest.mark.parametrize(("text", "calls", "left"), LLAMA_CASES)
def test_llama_3_json_and_python(form: str, text: str, calls: list[tuple[str, Any]], left: str) -> None:
    reply = read(text, form)
    assert (made(reply), reply.text, reply.errors) == (calls, left, ())


@pytest.mark.parametrize(
    "text",
    [
        "This is just some text without any tool calls",
        '{"answer": 42}',
        '{"parameters": {}}',
        '{"name": "Ada", "born": 1815}',
        'Some text [{"name": "func"}]',
        "[1, 2, 3]",
        "[Paris](https://example.org) is a city.",
        "[see section 2] It is (f(x) = 1).",
        '```python\nprint({"name": "search"})\n```',
        "How can I help you today?",
        "",
    ],
)
def test_an_answer_is_no_call(text: str) -> None:
    assert read(text, BARE) == ParsedCalls(text)


@pytest.mark.parametrize(
    ("text", "calls", "reasons"),
    [
        ('{"name": "invalidTool", "parameters": {invalid json}', [], 1),
        ("[f(a='x 'y' 'z), g(b='p 'q' 'r)]", [], 1),
        ("[foo(x=1])]", [], 1),
        ("[bad(x=b'z'), get_weather(city='SF')]", [("get_weather", {"city": "SF"})], 1),
        ("[calc(x=1e999), get_weather(city='SF')]", [("get_weather", {"city": "SF"})], 1),
        ("[get_weather(city='SF'), f(a='x 'y', b='z')]", [("get_weather", {"city": "SF"})], 1),
        ("[get_weather(city=town)]", [], 1),
        ("[get_weather(1, 2, 3, 4)]", [], 1),
        ("[get_weather(**{'city': 'Rome'})]", [], 1),
        ("[get_weather(city=__import__('os').getcwd())]", [], 1),
        ("<|python_tag|>import math\nprint(math.pi)", [], 1),
    ],
)
def test_llama_3_calls_that_are_none(text: str, calls: list[tuple[str, Any]], reasons: int) -> None:
    reply = read(text, BARE)
    assert (made(reply), len(reply.errors)) == (calls, reasons)
    if not calls:
        assert reply.text == text


@pytest.mark.parametrize(
    ("template", "form"),
    [
        ("{%- if tools %}<tools>...</tools> within <tool_call></tool_call>", "hermes"),
        ("<tool_call>\n<function=example>\n<parameter=a>", "qwen-coder"),
        ("[AVAILABLE_TOOLS] ... [TOOL_CALLS]", "mistral"),
        ("<|start|>assistant<|channel|>final<|message|>", HARMONY),
        ('<|python_tag|> Respond in the format {"name": function name, "parameters": ...}', BARE),
        ("<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>", "deepseek"),  # noqa: RUF001 - DeepSeek's marks
        ("<|tool_call>call:", "gemma"),
        ("<start_function_call>", "functiongemma"),
        ("{{ tools }}", BARE),
    ],
)
def test_a_chat_template_tells_the_form(template: str, form: str) -> None:
    assert form_of(template) == form


def test_a_call_without_an_id_gets_one_that_no_other_call_of_the_conversation_has() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "assistant", "tool_calls": [{}, {}]},
        {"role": "tool"},
        {"role": "assistant", "content": "x"},
    ]
    assert calls_in(messages) == 2
    ids = [call.id for call in numbered([ToolCall("f"), ToolCall("g", {}, "own"), ToolCall("f")], calls_in(messages))]
    assert ids == ["call00002", "own", "call00004"]
    assert all(len(each or "") == 9 for each in (ids[0], ids[2]))


def test_a_required_call_has_the_definitions_of_all_tools_at_its_root() -> None:
    point = {
        "type": "object",
        "properties": {"x": {"type": "integer"}, "next": {"$ref": "#/$defs/P"}},
        "required": ["x"],
    }
    parameters = {
        "type": "object",
        "properties": {"p": {"$ref": "#/$defs/P"}},
        "required": ["p"],
        "$defs": {"P": point},
    }
    older = {
        "type": "object",
        "properties": {"p": {"$ref": "#/definitions/P"}},
        "definitions": {"P": {"type": "string"}},
    }
    schemas = tool_schemas([{"name": "f", "parameters": parameters}, {"name": "g", "parameters": older}])
    for offered in (schemas, schemas[:1]):
        call = required_call("hermes", offered)
        assert call is not None
        validate = jsonschema.Draft202012Validator(call.schema)
        assert validate.is_valid({"name": "f", "arguments": {"p": {"x": 1, "next": {"x": 2}}}})
        assert not validate.is_valid({"name": "f", "arguments": {"p": {"x": 1, "next": {"x": "2"}}}})
        assert not validate.is_valid({"name": "h", "arguments": {}})
        assert validate.is_valid({"name": "g", "arguments": {"p": "x"}}) is (len(offered) == 2)
        assert not validate.is_valid({"name": "g", "arguments": {"p": {"x": 1}}})
