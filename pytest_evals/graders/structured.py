"""JSON in a completion: found, parsed, and checked against a schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, cast

from pytest_evals.errors import SuiteError
from pytest_evals.graders.code.extract import without_fence
from pytest_evals.graders.text import TextVerdict
from pytest_evals.text import one_line, quoted


def parse_json(text: str) -> Any:
    """Return the JSON value that ``text`` is. White space and one code fence around it are tolerated, anything else is
    not.

    Raises `ValueError` with the place of the first mistake. NaN and infinities are not JSON.
    """
    try:
        return json.loads(without_fence(text).strip(), parse_constant=_reject_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def json_valid(text: str) -> TextVerdict:
    """Tell whether the completion is one JSON value."""
    try:
        parse_json(text)
    except ValueError as error:
        return TextVerdict(False, f"not JSON ({error}): {quoted(text)}")
    return TextVerdict(True, "valid JSON")


def json_schema(text: str, schema: Mapping[str, Any] | bool) -> TextVerdict:
    """Tell whether the completion is JSON that the schema allows (formats are checked where the library can)."""
    # jsonschema takes 75 ms to import: only suites that check a schema pay for it.
    import jsonschema

    try:
        value = parse_json(text)
    except ValueError as error:
        return TextVerdict(False, f"not JSON ({error}): {quoted(text)}")
    validator = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    checker = validator(schema, format_checker=validator.FORMAT_CHECKER)
    mistake = jsonschema.exceptions.best_match(checker.iter_errors(value))
    if mistake is None:
        return TextVerdict(True, "valid against the schema")
    return TextVerdict(False, f"{mistake.json_path}: {one_line(mistake.message)}")


def load_schema(schema: object, base: Path) -> Mapping[str, Any] | bool:
    """Return the schema, read from a file when it is a path (relative to ``base``).

    Raises `SuiteError` when it cannot be read or is not a JSON Schema.
    """
    import jsonschema

    if isinstance(schema, (str, Path)):
        path = base / schema
        try:
            schema = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SuiteError(f"json_schema: {path} cannot be read as JSON: {error}") from error
    if not isinstance(schema, (Mapping, bool)):
        raise SuiteError(f"json_schema takes a schema or the path of one, not {type(schema).__name__}")
    try:
        jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator).check_schema(
            cast("Any", schema)
        )
    except (AttributeError, TypeError) as error:
        raise SuiteError(f"json_schema: not a JSON Schema: {error}") from error
    except jsonschema.SchemaError as error:
        raise SuiteError(
            f"json_schema: not a valid JSON Schema at {error.json_path}: {one_line(error.message)}"
        ) from error
    return schema
