"""The score card as lines of text for a terminal of a given width."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_evals.gates import GateResult
from pytest_evals.plain import one_line, plain
from pytest_evals.render import numbers
from pytest_evals.render.advice import advice
from pytest_evals.render.agreement import agreement_lines
from pytest_evals.render.calibration import calibration_texts, confusion_lines
from pytest_evals.render.lines import Line, wrapped
from pytest_evals.render.scores import insight_lines, legend, score_table
from pytest_evals.render.uses import use_line
from pytest_evals.scores.card import Ledger, ScoreCard
from pytest_evals.scores.records import CaseRecord
from pytest_evals.wording import counted

VERDICTS = {
    "passed": "PASSED",
    "failed": "FAILED",
    "not judged": "NOT JUDGED",
    "regressed": "REGRESSED",
    "inconclusive": "INCONCLUSIVE",
}
_COLOURS = {"passed": {"green": True}, "failed": {"red": True, "bold": True}, "not judged": {"yellow": True}}
_COLOURS |= {"regressed": _COLOURS["failed"], "inconclusive": _COLOURS["not judged"]}


def score_card_lines(card: ScoreCard, width: int, verbosity: int = 0) -> list[Line]:
    """Return the lines. ``verbosity`` is pytest's: -2 is gates only, -1 is compact, 1 adds a line a case."""
    several = len({score.model for score in card.scores}) > 1
    unwritten = wrapped(card.unwritten, width, _COLOURS["failed"]) if card.unwritten else []
    if verbosity <= -2:
        return [*_gates(card.gates, width, several=several), *unwritten]
    lines = [*_cases(card.records, card, width), Line("")] if verbosity > 0 and card.records else []
    table = score_table(card, width)
    lines += [Line(text) for text in table]
    said = [*legend(card, table[0]), *(insight_lines(card) if verbosity > -1 else [])]
    lines += [line for text in said for line in wrapped(text, width)]
    if card.calibrations:
        lines += [Line(""), *_calibrations(card, width, table=verbosity > 0)]
    agreement = agreement_lines(card.agreements, width, whole=verbosity > 0)
    if agreement:
        lines += [Line(""), *agreement]
    if card.gates:
        lines += [Line(""), *_gates(card.gates, width, several=several)]
    lines.append(Line(""))
    lines += wrapped(_ledger(card.ledger), width)
    if card.interruption:
        lines += wrapped(f"interrupted: {one_line(card.interruption)}", width, {"yellow": True})
    if verbosity > -1:
        for text in (*card.notes, *(use_line(use) for use in card.uses)):
            lines += wrapped(text, width)
    lines += unwritten
    if card.artifact:
        lines.append(Line(f"artifact: {plain(card.artifact)}"))
    if verbosity > -1:
        lines += [Line(f"next: {plain(text)}") for text in advice(card)]
    return lines


def _calibrations(card: ScoreCard, width: int, *, table: bool) -> list[Line]:
    lines: list[Line] = []
    for made in card.calibrations:
        for text in calibration_texts(made, card.shorts):
            lines += wrapped(text, width)
        if table:
            lines += [Line(plain(text)[: max(width, 20)]) for text in confusion_lines(made)]
    return lines


def _gates(gates: Sequence[GateResult], width: int, *, several: bool) -> list[Line]:
    lines: list[Line] = []
    for gate in gates:
        where = f"{gate.suite}[{gate.model}]" if several else gate.suite
        name = gate.gate if gate.gate.startswith(f"{gate.suite}.") and not several else f"{where}: {gate.gate}"
        lines += wrapped(f"gate {VERDICTS[gate.verdict]:<10} {name}: {gate.reason}", width, _COLOURS[gate.verdict])
    return lines


def _ledger(ledger: Ledger) -> str:
    names = {"passed": "passed", "missed": "missed", "failed": "failed", "errored": "errored"}
    parts = [f"{numbers.count(getattr(ledger, name))} {word}" for name, word in names.items()]
    if ledger.not_applicable:
        parts.append(f"{ledger.not_applicable} not applicable")
    if ledger.pending:
        parts.append(f"{ledger.pending} pending")
    if ledger.not_run:
        parts.append(f"{ledger.not_run} not run")
    return f"{counted(ledger.collected, 'case')}: {', '.join(parts)}"


def _cases(records: Sequence[CaseRecord], card: ScoreCard, width: int) -> list[Line]:
    lines = []
    for record in records:
        grades = ", ".join(f"{grade.grader_key}={_grade(grade.value, grade.status)}" for grade in record.grades)
        model = card.shorts.get(record.model, "")
        text = f"{record.outcome:<8} {record.suite}[{record.case_id}] {model} {grades}"
        lines.append(
            Line(one_line(text, max(width, 40)), {"red": True} if record.outcome in ("failed", "errored") else {})
        )
    return lines


def _grade(value: float | None, status: str) -> str:
    return status if value is None else f"{value:g}"
