"""The text of a gate -> its parts.

Grammar: ``[SUITE.]GRADER[SLICE].STATISTIC OP BOUND``. A bound is a number (``0.8``, ``80%``, and for latency ``2s`` or
``200ms``) or ``baseline``, ``baseline - 0.02``, ``baseline * 0.95``.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from pytest_evals.errors import GateError, did_you_mean
from pytest_evals.gates.statistics import (
    COMPARABLE,
    KNOWN,
    MEASURED,
    OF_ERRORS,
    comparable,
    is_share,
    is_statistic,
    percentile_of,
)
from pytest_evals.scores.records import CaseRecord

COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_SLICE = re.compile(r"\[([^\]]*)\]")
_EXPRESSION = re.compile(
    r"\A(?P<path>[^<>=]+?)\s*(?P<op>>=|<=|==|>|<)\s*(?P<bound>[^<>=\s]\S*|baseline\b[^<>=]*)\Z", re.DOTALL
)
# The last part is the statistic; that of a percentile may hold a full stop.
_PATH = re.compile(r"\A(?:(?P<target>.*?)\.)?(?P<statistic>p\d+\.\d+|[^.]*)\Z", re.DOTALL)
_BASELINE = re.compile(r"\Abaseline(?:\s*(?P<op>[-+*])\s*(?P<number>\S+))?\Z")
_TIME = re.compile(r"\A(?P<number>[^a-z]+)(?P<unit>ms|s)\Z")
# What other tools call a statistic.
_OTHER_WORDS: Mapping[str, str] = {
    **dict.fromkeys(("pass@k", "pass^k"), "; k is a number, as in pass@3"),
    **dict.fromkeys(("accuracy", "acc"), "; accuracy is the mean of grades that are right or wrong: write 'mean'"),
    **dict.fromkeys(("avg", "average", "score", "value"), "; did you mean 'mean'?"),
    **dict.fromkeys(("passed", "pass", "success_rate"), "; did you mean 'pass_rate'?"),
    **dict.fromkeys(("std", "stdev", "se"), "; did you mean 'stderr', the standard error of the mean?"),
}
_SHAPE = (
    "a gate is written [suite.]grader.statistic OP number, as 'exact.mean >= 0.8' or 'exact[level=easy].mean >= 0.9'"
)


@dataclass(frozen=True, slots=True)
class Gate:
    """A parsed gate. ``target`` is ``[suite.]grader`` as written: which is which is known once suites are collected.

    The bound is ``number``, plus ``factor`` times what the baseline has.
    """

    text: str
    target: str
    slice: tuple[str, str] | None
    statistic: str
    comparison: str
    number: float
    factor: float = 0.0

    @property
    def relative(self) -> bool:
        """Tell whether it takes a baseline to judge this gate."""
        return self.factor != 0

    @property
    def bound_text(self) -> str:
        """The right side as it was written."""
        return self.text.rpartition(self.comparison)[2].strip()

    def bound(self, baseline: float = 0.0) -> float:
        """Return what the value is compared with."""
        return self.number + self.factor * baseline if self.relative else self.number

    def meets(self, value: float, baseline: float = 0.0) -> bool:
        """Tell whether ``value`` meets the gate."""
        return COMPARISONS[self.comparison](value, self.bound(baseline))


def parse_gate(text: str) -> Gate:
    """Read a gate. Raises `GateError` that says which part is wrong."""
    if not isinstance(text, str):
        raise GateError(f"a gate is text, not {type(text).__name__} ({text!r:.60}): {_SHAPE}")
    slices = _SLICE.findall(text)
    match = _EXPRESSION.match(_SLICE.sub("", text).strip())
    if not match or len(slices) > 1:
        raise GateError(f"gate {text!r} is not well formed: {_SHAPE}{_meant(text.strip())}")
    target, statistic = _parse_path(match["path"], text)
    part = _parse_slice(slices[0], text) if slices else None
    number, factor = _parse_bound(match["bound"].strip(), target, statistic, text)
    if factor and match["op"] == "==":
        raise GateError(f"gate {text!r}: no two runs are equal but by chance; compare with the baseline by >= or <=")
    if not factor and is_share(statistic) and not 0 <= number <= 1:
        hint = f"; write {number:g}%" if 1 < number <= 100 else ""
        raise GateError(f"gate {text!r}: {statistic} is a share, from 0 to 1 or from 0% to 100%{hint}")
    return Gate(text.strip(), target, part, statistic, match["op"], number, factor)


def recorded_gate(text: str) -> Gate | None:
    """Read a gate of a recorded run; `None` for one that this version cannot read."""
    try:
        return parse_gate(text)
    except GateError:
        return None


def _meant(text: str) -> str:
    """Return the gate that is probably meant by one that is not well formed."""
    name, equals, number = (part.strip() for part in text.partition("="))
    if re.fullmatch(r"[^<>=!\s]+", name) and not equals:
        return f"; did you mean '{name}.mean >= 0.8'?"
    if equals and re.fullmatch(r"[\w.%-]+", number) and name[-1:] not in tuple("<>=!"):
        return f"; did you mean '{name} == {number}'?"
    return ""


def _parse_path(path: str, gate: str) -> tuple[str, str]:
    match = _PATH.match(path)
    target, statistic = (match["target"] or "", match["statistic"]) if match else ("", path)
    if not is_statistic(statistic):
        hint = _OTHER_WORDS.get(statistic) or did_you_mean(statistic, KNOWN)
        if not (hint or target):
            hint = f"; did you mean '{path}.mean'?"
        raise GateError(f"gate {gate!r}: unknown statistic {statistic!r} (known: {', '.join(KNOWN)}){hint}")
    if not target or not all(target.removeprefix("./").split(".")):
        raise GateError(f"gate {gate!r} names no grader: {_SHAPE}")
    if statistic in OF_ERRORS and target.rpartition(".")[2] != "errors":
        raise GateError(f"gate {gate!r}: {statistic} is a statistic of errors, as in 'errors.{statistic} <= 3'")
    return target, statistic


def _parse_slice(text: str, gate: str) -> tuple[str, str]:
    field, equals, value = text.partition("=")
    if not equals or not field.strip() or not value.strip():
        raise GateError(f"gate {gate!r}: the slice [{text}] is not [field=value]")
    return field.strip(), value.strip()


def _parse_bound(text: str, target: str, statistic: str, gate: str) -> tuple[float, float]:
    """Return the number, and by what the baseline's value is multiplied."""
    if not text.startswith("baseline"):
        return _parse_number(text, target, gate), 0.0
    match = _BASELINE.match(text)
    if not match:
        raise GateError(
            f"gate {gate!r}: {text!r} is none of 'baseline', 'baseline - 0.02', 'baseline + 0.02' and 'baseline * 0.95'"
        )
    if not comparable(statistic):
        raise GateError(f"gate {gate!r}: {statistic} cannot be compared with a baseline; these can: {COMPARABLE}")
    if match["op"] is None:
        return 0.0, 1.0
    if match["op"] != "*":
        number = _parse_number(match["number"], target, gate)
        return (-number if match["op"] == "-" else number), 1.0
    factor = _parse_number(match["number"], "", gate)
    if factor <= 0:
        raise GateError(f"gate {gate!r}: the baseline can be multiplied by a number above 0, not by {match['number']}")
    return 0.0, factor


