"""Which grader, budget and cases a gate is about."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from pytest_evals.errors import did_you_mean
from pytest_evals.gates.parsing import Gate
from pytest_evals.gates.statistics import MEASURED, OF_ERRORS, percentile_of
from pytest_evals.scores.records import CaseRecord

BUDGETS = ("tokens", "prompt_tokens", "latency", "errors")
"""What every suite has besides its graders, unless a grader has the name."""


def resolve(gate: Gate, suite: str, graders: Iterable[str]) -> str | None:
    """Return the grader or the budget that ``gate`` means in ``suite``, or `None` when it does not concern this suite.

    A grader that returns a dict is named by its fixture and the entry: ``style.tone``.
    """
    names = tuple(graders)
    targets = (gate.target, gate.target.removeprefix(f"{suite}."))
    for target in targets:
        if any(target == name or target.startswith(f"{name}.") for name in names):
            # `count` and `rate` are of the budget, which a grader may share its name with.
            return None if gate.statistic in OF_ERRORS else target
    return next((target for target in targets if target in BUDGETS and _has(target, gate.statistic)), None)


def _has(budget: str, statistic: str) -> bool:
    if budget == "errors":
        return statistic in OF_ERRORS
    return statistic in MEASURED or percentile_of(statistic) is not None


def is_budget(name: str, graders: Collection[str]) -> bool:
    """Tell whether a name that `resolve` returned is a budget."""
    return name in BUDGETS and name not in graders


def unresolved(gate: Gate, graders: Collection[str]) -> str:
    """Say what a suite with these graders has not, so that `resolve` returned `None`, and what there is instead."""
    name = gate.target.rpartition(".")[2]
    if is_budget(name, graders):
        own = OF_ERRORS if name == "errors" else (*MEASURED, "pNN")
        return f"no {gate.statistic} of {name} ({name} has {', '.join(own)})"
    known = ", ".join(graders) or "none"
    return f"no grader {gate.target!r} (graders: {known}){did_you_mean(name, graders)}"


def in_slice(record: CaseRecord, wanted: tuple[str, str] | None) -> bool:
    """Tell whether the case is in the slice; without a slice every case is."""
    if wanted is None:
        return True
    return has_value(record.fields, *wanted)


def has_value(fields: Mapping[str, object], name: str, value: str) -> bool:
    """Tell whether the field has the value, compared as text; ``true`` and ``false`` are JSON's."""
    found = fields.get(name)
    text = str(found).lower() if isinstance(found, bool) else str(found)
    return found is not None and text == value
