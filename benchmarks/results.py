"""What follows from the measurements of one workload: rates, ratios, targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.exactness import Agreement
from benchmarks.measurement import Measurement, token_counts
from benchmarks.roofline import Machine
from benchmarks.workloads import Workload

TARGETS: Mapping[str, Mapping[str, float]] = {
    "W1": {"generate-1": 12, "generate": 1.9, "lm-eval": 1.9, "vllm": 1.3},
    "W2": {"generate": 8, "lm-eval": 8, "vllm": 2},
    "W3": {"generate": 2, "lm-eval": 2},
    "W4": {"lm-eval": 3},
    "W5": {"generate": 3, "lm-eval": 3, "vllm": 1.3},
}
"""How many times faster than the best setting of each alternative evals is to be."""
OVERHEAD_TARGET = 0.05
"""Largest share of the wall time, on W1, that is neither load nor generation."""


@dataclass(frozen=True, slots=True)
class Line:
    """One contender in the table of a workload.

    ``seconds`` are for all rows: where only some were run, extrapolated by their tokens, and then ``estimated``. ``rate``
    is tokens (or scored choices) a second, ``times`` how many times faster evals was, ``target`` how many it should be.
    ``target`` stands at the best setting of its family only, the one that it is compared with.
    """

    measurement: Measurement
    family: str
    seconds: float | None = None
    estimated: bool = False
    rate: float | None = None
    times: float | None = None
    target: float | None = None

    @property
    def met(self) -> bool | None:
        """Tell whether the target is met, `None` without one."""
        return None if self.target is None or self.times is None else self.times >= self.target

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        names = ("family", "seconds", "estimated", "rate", "times", "target", "met")
        return {**self.measurement.to_dict(), **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True, slots=True)
class Result:
    """A workload with the lines of its table. ``problem`` says why there is no agreement, ``machine`` what the machine
    could do, where that was measured.
    """

    workload: Workload
    lines: tuple[Line, ...]
    agreement: Agreement | None
    problem: str | None = None
    machine: Machine | None = None

    @property
    def floor_share(self) -> float | None:
        """Return the share of the machine's rate that evals reached."""
        own = next((line.measurement for line in self.lines if line.family == "evals"), None)
        if own is None or own.problem is not None or self.machine is None:
            return None
        return self.machine.floor_seconds(token_counts([own])) / own.seconds

    @property
    def overhead(self) -> float | None:
        """Return the share of wall time in which evals neither loaded nor generated."""
        for line in self.lines:
            if line.measurement.overhead_seconds is not None:
                return line.measurement.overhead_seconds / line.measurement.wall_seconds
        return None

    @property
    def failed(self) -> bool:
        """Tell whether anything did not run, or did not agree."""
        broken = any(line.measurement.problem is not None or line.measurement.failures for line in self.lines)
        return broken or self.agreement is None or self.agreement.mismatches > 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "workload": self.workload.name,
            "title": self.workload.title,
            "rows": len(self.workload.rows),
            "contenders": [line.to_dict() for line in self.lines],
            "agreement": self.agreement and self.agreement.to_dict(),
            "overhead_share": self.overhead,
            "machine": self.machine and self.machine.to_dict(),
            "floor_share": self.floor_share,
            "problem": self.problem,
        }


def make_lines(
    workload: Workload, measurements: Sequence[Measurement], families: Mapping[str, str]
) -> tuple[Line, ...]:
    """Return the table's lines. Everybody's rate counts the same tokens, those of the first contender that counts them."""
    counts = _work(workload, measurements)
    drafts = [_draft(measurement, families, counts, len(workload.rows)) for measurement in measurements]
    own = next((line.seconds for line in drafts if line.family == "evals"), None)
    lines = []
    for line in drafts:
        rivals = [draft.seconds for draft in drafts if draft.family == line.family and draft.seconds is not None]
        best = line.seconds is not None and line.seconds == min(rivals)
        times = line.seconds / own if own and line.seconds is not None and line.family != "evals" else None
        target = TARGETS[workload.name].get(line.family) if best else None
        lines.append(
            Line(
                line.measurement, line.family, line.seconds, line.estimated, line.rate, times, target if times else None
            )
        )
    return tuple(lines)


def _work(workload: Workload, measurements: Sequence[Measurement]) -> Mapping[str, int]:
    """Return what each row is worth: its generated tokens, or its choices."""
    if workload.scored:
        return {row.id: len(row.choices) for row in workload.rows}
    return token_counts(measurements)


def _draft(measurement: Measurement, families: Mapping[str, str], counts: Mapping[str, int], rows: int) -> Line:
    family = families[measurement.contender]
    if measurement.problem is not None:
        return Line(measurement, family)
    own = sum(counts.get(answer.id, 0) for answer in measurement.answers)
    seconds, estimated = measurement.seconds, len(measurement.answers) < rows
    if estimated:
        if len(counts) < rows or not own:
            # Nobody ran the other rows: there is nothing to extrapolate to.
            return Line(measurement, family, rate=own / seconds)
        seconds *= sum(counts.values()) / own
    return Line(measurement, family, seconds, estimated, own / measurement.seconds if own else None)
