"""Gates: what scores must meet, as ``capitals.exact[difficulty=easy].mean >= 0.8``.

Grammar: ``[SUITE.]GRADER[SLICE].STATISTIC OP NUMBER``. Parsed where it was written, so that a typo is known before any
model loads; judged once, when everything has run.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_evals import statistics
from pytest_evals.errors import GateError, did_you_mean
from pytest_evals.scores import CaseRecord, Score, compute_score

Verdict = Literal["passed", "failed", "not judged"]
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
STATISTICS: Mapping[str, Callable[[Score], float | None]] = {
    "mean": lambda score: score.mean,
    "pass_rate": lambda score: score.pass_rate,
    "min": lambda score: min(score.values, default=None),
    "max": lambda score: max(score.values, default=None),
    "median": lambda score: statistics.median(score.values),
    "coverage": lambda score: score.coverage,
    "corpus": lambda score: score.corpus,
}
_SLICE = re.compile(r"\[([^\]]*)\]")
_EXPRESSION = re.compile(r"\A(?P<path>[^<>=]+?)\s*(?P<op>>=|<=|==|>|<)\s*(?P<number>[^<>=\s]\S*)\Z")
_SHAPE = (
    "a gate is written [suite.]grader.statistic OP number, as 'exact.mean >= 0.8' or 'exact[level=easy].mean >= 0.9'"
)


@dataclass(frozen=True, slots=True)
class Gate:
    """A parsed gate. ``target`` is ``[suite.]grader`` as written: which is which is known once suites are collected."""

    text: str
    target: str
    slice: tuple[str, str] | None
    statistic: str
    comparison: str
    number: float

    def meets(self, value: float) -> bool:
        """Tell whether ``value`` meets the gate."""
        return COMPARISONS[self.comparison](value, self.number)


@dataclass(frozen=True, slots=True)
class GateResult:
    """A gate on one suite and model, judged. ``n`` of ``applicable`` cases were graded; ``reason`` says why in words."""

    gate: str
    suite: str
    model: str
    verdict: Verdict
    value: float | None
    n: int
    applicable: int
    reason: str


def parse_gate(text: str) -> Gate:
    """Read a gate. Raises `GateError` that says which part is wrong."""
    if not isinstance(text, str):
        raise GateError(f"a gate is text, not {type(text).__name__} ({text!r:.60}): {_SHAPE}")
    slices = _SLICE.findall(text)
    match = _EXPRESSION.match(_SLICE.sub("", text).strip())
    if not match or len(slices) > 1:
        raise GateError(f"gate {text!r} is not well formed: {_SHAPE}")
    target, _, statistic = match["path"].rpartition(".")
    if statistic not in STATISTICS:
        known = ", ".join(STATISTICS)
        raise GateError(
            f"gate {text!r}: unknown statistic {statistic!r} (known: {known}){did_you_mean(statistic, STATISTICS)}"
        )
    if not target or not all(part for part in target.split(".")):
        raise GateError(f"gate {text!r} names no grader: {_SHAPE}")
    part = _parse_slice(slices[0], text) if slices else None
    return Gate(text.strip(), target, part, statistic, match["op"], _parse_number(match["number"], text))


def _parse_slice(text: str, gate: str) -> tuple[str, str]:
    field, equals, value = text.partition("=")
    if not equals or not field.strip() or not value.strip():
        raise GateError(f"gate {gate!r}: the slice [{text}] is not [field=value]")
    return field.strip(), value.strip()


def _parse_number(text: str, gate: str) -> float:
    try:
        number = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise GateError(f"gate {gate!r}: {text!r} is not a number") from None
    if not math.isfinite(number):
        raise GateError(f"gate {gate!r}: {text!r} is not a finite number")
    return number


def resolve(gate: Gate, suite: str, graders: Iterable[str]) -> str | None:
    """Return the grader that ``gate`` means in ``suite``, or `None` when it does not concern this suite.

    A grader that returns a dict is named by its fixture and the entry: ``style.tone``.
    """
    names = tuple(graders)
    for target in (gate.target, gate.target.removeprefix(f"{suite}.")):
        if any(target == name or target.startswith(f"{name}.") for name in names):
            return target
    return None


def judge(
    gate: Gate, suite: str, model: str, grader: str, records: Sequence[CaseRecord], *, missing: int, floor: bool
) -> GateResult:
    """Judge one gate on the finished cases of one suite and model.

    ``missing`` is the number of declared cases that did not run: with any, the gate is *not judged*. Cases without a
    grade because something broke make it fail, unless ``floor`` says that a coverage gate of the same grader already
    watches over them.
    """
    chosen = [record for record in records if in_slice(record, gate.slice)]
    score = compute_score(suite, model, grader, chosen)

    def result(verdict: Verdict, value: float | None, reason: str) -> GateResult:
        return GateResult(gate.text, suite, model, verdict, value, score.n, score.applicable, reason)

    if missing:
        return result("not judged", None, f"{missing} of {missing + len(records)} cases did not run")
    if not chosen:
        return result(
            "not judged",
            None,
            f"--evals-limit leaves no case in the slice {gate.slice[0]}={gate.slice[1]}"
            if gate.slice
            else "no case ran",
        )
    value = STATISTICS[gate.statistic](score)
    if value is None:
        return result("failed", None, _no_value(gate, score))
    counted = f"n={score.n}"
    if gate.statistic != "coverage" and score.n < score.applicable and not floor:
        lost = f"{score.applicable - score.n} of {score.applicable} cases have no grade ({score.errors} errors, {score.pending} pending)"
        return result("failed", value, f"{lost}; over the rest it is {value:.4g}")
    if gate.meets(value):
        return result("passed", value, f"{value:.4g} ({counted})")
    return result("failed", value, f"{value:.4g}, not {gate.comparison} {gate.number:g} ({counted})")


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


def _no_value(gate: Gate, score: Score) -> str:
    if not score.n:
        return f"no case has a grade ({score.errors} errors, {score.not_applicable} not applicable)"
    if gate.statistic == "corpus":
        return "its grades bring no counts of a corpus-level metric (those of bleu and chrf do); use mean"
    return f"{score.n - len(score.verdicts)} of {score.n} grades have no verdict, so there is no {gate.statistic}; use mean, or return a Grade with passed="
