"""Findings as GitLab's code quality report: a list of issues in JSON.

https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from pytest_evals.artifacts.sample import dump
from pytest_evals.plain import one_line
from pytest_evals.render import numbers
from pytest_evals.render.findings import Finding

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
    text = f"{numbers.count(left)} more findings were left out: this report is cut at {numbers.size(limit)}"
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
