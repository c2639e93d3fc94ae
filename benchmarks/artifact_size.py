"""What an artifact of many samples costs: its size, the rate at which it is written, and the command's time and memory.

    python -m benchmarks.artifact_size [--samples 100000] [--folder PATH]

Two runs of the same rows are written with the recorder of real runs (a flush a line): a prompt of some 400 characters,
an answer of some 450, two grades. Each command is a process of its own; its seconds and its peak memory are what the
operating system accounts for it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tabulate import tabulate

from pytest_evals.artifacts.sample import dump
from pytest_evals.artifacts.writer import ArtifactWriter

WORDS = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "river",
    "mountain",
    "capital",
    "answer",
    "model",
    "therefore",
    "because",
    "number",
    "question",
]
SUITE = {"name": "bench", "dataset_key": "bench.jsonl", "dataset_hash": "f1f5184befb3b3d5", "tags": []}
RUN: dict[str, Any] = {
    "type": "run",
    "schema": 1,
    "run_id": "benchmark",
    "started": "2026-01-01T00:00:00+00:00",
    "command": ["pytest"],
    "pytest": "9",
    "plugin": "0",
    "python": "3",
    "packages": {},
    "platform": "any",
    "device": "cpu",
    "git": None,
    "models": [{"model": "bench"}],
    "judge": None,
    "seed": 0,
    "options": {},
}
SUMMARY: dict[str, Any] = {"type": "summary", "complete": True, "interruption": None, "scores": [], "gates": []}


def sample(number: int, answers: random.Random, rate: float) -> dict[str, Any]:
    """Return a sample of realistic size; the row and prompt of a number are always the same."""
    row = random.Random(number)
    question = " ".join(row.choices(WORDS, k=60))
    text = " ".join(answers.choices(WORDS, k=70))
    right = answers.random() < rate
    grade = {"value": float(right), "grader_key": "exact", "reasoning": "expected '42'", "passed": right}
    score = {"value": answers.random(), "grader_key": "f1", "reasoning": None, "passed": None}
    return {
        "type": "sample",
        "id": f"{number:016x}",
        "nodeid": f"test_bench.py::test_bench[{number:06d}]",
        "suite": "bench",
        "case_id": f"{number:06d}",
        "repeat": 1,
        "dataset_key": "bench.jsonl",
        "interaction": {
            "thread": [
                {"role": "system", "content": "You are a careful assistant. Answer in one sentence."},
                {"role": "user", "content": question},
                {"role": "assistant", "content": text},
            ],
            "source": "bench",
            "completion": {
                "text": text,
                "finish_reason": "stop",
                "prompt_tokens": 120,
                "completion_tokens": row.randrange(200),
                "logprobs": None,
                "latency": 1.25,
            },
            "metadata": {"id": number, "question": question, "answer": "42", "level": row.choice(["easy", "hard"])},
        },
        "tasks": {},
        "grades": [{**each, "status": "graded", "metadata": {}} for each in (grade, score)],
        "outcome": "passed" if right else "missed",
        "error": None,
        "timing": {"setup": 0.001, "call": 0.0001, "teardown": 0.0001, "generation": 1.25},
        "fingerprint": "8400e21fc5225c0eb0df3ff1",
        "content": {"prompt": f"{number:010x}"},
    }


def write(path: Path, samples: int, seed: int, rate: float) -> float:
    """Write an artifact, and return the seconds that the recorder took; making the samples does not count."""
    answers, spent = random.Random(seed), 0.0
    recorder = ArtifactWriter(path)
    recorder.start({**RUN, "suites": [{**SUITE, "n": samples}]})
    for number in range(samples):
        line = sample(number, answers, rate)
        start = time.perf_counter()
        recorder.write(dump(line))
        spent += time.perf_counter() - start
    recorder.finish({**SUMMARY, "ledger": {"collected": samples, "passed": samples}, "throughput": {"models": []}})
    return spent


def measured(arguments: list[str], output: Path) -> tuple[float, float]:
    """Run the command, and return its seconds and its peak memory in MB."""
    start = time.perf_counter()
    with output.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-m", "pytest_evals", *arguments], stdout=file, stderr=file)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        raise SystemExit(f"pytest-evals {arguments} ended with {process.returncode}: {output.read_text()[-2000:]}")
    return time.perf_counter() - start, usage.ru_maxrss / (1000 if sys.platform.startswith("linux") else 1e6)


def main() -> None:
    """Write both runs, run each command, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="where to write (default: a folder that is removed)")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / "before.jsonl", folder / "after.jsonl"]
        spent = write(paths[0], arguments.samples, 1, 0.8)
        write(paths[1], arguments.samples, 2, 0.79)
        size = paths[0].stat().st_size / 1e6
        print(
            f"{arguments.samples:,} samples: {size:.0f} MB, written in {spent:.1f} s: {arguments.samples / spent:,.0f}/s"
        )
        before, after = map(str, paths)
        commands = {
            "show": ["show", before],
            "compare": ["compare", before, after],
            "cases": ["cases", before, "--where", "exact.value < 1 and item.level == 'hard'", "--sort", "tokens"],
            "export csv": ["export", before, "--to", "csv", "-o", str(folder / "cases.csv")],
            "export parquet": ["export", before, "--to", "parquet", "-o", str(folder / "cases.parquet")],
            "baseline set": ["baseline", "set", before, "--name", "artifact-size-benchmark"],
        }
        stack.enter_context(contextlib.chdir(folder))
        rows = []
        for name, words in commands.items():
            seconds, memory = measured(words, folder / "output.txt")
            rows.append((name, f"{seconds:.1f}", f"{memory:.0f}", f"{memory / size:.2f}"))
        print(tabulate(rows, headers=("command", "seconds", "peak MB", "of the file"), disable_numparse=True))


if __name__ == "__main__":
    main()
