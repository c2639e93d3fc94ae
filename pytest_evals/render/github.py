"""Findings as workflow commands of GitHub Actions: what is wrong, at the file and line where a change shows it."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_evals.location import Location
from pytest_evals.plain import plain
from pytest_evals.render.findings import Finding

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
    where = f"file={_property(location.path)},line={location.line}," if location else ""
    return f"::{kind} {where}title={_property(title)}::{_data(plain(message, _LIMIT))}"


def _data(text: str) -> str:
    """Return a message on one line; what could start another command is escaped."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(plain(text)).replace(":", "%3A").replace(",", "%2C")
