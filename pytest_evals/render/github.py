"""A score card as workflow commands of GitHub Actions: what is wrong, at the file and line where a change shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_evals.gates import GateResult
from pytest_evals.plain import plain
from pytest_evals.render.markdown import Excerpt
from pytest_evals.scorecard import ScoreCard

MOST = 10
"""Annotations of one kind that GitHub shows for a step; it drops the rest without a word."""
_LIMIT = 1000


def workflow_commands(card: ScoreCard, excerpts: Sequence[Excerpt], places: Mapping[str, tuple[str, int]]) -> list[str]:
    """Return the commands: errors for gates that are not met and for cases that failed, warnings for gates without a verdict.

    ``places`` has the file and line of each suite. Misses below a gate are the gate's business.
    """
    several = len({gate.model for gate in card.gates}) > 1

    def named(gate: GateResult) -> str:
        model = f" ({card.shorts.get(gate.model, gate.model)})" if several else ""
        return f"{gate.suite}{model}: {gate.gate}: {gate.reason}"

    errors = [("Gate not met", named(gate), places.get(gate.suite, ("", 0))) for gate in card.gates if gate.fails]
    errors += [
        (f"Case {case.outcome}", f"{case.suite}[{case.case_id}]: {case.reason}", (case.path, case.line))
        for case in excerpts
        if case.outcome in ("failed", "errored")
    ]
    warnings = [
        (f"Gate {gate.verdict}", named(gate), places.get(gate.suite, ("", 0)))
        for gate in card.gates
        if gate.verdict != "passed" and not gate.fails
    ]
    return [*_commands("error", errors), *_commands("warning", warnings)]


Finding = tuple[str, str, tuple[str, int]]


def _commands(kind: str, findings: Sequence[Finding]) -> list[str]:
    shown = [_command(kind, *finding) for finding in findings[:MOST]]
    if len(findings) > MOST:
        more = len(findings) - MOST + 1
        shown[-1] = _command(
            kind, "More", f"{more} more of this kind: the summary of the job and the artifact have them all", ("", 0)
        )
    return shown


def _command(kind: str, title: str, message: str, place: tuple[str, int]) -> str:
    path, line = place
    where = f"file={_property(path)},line={line}," if path else ""
    return f"::{kind} {where}title={_property(title)}::{_data(plain(message, _LIMIT))}"


def _data(text: str) -> str:
    """Return a message on one line; what could start another command is escaped."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(plain(text)).replace(":", "%3A").replace(",", "%2C")
