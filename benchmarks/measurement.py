"""What came out of one run of one contender."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from benchmarks.job import Answer


@dataclass(frozen=True, slots=True)
class Measurement:
    """One contender on one workload.

    ``seconds`` is the generation (or scoring) alone; ``load_seconds`` what came before it, from the start of the process
    that loads the model; ``wall_seconds`` all of it. Memory is the peak in MB: of all processes together, and for evals of
    pytest's and of the engine's. ``overhead_seconds``, of evals only, is the wall time without load and generation.

    ``problem`` says why there are no numbers; ``failures`` are the problems of other runs of the same. ``rounds`` are the
    seconds of all runs of which this is the fastest, in their order. ``chosen`` says what the loader of evals found fastest.
    """

    contender: str
    workload: str
    seconds: float = 0.0
    load_seconds: float | None = None
    wall_seconds: float = 0.0
    peak_mb: float = 0.0
    pytest_mb: float | None = None
    engine_mb: float | None = None
    overhead_seconds: float | None = None
    answers: tuple[Answer, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    problem: str | None = None
    failures: tuple[str, ...] = ()
    rounds: tuple[float, ...] = ()
    chosen: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain data; the answers are only counted."""
        data = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "answers"}
        return {**data, "rows": len(self.answers)}


def best(measurements: Sequence[Measurement]) -> Measurement:
    """Return the fastest of several runs of the same, with what went wrong in others; a failed one where all failed."""
    done = [measurement for measurement in measurements if measurement.problem is None]
    if not done:
        return measurements[0]
    failures = tuple(measurement.problem for measurement in measurements if measurement.problem is not None)
    rounds = tuple(measurement.seconds for measurement in done)
    return replace(min(done, key=lambda measurement: measurement.seconds), failures=failures, rounds=rounds)


def token_counts(measurements: Sequence[Measurement]) -> Mapping[str, int]:
    """Return the number of generated tokens of each row, as the first contender that counts them has it."""
    counts: dict[str, int] = {}
    for measurement in measurements:
        for answer in measurement.answers:
            if answer.count is not None:
                counts.setdefault(answer.id, answer.count)
    return counts
