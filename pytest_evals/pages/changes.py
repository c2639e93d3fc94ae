"""What scores did since the baseline, as plain data: the rows of the score card, each with the gates that are about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_evals.baseline.comparing import compare
from pytest_evals.baseline.loading import Baseline
from pytest_evals.gates import GateResult, parse_gate, resolve
from pytest_evals.scores.card import Movement, ScoreCard, movement


def movements(card: ScoreCard, baseline: Baseline | None) -> tuple[tuple[Movement, ...], list[str]]:
    """Return what changed, and what was not compared and why: against ``baseline``, else as the run recorded it."""
    if baseline is None:
        return card.movements, []
    suites = {record.suite for record in card.records}
    compared = compare([record for record in baseline.records if record.suite in suites], card.records)
    return tuple(map(movement, compared.changes)), compared.notes()


def changes(card: ScoreCard, moved: Sequence[Movement]) -> list[dict[str, Any]]:
    """Return a row for each score that was compared."""
    graders: dict[str, list[str]] = {}
    for each in moved:
        graders.setdefault(each.suite, []).append(each.grader)
    return [
        {
            "suite": each.suite,
            "model": each.model,
            "grader": each.grader,
            "n": each.n,
            "before": each.before,
            "after": each.after,
            "difference": each.difference,
            "interval": list(each.interval) if each.interval and each.verdict != "same" else None,
            "p": each.p,
            "rose": each.rose,
            "fell": each.fell,
            "verdict": each.verdict,
            "gates": [_gate(gate) for gate in card.gates if _is_about(gate, each, graders[each.suite])],
        }
        for each in moved
    ]


def _is_about(gate: GateResult, moved: Movement, graders: Sequence[str]) -> bool:
    if (gate.suite, gate.model) != (moved.suite, moved.model):
        return False
    parsed = parse_gate(gate.gate)
    return parsed.relative and resolve(parsed, gate.suite, graders) == moved.grader


def _gate(gate: GateResult) -> dict[str, Any]:
    return {"gate": gate.gate, "verdict": gate.verdict, "fails": gate.fails, "reason": gate.reason}
