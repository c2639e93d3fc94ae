"""One finished case as plain data: the line of the artifact, and all that leaves the process in which the case ran."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from sys import intern
from typing import TYPE_CHECKING, Any

from pytest_evals.baseline.content import content_of
from pytest_evals.completion import Completion, Failure
from pytest_evals.conversation import CONVERSATION
from pytest_evals.grading.sheet import Sheet
from pytest_evals.location import Location
from pytest_evals.scores import corpus
from pytest_evals.scores.records import CaseRecord, GradeRecord, Outcome
from pytest_evals.trust.said import said_of

if TYPE_CHECKING:
    from pytest_evals.grades import Grade
    from pytest_evals.item import EvalItem

_GRADE = ("value", "grader_key", "reasoning", "passed", "status", "metadata")


def sample_line(
    nodeid: str,
    found: EvalItem,
    *,
    outcome: Outcome,
    completion: Completion | None,
    sheet: Sheet,
    error: Mapping[str, str] | None,
    timing: Mapping[str, float],
    location: Location,
    calls: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the sample of a case, keys as the artifact has them."""
    key = found.key
    thread = completion.messages if completion else found.prepared.prompt
    return {
        "type": "sample",
        "id": sample_id(nodeid, key.model),
        "nodeid": nodeid,
        "suite": found.info.name,
        "case_id": key.id,
        "repeat": key.repeat,
        "cluster": found.cluster,
        "label": dict(found.label),
        "dataset_key": found.info.dataset_key,
        "location": location._asdict(),
        "interaction": {
            "thread": [dict(message) for message in thread],
            "source": key.model,
            "completion": completion_data(completion),
            "metadata": {name: value for name, value in found.prepared.case.items() if name not in CONVERSATION},
        },
        "tasks": dict(sheet.recorded),
        "calls": [dict(call) for call in calls],
        "grades": grades_data(found, sheet, outcome, error),
        "outcome": outcome,
        "error": error,
        "timing": timing,
        "fingerprint": completion.fingerprint if completion else None,
        "content": content_of(found.prepared.prompt, found.prepared.case),
    }


def sample_id(nodeid: str, model: str | None) -> str:
    """Return the id of a sample: the same in every run for the same test, case and model."""
    return hashlib.sha256(f"{nodeid}\n{model}".encode()).hexdigest()[:16]


def completion_data(completion: Completion | None) -> dict[str, Any] | None:
    """Return a completion as plain data; the conversation stands in the thread."""
    if completion is None:
        return None
    names = ("text", "finish_reason", "prompt_tokens", "completion_tokens", "logprobs", "latency")
    data = {name: getattr(completion, name) for name in names}
    data["origin"] = None if completion.origin is None else dataclasses.asdict(completion.origin)
    return {**data, "samples": list(completion.samples)} if completion.samples else data


def source_of(completion: Mapping[str, Any] | None) -> str | None:
    """Return where a completion of a sample was taken from; `None` if it was computed."""
    origin = (completion or {}).get("origin") or {}
    source: str | None = origin.get("source")
    return source


def grades_data(
    found: EvalItem, sheet: Sheet, outcome: Outcome, error: Mapping[str, str] | None
) -> list[dict[str, Any]]:
    """Return the grades of a case. Each grader of the suite has one, also when it never came to run."""
    grades = [_grade_data(grade) for grade in sheet.grades.values()]
    given = {grade["grader_key"] for grade in grades}
    for key in found.graders:
        if key in given or any(name.startswith(f"{key}.") for name in given):
            continue
        if outcome == "skipped":
            status, reason = "not_applicable", "the case was skipped"
        else:
            status, reason = "error", f"did not run: {error['message'] if error else 'the test ended before it'}"
        grades.append(
            {"value": None, "grader_key": key, "reasoning": reason, "passed": None, "status": status, "metadata": {}}
        )
    return grades


def _grade_data(grade: Grade) -> dict[str, Any]:
    data = {name: getattr(grade, name) for name in _GRADE}
    return data if grade.bounds is None else {**data, "bounds": list(grade.bounds)}


def failure_data(failure: Failure) -> dict[str, str]:
    """Return an error of the model or the engine as the artifact has it."""
    return {"kind": failure.kind, "message": failure.message}


def dump(data: Mapping[str, Any]) -> str:
    """Return ``data`` as one line of JSON that any UTF-8 file can hold: a lone surrogate is written as an escape.

    Non-finite numbers (a row from Parquet may hold some) become null, and what JSON does not know (a date, also as a
    key) becomes its ``str``.
    """
    try:
        line = json.dumps(data, ensure_ascii=False, allow_nan=False, default=str)
    except (ValueError, TypeError):
        data = _json_ready(data)
        line = json.dumps(data, ensure_ascii=False, allow_nan=False, default=str)
    try:
        line.encode()
    except UnicodeEncodeError:
        line = json.dumps(data, allow_nan=False, default=str)
    return line


def _json_ready(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _json_ready(entry) for key, entry in value.items()}
    return [_json_ready(entry) for entry in value] if isinstance(value, (list, tuple)) else value


@functools.lru_cache(maxsize=256)
def _bounds(low: float, high: float) -> tuple[float, float]:
    """Return one and the same pair for all grades that have it."""
    return low, high


def to_record(sample: Mapping[str, Any]) -> CaseRecord:
    """Return what scores and gates need of a sample line."""
    interaction = sample["interaction"]
    completion = interaction["completion"] or {}
    # Of an artifact of many cases, names that all of them share are kept once.
    grades = tuple(
        GradeRecord(
            intern(grade["grader_key"]),
            grade["value"],
            grade["passed"],
            intern(grade["status"]),
            corpus.part_of(grade.get("metadata")),
            said_of(grade.get("metadata")),
            _bounds(*grade["bounds"]) if grade.get("bounds") else None,
        )
        for grade in sample["grades"]
    )
    return CaseRecord(
        suite=intern(sample["suite"]),
        model=intern(interaction["source"] or ""),
        case_id=sample["case_id"],
        outcome=sample["outcome"],
        grades=grades,
        fields={intern(name): value for name, value in (interaction.get("metadata") or {}).items()},
        finish_reason=intern(completion["finish_reason"]) if completion.get("finish_reason") else None,
        repeat=sample.get("repeat") or 1,
        content={intern(name): digest for name, digest in (sample.get("content") or {}).items()},
        cluster=sample.get("cluster"),
        label=sample.get("label") or {},
        tokens=completion.get("completion_tokens"),
        prompt_tokens=completion.get("prompt_tokens"),
        latency=completion.get("latency"),
    )
