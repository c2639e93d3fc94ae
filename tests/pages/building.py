"""Artifacts for pages: plain lines, as a run would have written them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_evals.artifacts.reader import ArtifactReader
from pytest_evals.baselines.loading import load_baseline
from pytest_evals.reports.html.report import report_page, write_text

RUN: dict[str, Any] = {
    "type": "run",
    "schema": 1,
    "run_id": "20261102T090000-abc123",
    "started": "2026-11-02T09:00:00+00:00",
    "command": ["pytest", "--evals"],
    "pytest": "9.2.0",
    "plugin": "0.1.0",
    "python": "3.12.1",
    "packages": {"transformers": "5.23.0"},
    "platform": "Linux",
    "device": "cpu",
    "git": {"commit": "0123456789abcdef", "branch": "main", "dirty": True},
    "models": [{"model": "org/small"}, {"model": "org/large"}],
    "judge": None,
    "seed": 0,
    "options": {},
    "suites": [{"name": "test_capitals", "dataset_key": "capitals.jsonl", "dataset_hash": "abc", "n": 10}],
}


def grade(key: str, value: float | None, *, passed: bool | None = None, **more: Any) -> dict[str, Any]:
    """Return a grade; ``status`` and the like are those of a graded one unless given."""
    status = "graded" if value is not None else "error"
    entry: dict[str, Any] = {
        "value": value,
        "grader_key": key,
        "reasoning": None,
        "passed": passed,
        "status": status,
        "metadata": {},
    }
    return {**entry, **more}


def sample(
    case: str, text: str, *grades: Mapping[str, Any], model: str = "org/small", outcome: str = "passed", **more: Any
) -> dict[str, Any]:
    """Return a sample whose prompt asks for ``case``; ``more`` replaces fields of it, ``fields`` those of its row."""
    prompt = {"role": "user", "content": more.pop("prompt", f"What is the capital of {case}?")}
    interaction = {
        "thread": [prompt, {"role": "assistant", "content": text}],
        "source": model,
        "completion": {
            "text": text,
            "finish_reason": "stop",
            "prompt_tokens": 9,
            "completion_tokens": 3,
            "latency": 0.5,
        },
        "metadata": more.pop("fields", {}),
    }
    entry: dict[str, Any] = {
        "type": "sample",
        "id": more.pop("id", f"{case}-{model.rpartition('/')[2]}"),
        "nodeid": f"test_it.py::test_capitals[{case}-{model}]",
        "suite": "test_capitals",
        "case_id": case,
        "repeat": 1,
        "dataset_key": "capitals.jsonl",
        "location": {"path": "evals/capitals.jsonl", "line": 2},
        "interaction": interaction,
        "tasks": {},
        "grades": list(grades),
        "outcome": outcome,
        "error": None,
        "timing": {"call": 0.001},
        "fingerprint": None,
    }
    return {**entry, **more}


def summary(gates: Sequence[Mapping[str, Any]] = (), **ledger: int) -> dict[str, Any]:
    """Return the last line of a run that came to its end."""
    counts = {"collected": sum(ledger.values()), **ledger}
    return {
        "type": "summary",
        "complete": True,
        "interruption": None,
        "scores": [],
        "gates": list(gates),
        "ledger": counts,
        "throughput": {"models": []},
    }


def written(path: Path, samples: Iterable[Mapping[str, Any]], last: Mapping[str, Any] | None = None) -> Path:
    """Write an artifact to ``path``, and return it."""
    lines = [RUN, *samples, *([last] if last else [])]
    # ASCII, as an escape: a lone surrogate has no place in a file of UTF-8.
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return path


def report(path: Path, now: Path, before: Path | None = None) -> Path:
    """Write the report page of an artifact to ``path``, and return it."""
    write_text(path, report_page(ArtifactReader(now), load_baseline(before) if before else None))
    return path
