"""How long a click on one case takes, and where the time goes.

    python -m benchmarks.startup [--rounds 3] [--model smollm2] [--cold] [--no-warm]

A click is ``pytest --evals path::test[case]`` in a process of its own, from its start to its end. Three kinds take turns: the model is
loaded anew (``load``), it is still loaded (``warm``, by ``--evals-warm``), and a script answers instead (``script``: what pytest and the
plugin take). ``--cold`` clicks once with empty caches, ours and numba's, before. Then a load is taken apart, in the process of an
engine as the engine does it: importing torch, importing transformers and the engine, reading the weights, checks and choices, the first answer and the
second, and what is put off until there is more to compute.

The files that this reads are taken to be in the system's memory: the first round warms up and is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SUITE = """
from pytest_evals import cases, graders

named = graders.contains("{{item.capital}}")
ROWS = [{"id": "france", "country": "France", "capital": "Paris"}, {"id": "japan", "country": "Japan", "capital": "Tokyo"}]

@cases(ROWS, prompt="What is the capital of {{item.country}}? Answer in one short sentence.", id="id", generation={"max_new_tokens": 32})
def test_capitals(named):
    assert named
"""
SCRIPT = """
def answer(messages):
    return "Paris"
"""
CASE = "test_capitals.py::test_capitals[france]"
KEEP = "5m"


def click(folder: Path, environment: dict[str, str], *options: str) -> float:
    """Run the case once; return the seconds. Raises `SystemExit` where it does not pass."""
    command = [sys.executable, "-m", "pytest", "--evals", "-q", "-p", "no:cacheprovider", CASE, *options]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return seconds


def parts(model: str) -> dict[str, float]:
    """Return the seconds of each part of a load in this process, which must be a fresh one."""
    found: dict[str, float] = {}
    last = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal last
        now = time.perf_counter()
        found[name] = now - last
        last = now

    import torch  # noqa: F401 - its import is what is timed

    lap("import torch")
    from pytest_evals.engines.light_imports import light_imports
    from pytest_evals.engines.protocol import Inbox, Request
    from pytest_evals.engines.spec import parse_spec
    from pytest_evals.generation import GenerationParams

    spec = parse_spec(model, Path.cwd())
    options: dict[str, Any] = {"device": "auto", "dtype": "auto", "batch": "auto", "replica": 0, "replicas": 1}
    lap("import the package")
    with light_imports(spec):
        from pytest_evals.engines.transformers import engine, loading

        lap("import transformers and the engine")
        with _timed(loading, "_load", found, "weights, tokenizer and model"):
            loaded = engine.load(spec, options, lambda _: None, quick=True)
        lap("checks and choices")
        found["checks and choices"] -= found["weights, tokenizer and model"]

    def answer(name: str) -> None:
        prompt = ({"role": "user", "content": "What is the capital of France? Answer in one short sentence."},)
        request = Request(name, model, prompt, GenerationParams(max_new_tokens=32))
        list(loaded.generate(Inbox([request], closed=True)))
        lap(name)

    answer("first answer")
    answer("second answer")
    loaded.tune()
    lap("put off: layouts and compiled loops")
    answer("an answer after that")
    return found


class _timed:  # noqa: N801 - used as a function
    """Adds the seconds of calls of a function to ``found[name]``."""

    def __init__(self, module: Any, function: str, found: dict[str, float], name: str) -> None:
        self._module, self._function, self._own = module, function, getattr(module, function)
        self._found, self._name = found, name
        found[name] = 0.0

    def __enter__(self) -> None:
        def call(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return self._own(*arguments, **options)
            finally:
                self._found[self._name] += time.perf_counter() - started

        setattr(self._module, self._function, call)

    def __exit__(self, *_: object) -> None:
        setattr(self._module, self._function, self._own)


def in_process(model: str, environment: dict[str, str]) -> dict[str, float]:
    """Return `parts` of a fresh process."""
    command = [sys.executable, "-m", "benchmarks.startup", "--model", model, "--parts-only"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def rounds_of(number: int, measures: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Take each measure so often, in turn; the first round does not count."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for turn in range(number + 1):
        for name, measure in measures.items():
            seconds = measure()
            if turn:
                found[name].append(seconds)
    return found


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--cold", action="store_true", help="click once with empty caches before")
    parser.add_argument("--no-warm", action="store_true", help="leave the warm engine out, as for a version without it")
    parser.add_argument("--no-parts", action="store_true", help="leave the parts of a load out")
    parser.add_argument("--parts-only", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.parts_only:
        print(json.dumps(parts(arguments.model)))
        return
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTHONDONTWRITEBYTECODE")}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_capitals.py").write_text(SUITE)
        (folder / "script.py").write_text(SCRIPT)
        (folder / "pytest.ini").write_text("[pytest]\n")
        model = ("--evals-model", arguments.model)
        if arguments.cold:
            cold = {
                **environment,
                "PYTEST_EVALS_CACHE": str(folder / "cache"),
                "NUMBA_CACHE_DIR": str(folder / "numba"),
            }
            print(f"{'click, caches empty':40} {click(folder, cold, *model):6.2f} s", flush=True)
        measures = {
            "click, model loaded anew": lambda: click(folder, environment, *model),
            "click, a script answers": lambda: click(folder, environment, "--evals-model", "scripted:script:answer"),
        }
        if not arguments.no_warm:
            measures["click, model still loaded"] = lambda: click(folder, environment, *model, "--evals-warm", KEEP)
        for label, seconds in rounds_of(arguments.rounds, measures).items():
            listed = ", ".join(f"{each:.2f}" for each in seconds)
            print(f"{label:40} {statistics.median(seconds):6.2f} s   ({listed})", flush=True)
        if not arguments.no_warm:
            subprocess.run([sys.executable, "-m", "pytest_evals", "engines", "--stop"], env=environment, check=True)
    if not arguments.no_parts:
        runs = [in_process(arguments.model, environment) for _ in range(arguments.rounds)]
        for label in runs[0]:
            print(f"  {label:38} {statistics.median(run[label] for run in runs):6.2f} s", flush=True)


if __name__ == "__main__":
    main()
