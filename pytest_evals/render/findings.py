"""What a run found wrong, one by one, for programs that show findings at lines of files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_evals.gates import GateResult
from pytest_evals.location import Location
from pytest_evals.render.markdown import Excerpt
from pytest_evals.scores.card import ScoreCard


@dataclass(frozen=True, slots=True)
class Finding:
    """A gate that is not met or has no verdict, or a case that failed or errored. ``about`` is the same in every run for
    the same gate, or the same test, case and model.
    """

    subject: Literal["gate", "case"]
    verdict: str
    fails: bool
    message: str
    location: Location | None
    about: str


def findings(card: ScoreCard, excerpts: Sequence[Excerpt], suites: Mapping[str, Location]) -> list[Finding]:
    """Return what fails the run, gates first, then gates without a verdict. ``suites`` says where they stand.

    Misses below a gate are the gate's business.
    """
    several = len({gate.model for gate in card.gates}) > 1
    gates = [_of_gate(gate, card, suites, several=several) for gate in card.gates if gate.verdict != "passed"]
    cases = [
        Finding(
            "case",
            case.outcome,
            True,
            f"{case.suite}[{case.case_id}]: {case.reason}",
            case.location,
            case.sample_id,
        )
        for case in excerpts
        if case.outcome in ("failed", "errored")
    ]
    return [
        *(gate for gate in gates if gate.fails),
        *cases,
        *(gate for gate in gates if not gate.fails),
    ]


def _of_gate(gate: GateResult, card: ScoreCard, suites: Mapping[str, Location], *, several: bool) -> Finding:
    model = f" ({card.shorts.get(gate.model, gate.model)})" if several else ""
    message = f"{gate.suite}{model}: {gate.gate}: {gate.reason}"
    about = f"{gate.suite}\n{gate.model}\n{gate.gate}"
    return Finding("gate", gate.verdict, gate.fails, message, suites.get(gate.suite), about)
