"""Refuses gates that cannot be judged, once everything is collected and before anything is generated."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_evals.errors import did_you_mean
from pytest_evals.gates import Gate, GateResult, is_budget, judge, resolve, unresolved
from pytest_evals.scores.records import CaseRecord
from pytest_evals.settings import Settings
from pytest_evals.sinks import for_terminal
from pytest_evals.suites.manifest import SuiteManifest, gates_of
from pytest_evals.text import one_line, pluralize

if TYPE_CHECKING:
    from pytest_evals.baselines.loading import Baseline
    from pytest_evals.baselines.pairing import Joined
    from pytest_evals.gates.regression import BaselineTest


class GateCheck:
    """``infos`` are the collected suites, by name; ``baseline`` is the run to compare with, if it was read."""

    def __init__(
        self, settings: Settings, infos: Mapping[str, SuiteManifest], baseline: Baseline | None = None
    ) -> None:
        self._settings = settings
        self._infos = infos
        self._baseline = baseline

    def pytest_collection_finish(self) -> None:
        """See `check`."""
        self.check()

    def check(self) -> None:
        """Raise `pytest.UsageError` for a gate of the session that no suite answers to, and for a baseline that has no case for
        those that compare with it. Without a baseline they are not judged.
        """
        for gate in self._settings.gates:
            self._check_name(gate)
            if self._infos and not any(info.named(gate.text) in info.gates for info in self._infos.values()):
                raise pytest.UsageError(f"gate {gate.text!r}: {self._why(gate)}")
        if any(gate.relative for info in self._infos.values() for gate in gates_of(info)):
            self._check_baseline()

    def _check_name(self, gate: Gate) -> None:
        """Raise `pytest.UsageError` for a gate with a name that several suites share, each called by its folder."""
        meant = [
            info.name
            for info in self._infos.values()
            if info.name != info.own_name and gate.target.startswith(f"{info.own_name}.")
        ]
        if len(meant) > 1:
            raise pytest.UsageError(f"gate {gate.text!r}: several suites have this name; write {' or '.join(meant)}")

    def _why(self, gate: Gate) -> str:
        infos = self._infos.values()
        if gate.slice and any(resolve(gate, info.name, info.graders) for info in infos):
            return f"no suite with this grader has rows with {'='.join(gate.slice)}"
        budget = gate.target.rpartition(".")[2]
        if is_budget(budget, [name for info in infos for name in info.graders]) and gate.target == budget:
            return f"there is {unresolved(gate, ())}"
        known = "; ".join(f"{info.name}: {', '.join(info.graders) or 'none'}" for info in infos)
        names = [name for info in infos for grader in info.graders for name in (grader, f"{info.name}.{grader}")]
        return f"no suite has a grader {gate.target!r} (graders of {known}){did_you_mean(gate.target, names)}"

    def _check_baseline(self) -> None:
        if self._baseline is None:
            return
        suites = dict.fromkeys(record.suite for record in self._baseline.records)
        if not any(name in suites for name in self._infos):
            raise pytest.UsageError(
                f"--evals-baseline: {self._baseline.path} has none of the suites of this run ({', '.join(self._infos)}), "
                f"only {one_line(', '.join(suites), 300) or 'no case at all'}"
            )


# -- All gates of a session and its finished cases -> their verdicts.


def judge_all(
    infos: Iterable[SuiteManifest], records: Sequence[CaseRecord], joined: Joined | None = None, *, strict: bool = False
) -> list[GateResult]:
    """Judge every gate of every suite and model.

    ``joined`` are the cases that the run shares with its baseline, where it has one; ``strict`` tells that an
    inconclusive gate fails.
    """
    comparisons = [
        comparison for info in infos for model in info.models for comparison in _of_model(info, model, records, joined)
    ]
    from pytest_evals.gates.regression import decide

    return [replace(result, strict=strict) for result in decide(comparisons)]


def _of_model(
    info: SuiteManifest, model: str, records: Sequence[CaseRecord], joined: Joined | None
) -> list[BaselineTest]:
    from pytest_evals.gates.regression import BaselineTest, compare, not_compared

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
        elif gate.relative:
            found.append(not_compared(gate, info.name, model, name, chosen, budget=budget))
        else:
            result = judge(gate, info.name, model, name, chosen, missing=missing, floor=floor, budget=budget)
            if stopped:
                total = len(chosen) + stopped
                result = replace(
                    result,
                    reason=f"{result.reason}; stopped early, after {len(chosen):,} of {pluralize(total, 'case')}",
                )
            found.append(BaselineTest(result))
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


# -- A judged gate as a test report of its own: a red summary, exit status 1 and a JUnit test case, in pytest's own words.
#
# Logged after everything ran.

CLASSNAME = "evals.gates"
SHOWN = {"failed": "", "regressed": "regressed: ", "inconclusive": "inconclusive: "}
_SLICE = re.compile(r"\[([^\]]*)\]")


class GateReport(pytest.TestReport):
    """The report of one phase of one gate. Only a failed one is counted and shown by pytest; JUnit gets all of them."""

    logged = False

    @classmethod
    def phases(cls, verdict: GateReport) -> tuple[GateReport, GateReport, GateReport]:
        """Return what pytest reports of a test: its setup, ``verdict`` as its call, and its teardown. Some plugins, such as pytest-html,
        show a test only when they have heard of all three.
        """

        def phase(when: str) -> GateReport:
            return cls(verdict.nodeid, verdict.location, {}, "passed", None, when)  # type: ignore[arg-type]  # pytest's own names

        return phase("setup"), verdict, phase("teardown")

    @classmethod
    def make(cls, result: GateResult, path: str, line: int, *, model: str | None, one_line: bool = False) -> GateReport:
        """Make the report of ``result``; ``path`` and ``line`` are those of the suite, ``model`` is its short name where there are
        several. An inconclusive gate that does not fail is a passed test. With ``one_line`` (``--tb=line``) a failed one is shown by a line with its place and name.
        """
        # What a slice or an error is called comes from data and models.
        name, reason = for_terminal(gate_name(result, model)), for_terminal(result.reason)
        outcome = "failed" if result.fails else "skipped" if result.verdict == "not judged" else "passed"
        skipped = (path, line, f"Skipped: not judged: {reason}")
        failed = f"{SHOWN.get(result.verdict, '')}{reason}"
        return cls(
            nodeid=f"{CLASSNAME}::{name}",
            location=(path, line - 1, name),
            keywords={},
            outcome=outcome,  # type: ignore[arg-type]  # the values above are pytest's three outcomes
            longrepr={
                "passed": None,
                "failed": FailureLine(path, line, name, failed) if one_line else failed,
                "skipped": skipped,
            }[outcome],  # type: ignore[arg-type]  # pytest asks a failure for toterminal() and reprcrash, whatever its class
            when="call",
        )


class FailureLine:
    """A failed gate where pytest shows one line of each failure: all of it is in ``reprcrash``, as pytest calls it."""

    def __init__(self, path: str, line: int, name: str, message: str) -> None:
        self.reprcrash = GateLocation(path, line, name, message)

    def __str__(self) -> str:
        return self.reprcrash.message

    def toterminal(self, writer: object) -> None:
        """Write nothing: pytest writes the line itself."""


@dataclass(frozen=True, slots=True)
class GateLocation:
    """Where a gate was not met, and why."""

    path: str
    lineno: int
    name: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.lineno}: {self.name}: {self.message}"


def gate_name(result: GateResult, model: str | None = None) -> str:
    """Return ``suite.grader.statistic OP number``, with slice and model in brackets at the end: pytest takes what follows
    a bracket in a nodeid as parameters.
    """
    slices = _SLICE.findall(result.gate)
    expression = _SLICE.sub("", result.gate)
    name = expression if expression.startswith(f"{result.suite}.") else f"{result.suite}.{expression}"
    parameters = [*slices, *([model] if model else [])]
    return f"{name}[{', '.join(parameters)}]" if parameters else name


class GateStatus:
    """Answers pytest's question how a gate is shown."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """No letter in the progress line, a word once it is in the summary.

        A passed gate, or one that was not judged, is in no category: the counts of the last line stay those of the tests.
        """
        if not isinstance(report, GateReport):
            return None
        return (report.outcome, "", "FAILED" if report.logged else "") if report.failed else ("", "", "")


def show_without_folder(config: pytest.Config) -> None:
    """Have pytest show ids of gates as they are. It takes what is before ``::`` for a file, and shows that as seen from
    the current folder, but gates are not in files.
    """
    shown = config.cwd_relative_nodeid

    def cwd_relative(nodeid: Any) -> Any:
        return nodeid if str(nodeid).startswith(CLASSNAME) else shown(nodeid)

    config.cwd_relative_nodeid = cwd_relative  # type: ignore[method-assign]  # of this one object; pytest has no hook for it


def log_report(config: pytest.Config, report: GateReport) -> None:
    """Report a gate to all plugins except those that note which tests to run again: a gate cannot be run again."""
    plugins = [config.pluginmanager.get_plugin(name) for name in ("lfplugin", "stepwiseplugin")]
    call = config.pluginmanager.subset_hook_caller("pytest_runtest_logreport", filter(None, plugins))
    for phase in GateReport.phases(report):
        call(report=phase)
    report.logged = True


def warn_of_inconclusive(config: pytest.Config, result: GateResult, model: str | None) -> None:
    """Put a warning about an inconclusive gate into pytest's summary.

    Recorded, not raised: ``-W error`` is about the code of tests, and what this does is set by ``evals_inconclusive``.
    """
    text = f"gate {gate_name(result, model)} is inconclusive: {result.reason}"
    message = warnings.WarningMessage(pytest.PytestWarning(for_terminal(text)), pytest.PytestWarning, CLASSNAME, 0)
    config.hook.pytest_warning_recorded.call_historic(
        kwargs={"warning_message": message, "when": "runtest", "nodeid": CLASSNAME, "location": None}
    )
