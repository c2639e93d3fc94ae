"""Calls of functions: does the model call the right one, with the right arguments, and none where none fits?"""

import importlib.util
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from pytest_evals import cases, graders

DATA = Path(__file__).with_name("bfcl.jsonl")
# The chat template of the embedded model knows no tools; this one does, in the form of Hermes and Qwen.
MODEL = f"smollm2?template={quote(str(DATA.with_name('template.jinja')))}"


def call(name, **arguments):
    return {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": name, "arguments": arguments}}]}


# Two examples, of functions that no row has: without them, a model of this size explains how one could compute the answer.
MESSAGES = [
    {"role": "user", "content": "How late is it in Oslo?"},
    call("get_time", city="Oslo"),
    {"role": "user", "content": "Convert 12 pounds to kilograms with two decimals."},
    call("units.convert", value=12, source="pound", target="kilogram", decimals=2),
    {"role": "user", "content": "{{item.question}}"},
]

right = graders.tool_calls("item.expected", arguments="any_of")
named = graders.tool_calls("item.expected", arguments="ignore")
quiet = graders.no_tool_calls(run_if="item.kind == 'irrelevance'")


@cases(
    "bfcl.jsonl",
    messages=MESSAGES,
    tools="item.tools",
    model=MODEL,
    id="id",
    generation={"max_new_tokens": 96},
    gates=["right.coverage >= 1"],
)
def test_tools(right, named, quiet):
    assert right, (named, quiet)


def single_calls():
    """The rows in which one call is right."""
    rows = map(json.loads, DATA.read_text(encoding="utf-8").splitlines())
    return [row for row in rows if len(row["expected"]) == 1]


@pytest.mark.skipif(importlib.util.find_spec("xgrammar") is None, reason="pip install 'pytest-evals-hf[structured]'")
@cases(
    single_calls,
    messages=MESSAGES,
    tools="item.tools",
    model=MODEL,
    id="id",
    generation={"max_new_tokens": 96, "tool_choice": "required"},
    gates=["named.mean >= 0.5", "right.coverage >= 1"],
)
def test_required(right, named):
    """What is written is held to a call of one of the tools, with arguments that its schema allows."""
    assert right, named
