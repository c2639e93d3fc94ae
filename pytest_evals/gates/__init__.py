"""Gates: what scores must meet, as ``capitals.exact[difficulty=easy].mean >= 0.8``.

Parsed where they were written, so that a typo is known before any model loads; judged once, when everything has run.
"""

from pytest_evals.gates.against import Comparison, compare, decide
from pytest_evals.gates.judging import GateResult, Verdict, judge
from pytest_evals.gates.parsing import Gate, parse_gate
from pytest_evals.gates.targets import has_value, in_slice, is_budget, resolve, unresolved

__all__ = [
    "Comparison",
    "Gate",
    "GateResult",
    "Verdict",
    "compare",
    "decide",
    "has_value",
    "in_slice",
    "is_budget",
    "judge",
    "parse_gate",
    "resolve",
    "unresolved",
]
