"""The engine of this project, measured as a user meets it: through ``pytest --evals`` on a suite in a folder of its own."""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.job import Answer, Job
from benchmarks.measurement import Measurement
from benchmarks.process import ProgramError, Usage, watch

_COMPLETED = """
from pytest_evals import cases, grader


@grader
def answered(completion):
    return bool(completion.text.strip())


@cases("rows.jsonl", id="id", generation={"max_new_tokens": "item.max_new_tokens"}, gates=["answered.coverage >= 1"])
def test_workload(answered):
    assert answered
"""
_SCORED = """
from pytest_evals import cases, graders

right = graders.choice(["{{item.a}}", "{{item.b}}", "{{item.c}}", "{{item.d}}"], expected="item.answer")


@cases("rows.jsonl", prompt="{{item.context}}", id="id", gates=["right.coverage >= 1"])
def test_workload(right):
    assert right
"""
_CONFTEST = '''
"""Notes when collection and each case's phases were done; the benchmark works out from it when the model was ready."""

import json
import time

STAMPS = []


def pytest_collection_finish():
    STAMPS.append(("collected", time.time()))


def pytest_runtest_logreport(report):
    if report.when in ("setup", "teardown"):
        STAMPS.append((report.when, time.time()))


def pytest_sessionfinish():
    with open("stamps.json", "w", encoding="utf-8") as file:
        json.dump(STAMPS, file)
'''
_WAITED_SECONDS = 0.02
"""A case whose setup took longer than this had to wait for its completion."""


def measure_evals(workload: str, job: Job, environment: Mapping[str, str], timeout: float) -> Measurement:
    """Run pytest on a suite of the job's rows. Raises `ProgramError` when that fails, and when a case has no answer.

    The suite is written, and its artifact read, outside of what is timed.
    """
    with tempfile.TemporaryDirectory(prefix="evals-bench-") as name:
        folder = Path(name)
        write_suite(folder, job)
        usage, printed = watch(_command(job), folder, environment, timeout)
        lines = [json.loads(line) for line in (folder / "run.jsonl").read_text(encoding="utf-8").splitlines()]
        stamps = json.loads((folder / "stamps.json").read_text(encoding="utf-8"))
    answers = tuple(_read_answer(line, job) for line in lines if line["type"] == "sample")
    if len(answers) != len(job.rows):
        raise ProgramError(f"left {len(answers)} of {len(job.rows)} cases in the artifact; pytest printed:\n{printed}")
    if not lines[-1]["throughput"]["models"]:
        raise ProgramError("left an artifact whose throughput names no model, so that nobody knows how long it worked")
    seconds = lines[-1]["throughput"]["models"][0]["seconds"]
    engine = usage.child
    load = _load_seconds(stamps, usage, seconds)
    return Measurement(
        "evals",
        workload,
        seconds=seconds,
        load_seconds=load,
        wall_seconds=usage.seconds,
        peak_mb=usage.peak,
        pytest_mb=usage.peaks[usage.pid],
        engine_mb=usage.peaks[engine] if engine is not None else None,
        overhead_seconds=None if load is None else usage.seconds - seconds - load,
        answers=answers,
        versions=lines[0]["packages"],
        chosen=_chosen(lines[-1]["throughput"]["models"][0]["usage"]),
    )


def _chosen(usage: Mapping[str, Any]) -> str:
    """Return what was found to be fastest here, as text."""
    found = {name.removeprefix("chosen_"): value for name, value in usage.items() if name.startswith("chosen_")}
    return ", ".join(f"{value:g} {name.replace('_', ' ')}" for name, value in found.items() if value)


def _command(job: Job) -> list[str]:
    options = f"?dtype={job.dtype}&device=cpu" + ("&template=none" if job.scored else "")
    return [
        *(sys.executable, "-m", "pytest", "-q", "--evals", "test_workload.py"),
        *("--evals-model", job.model + options, "--evals-artifact", "run.jsonl"),
    ]


def write_suite(folder: Path, job: Job) -> None:
    """Write a suite of the job's rows."""
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (folder / "conftest.py").write_text(_CONFTEST, encoding="utf-8")
    (folder / "test_workload.py").write_text(_SCORED if job.scored else _COMPLETED, encoding="utf-8")
    rows = [_scored_row(asdict(row)) if job.scored else asdict(row) for row in job.rows]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _scored_row(row: dict[str, Any]) -> dict[str, Any]:
    choices = dict(zip("abcd", row["choices"], strict=True))
    return {"id": row["id"], "context": row["context"], "answer": row["answer"], **choices}


def _read_answer(sample: Mapping[str, Any], job: Job) -> Answer:
    """Return the answer of an artifact's sample: its completion, or the sums in the metadata of its only grade."""
    if sample["error"] is not None:
        raise ProgramError(f"made case {sample['case_id']} an error: {sample['error']['message']}")
    if job.scored:
        sums = sample["grades"][0]["metadata"].get("logprobs")
        if sums is None:
            raise ProgramError(f"left no log-likelihoods in the grade of case {sample['case_id']}")
        return Answer(sample["case_id"], sums=tuple(sums))
    completion = sample["interaction"]["completion"]
    return Answer(sample["case_id"], completion["text"], None, completion["completion_tokens"])


def _load_seconds(stamps: list[tuple[str, float]], usage: Usage, working: float) -> float | None:
    """Return the seconds from the start of the engine's process to its first work, `None` where that cannot be told.

    Work ended when the last case that had to wait was given its completion, and had begun ``working`` seconds before.
    """
    pairs = itertools.pairwise(stamps)
    ends = [time for (_, before), (phase, time) in pairs if phase == "setup" and time - before > _WAITED_SECONDS]
    if not ends or usage.child is None:
        return None
    return max(ends) - working - usage.begun[usage.child]
