"""All gates of a session and its finished cases -> their verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pytest_evals.baseline.joining import Joined
from pytest_evals.gates import Comparison, Gate, GateResult, compare, decide, is_budget, judge, resolve
from pytest_evals.scores.records import CaseRecord
from pytest_evals.suites.info import SuiteInfo, gates_of
from pytest_evals.wording import counted


def judge_all(
    infos: Iterable[SuiteInfo], records: Sequence[CaseRecord], joined: Joined | None = None, *, strict: bool = False
) -> list[GateResult]:
    """Judge every gate of every suite and model.

    ``joined`` are the cases that the run shares with its baseline, where it has one; ``strict`` tells that an
    inconclusive gate fails.
    """
    comparisons = [
        comparison for info in infos for model in info.models for comparison in _of_model(info, model, records, joined)
    ]
    return [replace(result, strict=strict) for result in decide(comparisons)]


def _of_model(info: SuiteInfo, model: str, records: Sequence[CaseRecord], joined: Joined | None) -> list[Comparison]:
    chosen = [record for record in records if (record.suite, record.model) == (info.name, model)]
    stopped = info.stopped.get(model, 0)
    missing = sum(item.model == model for item in info.items.values()) - len(chosen) - stopped
    part = joined.of(info.name, model) if joined else None
    absent = _absent(joined, info.name) if joined else ""
    gates = gates_of(info)
    found = []
    for gate in gates:
        name = str(resolve(gate, info.name, info.graders))
        floor, budget = _has_floor(gate, gates), is_budget(name, info.graders)
        if gate.relative and part:
            found.append(
                compare(
                    gate,
                    info.name,
                    model,
                    name,
                    chosen,
                    part,
                    missing=missing,
                    floor=floor,
                    budget=budget,
                    absent=absent,
                )
            )
        else:
            result = judge(gate, info.name, model, name, chosen, missing=missing, floor=floor, budget=budget)
            if stopped:
                total = len(chosen) + stopped
                result = replace(
                    result, reason=f"{result.reason}; stopped early, after {len(chosen):,} of {counted(total, 'case')}"
                )
            found.append(Comparison(result))
    return found


def _absent(joined: Joined, suite: str) -> str:
    """Say what the baseline has instead, where it has nothing of a suite and model."""
    models = dict.fromkeys(case[0].model for case in joined.gone if case[0].suite == suite)
    if models:
        return f"the baseline has other models of {suite}: {', '.join(models)}"
    return f"the baseline has no suite {suite}"


def _has_floor(gate: Gate, gates: Iterable[Gate]) -> bool:
    """Tell whether another gate says how many cases may have no grade: one on the same coverage, or on errors."""
    return any(
        (other.statistic == "coverage" and (other.target, other.slice) == (gate.target, gate.slice))
        or (other.target.rpartition(".")[2] == "errors" and other.statistic in ("count", "rate"))
        for other in gates
    )
