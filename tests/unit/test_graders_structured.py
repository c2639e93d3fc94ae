"""JSON in a completion, and schemas for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_evals import graders
from pytest_evals.errors import SuiteError
from pytest_evals.graders.schemas import load_schema, row_schema
from pytest_evals.graders.structured import json_schema as checked
from pytest_evals.graders.structured import json_valid, parse_json
from pytest_evals.graders.text import TextVerdict

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "children": {"type": "array", "items": {"properties": {"age": {"type": "integer"}}}},
        "day": {"type": "string", "format": "date"},
    },
    "required": ["name"],
}


def json_schema(text: str, schema: dict[str, Any] | bool) -> TextVerdict:
    return checked(text, row_schema(schema))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        (" \n[1, 2]\n", [1, 2]),
        ("null", None),
        ('"text"', "text"),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ("```\n[1]\n```", [1]),
        ("\n```JSON  \n[1]\n  ```\n", [1]),
        ('```json\n{"code": "```"}\n```', {"code": "```"}),
    ],
)
def test_one_value_is_json_with_or_without_a_fence(text: str, value: object) -> None:
    assert parse_json(text) == value
    assert json_valid(text).passed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Sure! {}",
        "{} I hope this helps.",
        "{}{}",
        "{'a': 1}",
        '{"a": 1,}',
        '{"a": 1',
        "NaN",
        "[Infinity]",
        '{"a": -Infinity}',
        "```json\n{}",
        "```json\n{}\n``` done",
        "```json\n{}\n```\n```json\n{}\n```",
        "[" * 100_000,
    ],
)
def test_anything_else_is_no_json(text: str) -> None:
    assert not json_valid(text).passed


def test_the_reason_says_where_the_mistake_is() -> None:
    assert json_valid('{"a": }').reason == ("not JSON (Expecting value: line 1 column 7 (char 6)): '{\"a\": }'")


def test_a_value_that_the_schema_allows_passes() -> None:
    assert json_schema('```json\n{"name": "Ada", "children": [{"age": 3}]}\n```', PERSON).passed


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}", "$: 'name' is a required property"),
        ('{"name": 5}', "$.name: 5 is not of type 'string'"),
        ('{"name": "Ada", "children": [{}, {"age": "3"}]}', "$.children[1].age: '3' is not of type 'integer'"),
        ('{"name": "Ada", "day": "tomorrow"}', "$.day: 'tomorrow' is not a 'date'"),
        ("[]", "$: [] is not of type 'object'"),
    ],
)
def test_a_mistake_names_the_path_to_it(text: str, reason: str) -> None:
    assert json_schema(text, PERSON) == (False, reason)


def test_what_is_no_json_does_not_reach_the_schema() -> None:
    assert json_schema("Ada", True).reason.startswith("not JSON (")


def test_the_schema_false_allows_nothing_and_true_everything() -> None:
    assert not json_schema("1", False).passed
    assert json_schema("1", True).passed


def test_an_older_draft_is_honoured() -> None:
    schema = {"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 1, "exclusiveMinimum": True}
    assert not json_schema("1", schema).passed


def test_a_hostile_message_stays_on_one_line() -> None:
    reason = json_schema(json.dumps({"name": ["\x1b[2J\n" * 200]}), PERSON).reason
    assert "\n" not in reason
    assert "\x1b" not in reason
    assert len(reason) < 200


# -- where schemas come from


def test_a_schema_may_be_a_file_beside_the_suite(tmp_path: Path) -> None:
    (tmp_path / "person.json").write_text(json.dumps(PERSON))
    assert load_schema("person.json", tmp_path).contents == PERSON
    assert load_schema(Path("person.json"), tmp_path).contents == PERSON


@pytest.mark.parametrize("text", [None, "{", b"\xff"])
def test_a_schema_file_that_cannot_be_read_names_the_path(text: str | bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "person.json"
    if text is not None:
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(SuiteError, match="cannot be read as JSON") as caught:
        load_schema("person.json", tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("schema", [None, 5, ["a"]])
def test_a_schema_is_an_object_a_bool_or_a_path(schema: Any) -> None:
    with pytest.raises(SuiteError, match=f"takes a schema or the path of one, not {type(schema).__name__}"):
        graders.json_schema(schema)


@pytest.mark.parametrize(
    ("schema", "place"),
    [({"type": "strin"}, r"\$\.type"), ({"properties": {"a": {"minimum": "1"}}}, r"\$\.properties\.a\.minimum")],
)
def test_a_bad_schema_names_the_place_where_the_grader_is_written(schema: dict[str, Any], place: str) -> None:
    with pytest.raises(SuiteError, match=f"json_schema: not a valid JSON Schema at {place}: "):
        graders.json_schema(schema)


def test_a_schemas_path_is_relative_to_the_file_that_names_it() -> None:
    with pytest.raises(SuiteError) as caught:
        graders.json_schema("no-such-schema.json")
    assert str(Path(__file__).parent / "no-such-schema.json") in str(caught.value)
