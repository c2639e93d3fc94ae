"""What a run found wrong, one by one, for programs that show findings at lines of files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pytest_evals.artifacts.sample import dump
from pytest_evals.collection.location import Location
from pytest_evals.gates import GateResult
from pytest_evals.reports import formatting
from pytest_evals.reports.markdown import Excerpt
from pytest_evals.scorecard import ScoreCard
from pytest_evals.sinks import for_github, for_github_property
from pytest_evals.text import one_line


@dataclass(frozen=True, slots=True)
class Finding:
    """A gate that is not met or has no verdict, or a case that failed or errored. ``about`` is the same in every run for
    the same gate, or the same test, case and model.
    """

    subject: Literal["gate", "case"]
    verdict: str
    fails: bool
    message: str
    location: Location | None
    about: str


def findings(card: ScoreCard, excerpts: Sequence[Excerpt], suites: Mapping[str, Location]) -> list[Finding]:
    """Return what fails the run, gates first, then gates without a verdict. ``suites`` says where they are.

    Misses below a gate are the gate's business.
    """
    several = len({gate.model for gate in card.gates}) > 1
    gates = [_of_gate(gate, card, suites, several=several) for gate in card.gates if gate.verdict != "passed"]
    cases = [
        Finding(
            "case",
            case.outcome,
            True,
            f"{case.suite}[{case.case_id}]: {case.reason}",
            case.location,
            case.sample_id,
        )
        for case in excerpts
        if case.outcome in ("failed", "errored")
    ]
    return [
        *(gate for gate in gates if gate.fails),
        *cases,
        *(gate for gate in gates if not gate.fails),
    ]


def _of_gate(gate: GateResult, card: ScoreCard, suites: Mapping[str, Location], *, several: bool) -> Finding:
    model = f" ({card.shorts.get(gate.model, gate.model)})" if several else ""
    message = f"{gate.suite}{model}: {gate.gate}: {gate.reason}"
    about = f"{gate.suite}\n{gate.model}\n{gate.gate}"
    return Finding("gate", gate.verdict, gate.fails, message, suites.get(gate.suite), about)


# -- Findings as workflow commands of GitHub Actions: what is wrong, at the file and line where a change shows it.

MOST = 10
"""Annotations of one kind that GitHub shows for a step; it drops the rest without a word."""
_LIMIT = 1000


def workflow_commands(found: Sequence[Finding]) -> list[str]:
    """Return the commands: errors for what fails the run, warnings for gates without a verdict."""
    failing = [finding for finding in found if finding.fails]
    undecided = [finding for finding in found if not finding.fails]
    return [*_commands("error", failing), *_commands("warning", undecided)]


def _commands(kind: str, found: Sequence[Finding]) -> list[str]:
    shown = [_command(kind, _title(finding), finding.message, finding.location) for finding in found[:MOST]]
    if len(found) > MOST:
        more = len(found) - MOST + 1
        text = f"{more} more of this kind: the summary of the job and the artifact have them all"
        shown[-1] = _command(kind, "More", text, None)
    return shown


def _title(finding: Finding) -> str:
    if finding.subject == "gate":
        return "Gate not met" if finding.fails else f"Gate {finding.verdict}"
    return f"Case {finding.verdict}"


def _command(kind: str, title: str, message: str, location: Location | None) -> str:
    where = f"file={for_github_property(location.path)},line={location.line}," if location else ""
    return f"::{kind} {where}title={for_github_property(title)}::{for_github(message, _LIMIT)}"


# -- Findings as GitLab's code quality report: a list of issues in JSON.
#
# https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format

LIMIT = 1024 * 1024
"""Bytes. GitLab keeps a report with the pipeline and reads it for each look at a merge request."""
_RESERVE = 600
"""Bytes kept for the note that something was left out."""
_LONGEST = 500
_SEVERITIES = {"gate": "critical", "errored": "critical", "failed": "major"}


def code_quality(found: Sequence[Finding], limit: int = LIMIT) -> str:
    """Return what fails the run as an issue each, in at most ``limit`` bytes; the last issue says how many were left out."""
    failing = [finding for finding in found if finding.fails and finding.location]
    issues: list[str] = []
    room = limit - _RESERVE
    for finding in failing:
        issue = _issue(finding)
        room -= len(issue.encode()) + 2
        if room < 0:
            issues.append(_note(len(failing) - len(issues), limit, finding))
            break
        issues.append(issue)
    return "[\n" + ",\n".join(issues) + "\n]\n" if issues else "[]\n"


def _issue(finding: Finding) -> str:
    severity = _SEVERITIES.get(finding.subject) or _SEVERITIES[finding.verdict]
    return _json(f"evals.{finding.subject}", severity, one_line(finding.message, _LONGEST), finding, finding.about)


def _note(left: int, limit: int, finding: Finding) -> str:
    text = f"{formatting.count(left)} more findings were left out: this report is cut at {formatting.size(limit)}"
    return _json("evals.more", "info", text, finding, "")


def _json(check: str, severity: str, description: str, finding: Finding, about: str) -> str:
    path, line = finding.location or ("", 1)
    issue: dict[str, Any] = {
        "description": description,
        "check_name": check,
        # Without the line and the reason, which change from run to run: GitLab tells by it what is new and what is fixed.
        "fingerprint": hashlib.sha256(f"{check}\n{about}".encode()).hexdigest()[:32],
        "severity": severity,
        "location": {"path": path, "lines": {"begin": line}},
    }
    return dump(issue)
