"""The report page with many cases: file size, time to first paint, time to filter, memory.

    python -m benchmarks.report_page [--samples 20000]

Makes an artifact of realistic length (two models, three suites, prompts and answers of some hundred words), writes its page
and opens it in headless Chromium. Each figure of the browser is the median of several runs.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from pytest_evals.artifacts.reader import ArtifactReader
from pytest_evals.reports.html.report import report_page, write_text

RUNS = 5
QUERIES = ("customs", "customs please", "nothing of the kind", "the", "café")
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


def measure(page_path: Path) -> dict[str, Any]:
    """Open the page several times in a fresh window, and return the medians."""
    from playwright.sync_api import sync_playwright

    chromium = next(path for name in ("chromium", "google-chrome") if (path := shutil.which(name)))
    found: list[dict[str, float]] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(RUNS):
            page = browser.new_page(viewport={"width": 1280, "height": 860})
            page.goto(f"{page_path.as_uri()}#overview")
            page.wait_for_selector("[data-ready]")
            paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
            ready = page.evaluate("performance.getEntriesByName('ready')[0].startTime")
            page.evaluate("go('#cases')")
            times = [filtered(page, f"update({{ ...NOTHING, q: {json.dumps(query)} }})") for query in QUERIES]
            times += [
                filtered(page, f"update({{ ...NOTHING, {name}: '{value}' }})")
                for name, value in (("outcome", "missed"), ("only", "models"), ("order", "low"))
            ]
            heap = page.context.new_cdp_session(page).send("Runtime.getHeapUsage")["usedSize"]
            found.append(
                {
                    "first paint ms": paint,
                    "all cases ready ms": ready,
                    "first search ms": times[0],
                    "slowest filter ms": max(times[1:]),
                    "heap MB": heap / 1e6,
                }
            )
            page.close()
        browser.close()
    return {name: round(statistics.median(each[name] for each in found), 1) for name in found[0]}


def filtered(page: Any, action: str) -> float:
    """Return the milliseconds from a change of the filters to the list that shows it."""
    elapsed: float = page.evaluate(
        f"(() => {{ const start = performance.now(); {action}; document.body.offsetHeight; return performance.now() - start; }})()"
    )
    return elapsed


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=20_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run, page_path = Path(folder) / "run.jsonl", Path(folder) / "report.html"
        with run.open("w", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(line)}\n" for line in artifact_lines(arguments.samples))
        start = time.perf_counter()
        write_text(page_path, report_page(ArtifactReader(run)))
        written = {
            "samples": arguments.samples,
            "artifact MB": round(run.stat().st_size / 1e6, 1),
            "page MB": round(page_path.stat().st_size / 1e6, 1),
            "written in s": round(time.perf_counter() - start, 2),
        }
        for name, value in {**written, **measure(page_path)}.items():
            print(f"{name:<20} {value}")


if __name__ == "__main__":
    main()
