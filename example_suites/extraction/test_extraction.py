"""JSON out of a sentence: does it have the right shape, and are its values right?"""

import json
import re

from pytest_evals import cases, grader, graders

FIELDS = ("name", "age", "city")

shape = graders.json_schema(
    {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "city": {"type": "string"}},
        "required": list(FIELDS),
        "additionalProperties": False,
    }
)


@grader(bounds=(0, 1))
def values(case, completion, shape):
    """The share of the three values that are right; a wrong shape has no values to compare."""
    if not shape:
        return None
    found = json.loads(re.search(r"{.*}", completion.text, re.DOTALL).group())  # without a code fence around it
    return sum(found[field] == case[field] for field in FIELDS) / len(FIELDS)


@cases(
    "extraction.jsonl",
    messages=[
        {"role": "system", "content": "Extract the name, age and city as JSON."},
        {"role": "user", "content": "Julia Weber, 42, works as a painter in Zurich."},
        {"role": "assistant", "content": '{"name": "Julia Weber", "age": 42, "city": "Zurich"}'},
        {"role": "user", "content": "The cook from Austin is called Ben Reed and is 35."},
        {"role": "assistant", "content": '{"name": "Ben Reed", "age": 35, "city": "Austin"}'},
        {"role": "user", "content": "{{item.sentence}}"},
    ],
    id="id",
    generation={"max_new_tokens": 48},
    gates=["shape.pass_rate >= 0.9", "values.mean >= 0.75"],
)
def test_extraction(shape, values):
    assert shape
    assert values == 1
