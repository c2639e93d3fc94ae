"""Tells whether a line of an artifact is as the schema says, before anything relies on it.

``where`` is the file and the line, for the `ArtifactError` that says what is wrong.
"""

from __future__ import annotations

import functools
import json
from typing import Any

from pytest_evals.artifacts.writer import SCHEMA
from pytest_evals.errors import ArtifactError
from pytest_evals.statistics import LARGEST
from pytest_evals.text import quoted

ParsedLine = dict[str, Any]


def parsed(line: bytes, where: str) -> ParsedLine:
    """Return the object on a line. Raises `ArtifactError`."""
    try:
        data = json.loads(line, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(
            f"{where}: not valid JSON, so this is not an artifact, or it was damaged: {error}"
        ) from error
    if not isinstance(data, dict):
        raise ArtifactError(f"{where}: an artifact's lines are objects, this one is {type(data).__name__}")
    return data


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is not a number of JSON")


def checked_run(data: ParsedLine, where: str) -> ParsedLine:
    """Return the first line. Raises `ArtifactError` unless it is the ``run`` line of a schema that this version reads."""
    if data.get("type") == "baseline":
        raise ArtifactError(
            f"{where}: this is a baseline, not an artifact; 'pytest-evals compare' takes it, as does --evals-baseline"
        )
    if data.get("type") != "run" or not isinstance(data.get("schema"), int):
        raise ArtifactError(f"{where}: this is not an artifact of pytest --evals: its first line is not a 'run' line")
    if data["schema"] > SCHEMA:
        raise ArtifactError(
            f"{where}: written with schema {data['schema']} by pytest-evals-hf {data.get('plugin')}, newer than schema {SCHEMA} which this "
            "version reads; upgrade pytest-evals-hf"
        )
    return _checked(data, "RunRecord", where)


def checked_summary(data: ParsedLine, where: str) -> ParsedLine:
    """Return the ``summary`` line. Raises `ArtifactError`."""
    return _checked(data, "Summary", where)


def checked_answer(data: ParsedLine, where: str) -> ParsedLine:
    """Return an ``answer`` line. Raises `ArtifactError`."""
    return _checked(data, "AnswerRecord", where)


def unexpected(kind: object) -> str:
    """Say what is wrong with a line of this ``kind``."""
    if kind == "run":
        return "a second 'run' line: several artifacts in one file; split it where 'run' lines start"
    return f"a line of the unknown type {kind!r}"


def read_sample(line: bytes, where: str) -> ParsedLine:
    """Return the sample on a line, with at least the keys of this version's schema. Raises `ArtifactError`.

    A line as this version writes it is parsed and checked in one pass, which takes no longer than parsing it.
    """
    from pydantic import ValidationError

    # What JSON does not know is refused by `parsed`.
    if b"NaN" not in line and b"Infinity" not in line:
        try:
            data: ParsedLine = _line_types().validate_json(line)
        except ValidationError:
            pass  # written by another version, or damaged
        else:
            if all(map(_is_coherent, data["grades"])):
                return data
    return checked_sample(parsed(line, where), where)


def checked_sample(data: ParsedLine, where: str) -> ParsedLine:
    """Return a ``sample`` line with what an older version did not write filled in. Raises `ArtifactError`."""
    from pydantic import ValidationError

    try:
        _line_types().validate_python(data)
    except ValidationError:
        return _checked(data, "EvalSample", where)
    return data if all(map(_is_coherent, data["grades"])) else _checked(data, "EvalSample", where)


@functools.cache
def _line_types() -> Any:
    """Return what checks the types of a sample's line, made from the models that describe it."""
    from pydantic import TypeAdapter

    from pytest_evals.artifacts.schema import EvalSample, line_type

    return TypeAdapter(line_type(EvalSample))


def _is_coherent(grade: ParsedLine) -> bool:
    """Tell whether value, verdict and bounds of a grade go with its status, as `Grade` demands."""
    value, bounds = grade["value"], grade.get("bounds")
    if grade["status"] != "graded":
        return value is None and grade["passed"] is None
    if value is None or abs(value) > LARGEST:
        return False
    return bounds is None or (len(bounds) == 2 and bounds[0] < bounds[1] and bounds[0] <= value <= bounds[1])


def _checked(data: ParsedLine, model: str, where: str) -> ParsedLine:
    """Return the line as pydantic reads it: with what it lacks, or an `ArtifactError` that names the field."""
    from pydantic import ValidationError

    from pytest_evals.artifacts import schema

    try:
        return dict(getattr(schema, model).model_validate(data).model_dump(by_alias=True))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        shown = "" if first["type"] == "missing" else f" (found {quoted(str(first['input']), 60)})"
        raise ArtifactError(f"{where}: not a valid {data.get('type')} line: {place}: {first['msg']}{shown}") from error
