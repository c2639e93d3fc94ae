"""JSON in a completion: found, parsed, and checked against a schema."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from pytest_evals.graders.code.extract import without_fence
from pytest_evals.graders.json_text import json_value
from pytest_evals.graders.schemas import JsonSchema
from pytest_evals.graders.text import TextVerdict
from pytest_evals.text import quotation


def parse_json(text: str) -> Any:
    """Return the JSON value that ``text`` is. White space and one code fence around it are tolerated, anything else is
    not.

    Raises `ValueError` with the place of the first mistake. NaN and infinities are not JSON.
    """
    return json_value(without_fence(text).strip())


def json_valid(text: str) -> TextVerdict:
    """Tell whether the completion is one JSON value."""
    try:
        parse_json(text)
    except ValueError as error:
        return TextVerdict(False, f"not JSON ({error}): {quotation(text)}")
    return TextVerdict(True, "valid JSON")


def json_schema_of(text: str, contents: Any, base: str, folder: str | None) -> TextVerdict:
    """The same for a schema that is given by what it is made of; see `JsonSchema`."""
    return json_schema(text, _schema(json.dumps(contents), base, folder))


@functools.lru_cache(maxsize=64)
def _schema(contents: str, base: str, folder: str | None) -> JsonSchema:
    return JsonSchema(json.loads(contents), base, None if folder is None else Path(folder))


def json_schema(text: str, schema: JsonSchema) -> TextVerdict:
    """Tell whether the completion is JSON that the schema allows. Raises `SuiteError` where that cannot be found out."""
    try:
        value = parse_json(text)
    except ValueError as error:
        return TextVerdict(False, f"not JSON ({error}): {quotation(text)}")
    mistake = schema.mistake(value)
    if mistake is None:
        unchecked = f"; not checked: {', '.join(schema.unchecked)}" if schema.unchecked else ""
        return TextVerdict(True, f"valid against the schema{unchecked}")
    return TextVerdict(False, f"{mistake[0]}: {mistake[1]}")