def _parse_number(text: str, target: str, gate: str) -> float:
    time = _TIME.match(text)
    if time and target.rpartition(".")[2] != "latency":
        raise GateError(f"gate {gate!r}: {text!r} is a time, and only latency has one")
    digits, scale = (time["number"], {"ms": 0.001, "s": 1.0}[time["unit"]]) if time else (text, 1.0)
    try:
        number = float(digits[:-1]) / 100 if digits.endswith("%") else float(digits) * scale
    except ValueError:
        raise GateError(f"gate {gate!r}: {text!r} is not a number") from None
    if not math.isfinite(number):
        raise GateError(f"gate {gate!r}: {text!r} is not a finite number")
    return number


# -- Which grader, budget and cases a gate is about.

BUDGETS = ("tokens", "prompt_tokens", "latency", "cost", "errors")
"""What every suite has besides its graders, unless a grader has the name."""


def resolve(gate: Gate, suite: str, graders: Iterable[str]) -> str | None:
    """Return the grader or the budget that ``gate`` means in ``suite``, or `None` when it does not concern this suite.

    A grader that returns a dict is named by its fixture and the entry: ``style.tone``.
    """
    names = tuple(graders)
    # A suite that is called by its folder answers to its plain name too.
    targets = (gate.target, *(gate.target.removeprefix(f"{name}.") for name in (suite, plain_name(suite))))
    for target in targets:
        if any(target == name or target.startswith(f"{name}.") for name in names):
            # `count` and `rate` are of the budget, which a grader may share its name with.
            return None if gate.statistic in OF_ERRORS else target
    return next((target for target in targets if target in BUDGETS and _has(target, gate.statistic)), None)


def plain_name(suite: str) -> str:
    """Return the name of a suite without its folder."""
    return suite.rpartition("/")[2]


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
