"""One call of the benchmark: contenders on workloads, one after the other, in alternating order."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psutil

from benchmarks import exactness
from benchmarks.growth import Step, measure_step
from benchmarks.hardware import Hardware
from benchmarks.lineup import Contender
from benchmarks.measurement import Measurement, best
from benchmarks.process import ProgramError
from benchmarks.results import Result, make_lines
from benchmarks.roofline import Machine, measure_machine
from benchmarks.workloads import Workload

ROOFLINE = ("W1", "W4")
"""The workloads that are compared with what the machine could do."""


@dataclass
class Run:
    """What is measured with, and what has come out so far. ``timeout`` is seconds for one run of one contender."""

    contenders: Sequence[Contender]
    model: str
    environment: Mapping[str, str]
    timeout: float
    rounds: int
    hardware: Hardware
    results: list[Result] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Tell whether anything did not run, or did not agree."""
        return any(result.failed for result in self.results) or any(step.measurement.problem for step in self.steps)

    def measure(self, workload: Workload) -> Result:
        """Run every contender that takes part, ``rounds`` times, and compare what they say.

        Raises `ProgramError` when not even the machine can be measured.
        """
        taking_part = [contender for contender in self.contenders if contender.takes_part(workload)]
        families = {contender.name: contender.family for contender in taking_part}
        machines = self._look(workload)
        measurements = self._measure(workload, taking_part)
        machines += self._look(workload)
        # What the machine can do is what it did when nobody disturbed it.
        machine = max(machines, key=lambda one: one.flops, default=None)
        agreement, problem = self._agree(workload, measurements)
        result = Result(workload, make_lines(workload, measurements, families), agreement, problem, machine)
        self.results.append(result)
        return result

    def _look(self, workload: Workload) -> list[Machine]:
        if workload.name not in ROOFLINE:
            return []
        return [measure_machine(workload, self.model, self.environment, self.timeout)]

    def _measure(self, workload: Workload, contenders: Sequence[Contender]) -> list[Measurement]:
        runs: dict[str, list[Measurement]] = {contender.name: [] for contender in contenders}
        for turn in range(self.rounds):
            for contender in contenders if turn % 2 == 0 else contenders[::-1]:
                measurement = contender.measure(workload, self.model, self.environment, self.timeout)
                _tell(f"{workload.name} {contender.name}", measurement)
                runs[contender.name].append(measurement)
        return [best(of_one) for of_one in runs.values()]

    def _agree(
        self, workload: Workload, measurements: Sequence[Measurement]
    ) -> tuple[exactness.Agreement | None, str | None]:
        judge = exactness.Judge(self.model, sys.executable, self.environment, self.timeout)
        try:
            return exactness.compare(workload, measurements, judge), None
        except ProgramError as error:
            return None, f"the reference could not be computed: it {error}"

    def grow(self, sizes: Sequence[int]) -> None:
        """Measure evals with more and more cases."""
        for cases in sizes:
            step = measure_step(cases, self.model, self.environment, self.timeout)
            _tell(f"growth {cases}", step.measurement)
            self.steps.append(step)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "hardware": self.hardware.to_dict(),
            "niceness": psutil.Process().nice(),
            "load": psutil.getloadavg(),
            "model": self.model,
            "rounds": self.rounds,
            "workloads": [result.to_dict() for result in self.results],
            "growth": [step.to_dict() for step in self.steps],
        }


def _tell(what: str, measurement: Measurement) -> None:
    said = "failed" if measurement.problem else f"{measurement.seconds:.1f} s"
    print(f"  {what}: {said}", flush=True)
