"""What the plugin costs beside pytest itself, with a scripted engine: no model, only overhead.

    python benchmarks/overhead.py [--cases 10000] [--rounds 3]

Runs side by side, alternating: N plain parametrized tests, and the same N as cases of an eval with one grader. Prints wall time,
their ratio and peak memory, and what the plugin adds to pytest's start-up.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
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


def measure(command: list[str], folder: Path) -> tuple[float, float]:
    """Run a command; return its wall seconds and the peak memory of it and its children in MB."""
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{' '.join(command)} failed in {folder}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def write_suites(folder: Path, n: int) -> None:
    """Write both suites and the rows."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_plain.py").write_text(PLAIN.format(n=n))
    (folder / "test_eval.py").write_text(EVAL.format())
    (folder / "script.py").write_text(SCRIPT)
    (folder / "rows.jsonl").write_text("".join(f'{{"id": "c{i}", "n": {i}}}\n' for i in range(n)))


def compare(n: int, rounds: int) -> None:
    """Print both suites side by side."""
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    evals = ["--evals", "--evals-model=scripted:script:answer", "--evals-artifact=run.jsonl"]
    commands = {
        "plain": [*pytest, "-p", "no:evals", "test_plain.py"],
        "eval": [*pytest, *evals, "test_eval.py"],
        "plain --collect-only": [*pytest, "-p", "no:evals", "--collect-only", "test_plain.py"],
        "eval --collect-only": [*pytest, *evals, "--collect-only", "test_eval.py"],
    }
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_suites(folder, n)
        for _ in range(rounds):
            for label, command in commands.items():
                results[label].append(measure(command, folder))
    print(f"{n:,} cases, median of {rounds} rounds")
    for label, runs in results.items():
        seconds = statistics.median(run[0] for run in runs)
        print(f"  {label:<22} {seconds:7.2f} s   peak {max(run[1] for run in runs):6.0f} MB")
    for one, other in (("eval", "plain"), ("eval --collect-only", "plain --collect-only")):
        ratios = [first[0] / second[0] for first, second in zip(results[one], results[other], strict=True)]
        print(f"  {one} / {other}: {statistics.median(ratios):.2f}")


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
    options = parser.parse_args()
    import_cost()
    compare(options.cases, options.rounds)
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"largest process of all: {children:.0f} MB")


if __name__ == "__main__":
    main()
