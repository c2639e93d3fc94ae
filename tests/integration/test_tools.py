"""Tools: offered to a model, called by it, graded, run in a loop until it answers, and shown."""

from __future__ import annotations

import json
import sys

from .conftest import Evals

SCRIPT = """
import asyncio
import json

from pytest_evals import Completion, ToolCall

def caller(messages, tools):
    names = [tool["function"]["name"] for tool in tools]
    question = messages[-1]["content"]
    if question == "object":
        return {"text": "I look.", "reasoning": "hm", "tool_calls": [{"name": names[0], "arguments": {"city": "Rome", "days": 2}}]}
    if question == "completion":
        return Completion("", tool_calls=(ToolCall("get_weather", {"city": "Rome"}, "own"),))
    if question == "text":
        return 'Wait. <tool_call>{"name": "get_weather", "arguments": {"city": "Rome"}}</tool_call>'
    if question == "broken":
        return '<tool_call>{"name": "get_weather", "arguments": {"city": '
    if question == "shape":
        return {"text": "x", "tool_calls": [{"arguments": {}}]}
    return f"no call: {names}"

arrived = {}

async def agent(messages, tools):
    # Nobody gets an answer before the same turn of all cases is here.
    turn = len(messages)
    here, everybody = arrived.setdefault(turn, (set(), asyncio.Event()))
    here.add(messages[0]["content"])
    if len(here) == 3:
        everybody.set()
    await asyncio.wait_for(everybody.wait(), 30)
    results = [message for message in messages if message["role"] == "tool"]
    if turn == 1:
        return {"tool_calls": [
            {"name": "add", "arguments": {"a": 1, "b": 2}}, {"name": "fail", "arguments": {}},
            {"name": "later", "arguments": {"text": messages[0]["content"]}},
        ]}
    if turn == 5:
        return {"text": "Once more.", "tool_calls": [
            {"name": "ad", "arguments": {}}, {"name": "add", "arguments": {"a": 1}}, {"name": "add", "arguments": {"a": [], "b": "x"}},
        ]}
    return "answer " + json.dumps([[message["tool_call_id"], message["name"], message["content"]] for message in results])

def stubborn(messages, tools):
    return {"tool_calls": [{"name": "add", "arguments": {"a": 1, "b": 1}}]}
"""
CALLS = '''
from pytest_evals import cases, graders, grader

def get_weather(city: str, days: int = 1) -> str:
    """Get the weather of a city.

    Args:
        city: The city.
        days: How many days.
    """
    return city

called = graders.tool_calls([{"name": "get_weather", "arguments": {"city": "{{item.city}}"}}], arguments="subset")
city = graders.exact_match("item.city", of="completion.tool_calls.0.arguments.city")
days = graders.number(2, of="completion.tool_calls.0.arguments.days")
quiet = graders.no_tool_calls()
few = graders.max_tool_calls(0)

ROWS = [{"id": name, "city": "Rome"} for name in ("object", "completion", "text", "broken", "none", "shape")]

@cases(ROWS, id="id", prompt="{{item.id}}", tools=[get_weather], gates=["called.mean >= 0.1"])
def test_calls(called, city, days, quiet, few):
    assert called

@cases([{"id": "none", "tools": [{"name": "f"}]}], id="id", prompt="{{item.id}}", tools="item.tools", generation={"tool_choice": "none"})
def test_none(completion):
    assert completion.text == "no call: []"
'''


