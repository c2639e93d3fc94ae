"""One finished case as plain data: the line of the artifact, and all that leaves the process in which the case ran."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from sys import intern
from typing import Any

from pytest_evals.hashing import content_hash, is_picture
from pytest_evals.questions.answers import said_of
from pytest_evals.scores import corpus
from pytest_evals.scores.records import CaseRecord, GradeRecord


def sample_id(nodeid: str, model: str | None) -> str:
    """Return the id of a sample: the same in every run for the same test, case and model."""
    return hashlib.sha256(f"{nodeid}\n{model}".encode()).hexdigest()[:16]


def source_of(completion: Mapping[str, Any] | None) -> str | None:
    """Return where a completion of a sample was taken from; `None` if it was computed."""
    origin = (completion or {}).get("origin") or {}
    source: str | None = origin.get("source")
    return source


def dump(data: Mapping[str, Any]) -> str:
    """Return ``data`` as one line of JSON that any UTF-8 file can hold: a lone surrogate is written as an escape.

    Non-finite numbers (a row from Parquet may hold some) become null, and what JSON does not know (a date, also as a
    key) becomes its ``str``.
    """
    try:
        line = _encode(data)
    except (ValueError, TypeError):
        data = _json_ready(data)
        line = _encode(data)
    try:
        line.encode()
    except UnicodeEncodeError:
        line = json.dumps(data, allow_nan=False, default=_described)
    return line


_PLAIN = frozenset({str, int, bool, type(None)})


def dump_plain(sample: Mapping[str, Any]) -> str:
    """Return the line of a sample that `reads_as_written`, without blanks, in a fifth of the time that `dump` takes."""
    import pydantic_core

    try:
        return pydantic_core.to_json(sample, inf_nan_mode="null").decode()
    except ValueError:
        # A lone surrogate.
        return dump(sample)


def reads_as_written(sample: Mapping[str, Any]) -> bool:
    """Tell, quickly, whether the line of a sample says just what the sample has: its row is flat and plain, and there are neither
    calls nor results of tasks. Of others the line has to be read.
    """
    row = sample["interaction"]["metadata"]
    return (
        not sample["calls"]
        and not sample["tasks"]
        and all(
            type(name) is str and (type(value) in _PLAIN or (type(value) is float and math.isfinite(value)))
            for name, value in row.items()
        )
        and not any(grade["metadata"] for grade in sample["grades"])
    )


_LONGEST_BYTES = 64


def _described(value: Any) -> str:
    """Return what stands for a value that JSON does not know: of an image or of many bytes, which ones they are."""
    if is_picture(value):
        width, height = value.size
        return f"<image of {width}x{height}, {value.mode}, {content_hash(value, 16)}>"
    if isinstance(value, (bytes, bytearray)) and len(value) > _LONGEST_BYTES:
        return f"<{len(value):,} bytes, sha256 {hashlib.sha256(value).hexdigest()}>"
    return str(value)


# Made once: making it takes a good part of what a short line takes.
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_described).encode


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


def cost_of(sample: Mapping[str, Any]) -> float | None:
    """Return what a case cost, its calls included; `None` where no answer of it has a price."""
    answers = (sample["interaction"]["completion"] or {}, *(sample.get("calls") or ()))
    costs = [answer["cost"] for answer in answers if answer.get("cost") is not None]
    return math.fsum(costs) if costs else None


def to_record(sample: Mapping[str, Any]) -> CaseRecord:
    """Return what scores and gates need of a sample line."""
    interaction = sample["interaction"]
    completion = interaction["completion"] or {}
    # Of an artifact of many cases, names that all of them share are kept once.
    return CaseRecord(
        suite=intern(sample["suite"]),
        model=intern(interaction["source"] or ""),
        case_id=sample["case_id"],
        outcome=sample["outcome"],
        grades=tuple(map(_grade_record, sample["grades"])),
        fields={intern(name): value for name, value in (interaction.get("metadata") or {}).items()},
        finish_reason=intern(completion["finish_reason"]) if completion.get("finish_reason") else None,
        repeat=sample.get("repeat") or 1,
        content={intern(name): digest for name, digest in (sample.get("content") or {}).items()},
        cluster=sample.get("cluster"),
        label=sample.get("label") or {},
        tokens=completion.get("completion_tokens"),
        prompt_tokens=completion.get("prompt_tokens"),
        latency=completion.get("latency"),
        cost=cost_of(sample),
        unfinished=bool(
            completion.get("reasoning") and not completion.get("text") and not completion.get("tool_calls")
        ),
    )


def _grade_record(grade: Mapping[str, Any]) -> GradeRecord:
    metadata = grade.get("metadata")
    bounds = _bounds(*grade["bounds"]) if grade.get("bounds") else None
    key, status = intern(grade["grader_key"]), intern(grade["status"])
    if not metadata:
        return GradeRecord(key, grade["value"], grade["passed"], status, bounds=bounds)
    return GradeRecord(
        key,
        grade["value"],
        grade["passed"],
        status,
        corpus.part_of(metadata),
        said_of(metadata),
        bounds,
        metadata.get("by") == "probability",
        "abstained" in metadata,
    )


def answer_keys(sample: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys of the answers in a sample."""
    for answer in (sample["interaction"]["completion"], *(sample.get("calls") or ())):
        origin = (answer or {}).get("origin")
        if origin:
            yield origin["key"]
