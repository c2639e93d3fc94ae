"""Schemas are checked as a whole where they are written, and all that they ask for is checked of a completion."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pytest_evals.errors import SuiteError
from pytest_evals.graders.formats import meant_format
from pytest_evals.graders.schemas import JsonSchema, load_schema, row_schema
from pytest_evals.graders.structured import json_schema

DATA = Path(__file__).parent / "data"
COMMON = {"$defs": {"name": {"type": "string", "minLength": 2}}}
DRAFT_7 = "http://json-schema.org/draft-07/schema#"


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def refusal(schema: Any, base: Path = Path()) -> str:
    with pytest.raises(SuiteError) as caught:
        load_schema(schema, base)
    return str(caught.value)


@pytest.mark.parametrize("row", rows("schemas.jsonl"), ids=lambda row: json.dumps(row["schema"])[40:100])
@pytest.mark.parametrize("written", ["file", "inline"])
def test_what_a_schema_asks_for_is_checked(row: dict[str, Any], written: str, tmp_path: Path) -> None:
    (tmp_path / "common.json").write_text(json.dumps(COMMON))
    (tmp_path / "schema.json").write_text(json.dumps(row["schema"]))
    schema = "schema.json" if written == "file" else row["schema"]
    if row["passes"] is None:
        assert "leads nowhere" in refusal(schema, tmp_path)
    else:
        assert json_schema(row["completion"], load_schema(schema, tmp_path)).passed is row["passes"]


# -- formats


@pytest.mark.parametrize("row", rows("formats.jsonl"), ids=lambda row: f"{row['format']}-{row['text']!a:.30}")
@pytest.mark.parametrize("draft", ["https://json-schema.org/draft/2020-12/schema", DRAFT_7])
def test_every_format_is_checked_by_every_draft(row: dict[str, Any], draft: str) -> None:
    schema = row_schema({"$schema": draft, "format": row["format"]})
    assert schema.unchecked == ()
    assert json_schema(json.dumps(row["text"]), schema).passed is row["passes"]
    assert json_schema("5", schema).passed, "a format is about texts"


def test_names_of_draft_3_are_checked_too() -> None:
    draft = {"$schema": "http://json-schema.org/draft-03/schema#"}
    for name, good, bad in (
        ("ip-address", "1.2.3.4", "1.2.3.256"),
        ("host-name", "a.example", "a_b.example"),
        ("color", "#ff0000", "puce"),
        ("time", "10:00:00", "10:00:00Z"),
    ):
        schema = row_schema({**draft, "format": name})
        assert (json_schema(f'"{good}"', schema).passed, json_schema(f'"{bad}"', schema).passed) == (True, False)


@pytest.mark.parametrize(
    ("schema", "package"),
    [
        ({"format": "date-time"}, "rfc3339_validator"),
        ({"properties": {"a": {"items": {"format": "uri"}}}}, "rfc3986_validator"),
        ({"anyOf": [{}, {"format": "hostname"}]}, "fqdn, idna"),
        ({"$defs": {"unused": {"format": "json-pointer"}}}, "jsonpointer"),
    ],
)
def test_a_format_whose_package_is_missing_is_refused_with_the_command(
    schema: dict[str, Any], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    message = refusal(schema)
    assert f"checking it needs {package}, which" in message
    assert message.endswith("pip install 'pytest-evals-hf[formats]'")


def test_what_needs_no_package_is_checked_without_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    schema = row_schema({"items": {"anyOf": [{"format": name} for name in ("date", "ipv4", "ipv6", "regex", "uuid")]}})
    assert not json_schema('["("]', schema).passed


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("datetime", "date-time"),
        ("DateTime", "date-time"),
        ("date_time", "date-time"),
        ("url", "uri"),
        ("URI", "uri"),
        ("Email", "email"),
        ("emial", "email"),
        ("e-mail", "email"),
        ("guid", "uuid"),
        ("ip", "ipv4"),
        ("IPv6", "ipv6"),
        ("timestamp", "date-time"),
        ("hostnme", "hostname"),
    ],
)
def test_a_misspelled_format_is_refused(written: str, meant: str) -> None:
    assert (
        refusal({"format": written}) == f"json_schema: JSON Schema knows no format {written!r}; did you mean {meant!r}?"
    )


@pytest.mark.parametrize(
    "name", ["password", "int32", "binary", "uuid4", "file-path", "isbn", "mime-type", "json-string"]
)
def test_a_format_of_others_is_said_to_be_unchecked(name: str) -> None:
    assert meant_format(name) is None
    schema = row_schema({"properties": {"a": {"format": name}}})
    assert schema.unchecked == (f"the format {name!r}, which is none of JSON Schema's",)
    assert json_schema('{"a": "x"}', schema).reason == f"valid against the schema; not checked: {schema.unchecked[0]}"


def test_a_checker_that_was_registered_with_jsonschema_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    checkers = dict(jsonschema.Draft202012Validator.FORMAT_CHECKER.checkers)
    checkers["even"] = (lambda value: len(value) % 2 == 0, ())
    monkeypatch.setattr(jsonschema.Draft202012Validator.FORMAT_CHECKER, "checkers", checkers)
    schema = row_schema({"format": "even"})
    assert schema.unchecked == ()
    assert (json_schema('"ab"', schema).passed, json_schema('"abc"', schema).passed) == (True, False)


# -- references


def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "common.json").write_text(json.dumps(COMMON))
    (tmp_path / "sub" / "deep.json").write_text(json.dumps({"$ref": "../common.json#/$defs/name"}))
    (tmp_path / "a b.json").write_text(json.dumps({"type": "integer"}))
    (tmp_path / "bad.json").write_text(json.dumps({"type": "strin"}))
    (tmp_path / "no.json").write_text("{")
    (tmp_path / "old.json").write_text(json.dumps({"$schema": DRAFT_7, "definitions": {"x": {"const": 1}}}))
    (tmp_path / "loop.json").write_text(json.dumps({"properties": {"next": {"$ref": "loop.json"}}, "type": "object"}))
    return tmp_path


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"$ref": "common.json#/$defs/name"}, '"Ada"', '"A"'),
        ({"$ref": "./common.json#/$defs/name"}, '"Ada"', "5"),
        ({"$ref": "sub/deep.json"}, '"Ada"', '"A"'),
        ({"$ref": "a%20b.json"}, "5", '"A"'),
        ({"$ref": "old.json#/definitions/x"}, "1", "2"),
        ({"$ref": "loop.json"}, '{"next": {"next": {}}}', '{"next": {"next": 5}}'),
        ({"$id": "https://example.org/s/p.json", "$ref": "common.json#/$defs/name"}, '"Ada"', '"A"'),
        ({"$id": "person.json", "$ref": "common.json#/$defs/name"}, '"Ada"', '"A"'),
        ({"$id": "urn:example:p", "$ref": "#/$defs/a", "$defs": {"a": {"type": "null"}}}, "null", "5"),
        (
            {"$id": "https://example.org/s/p.json", "$ref": "/q", "$defs": {"a": {"$id": "/q", "type": "null"}}},
            "null",
            "5",
        ),
        ({"$ref": "#here", "$defs": {"a": {"$anchor": "here", "type": "null"}}}, "null", "5"),
        ({"items": {"$ref": "#"}, "type": "array"}, "[[], [[]]]", "[[5]]"),
        ({"$ref": DRAFT_7}, '{"type": "string"}', '{"type": "strin"}'),
    ],
)
def test_references_lead_into_the_schema_and_to_files_beside_it(
    schema: dict[str, Any], good: str, bad: str, tmp_path: Path
) -> None:
    loaded = load_schema(schema, folder(tmp_path))
    assert (json_schema(good, loaded).passed, json_schema(bad, loaded).passed) == (True, False)
    path = tmp_path / "sub" / "schema.json"
    path.write_text(json.dumps(schema))
    if "$id" not in schema and ".json" in schema.get("$ref", ""):
        assert "cannot be read as JSON" in refusal(path, tmp_path), "references are relative to the schema's file"


def test_files_are_read_where_the_schema_is_written_and_not_again(tmp_path: Path) -> None:
    loaded = load_schema({"$ref": "common.json#/$defs/name"}, folder(tmp_path))
    (tmp_path / "common.json").unlink()
    assert json_schema('"Ada"', loaded).passed


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"$ref": "#/$defs/missing"}, "the $ref '#/$defs/missing' leads nowhere"),
        ({"properties": {"a": {"not": {"$ref": "#/$defs/b"}}}}, "the $ref '#/$defs/b' leads nowhere"),
        ({"$ref": "#nowhere"}, "the $ref '#nowhere' leads nowhere"),
        ({"$ref": "common.json#/$defs/nme"}, "the $ref 'common.json#/$defs/nme' leads nowhere"),
        ({"$ref": "commn.json"}, "commn.json cannot be read as JSON"),
        ({"$ref": "no.json"}, "no.json cannot be read as JSON"),
        ({"$ref": "bad.json"}, "not a valid JSON Schema (bad.json) at $.type"),
        ({"$ref": "https://example.org/a.json"}, "never in the network"),
        (
            {"$ref": "#/$defs/a", "$defs": {"a": {"enum": [1]}}, "x": {}, "allOf": [{"$ref": "#/allOf"}]},
            "leads to list",
        ),
        ({"$ref": "#"}, "the $ref '#' leads in a circle"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}, "leads in a circle"),
        ({"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/a"}}}, "leads in a circle"),
        ({"$ref": "#/x", "x": {"minimum": "1"}}, "not a valid JSON Schema (to which '#/x' leads) at $.minimum"),
    ],
)
def test_a_reference_that_leads_nowhere_is_refused(schema: dict[str, Any], words: str, tmp_path: Path) -> None:
    assert words in refusal(schema, folder(tmp_path))


def test_what_only_looks_like_a_part_of_a_schema_is_data() -> None:
    schema = row_schema(
        {"properties": {"format": {"type": "string"}, "$ref": {"const": {"$ref": "#/no", "format": "datetime"}}}}
    )
    assert json_schema('{"format": "x"}', schema).passed
    assert not json_schema('{"format": 5}', schema).passed


@pytest.mark.parametrize("reference", ["common.json", "file:///etc/hostname", "/etc/hostname"])
def test_a_row_cannot_make_files_be_read(reference: str) -> None:
    with pytest.raises(SuiteError, match="leads nowhere"):
        row_schema({"$ref": reference})


# -- drafts and keywords


@pytest.mark.parametrize(
    "draft", ["https://json-schema.org/draft-07/schema", "draft-07", "http://json-schema.org/schema#", "", 7]
)
def test_an_unknown_draft_is_refused(draft: object) -> None:
    assert "$schema is" in refusal({"$schema": draft})
    if isinstance(draft, str):
        assert "$schema is" in refusal({"$defs": {"a": {"$id": "a", "$schema": draft}}})


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("requried", "required"),
        ("minlength", "minLength"),
        ("min_length", "minLength"),
        ("additionalproperties", "additionalProperties"),
        ("maxItem", "maxItems"),
        ("propertyName", "propertyNames"),
        ("Type", "type"),
    ],
)
def test_a_misspelled_keyword_would_check_nothing_and_is_refused(written: str, meant: str) -> None:
    assert f"unknown keyword {written!r}, which would check nothing; did you mean {meant!r}?" in refusal(
        {"properties": {"a": {written: 3}}}
    )


@pytest.mark.parametrize(
    "keyword", ["title", "examples", "example", "nullable", "x-order", "discriminator", "propertyOrdering", "enumNames"]
)
def test_annotations_are_no_mistakes(keyword: str) -> None:
    assert row_schema({keyword: "x" if keyword != "examples" else []}).unchecked == ()


@pytest.mark.parametrize(
    ("schema", "unchecked"),
    [
        ({"dependencies": {"a": ["b"]}}, "the keyword 'dependencies', which is none of this draft"),
        ({"$schema": DRAFT_7, "dependentRequired": {"a": ["b"]}}, "the keyword 'dependentRequired', which is none"),
        (
            {"$schema": DRAFT_7, "$ref": "#/definitions/a", "minLength": 4, "definitions": {"a": {}}},
            "'minLength' beside $ref",
        ),
    ],
)
def test_what_a_draft_ignores_is_said(schema: dict[str, Any], unchecked: str) -> None:
    found = row_schema(schema)
    assert len(found.unchecked) == 1
    assert found.unchecked[0].startswith(unchecked)


@pytest.mark.parametrize(
    "schema",
    [
        {"if": {}, "then": {}, "else": {}},
        {"contains": {}, "minContains": 2},
        {"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 1, "exclusiveMinimum": True},
        {"$schema": "http://json-schema.org/draft-03/schema#", "properties": {"a": {"required": True}}},
        {"$dynamicRef": "#x", "$defs": {"a": {"$dynamicAnchor": "x"}}},
    ],
)
def test_keywords_that_belong_to_others_are_known(schema: dict[str, Any]) -> None:
    assert row_schema(schema).unchecked == ()


def test_patterns_are_those_of_python() -> None:
    assert "patterns are regular expressions as Python knows them" in refusal({"pattern": r"^\p{L}+$"})


# -- values of any size


def test_a_long_integer_is_an_integer_and_shown_by_its_beginning() -> None:
    assert json_schema("7" * 5000, row_schema({"type": "integer", "minimum": 5})).passed
    reason = json_schema("7" * 5000, row_schema({"type": "string"})).reason
    assert reason == "$: 777777777777... (5000 digits) is not of type 'string'"
    assert not json_schema("1e400", row_schema({"maximum": 100})).passed
    assert json_schema("1e400", row_schema({"type": "integer"})).passed


def test_a_value_nested_deeply_is_checked_or_an_error_and_never_wrong() -> None:
    text = "[" * 10_000 + "]" * 10_000
    assert json_schema(text, row_schema({"type": "array"})).passed
    assert json_schema(text, row_schema({"type": "object"})) == (False, "$: [...] is not of type 'object'")
    with pytest.raises(SuiteError, match="cannot be found out, because jsonschema gave up: RecursionError"):
        json_schema(text, row_schema({"type": "array", "items": {"$ref": "#"}}))


def test_a_row_brings_an_object() -> None:
    with pytest.raises(SuiteError, match="a row's schema is an object, and not str"):
        row_schema('{"type": "string"}')
    assert isinstance(row_schema(False), JsonSchema)


@pytest.mark.parametrize("draft", ["https://json-schema.org/draft/2020-12/schema", DRAFT_7, None])
@pytest.mark.parametrize(
    ("value", "divisor", "passes"),
    [("0.07", 0.01, True), ("19.99", 0.01, True), ("1.1", 0.1, True), ("4.35", 0.05, True), ("7", 0.5, True), ("0.075", 0.01, False),
     ("1e22", 3, False), ("9", 3, True), ("8", 3, False), ("true", 0.01, True), ('"x"', 0.01, True), ("1e-7", 1e-8, True)],
)  # fmt: skip
def test_multiples_are_those_of_the_numbers_as_written(
    draft: str | None, value: str, divisor: float, passes: bool
) -> None:
    named = {"$schema": draft} if draft else {}
    schema = row_schema({**named, "properties": {"v": {"anyOf": [{"multipleOf": divisor}]}}})
    assert json_schema(f'{{"v": {value}}}', schema).passed is passes