def test_calls_are_read_graded_and_recorded(evals: Evals) -> None:
    evals.write(CALLS, script=SCRIPT)
    result = evals.run(model="scripted:script:caller")
    # The gate fails: a case of its suite errored.
    result.assert_outcomes(passed=4, xfailed=2, errors=1, failed=1)
    result.stdout.fnmatch_lines(["*scripted:script:caller returned {'arguments': {}} among tool_calls*"])
    found = {sample.case_id: sample for sample in evals.artifact.samples if sample.suite == "test_calls"}
    completion = found["object"].interaction.completion
    assert completion is not None
    assert (completion.text, completion.reasoning, completion.finish_reason) == ("I look.", "hm", "tool_calls")
    assert [call.model_dump() for call in completion.tool_calls] == [
        {"name": "get_weather", "arguments": {"city": "Rome", "days": 2}, "id": "call00000"}
    ]
    last = found["object"].interaction.thread[-1]
    assert last.tool_calls == [
        {
            "id": "call00000",
            "type": "function",
            "function": {"name": "get_weather", "arguments": '{"city": "Rome", "days": 2}'},
        }
    ]
    text = found["text"].interaction.completion
    assert text is not None
    assert (text.text, len(text.tool_calls)) == ("Wait.", 1)
    broken = found["broken"].interaction.completion
    assert broken is not None
    assert (broken.text, broken.tool_calls) == ('<tool_call>{"name": "get_weather", "arguments": {"city": ', [])
    assert "cut off" in (broken.tool_call_error or "")
    grades = {case: {grade.grader_key: grade for grade in sample.grades} for case, sample in found.items()}
    assert [grades[case]["called"].value for case in ("object", "completion", "text", "broken", "none")] == [
        1,
        1,
        1,
        0,
        0,
    ]
    assert "a call that cannot be parsed" in (grades["broken"]["called"].reasoning or "")
    assert [grades[case]["city"].passed for case in ("object", "none")] == [True, False]
    assert "the model called no tool" in (grades["none"]["city"].reasoning or "")
    assert [grades[case]["days"].passed for case in ("object", "completion")] == [True, False]
    assert [grades[case]["quiet"].passed for case in ("object", "broken", "none")] == [False, False, True]
    assert [grades[case]["few"].passed for case in ("object", "none")] == [False, True]
    error = found["shape"].error
    assert error is not None
    assert error.kind == "model"
    assert "a call has a 'name'" in error.message


LOOP = '''
import asyncio
import threading

from pytest_evals import cases, graders, task, tool_loop

MAIN = threading.main_thread()

def add(a: int, b: int) -> int:
    """Add.

    Args:
        a: One
        b: Another
    """
    assert threading.current_thread() is not MAIN
    return a + b

def fail() -> None:
    """Fail."""
    raise ValueError("it broke")

async def later(text: str) -> dict:
    """Return it.

    Args:
        text: The text
    """
    await asyncio.sleep(0)
    return {"text": text, "é": None}

completion = tool_loop([add, fail, later])
called = graders.tool_calls(["add", "fail", "later", "ad", "add", "add"], order="exact")
some = graders.tool_calls([{"name": "add", "arguments": {"a": 1, "b": 2}}], allow_extra=True)
short = graders.tool_calls(["add"])
many = graders.max_tool_calls(6)
told = graders.contains(["3", "ValueError: it broke", "{{item.id}}", "there is no tool 'ad'", "missing a required argument"])

@cases([{"id": f"c{n}"} for n in range(3)], id="id", prompt="{{item.id}}", generation={"max_new_tokens": 9}, gates=["called.mean >= 1"])
def test_loop(called, some, short, many, told, completion):
    assert called and some and many and told
    assert short == 2 / 7
    assert [message["role"] for message in completion.messages] == ["user", *(["assistant", "tool", "tool", "tool"] * 2), "assistant"]
'''


def test_a_loop_runs_what_the_model_calls_until_it_answers(evals: Evals) -> None:
    evals.write(LOOP, script=SCRIPT)
    result = evals.run("--evals-html", "page.html", model="scripted:script:agent")
    result.assert_outcomes(passed=3)
    (sample, *_) = evals.artifact.samples
    completion = sample.interaction.completion
    assert completion is not None
    results = json.loads(completion.text.removeprefix("answer "))
    assert [each[0] for each in results] == [f"call0000{number}" for number in range(6)]
    assert results[0][1:] == ["add", "3"]
    assert results[2][1:] == ["later", '{"text": "c0", "é": null}']
    assert "did you mean 'add'" in results[3][2]
    assert "Error: TypeError" in results[5][2]
    assert [call.by for call in sample.calls] == ["completion"] * 3
    assert [call.tools for call in sample.calls] == [["add", "fail", "later"]] * 3
    assert len({len(call.messages) for call in sample.calls}) == 3
    shown = evals.pytester.run(
        sys.executable, "-m", "pytest_evals", "cases", "run.jsonl", "-v", "--where", "case_id == 'c0'"
    )
    shown.stdout.fnmatch_lines(
        [
            "*assistant*add(a=1, b=2)*",
            "*fail()",
            '*later(text="c0")',
            "*tool:*add: 3",
            "*fail: Error: ValueError*",
            "*text*answer*",
        ]
    )
    exported = evals.pytester.run(
        sys.executable, "-m", "pytest_evals", "export", "run.jsonl", "--to", "inspect", "-o", "logs"
    )
    assert exported.ret == 0
    (log,) = (evals.pytester.path / "logs").iterdir()
    messages = json.loads(log.read_text(encoding="utf-8"))["samples"][0]["messages"]
    assert messages[1]["tool_calls"][0] == {
        "id": "call00000",
        "function": "add",
        "arguments": {"a": 1, "b": 2},
        "type": "function",
    }
    assert messages[2] == {"role": "tool", "content": "3", "tool_call_id": "call00000", "function": "add"}


