"""What the plugin costs beside pytest itself, with a scripted engine: no model, only overhead.

    python benchmarks/overhead.py [--cases 10000] [--rounds 3] [--models 3] [--large 100000]

Runs side by side, alternating: N plain parametrized tests, and the same N as cases of an eval with one grader. Prints wall time,
CPU time (of the engine's process too) and peak memory with their ratios, what a case takes, and what the plugin adds to pytest's
start-up.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

PLAIN = """
import pytest

@pytest.mark.parametrize("n", range({n}), ids=[f"c{{n}}" for n in range({n})])
def test_plain(n):
    assert f"answer {{n}}" in f"the answer {{n}}"
"""
EVAL = """
from pytest_evals import cases, graders

named = graders.contains("answer {{{{item.n}}}}")

@cases("rows.jsonl", prompt="Question {{{{item.n}}}}?", id="id", gates=["named.mean >= 1"])
def test_eval(named):
    assert named
"""
SCRIPT = """
def answer(messages):
    return "the answer " + messages[-1]["content"].split()[1].rstrip("?")
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one command took: wall seconds, seconds of processors with its children, the peak of its largest process in MB."""

    wall: float
    cpu: float
    memory: float


def measure(command: list[str], folder: Path) -> Cost:
    """Run a command to its end."""
    # As installed packages are: their modules are compiled once.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, env=environment
    )
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{' '.join(command)} failed in {folder}")
    wall = time.perf_counter() - started
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def write_suites(folder: Path, n: int, models: int = 1) -> None:
    """Write both suites and the rows: ``n`` plain tests, and as many cases of all models together."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_plain.py").write_text(PLAIN.format(n=n))
    (folder / "test_eval.py").write_text(EVAL.format())
    (folder / "script.py").write_text(SCRIPT + "".join(f"\nanswer{k} = answer\n" for k in range(models)))
    (folder / "rows.jsonl").write_text("".join(f'{{"id": "c{i}", "n": {i}}}\n' for i in range(n // models)))


def commands_for(models: int) -> dict[str, list[str]]:
    """Return what is run, in turns."""
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    evals = ["--evals", *(f"--evals-model=scripted:script:answer{k}" for k in range(models))]
    evals.append("--evals-artifact=run.jsonl")
    return {
        "plain": [*pytest, "-p", "no:evals", "test_plain.py"],
        "eval": [*pytest, *evals, "test_eval.py"],
        "plain --collect-only": [*pytest, "-p", "no:evals", "--collect-only", "test_plain.py"],
        "eval --collect-only": [*pytest, *evals, "--collect-only", "test_eval.py"],
    }


def compare(n: int, rounds: int, models: int = 1) -> Cost:
    """Print both suites side by side; return the median cost of the eval."""
    commands = commands_for(models)
    results: dict[str, list[Cost]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_suites(folder, models, models)
        measure(commands["eval"], folder)
        write_suites(folder, n, models)
        for _ in range(rounds):
            for label, command in commands.items():
                results[label].append(measure(command, folder))
    of_models = f" over {models} models" if models > 1 else ""
    print(f"{n:,} cases{of_models}, median of {rounds} rounds")
    for label, runs in results.items():
        cost = middle(runs)
        print(f"  {label:<22} wall {cost.wall:7.2f} s   CPU {cost.cpu:7.2f} s   peak {cost.memory:5.0f} MB")
    for one, other in (("eval", "plain"), ("eval --collect-only", "plain --collect-only")):
        pairs = list(zip(results[one], results[other], strict=True))
        ratios = [
            statistics.median(getattr(first, field) / getattr(second, field) for first, second in pairs)
            for field in ("wall", "cpu", "memory")
        ]
        print(f"  {one} / {other}: wall {ratios[0]:.2f}, CPU {ratios[1]:.2f}, memory {ratios[2]:.2f}")
    return middle(results["eval"])


def middle(runs: list[Cost]) -> Cost:
    """Return the medians of several runs."""
    return Cost(*(statistics.median(getattr(run, field) for run in runs) for field in ("wall", "cpu", "memory")))


def per_case(n: int, cost: Cost) -> str:
    """Say what a case takes of a whole run."""
    return f"{n:,} cases: {cost.wall / n * 1e6:.0f} us of wall and {cost.cpu / n * 1e6:.0f} us of CPU time a case"


def import_cost() -> None:
    """Print what importing the plugin adds to a pytest that is loaded already."""
    code = (
        "import pytest, sys, time; t = time.perf_counter(); import pytest_evals.plugin; a = time.perf_counter();"
        "import pytest_evals.registration, pytest_evals.engines.pool, pytest_evals.runner.plugin, pytest_evals.session.plugin, pytest_evals.session.terminal;"
        "print((a - t) * 1000, (time.perf_counter() - t) * 1000)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(7)
    ]
    off = statistics.median(float(run[0]) for run in runs)
    on = statistics.median(float(run[1]) for run in runs)
    print(f"import of the plugin: {off:.1f} ms; with everything that --evals needs before an engine: {on:.1f} ms")
    report = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import pytest, pytest_evals.plugin"],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    line = next(line for line in report.splitlines() if re.search(r"\| pytest_evals\.plugin$", line))
    print(f"-X importtime, cumulative: {int(line.split('|')[1]) / 1000:.1f} ms for pytest_evals.plugin")


def main() -> None:
    """Read the options and print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--large", type=int, default=0, help="this many cases too, one round: how the cost of a case grows"
    )
    parser.add_argument("--models", type=int, default=0, help="half as many cases more, over so many models, too")
    options = parser.parse_args()
    import_cost()
    costs = {options.cases: compare(options.cases, options.rounds)}
    if options.models:
        compare(options.cases * 3 // 2, options.rounds, options.models)
    if options.large:
        costs[options.large] = compare(options.large, 1)
    for n, cost in costs.items():
        print(per_case(n, cost))


if __name__ == "__main__":
    main()
