"""How time and memory grow with the number of cases: a thousand more should cost what the thousand before did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.evals_run import measure_evals
from benchmarks.job import Job
from benchmarks.measurement import Measurement
from benchmarks.process import ProgramError
from benchmarks.workloads import short_answers

SIZES = (500, 2_000, 8_000)


@dataclass(frozen=True, slots=True)
class Step:
    """One run of ``cases`` distinct short questions."""

    cases: int
    measurement: Measurement

    @property
    def per_case(self) -> float:
        """Return the seconds of generation a case."""
        return self.measurement.seconds / self.cases

    @property
    def overhead_per_case(self) -> float | None:
        """Return the seconds a case that are neither load nor generation."""
        overhead = self.measurement.overhead_seconds
        return None if overhead is None else overhead / self.cases

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "cases": self.cases,
            "seconds_per_case": self.per_case,
            "overhead_seconds_per_case": self.overhead_per_case,
            **self.measurement.to_dict(),
        }


def measure_step(cases: int, model: str, environment: Mapping[str, str], timeout: float) -> Step:
    """Run ``cases`` short questions through ``pytest --evals``; a failure is a measurement with its ``problem``."""
    name, job = f"growth-{cases}", Job(model, tuple(short_answers(cases)))
    try:
        return Step(cases, measure_evals(name, job, environment, timeout))
    except ProgramError as error:
        return Step(cases, Measurement("evals", name, problem=str(error)))