STUBBORN = (
    LOOP.partition("completion = ")[0]
    + """
agent = tool_loop([add], max_turns=3, name="agent", run_if="item.id != 'c9'")
called = graders.tool_calls(["add", "add", "add"], of="agent")
one = graders.exact_match("1", of="agent.tool_calls.0.arguments.a")

@cases([{"id": "c0"}, {"id": "c9"}], id="id", prompt="{{item.id}}")
def test_stubborn(agent, called, one):
    assert called and one
    assert (agent.text, agent.finish_reason, len(agent.messages)) == ("", "tool_calls", 6)
"""
)


def test_a_loop_that_never_answers_ends_after_its_turns(evals: Evals) -> None:
    evals.write(STUBBORN, script=SCRIPT)
    evals.run(model="scripted:script:stubborn").assert_outcomes(passed=1, skipped=1)


HEAD = "from pytest_evals import cases, graders, tool_loop\n"
WRONG = {
    "tool 'undocumented' (test_0.py:3) has no docstring": """
def undocumented(x: int):
    return x
@cases([{"id": "a"}], prompt="x", tools=[undocumented])
def test_it(completion): pass
""",
    "tool 'f': 'parameters' must be the JSON schema of an object": """
@cases([{"id": "a"}], prompt="x", tools=[{"name": "f", "parameters": {"type": "dict"}}])
def test_it(completion): pass
""",
    "tools must be a list of JSON schemas or Python functions": """
@cases([{"id": "a", "tools": "none"}], prompt="x", tools="item.tools")
def test_it(completion): pass
""",
    "give either tools= or generation={'tools': ...}, not both": """
@cases([{"id": "a"}], prompt="x", tools=[{"name": "f"}], generation={"tools": []})
def test_it(completion): pass
""",
    "message 2 is a tool's answer to the call 'c', which no message before it makes": """
@cases([{"id": "a"}], messages=[{"role": "user", "content": "x"}, {"role": "tool", "content": "3", "tool_call_id": "c"}])
def test_it(completion): pass
""",
    "an expected call is {'name'": """
wrong = graders.tool_calls("item.calls")
@cases([{"id": "a", "calls": [{"nom": "f"}]}], prompt="x", tools=[{"name": "f"}])
def test_it(wrong): pass
""",
    "tools must be a list of JSON schemas or Python functions, or a locator of one, not dict": """
@cases([{"id": "a"}], prompt="x", tools={"name": "f"})
def test_it(completion): pass
""",
    "max_turns must be a whole number of at least 1": """
completion = tool_loop([print], max_turns=0)
""",
    "a completion has text, reasoning": """
city = graders.exact_match("x", of="completion.tool_call.0.name")
""",
    "order must be one of exact, in_order, any": """
called = graders.tool_calls([], order="sorted")
""",
}


def test_what_cannot_be_is_an_error_of_collection(evals: Evals) -> None:
    evals.write("", **{f"test_{number}__py": HEAD + source for number, source in enumerate(WRONG.values())})
    result = evals.run("--collect-only")
    result.assert_outcomes(errors=len(WRONG))
    shown = " ".join(result.stdout.str().split())
    assert [message for message in WRONG if message not in shown] == []
