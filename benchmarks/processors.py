"""evals beside ``generate`` as if the processor had less: AVX2 only, no vectors to speak of, fewer threads; and in bf16.

    python -m benchmarks.processors [--workloads W1,W3,W4] [--rows 32] [--rounds 3] [--settings avx2,1-thread]

Each setting is a set of variables that torch, oneDNN and numba read. Both run in processes of their own, in turns. On no setting
should evals be slower than ``generate`` (of W4, than plain forward passes) in batches of 32. The table also has what the loader
chose: threads, linear layers laid out anew, parts of layers in fewer passes, whether compiled loops and the 8-bit head compute.

Run it on a quiet machine. Texts of evals in bf16 are not compared here: rounding decides too many of them.

Exit status: 1 where evals was slower, or something did not run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from benchmarks.compare import cores, find_model
from benchmarks.hardware import this_hardware
from benchmarks.lineup import Contender, all_contenders
from benchmarks.measurement import Measurement
from benchmarks.process import environment_for
from benchmarks.workloads import NAMES, Workload, make_workload


@dataclass(frozen=True, slots=True)
class Setting:
    """``variables`` of the environment, ``threads`` (`None`: all cores) and the ``dtype`` of the weights."""

    variables: Mapping[str, str]
    threads: int | None = None
    dtype: str = "fp32"


_AVX2 = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "NUMBA_CPU_NAME": "haswell",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
_OLD = {
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "ATEN_CPU_CAPABILITY": "default",
    "NUMBA_CPU_NAME": "nehalem",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
}
SETTINGS = {
    "as it is": Setting({}),
    "avx2": Setting(_AVX2),
    "sse4": Setting(_OLD),
    **{f"{count}-thread": Setting({}, count) for count in (1, 2, 4, 8) if count < cores()},
    "avx2, 1-thread": Setting(_AVX2, 1),
    "bf16": Setting({}, dtype="bf16"),
}


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", type=_names, default=["W1", "W3", "W4"], metavar="NAMES")
    parser.add_argument("--rows", type=int, default=32, help="of each workload (32)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS), metavar="NAME")
    parser.add_argument("--timeout", type=float, default=1200, metavar="SECONDS", help="for one run (1200)")
    options = parser.parse_args()
    if unknown := [name for name in options.workloads if name not in NAMES]:
        parser.error(f"there is no workload {', '.join(unknown)}; there are {', '.join(NAMES)}")
    return options


def measure(
    setting: Setting, workload: Workload, contenders: Sequence[Contender], rounds: int, timeout: float
) -> dict[str, list[Measurement]]:
    """Run each contender ``rounds`` times, in alternating order."""
    environment = {**environment_for(setting.threads or cores()), **setting.variables}
    model = find_model(environment)
    found: dict[str, list[Measurement]] = {one.name: [] for one in contenders}
    for turn in range(rounds):
        for one in contenders if turn % 2 == 0 else contenders[::-1]:
            found[one.name].append(one.measure(workload, model, environment, timeout, setting.dtype))
    return found


def line(name: str, workload: Workload, found: Mapping[str, Sequence[Measurement]]) -> tuple[list[str], bool]:
    """Return the cells of one setting and workload, and whether evals was at least as fast."""
    own, other = found.values()
    problems = [one.problem for one in (*own, *other) if one.problem is not None]
    if problems:
        return [name, workload.name, "-", "-", "-", problems[0].splitlines()[-1]], False
    ratios = [second.seconds / first.seconds for first, second in zip(own, other, strict=True)]
    seconds = [f"{statistics.median(one.seconds for one in runs):.1f}" for runs in (own, other)]
    times = f"{statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"
    return [name, workload.name, *seconds, times, own[0].chosen], statistics.median(ratios) >= 1


def main() -> int:
    """Measure all and print the table, a line as soon as it is known."""
    options = read_options()
    everybody = {one.name: one for one in all_contenders(sys.executable, sys.executable, 1)}
    print(this_hardware(cores()).described(), flush=True)
    rows, slower = [], 0
    for name in options.settings:
        for workload in [make_workload(one, options.rows) for one in options.workloads]:
            contenders = [everybody["evals"], everybody["forward-32" if workload.scored else "generate-32"]]
            cells, fast = line(
                name, workload, measure(SETTINGS[name], workload, contenders, options.rounds, options.timeout)
            )
            rows.append(cells)
            slower += not fast
            print("  ", *cells, flush=True)
    headers = ["", "", "evals s", "plain s", "times faster", "chosen"]
    print(*tabulate(rows, headers, tablefmt="simple", disable_numparse=True).splitlines(), sep="\n")
    print(f"{slower} of {len(rows)} slower than plain transformers, or not run")
    return int(slower > 0)


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parent.parent)
    sys.exit(main())
