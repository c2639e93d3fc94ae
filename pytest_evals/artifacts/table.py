"""A recorded case as one row of a table: for spreadsheets, frames and programs that want no nesting."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pytest_evals.artifacts.query import prompt_of
from pytest_evals.artifacts.validation import ParsedLine

FIXED = (
    *("suite", "case_id", "model", "repeat", "outcome", "error_kind", "error", "prompt", "completion", "finish_reason"),
    *("prompt_tokens", "completion_tokens", "latency", "cluster"),
)
"""Columns that every table has, in their order; those of ``item``, of graders and of ``tasks`` follow."""
_GRADE = ("passed", "status", "reasoning")


def flat_row(sample: ParsedLine) -> dict[str, Any]:
    """Return the row of a sample: `FIXED`, ``item.FIELD``, ``GRADER`` (its value), ``GRADER.passed`` and so on,
    ``label.GRADER``, ``tasks.NAME``.
    """
    interaction = sample["interaction"]
    completion, error = interaction["completion"] or {}, sample["error"] or {}
    row = {
        "suite": sample["suite"],
        "case_id": sample["case_id"],
        "model": interaction["source"],
        "repeat": sample["repeat"],
        "outcome": sample["outcome"],
        "error_kind": error.get("kind"),
        "error": error.get("message"),
        "prompt": prompt_of(sample),
        "completion": completion.get("text"),
        "cluster": sample.get("cluster"),
        **{name: completion.get(name) for name in ("finish_reason", "prompt_tokens", "completion_tokens", "latency")},
    }
    row |= {f"item.{name}": value for name, value in interaction["metadata"].items()}
    for grade in sample["grades"]:
        key = f"grades.{grade['grader_key']}" if grade["grader_key"] in FIXED else grade["grader_key"]
        row[key] = grade["value"]
        row |= {f"{key}.{name}": grade[name] for name in _GRADE}
    row |= {f"label.{name}": value for name, value in (sample.get("label") or {}).items()}
    return row | {f"tasks.{name}": value for name, value in sample["tasks"].items()}


def columns_of(samples: Iterable[ParsedLine]) -> list[str]:
    """Return the columns that the rows of ``samples`` have together, fields before grades before tasks."""
    found: dict[str, None] = {}
    for sample in samples:
        for name in flat_row(sample):
            found.setdefault(name)
    return sorted(found, key=_group)


def _group(name: str) -> tuple[int, int]:
    if name in FIXED:
        return 0, FIXED.index(name)
    return (1 if name.startswith("item.") else 3 if name.startswith("tasks.") else 2), 0
