"""Tells whether a line of an artifact is as the schema says, before anything relies on it.

``where`` is the file and the line, for the `ArtifactError` that says what is wrong.
"""

from __future__ import annotations

import json
from typing import Any

from pytest_evals.artifacts.writer import SCHEMA
from pytest_evals.errors import ArtifactError
from pytest_evals.statistics import LARGEST
from pytest_evals.text import quoted

ParsedLine = dict[str, Any]
_OUTCOMES = ("passed", "missed", "failed", "errored", "skipped")
_STATUSES = ("not_applicable", "error", "pending")


def parsed(line: bytes, where: str) -> ParsedLine:
    """Return the object on a line. Raises `ArtifactError`."""
    try:
        data = json.loads(line, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{where}: not valid JSON, so this is no artifact, or it was damaged: {error}") from error
    if not isinstance(data, dict):
        raise ArtifactError(f"{where}: an artifact's lines are objects, this one is {type(data).__name__}")
    return data


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def checked_run(data: ParsedLine, where: str) -> ParsedLine:
    """Return the first line. Raises `ArtifactError` unless it is the ``run`` line of a schema that this version reads."""
    if data.get("type") == "baseline":
        raise ArtifactError(
            f"{where}: this is a baseline, not an artifact; 'pytest-evals compare' takes it, as does --evals-baseline"
        )
    if data.get("type") != "run" or not isinstance(data.get("schema"), int):
        raise ArtifactError(f"{where}: this is no artifact of pytest --evals: its first line is no 'run' line")
    if data["schema"] > SCHEMA:
        raise ArtifactError(
            f"{where}: written with schema {data['schema']} by pytest-evals-hf {data.get('plugin')}, newer than schema {SCHEMA} which this "
            "version reads; upgrade pytest-evals-hf"
        )
    return _checked(data, "RunRecord", where)


def checked_summary(data: ParsedLine, where: str) -> ParsedLine:
    """Return the ``summary`` line. Raises `ArtifactError`."""
    return _checked(data, "Summary", where)


def unexpected(kind: object) -> str:
    """Say what is wrong with a line of this ``kind``."""
    if kind == "run":
        return "a second 'run' line: several artifacts in one file; split it where 'run' lines start"
    return f"a line of the unknown type {kind!r}"


def checked_sample(data: ParsedLine, where: str) -> ParsedLine:
    """Return a ``sample`` line with at least the keys of this version's schema. Raises `ArtifactError`."""
    return data if _is_sample(data) else _checked(data, "EvalSample", where)


def _is_sample(data: ParsedLine) -> bool:
    """Tell, in a hundredth of the time that pydantic takes, whether the sample is as this version writes it."""
    interaction, grades = data.get("interaction"), data.get("grades")
    return (
        isinstance(interaction, dict)
        and isinstance(grades, list)
        and all(isinstance(data.get(name), str) for name in ("id", "nodeid", "suite", "case_id", "dataset_key"))
        and type(data.get("repeat")) is int
        and data.get("outcome") in _OUTCOMES
        and isinstance(data.get("fingerprint", data), str | None)
        and isinstance(data.get("cluster"), str | None)
        and isinstance(data.get("label", {}), dict)
        and _is_location(data.get("location"))
        and isinstance(data.get("calls", []), list)
        and _is_error(data.get("error", data))
        and all(isinstance(data.get(name), dict) for name in ("tasks", "timing", "content"))
        and isinstance(interaction.get("source", interaction), str | None)
        and isinstance(interaction.get("metadata"), dict)
        and _is_thread(interaction.get("thread"))
        and _is_completion(interaction.get("completion", data))
        and all(isinstance(grade, dict) and _is_grade(grade) for grade in grades)
    )


def _is_error(error: Any) -> bool:
    return error is None or (
        isinstance(error, dict) and isinstance(error.get("kind"), str) and isinstance(error.get("message"), str)
    )


def _is_location(location: Any) -> bool:
    return location is None or (
        isinstance(location, dict) and isinstance(location.get("path"), str) and type(location.get("line")) is int
    )


def _is_thread(thread: Any) -> bool:
    return isinstance(thread, list) and all(
        isinstance(message, dict) and isinstance(message.get("role"), str) and "content" in message
        for message in thread
    )


def _is_completion(completion: Any) -> bool:
    return completion is None or (
        isinstance(completion, dict)
        and isinstance(completion.get("text"), str)
        and isinstance(completion.get("finish_reason"), str)
        and all(_is_count(completion.get(name)) for name in ("prompt_tokens", "completion_tokens"))
        and type(completion.get("latency")) in (float, int, type(None))
    )


def _is_count(value: Any) -> bool:
    return value is None or type(value) is int


def _is_grade(grade: ParsedLine) -> bool:
    # What is not there is not None: a key that is missing is for pydantic to fill in.
    value, passed, status = grade.get("value", grade), grade.get("passed", grade), grade.get("status")
    return (
        isinstance(grade.get("grader_key"), str)
        and isinstance(grade.get("reasoning", grade), str | None)
        and isinstance(grade.get("metadata"), dict)
        and ("bounds" not in grade or _are_bounds(grade["bounds"], value))
        and (
            (status == "graded" and type(value) is float and abs(value) <= LARGEST and isinstance(passed, bool | None))
            or (status in _STATUSES and value is None and passed is None)
        )
    )


def _are_bounds(bounds: Any, value: Any) -> bool:
    """Tell whether they are as this version writes them, and the value within them."""
    return (
        type(bounds) is list
        and [type(end) for end in bounds] == [float, float]
        and bounds[0] < bounds[1]
        and (value is None or bounds[0] <= value <= bounds[1])
    )


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
