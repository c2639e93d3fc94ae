"""Results as text: a table and a small chart for each workload."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from benchmarks.exactness import SUM_TOLERANCE, TIE, Agreement
from benchmarks.growth import Step
from benchmarks.results import OVERHEAD_TARGET, Line, Result

ABSENT = "-"
BAR = 44


def result_lines(result: Result) -> list[str]:
    """Return everything about one workload, as lines."""
    unit = "choices/s" if result.workload.scored else "tokens/s"
    headers = ["", "load s", "seconds", "wall s", unit, "peak MB", "evals is", "target", "", "same"]
    rows = [_row(line, result.agreement) for line in result.lines if line.measurement.problem is None]
    title = f"{result.workload.name}: {result.workload.title}"
    if result.workload.limited:
        title += f" (the first {len(result.workload.rows)} rows)"
    table = tabulate(
        rows, headers, tablefmt="simple", disable_numparse=True, colalign=["left", *["right"] * 7, "left", "left"]
    )
    return ["", title, "=" * len(title), *table.splitlines(), *_notes(result), "", *_chart(result.lines, unit)]


def _row(line: Line, agreement: Agreement | None) -> list[str]:
    measurement = line.measurement
    seconds = ABSENT if line.seconds is None else f"{line.seconds:,.1f}{'*' if line.estimated else ''}"
    return [
        measurement.contender,
        _number(measurement.load_seconds, 1),
        seconds,
        f"{measurement.wall_seconds:,.1f}",
        _number(line.rate, 0),
        f"{measurement.peak_mb:,.0f}",
        ABSENT if line.times is None else f"{line.times:.2f}x",
        ABSENT if line.target is None else f"{line.target:g}x",
        {True: "met", False: "missed", None: ""}[line.met],
        _same(measurement.contender, agreement),
    ]


def _same(contender: str, agreement: Agreement | None) -> str:
    """Return how many rows are as the reference has them."""
    if agreement is None or contender not in agreement.rows:
        return ABSENT
    total, differences = agreement.rows[contender], agreement.of(contender)
    ties = sum(difference.tie for difference in differences)
    said = [f"{total - len(differences)}/{total}"]
    said += [f"{ties} tie{'s' if ties > 1 else ''}"] if ties else []
    said += [f"{len(differences) - ties} MISMATCH"] if len(differences) > ties else []
    return ", ".join(said)


def _notes(result: Result) -> list[str]:
    lines: list[str] = []
    for line in result.lines:
        if line.measurement.problem is not None:
            lines += [f"{line.measurement.contender}: {line.measurement.problem}"]
        elif line.estimated:
            part = f"the first {len(line.measurement.answers)} of {len(result.workload.rows)} rows"
            took = f"{line.measurement.seconds:.1f} s, the rest is extrapolated by the tokens"
            lines.append(f"* {line.measurement.contender} ran {part} in {took}")
        name = line.measurement.contender
        lines += [f"{name}, in another round: {problem}" for problem in line.measurement.failures]
        lines += _evals_notes(line, result)
    return [*lines, *_agreement_notes(result)]


def _evals_notes(line: Line, result: Result) -> list[str]:
    measurement, notes = line.measurement, []
    if measurement.engine_mb is not None and measurement.pytest_mb is not None:
        notes.append(
            f"evals: peak of pytest {measurement.pytest_mb:,.0f} MB, of the engine {measurement.engine_mb:,.0f} MB"
        )
    if measurement.overhead_seconds is not None and result.overhead is not None:
        said = f"evals: {measurement.overhead_seconds:.2f} s of the wall time ({result.overhead:.1%}) are neither load nor generation"
        if result.workload.name == "W1":
            met = "met" if result.overhead < OVERHEAD_TARGET else "missed"
            said += f"; target below {OVERHEAD_TARGET:.0%}: {met}"
        notes.append(said)
    if result.machine is not None and measurement.contender == "evals" and result.floor_share is not None:
        rate = f"{result.machine.flops / 1e9:,.0f} GFLOP/s that the machine reaches in a product of matrices"
        notes.append(f"evals: {result.floor_share:.0%} of the {rate}")
    return notes


def _agreement_notes(result: Result) -> list[str]:
    agreement = result.agreement
    if agreement is None:
        return [f"agreement: {result.problem}"]
    if result.workload.scored:
        if agreement.largest is None or agreement.pair is None:
            return []
        verdict = "MISMATCH" if agreement.largest > SUM_TOLERANCE else "same"
        one, other = agreement.pair
        return [
            f"sums: largest distance {agreement.largest:.1e}, of {one} and {other} (at most {SUM_TOLERANCE:g}): {verdict}"
        ]
    lines = [f"texts: compared with each other in all rows, in {agreement.referenced} with generate one at a time"]
    for found in agreement.differences:
        where = "longer than its limit" if found.margin is None else f"margin {found.margin:.1e}"
        verdict = f"tie (below {TIE:g})" if found.tie else "MISMATCH"
        lines.append(
            f"  {found.contender} {found.row}: leaves the reference at token {found.token}, {where}: {verdict}"
        )
    return lines


def _chart(lines: Sequence[Line], unit: str) -> list[str]:
    """Return a bar for each contender, the longer the faster."""
    rates = {line.measurement.contender: line.rate for line in lines if line.rate}
    if not rates:
        return []
    width, longest = max(map(len, rates)), max(rates.values())
    return [
        f"{name:<{width}}  {'█' * max(1, round(BAR * rate / longest))} {rate:,.0f} {unit}"
        for name, rate in rates.items()
    ]


def growth_lines(steps: Sequence[Step]) -> list[str]:
    """Return what happened as the number of cases grew."""
    done = [step for step in steps if step.measurement.problem is None]
    headers = ["cases", "seconds", "ms a case", "to the first", "overhead ms a case", "pytest MB", "engine MB"]
    rows = [
        [
            f"{step.cases:,}",
            f"{step.measurement.seconds:,.1f}",
            f"{step.per_case * 1000:.1f}",
            f"{step.per_case / done[0].per_case:.2f}",
            ABSENT if step.overhead_per_case is None else f"{step.overhead_per_case * 1000:.1f}",
            _number(step.measurement.pytest_mb, 0),
            _number(step.measurement.engine_mb, 0),
        ]
        for step in done
    ]
    table = tabulate(rows, headers, tablefmt="simple", disable_numparse=True, colalign=["right"] * len(headers))
    problems = [f"{step.cases:,} cases: {step.measurement.problem}" for step in steps if step not in done]
    return ["", "growth: distinct short questions, 8 new tokens", *table.splitlines(), *problems]


def _number(value: float | None, decimals: int) -> str:
    return ABSENT if value is None else f"{value:,.{decimals}f}"
