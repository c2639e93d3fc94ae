"""The report page with many cases: file size, time to first paint, time to filter, memory.

    python -m benchmarks.report_page [--samples 20000] [--page report.html]

Makes an artifact of realistic length (two models, three suites, prompts and answers of some hundred words), writes its page
and opens it in headless Chromium.
"""

from __future__ import annotations

import random
from typing import Any

SUITES = {
    "test_support": ("helpful", "polite", "faithful"),
    "test_maths": ("right", "concluded"),
    "test_summary": ("rouge", "short"),
}
MODELS = ("org/small-instruct", "org/large-instruct")
PHRASES = (
    "the order was shipped on Monday and should arrive within three days if nothing holds it up at customs please let us know "
    "whether the address that we have for you is still right because a parcel that comes back costs both of us time answer "
    "number total average café naïve ≥ 3.5 therefore we divide by twelve and get to the result"
)
WORDS = PHRASES.split()


def prose(chance: random.Random, words: int) -> str:
    """Return text that looks like some."""
    return " ".join(chance.choices(WORDS, k=words)).capitalize() + "."


def artifact_lines(samples: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return an artifact of that many samples as plain data."""
    chance = random.Random(seed)
    run = {
        "type": "run",
        "schema": 1,
        "run_id": "20261102T090000-5eed",
        "started": "2026-11-02T09:00:00+00:00",
        "command": ["pytest", "--evals"],
        "pytest": "9.2.0",
        "plugin": "0.1.0",
        "python": "3.12.1",
        "packages": {"transformers": "5.23.0"},
        "platform": "Linux",
        "device": "cuda",
        "git": {"commit": "5" * 40, "branch": "main", "dirty": False},
        "models": [{"model": model} for model in MODELS],
        "judge": None,
        "seed": seed,
        "options": {},
        "suites": [
            {"name": name, "dataset_key": f"{name}.jsonl", "dataset_hash": "abc", "n": samples // 6} for name in SUITES
        ],
    }
    return [run, *(sample(chance, number) for number in range(samples))]


def sample(chance: random.Random, number: int) -> dict[str, Any]:
    """Return one sample; the models answer the same cases."""
    model, case = MODELS[number % 2], number // 2
    suite = list(SUITES)[case % 3]
    question = prose(random.Random(case), random.Random(case).randint(40, 200))
    answer = prose(chance, chance.randint(30, 220))
    grades = [grade(chance, key) for key in SUITES[suite]]
    return {
        "type": "sample",
        "id": f"{number:016x}",
        "nodeid": f"test_it.py::{suite}[case-{case:05d}-{model.partition('/')[2]}]",
        "suite": suite,
        "case_id": f"case-{case:05d}",
        "repeat": 1,
        "dataset_key": f"{suite}.jsonl",
        "interaction": {
            "thread": [
                {"role": "system", "content": "Answer in two sentences."},
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
            ],
            "source": model,
            "completion": {
                "text": answer,
                "finish_reason": "stop",
                "prompt_tokens": 120,
                "completion_tokens": 90,
                "latency": round(chance.uniform(0.2, 4), 3),
            },
            "metadata": {
                "question": question,
                "level": ("easy", "medium", "hard")[case % 3],
                "topic": f"topic {case % 7}",
            },
        },
        "tasks": {},
        "grades": grades,
        "outcome": "passed" if all(found["passed"] is not False for found in grades) else "missed",
        "error": None,
        "timing": {"call": 0.001},
        "fingerprint": f"{number:064x}",
    }


def grade(chance: random.Random, key: str) -> dict[str, Any]:
    """Return a grade: a number without a verdict for rouge, right or wrong for the others."""
    value = round(chance.betavariate(4, 3), 4) if key == "rouge" else float(chance.random() < 0.8)
    return {
        "grader_key": key,
        "value": value,
        "passed": None if key == "rouge" else value == 1,
        "status": "graded",
        "reasoning": prose(chance, 15),
        "metadata": {},
    }
