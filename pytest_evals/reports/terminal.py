"""The score card as lines of text for a terminal of a given width."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pytest_evals.reports import formatting
from pytest_evals.reports.agreement import agreement_lines, calibration_texts, confusion_lines
from pytest_evals.reports.formatting import Line, wrapped_lines
from pytest_evals.reports.scores import insight_lines, legend, score_table
from pytest_evals.scorecard import Ledger, ModelUse, ScoreCard
from pytest_evals.scores.records import CaseRecord
from pytest_evals.text import one_line, pluralize, sanitize

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
    """Return the lines. ``verbosity`` is pytest's: -2 is gates only, -1 is compact (notes stay), 1 adds a line a case."""
    several = len({score.model for score in card.scores}) > 1
    unwritten = wrapped_lines(card.unwritten, width, _COLOURS["failed"]) if card.unwritten else []
    if verbosity <= -2:
        return [*_gates(card, width, several=several), *unwritten]
    lines = [*_cases(card.records, card, width), Line("")] if verbosity > 0 and card.records else []
    table = score_table(card, width)
    lines += [Line(text) for text in table]
    said = [*legend(card, table[0]), *(insight_lines(card) if verbosity > -1 else [])]
    lines += [line for text in said for line in wrapped_lines(text, width)]
    if card.calibrations:
        lines += [Line(""), *_calibrations(card, width, table=verbosity > 0)]
    agreement = agreement_lines(card.agreements, width, whole=verbosity > 0)
    if agreement:
        lines += [Line(""), *agreement]
    if card.gates:
        lines += [Line(""), *_gates(card, width, several=several)]
    lines.append(Line(""))
    lines += wrapped_lines(_ledger(card.ledger), width)
    if card.interruption:
        lines += wrapped_lines(f"interrupted: {one_line(card.interruption)}", width, {"yellow": True})
        # In one piece, to be pasted.
        lines += [Line(f"to go on: {sanitize(card.resume)}")] if card.resume else []
    # What a reader must know of the numbers stands beside them, however short the card is.
    for text in (*card.notes, *(use_line(use) for use in card.uses if verbosity > -1)):
        lines += wrapped_lines(text, width)
    lines += unwritten
    if card.artifact:
        lines.append(Line(f"artifact: {sanitize(card.artifact)}"))
    if verbosity > -1:
        lines += [Line(f"next: {sanitize(text)}") for text in advice(card)]
    return lines


def _calibrations(card: ScoreCard, width: int, *, table: bool) -> list[Line]:
    lines: list[Line] = []
    for made in card.calibrations:
        for text in calibration_texts(made, card.shorts):
            lines += wrapped_lines(text, width)
        if table:
            lines += [Line(sanitize(text)[: max(width, 20)]) for text in confusion_lines(made)]
    return lines


def _gates(card: ScoreCard, width: int, *, several: bool) -> list[Line]:
    lines: list[Line] = []
    for gate in card.gates:
        where = f"{gate.suite}[{card.shorts.get(gate.model, gate.model)}]" if several else gate.suite
        name = gate.gate if gate.gate.startswith(f"{gate.suite}.") and not several else f"{where}: {gate.gate}"
        lines += wrapped_lines(
            f"gate {VERDICTS[gate.verdict]:<10} {name}: {gate.reason}", width, _COLOURS[gate.verdict]
        )
    return lines


def _ledger(ledger: Ledger) -> str:
    names = {"passed": "passed", "missed": "missed", "failed": "failed", "errored": "errored"}
    parts = [f"{formatting.count(getattr(ledger, name))} {word}" for name, word in names.items()]
    if ledger.not_applicable:
        parts.append(f"{ledger.not_applicable} not applicable")
    if ledger.pending:
        parts.append(f"{ledger.pending} pending")
    if ledger.not_run:
        parts.append(f"{ledger.not_run} not run")
    return f"{pluralize(ledger.collected, 'case')}: {', '.join(parts)}"


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


# -- What to run next, after a run that left something to look at.


def advice(card: ScoreCard) -> list[str]:
    """Return commands, each with what it is for; nothing where there is nothing to look at, or no artifact to look into."""
    if card.artifact is None:
        return []
    ledger = card.ledger
    # The newest run of the usual folder needs no name.
    usual = card.artifact.startswith((".evals/", ".evals\\"))
    run, named = ("latest", "") if usual else (shlex.quote(card.artifact), f" {shlex.quote(card.artifact)}")
    found = []
    if ledger.errored or ledger.failed:
        found.append("pytest --evals --lf")
    wrong = next((name for name in ("missed", "failed", "errored") if getattr(ledger, name)), None)
    if wrong:
        found.append(f"pytest-evals cases{named} -v --where \"outcome == '{wrong}'\"")
    if any(score.pending for score in card.scores):
        found.append(f"pytest-evals annotate{named}")
    if card.baseline and any(each.verdict in ("worse", "unclear") for each in card.movements):
        found.append(f"pytest-evals compare {shlex.quote(card.baseline)} {run} -v")
    return found


# -- What models did, as a sentence.

MEASURABLE_SECONDS = 0.5
"""A rate over less time than this says nothing."""


def use_line(use: ModelUse) -> str:
    """Say what a model completed, where and how fast; or that it was not needed."""
    if use.recalled and not use.replicas:
        return (
            f"{use.short}: not loaded; all {formatting.count(use.recalled)} answers asked of it were known from before"
        )
    where = " ".join(part for part in (use.device, use.dtype) if part)
    done = f"{pluralize(use.completions, 'completion')}, {pluralize(use.completion_tokens, 'token')}"
    text = f"{use.short} ({where}): {done}"
    if use.seconds >= MEASURABLE_SECONDS:
        rate = use.completion_tokens / use.seconds
        text += (
            f" in {formatting.duration(use.seconds)}: {rate:.0f} tokens/s, {use.completions / use.seconds:.1f} cases/s"
        )
    return "; ".join([text, *_savings(use)])


def _savings(use: ModelUse) -> list[str]:
    """Say how well the batches were filled and what was not computed twice; nothing where there is nothing to say."""
    parts = []
    if use.occupancy is not None and use.usage.get("most_rows", 0) > 1:
        parts.append(f"batches {formatting.percent(use.occupancy)} full")
    if use.shared_prompt:
        parts.append(f"{formatting.percent(use.shared_prompt)} of prompt tokens shared")
    if use.reused_prompt:
        parts.append(f"{formatting.percent(use.reused_prompt)} reused")
    if use.padding:
        parts.append(f"{formatting.percent(use.padding)} padding")
    if use.duplicates:
        parts.append(pluralize(use.duplicates, "duplicate"))
    if use.usage.get("most_concurrency"):
        parts.append(f"settled on {use.usage['most_concurrency']:.0f} requests at a time")
    if use.usage.get("retries"):
        parts.append(f"{use.usage['retries']:.0f} tried again")
    if use.usage.get("throttled"):
        parts.append(f"{use.usage['throttled']:.0f} refused for now")
    if use.usage.get("peak_bytes"):
        parts.append(f"peak {formatting.size(use.usage['peak_bytes'])}")
    return parts
