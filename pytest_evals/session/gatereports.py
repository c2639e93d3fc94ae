"""A judged gate as a test report of its own: a red summary, exit status 1 and a JUnit test case, in pytest's own words.

Logged after everything ran.
"""

from __future__ import annotations

import re
import warnings

import pytest

from pytest_evals.gates import GateResult
from pytest_evals.plain import plain

CLASSNAME = "evals.gates"
SHOWN = {"failed": "", "regressed": "regressed: ", "inconclusive": "inconclusive: "}
_SLICE = re.compile(r"\[([^\]]*)\]")


class GateReport(pytest.TestReport):
    """The report of one gate. Only a failed one is counted and shown by pytest; JUnit gets all of them."""

    logged = False

    @classmethod
    def make(cls, result: GateResult, path: str, line: int, *, several_models: bool) -> GateReport:
        """Make the report of ``result``; ``path`` and ``line`` are those of the suite. An inconclusive gate that does not
        fail is a passed test.
        """
        name = gate_name(result, several_models=several_models)
        outcome = "failed" if result.fails else "skipped" if result.verdict == "not judged" else "passed"
        skipped = (path, line, f"Skipped: not judged: {result.reason}")
        return cls(
            nodeid=f"{CLASSNAME}::{name}",
            location=(path, line - 1, name),
            keywords={},
            outcome=outcome,  # type: ignore[arg-type]  # the values above are pytest's three outcomes
            longrepr={"passed": None, "failed": f"{SHOWN.get(result.verdict, '')}{result.reason}", "skipped": skipped}[
                outcome
            ],
            when="call",
        )


def gate_name(result: GateResult, *, several_models: bool) -> str:
    """Return ``suite.grader.statistic OP number``, with slice and model in brackets at the end: pytest takes what follows
    a bracket in a nodeid as parameters.
    """
    slices = _SLICE.findall(result.gate)
    expression = _SLICE.sub("", result.gate)
    name = expression if expression.startswith(f"{result.suite}.") else f"{result.suite}.{expression}"
    parameters = [*slices, *([result.model] if several_models else [])]
    return f"{name}[{', '.join(parameters)}]" if parameters else name


def teststatus(report: GateReport) -> tuple[str, str, str]:
    """Answer pytest's question how a gate is shown: no letter in the progress line, a word once it stands in the
    summary.

    A passed gate, or one that was not judged, is in no category: the counts of the last line stay those of the tests.
    """
    if not report.failed:
        return "", "", ""
    return report.outcome, "", "FAILED" if report.logged else ""


def warn_of_inconclusive(config: pytest.Config, result: GateResult, *, several_models: bool) -> None:
    """Put a warning about an inconclusive gate into pytest's summary.

    Recorded, not raised: ``-W error`` is about the code of tests, and what this does is set by ``evals_inconclusive``.
    """
    text = f"gate {gate_name(result, several_models=several_models)} is inconclusive: {result.reason}"
    message = warnings.WarningMessage(pytest.PytestWarning(plain(text)), pytest.PytestWarning, CLASSNAME, 0)
    config.hook.pytest_warning_recorded.call_historic(
        kwargs={"warning_message": message, "when": "runtest", "nodeid": CLASSNAME, "location": None}
    )
