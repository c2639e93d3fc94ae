"""False alarms and detection of a gate against a baseline: ``exact.mean >= baseline``, by simulation.

    python benchmarks/baseline_gate.py [--runs 2000]

Each of so many runs has n cases that are right or wrong before and after. What a model answers is the same for most cases
in both runs: of those that were right, a share flips to wrong and as many back, as two runs at a temperature do. A drop adds
cases that fall. The verdict is that of the gate: `pytest_evals.gates.regression`, whose p values are looked up in a table
of McNemar's exact test. The same for numbers (a judge's scale, say), with the t test that the gate uses there.
"""

from __future__ import annotations

import argparse
import functools

import numpy

from pytest_evals.baselines.pairing import join
from pytest_evals.gates import parse_gate
from pytest_evals.gates.regression import compare, decide
from pytest_evals.scores.records import CaseRecord, GradeRecord
from pytest_evals.statistics.comparison import mcnemar_tail
from pytest_evals.statistics.distributions import t_tail

ALPHA, RIGHT, FLIPPED = 0.05, 0.80, 0.05
SIZES, DROPS = (100, 500, 2000), range(11)


def binary(source: numpy.random.Generator, runs: int, n: int, drop: float) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Draw cases before and after."""
    before = source.random((runs, n)) < RIGHT
    fall = FLIPPED / RIGHT + drop / RIGHT
    rise = FLIPPED / (1 - RIGHT)
    chance = source.random((runs, n))
    return before, numpy.where(before, chance >= fall, chance < rise)


mcnemar = functools.cache(mcnemar_tail)


def verdicts_binary(before: numpy.ndarray, after: numpy.ndarray) -> tuple[float, float, float]:
    """Return the shares of runs that pass, regress and stay open."""
    better, worse = (after & ~before).sum(1), (before & ~after).sum(1)
    met = better >= worse
    p = numpy.array([mcnemar(int(b), int(w)) for b, w in zip(better, worse, strict=True)])
    return shares(met, p)


def shares(met: numpy.ndarray, p: numpy.ndarray) -> tuple[float, float, float]:
    """Return the shares of the three verdicts."""
    regressed = ~met & (p <= ALPHA)
    return float(met.mean()), float(regressed.mean()), float((~met & ~regressed).mean())


def verdicts_numbers(source: numpy.random.Generator, runs: int, n: int, drop: float) -> tuple[float, float, float]:
    """The same for grades between 0 and 1 of which each moves a little from run to run."""
    difference = source.normal(-drop, 0.2, (runs, n))
    t = difference.mean(1) / (difference.std(1, ddof=1) / numpy.sqrt(n))
    p = numpy.array([t_tail(abs(each), n - 1) if each < 0 else 1.0 for each in t.tolist()])
    return shares(difference.mean(1) >= 0, p)


def agrees(source: numpy.random.Generator) -> None:
    """Check the shortcut above against the gate itself."""
    for drop in (0.0, 0.05, 0.1):
        before, after = binary(source, 20, 100, drop)
        for was, now in zip(before, after, strict=True):
            one, two = records(was), records(now)
            joined = join(one, two).of("s", "m")
            gate = parse_gate("exact.mean >= baseline")
            (result,) = decide([compare(gate, "s", "m", "exact", two, joined, missing=0, floor=False)])
            found = verdicts_binary(was[None], now[None])
            assert result.verdict == ("passed", "regressed", "inconclusive")[found.index(1.0)], result


def records(values: numpy.ndarray) -> list[CaseRecord]:
    """Make finished cases."""
    return [
        CaseRecord("s", "m", str(i), "passed", (GradeRecord("exact", float(value), bool(value), "graded"),))
        for i, value in enumerate(values)
    ]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    runs = parser.parse_args().runs
    source = numpy.random.default_rng(0)
    agrees(source)
    print(
        f"{runs} runs each; right and wrong: {RIGHT:.0%} right, {FLIPPED:.0%} of cases flip either way without a change"
    )
    print(f"{'':18}" + "".join(f"{f'n={n}':>28}" for n in SIZES))
    print(f"{'drop':18}" + "".join(f"{'passed':>10}{'regressed':>10}{'open':>8}" for _ in SIZES))
    for kind in ("right/wrong", "numbers"):
        for drop in DROPS:
            cells = []
            for n in SIZES:
                if kind == "numbers":
                    found = verdicts_numbers(source, runs, n, drop / 100)
                else:
                    found = verdicts_binary(*binary(source, runs, n, drop / 100))
                cells.append(f"{found[0]:>10.1%}{found[1]:>10.1%}{found[2]:>8.1%}")
            print(f"{f'{kind} {drop} points':18}" + "".join(cells))


if __name__ == "__main__":
    main()
