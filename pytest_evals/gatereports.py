"""A judged gate as a test report of its own: a red summary, exit status 1 and a JUnit test case, in pytest's own words.

Logged by the process that owns the session, after everything ran. See ``session``.
"""

from __future__ import annotations

import pytest

from pytest_evals.gates import GateResult

CLASSNAME = "evals.gates"


class GateReport(pytest.TestReport):
    """The report of one gate. Only a failed one is counted and shown by pytest; JUnit gets all of them."""

    logged = False

    @classmethod
    def make(cls, result: GateResult, path: str, line: int, *, several_models: bool) -> GateReport:
        """Make the report of ``result``; ``path`` and ``line`` are those of the suite."""
        suite = f"{result.suite}[{result.model}]" if several_models else result.suite
        gate = result.gate if result.gate.startswith(f"{result.suite}.") else f"{suite}.{result.gate}"
        outcome = {"passed": "passed", "failed": "failed", "not judged": "skipped"}[result.verdict]
        message = result.reason
        return cls(
            nodeid=f"{CLASSNAME}::{gate}",
            location=(path, line - 1, gate),
            keywords={},
            outcome=outcome,  # type: ignore[arg-type]  # the values of the mapping above are pytest's three outcomes
            longrepr={"passed": None, "failed": message, "skipped": (path, line, f"Skipped: not judged: {message}")}[
                outcome
            ],
            when="call",
        )


def teststatus(report: GateReport) -> tuple[str, str, str]:
    """Answer pytest's question how a gate is shown: no letter in the progress line, a word once it stands in the
    summary.

    A passed gate, or one that was not judged, is in no category: the counts of the last line stay those of the tests.
    """
    if not report.failed:
        return "", "", ""
    return report.outcome, "", "FAILED" if report.logged else ""
