"""Calls of tools in harmony, of Gemma, DeepSeek, Kimi and others. Many of the replies are those of the tests of vLLM and SGLang."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_evals.replies.form import ReplyForm
from pytest_evals.replies.reading import read_reply
from pytest_evals.replies.tool_calls import parse_tool_calls
from pytest_evals.tool_calls.forms import ANY, BARE, HARMONY, parse_calls
from pytest_evals.tool_calls.reading import Tools
from pytest_evals.tools import tool_schemas
from tests.unit.tool_calls import made, read

HARMONY_CALL = '<|channel|>commentary to=functions.read_file <|constrain|>json<|message|>{\n  "files": []\n}<|call|>'


@pytest.mark.parametrize(
    ("text", "calls", "left"),
    [
        (HARMONY_CALL, [("read_file", {"files": []})], ""),
        (
            f"<|channel|>analysis<|message|>Reasoning...<|end|><|start|>assistant{HARMONY_CALL}",
            [("read_file", {"files": []})],
            "<|channel|>analysis<|message|>Reasoning...<|end|>",
        ),
        (
            f"<|start|>assistant{HARMONY_CALL}<|start|>assistant<|channel|>final<|message|>Done.",
            [("read_file", {"files": []})],
            "<|start|>assistant<|channel|>final<|message|>Done.",
        ),
        ('<|channel|>commentary to=functions.f<|message|>{"location": "Tokyo"}', [("f", {"location": "Tokyo"})], ""),
        ("<|channel|>commentary to=functions.no_args <|constrain|>json<|message|><|call|>", [("no_args", {})], ""),
        (
            '<|start|>assistant to=functions.f<|channel|>commentary json<|message|>{"a": 1}<|call|>',
            [("f", {"a": 1})],
            "",
        ),
        (
            "<|channel|>commentary<|message|>I look it up.<|end|><|start|>assistant" + HARMONY_CALL,
            [("read_file", {"files": []})],
            "<|channel|>commentary<|message|>I look it up.<|end|>",
        ),
        (
            "<|channel|>final<|message|>This is a test<|return|>",
            [],
            "<|channel|>final<|message|>This is a test<|return|>",
        ),
    ],
)
def test_harmony(text: str, calls: list[tuple[str, Any]], left: str) -> None:
    reply = read(text, HARMONY)
    assert (made(reply), reply.text, reply.errors) == (calls, left, ())


def test_a_whole_reply_in_harmony_comes_apart() -> None:
    form = ReplyForm(channels=True, tools=HARMONY)
    for head in ("<|channel|>commentary to=functions.f <|constrain|>json", "to=functions.f<|channel|>commentary json"):
        text = f'<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant {head}<|message|>{{"a": 1}}<|call|>'
        reply = read_reply(text, form)
        assert [(call.name, call.arguments) for call in reply.tool_calls] == [("f", {"a": 1})]
        assert (reply.text, reply.reasoning, reply.problem) == ("", "Hm.", None)


def test_harmony_arguments_that_are_no_json() -> None:
    text = "<|channel|>commentary to=functions.f<|message|>foo<|call|>"
    reply = read(text, HARMONY)
    assert (reply.calls, reply.text, len(reply.errors)) == ((), text, 1)


def gemma(arguments: str, name: str = "f") -> str:
    return f"<|tool_call>call:{name}{{{arguments}}}<tool_call|>"


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ("", {}),
        ("   ", {}),
        ('location:<|"|>Paris, France<|"|>', {"location": "Paris, France"}),
        ('location:<|"|>San Francisco<|"|>,unit:<|"|>celsius<|"|>', {"location": "San Francisco", "unit": "celsius"}),
        ("count:42", {"count": 42}),
        ("score:3.14,flag:true,no:false,nothing:null", {"score": 3.14, "flag": True, "no": False, "nothing": None}),
        ('nested:{inner:<|"|>value<|"|>}', {"nested": {"inner": "value"}}),
        ('map:{<|"|>3<|"|>:<|"|>new text<|"|>}', {"map": {"3": "new text"}}),
        ('items:[<|"|>a]b<|"|>,<|"|>b<|"|>,7]', {"items": ["a]b", "b", 7]}),
        ("items:[[1,2],{a:1}]", {"items": [[1, 2], {"a": 1}]}),
        ("left:108.,right:22.8", {"left": 108.0, "right": 22.8}),
        ("empty:[],none:{}", {"empty": [], "none": {}}),
    ],
)
def test_gemma_arguments(arguments: str, value: Any) -> None:
    assert made(read(gemma(arguments), "gemma")) == [("f", value)]


@pytest.mark.parametrize(
    ("text", "form", "calls", "left"),
    [
        (
            f"Let me check. {gemma('', 'get-weather')}{gemma('', 'weather.get')}",
            "gemma",
            [("get-weather", {}), ("weather.get", {})],
            "Let me check.",
        ),
        (
            (
                "Let me check the weather for you. <start_function_call>call:get_weather{city:<escape>Paris<escape>,days:<escape>3<escape>}"
                "<end_function_call><start_function_call>call:get_time{zone:<escape>42<escape>,at:9}<end_function_call>"
            ),
            "functiongemma",
            [("get_weather", {"city": "Paris", "days": 3}), ("get_time", {"zone": "42", "at": 9})],
            "Let me check the weather for you.",
        ),
    ],
)
def test_gemma_and_functiongemma(text: str, form: str, calls: list[tuple[str, Any]], left: str) -> None:
    reply = read(text, form)
    assert (made(reply), reply.text, reply.errors) == (calls, left, ())


@pytest.mark.parametrize(
    "text",
    [
        '<|tool_call>call:f{location:<|"|>London',
        "<|tool_call>call:f{a:1",
        "<|tool_call>f",
        gemma(":[t:[]"),
        gemma("a b:1"),
    ],
)
def test_gemma_calls_that_are_none(text: str) -> None:
    reply = read(text, "gemma")
    assert (reply.calls, reply.text, len(reply.errors)) == ((), text, 1)


V3 = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n{arguments}\n```<｜tool▁call▁end｜>"  # noqa: RUF001 - DeepSeek's marks
V31 = "<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{arguments}<｜tool▁call▁end｜>"  # noqa: RUF001 - as above


def deepseek(call: str, *calls: tuple[str, str]) -> str:
    inner = "".join(call.replace("{name}", name).replace("{arguments}", arguments) for name, arguments in calls)
    return f"<｜tool▁calls▁begin｜>{inner}<｜tool▁calls▁end｜>"  # noqa: RUF001 - as above


@pytest.mark.parametrize("call", [V3, V31])
def test_deepseek(call: str) -> None:
    text = deepseek(
        call, ("get_weather", '{"city": "Tokyo"}'), ("now", "{}"), ("send", '{"path": "C:\\\\Users", "text": "a\\nb"}')
    )
    reply = read(f"normal text{text}", "deepseek")
    assert made(reply) == [
        ("get_weather", {"city": "Tokyo"}),
        ("now", {}),
        ("send", {"path": "C:\\Users", "text": "a\nb"}),
    ]
    assert (reply.text, reply.errors) == ("normal text", ())


@pytest.mark.parametrize(
    "text",
    [
        deepseek(V3, ("get_weather", '{"city": "Tokyo"')),
        "Let me look that up.<｜tool▁calls▁begin｜>get_weather",  # noqa: RUF001 - DeepSeek's marks
        '<｜tool▁calls▁begin｜>foo<｜tool▁sep｜>{"x":1}<｜tool▁calls▁end｜>',  # noqa: RUF001 - as above
    ],
)
def test_deepseek_calls_that_are_none(text: str) -> None:
    reply = read(text, "deepseek")
    assert (reply.calls, reply.text, len(reply.errors)) == ((), text, 1)


def test_deepseek_v3_2_and_minimax() -> None:
    dsml = (
        '<｜DSML｜function_calls>\n<｜DSML｜invoke name="typed">\n<｜DSML｜parameter name="on" string="false">true</｜DSML｜parameter>'  # noqa: RUF001 - DeepSeek's marks
        '<｜DSML｜parameter name="word" string="true">42</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>'  # noqa: RUF001 - as above
    )
    reply = read(f"Sure! {dsml}", "dsml")
    assert (made(reply), reply.text) == ([("typed", {"on": True, "word": "42"})], "Sure!")
    minimax = (
        '<minimax:tool_call>\n<invoke name="typed">\n<parameter name="whole">7</parameter>\n<parameter name="word">a\nb</parameter>\n'
        '</invoke>\n<invoke name="now">\n</invoke>\n</minimax:tool_call>'
    )
    assert made(read(minimax, "minimax")) == [("typed", {"whole": 7, "word": "a\nb"}), ("now", {})]
    cut = '<minimax:tool_call>\n<invoke name="typed">\n<parameter name="whole">7</par'
    assert read(cut, "minimax").errors


def kimi(*calls: tuple[str, str]) -> str:
    inner = "".join(
        f"<|tool_call_begin|>{name} <|tool_call_argument_begin|>{given}<|tool_call_end|>" for name, given in calls
    )
    return f"<|tool_calls_section_begin|>{inner}<|tool_calls_section_end|>"


def test_kimi() -> None:
    both = kimi(("functions.get_weather:0", '{"city": "<b>Beijing</b>"}'), ("now:1", "{}"))
    reply = read(f"I'll check. {both}", "kimi")
    assert [(call.name, call.arguments, call.id) for call in reply.calls] == [
        ("get_weather", {"city": "<b>Beijing</b>"}, "functions.get_weather:0"),
        ("now", {}, "now:1"),
    ]
    assert reply.text == "I'll check."
    mixed = read(kimi(("functions.bad:0", '{"city": "Beijing"'), ("functions.good:1", "{}")), "kimi")
    assert (made(mixed), len(mixed.errors)) == ([("good", {})], 1)
    alone = parse_calls(kimi(("0", '{"city": "Rome"}')), "kimi", Tools(tool_schemas([{"name": "get_weather"}])))
    assert made(alone) == [("get_weather", {"city": "Rome"})]


@pytest.mark.parametrize(
    ("text", "form", "calls", "left"),
    [
        (
            '<|tool_call|> [{"name": "get_weather", "arguments": {"city": "Tokyo"}}]',
            "granite",
            [("get_weather", {"city": "Tokyo"})],
            "",
        ),
        ('<|tool_call|>[{"name": "f", "arguments": {}}]<|/tool_call|>', "granite", [("f", {})], ""),
        ('<function_call> {"name": "f", "arguments": {"x": 1}}', "granite-20b", [("f", {"x": 1})], ""),
        ('<TOOLCALL>[{"name": "f", "arguments": {"x": 1}}]</TOOLCALL>', "nemotron", [("f", {"x": 1})], ""),
        ('<tool_calls>[\n  {"name": "f", "arguments": {"x": 1}}\n]</tool_calls>', "jamba", [("f", {"x": 1})], ""),
        ('functools[{"name": "f", "arguments": {"x": 1}}]', "functools", [("f", {"x": 1})], ""),
        (
            'Ok<|action_start|><|plugin|>\n{"name": "f", "parameters": {"x": 1}}<|action_end|>',
            "internlm",
            [("f", {"x": 1})],
            "Ok",
        ),
        (
            '<|START_ACTION|>[\n    {"tool_call_id": "0", "tool_name": "simple_tool", "parameters": {"format": "Celsius"}}\n]<|END_ACTION|>',
            "cohere",
            [("simple_tool", {"format": "Celsius"})],
            "",
        ),
        (
            "<|tool_call_start|> [status(id='12345')]<|tool_call_end|>\nChecking.",
            "lfm2",
            [("status", {"id": "12345"})],
            "Checking.",
        ),
        (
            "Mars. <|python_start|>[get_weather(city='Mars')]<|python_end|> So be it.",
            "llama4",
            [("get_weather", {"city": "Mars"})],
            "Mars.  So be it.",
        ),
        (
            "<function_calls>get_weather(city='Rome')\n</function_calls>",
            "olmo",
            [("get_weather", {"city": "Rome"})],
            "",
        ),
        (
            (
                "I will help. <tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Beijing</arg_value>\n<arg_key>days</arg_key>\n"
                "<arg_value>3</arg_value>\n</tool_call>"
            ),
            "hermes",
            [("get_weather", {"city": "Beijing", "days": 3})],
            "I will help.",
        ),
        ("<tool_call>get_current_time\n</tool_call>", "hermes", [("get_current_time", {})], ""),
        (
            "<function_calls>\nget_weather(city='Rome')\nsearch(query='a\\nb(')\n</function_calls>",
            "olmo",
            [("get_weather", {"city": "Rome"}), ("search", {"query": "a\nb("})],
            "",
        ),
        (
            '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Rome</parameter>\n</invoke>\n</minimax:tool_call>',
            "minimax",
            [("get_weather", {"city": "Rome"})],
            "",
        ),
    ],
)
def test_other_families(text: str, form: str, calls: list[tuple[str, Any]], left: str) -> None:
    reply = read(text, form)
    assert (made(reply), reply.text, reply.errors) == (calls, left, ())
    unknown = read(text, ANY)
    assert (made(unknown), unknown.text) == (calls, left)


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ('```tool_code\nget_weather(city="Rome")\n```', [("get_weather", {"city": "Rome"})]),
        (
            '```tool_code\nprint(get_weather(city="Rome"))\nsearch("x")\n```',
            [("get_weather", {"city": "Rome"}), ("search", {"query": "x"})],
        ),
        ('```python\nx = get_weather(city="Rome")\nprint(x)\n```', []),
        ("```python\nprint(sorted([1]))\n```", []),
    ],
)
def test_a_block_of_code_that_only_calls_tools_is_calls(text: str, calls: list[tuple[str, Any]]) -> None:
    for form in (BARE, ANY):
        reply = read(text, form)
        assert (made(reply), reply.text, reply.errors) == (calls, "" if calls else text, ())


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("gemma", f"<|tool_call>call:f{{{'a:{' * 5000}"),
        ("hermes", f"<tool_call>{'[' * 100_000}"),
        (BARE, f"[f(x={'[' * 5000}1{']' * 5000})]"),
        (BARE, f"[{'{' * 20_000}"),
        (HARMONY, f"<|channel|>final<|message|>x<|end|>{'<|channel|>' * 20_000}"),
        ("qwen-coder", f"<function=f>{'<parameter=a>' * 20_000}"),
        (ANY, "<tool_call>" * 20_000),
    ],
)
def test_a_reply_of_any_shape_is_read_to_its_end(form: str, text: str) -> None:
    assert parse_tool_calls(text, form, ())[0] in (text, "")
