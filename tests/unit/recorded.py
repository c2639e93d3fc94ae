"""Lines of an artifact, as a run records them."""

from __future__ import annotations

from typing import Any

from pytest_evals.artifacts.writer import SCHEMA
from pytest_evals.grades import Grade

Line = dict[str, Any]


def run_line(**changes: Any) -> Line:
    return {
        "type": "run",
        "schema": SCHEMA,
        "run_id": "20240506T070809-abc123",
        "started": "2024-05-06T07:08:09+00:00",
        "command": ["pytest", "--evals"],
        "pytest": "9.0.0",
        "plugin": "0.1.0",
        "python": "3.11.7",
        "packages": {"torch": "2.11"},
        "platform": "Linux",
        "device": None,
        "git": None,
        "models": [{"model": "smollm2"}],
        "judge": None,
        "seed": 0,
        "options": {"limit": None},
        "suites": [{"name": "capitals", "dataset_key": "a.jsonl", "dataset_hash": "abc", "n": 2, "tags": []}],
        "reused": None,
        "addopts": None,
        "folder": None,
        **changes,
    }


def sample_line(case_id: str = "France", *grades: Grade, **changes: Any) -> Line:
    return {
        "type": "sample",
        "id": f"id-{case_id}",
        "nodeid": f"test_a.py::test[{case_id}]",
        "suite": "capitals",
        "case_id": case_id,
        "repeat": 1,
        "cluster": None,
        "label": {},
        "dataset_key": "a.jsonl",
        "location": {"path": "evals/a.jsonl", "line": 3},
        "interaction": {
            "thread": [{"role": "user", "content": "Capital?"}, {"role": "assistant", "content": "Paris"}],
            "source": "smollm2",
            "completion": {"text": "Paris \ud800", "finish_reason": "stop", "completion_tokens": 2, "latency": 0.5},
            "metadata": {"country": case_id},
        },
        "tasks": {"steps": 3},
        "calls": [],
        "grades": [grade.model_dump() for grade in grades or (Grade(True, "exact", "same"),)],
        "outcome": "passed",
        "error": None,
        "timing": {"call": 0.1},
        "fingerprint": "f00",
        "content": {"prompt": "abc"},
        **changes,
    }


def summary_line(**changes: Any) -> Line:
    return {
        "type": "summary",
        "complete": True,
        "interruption": None,
        "scores": [],
        "gates": [],
        "ledger": {"collected": 2, "passed": 2},
        "throughput": {"models": []},
        "calibrations": [],
        "agreements": [],
        "baseline": None,
        **changes,
    }


def errored_line(case_id: str = "Chad") -> Line:
    line = sample_line(case_id, Grade(None, "exact", "did not run", status="error"), outcome="errored")
    line["interaction"] = {"thread": [], "source": None, "completion": None, "metadata": {}}
    return {**line, "error": {"kind": "model", "message": "refused"}, "fingerprint": None}
