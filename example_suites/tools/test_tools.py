"""Calls of functions: does the model call the right one, with the right arguments, and none where none fits?"""

from pathlib import Path
from urllib.parse import quote

from pytest_evals import cases, graders

# The chat template of the embedded model knows no tools; this one does, in the form of Hermes and Qwen.
TEMPLATE = Path(__file__).with_name("template.jinja")
MODEL = f"smollm2?template={quote(str(TEMPLATE))}"

right = graders.tool_calls("item.expected", arguments="any_of")
named = graders.tool_calls("item.expected", arguments="ignore")
quiet = graders.no_tool_calls(run_if="item.kind == 'irrelevance'")


@cases(
    "bfcl.jsonl",
    prompt="{{item.question}}",
    tools="item.tools",
    model=MODEL,
    id="id",
    generation={"max_new_tokens": 128},
    gates=["right.coverage >= 1"],
)
def test_tools(right, named, quiet):
    assert right, (named, quiet)
