"""Gates: what scores must meet, as ``capitals.exact[difficulty=easy].mean >= 0.8``.

Parsed where they were written, so that a typo is known before any model loads; judged once, when everything has run.
"""

from pytest_evals.gates.expression import (
    Gate,
    has_value,
    in_slice,
    is_budget,
    parse_gate,
    recorded_gate,
    resolve,
    unresolved,
)
from pytest_evals.gates.judging import GateResult, Verdict, judge

__all__ = [
    "Gate",
    "GateResult",
    "Verdict",
    "has_value",
    "in_slice",
    "is_budget",
    "judge",
    "parse_gate",
    "recorded_gate",
    "resolve",
    "unresolved",
]
