"""The score card as lines of text for a terminal of a given width."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pytest_evals.artifacts.validation import ParsedLine
from pytest_evals.gates import GateResult
from pytest_evals.reports import formatting
from pytest_evals.reports.agreement import agreement_lines, calibration_texts, confusion_lines, reliability_lines
from pytest_evals.reports.cases import ASKED, case_texts
from pytest_evals.reports.formatting import Line, wrapped_lines
from pytest_evals.reports.grid import INTERVAL
from pytest_evals.reports.ranking import ranking_sentences
from pytest_evals.reports.scores import insight_lines, legend, score_tables
from pytest_evals.scorecard import Ledger, ModelUse, ScoreCard
from pytest_evals.text import last_line, one_line, pluralize, sanitize

VERDICTS = {
    "passed": "PASSED",
    "failed": "FAILED",
    "not judged": "NOT JUDGED",
    "regressed": "REGRESSED",
    "inconclusive": "INCONCLUSIVE",
}
_COLOURS = {"passed": {"green": True}, "failed": {"red": True, "bold": True}, "not judged": {"yellow": True}}
_COLOURS |= {"regressed": _COLOURS["failed"], "inconclusive": _COLOURS["not judged"]}


def score_card_lines(card: ScoreCard, width: int, verbosity: int = 0, samples: Iterable[ParsedLine] = ()) -> list[Line]:
    """Return the lines. ``verbosity`` is pytest's: -2 is gates only, -1 is compact (notes stay), 1 adds every gate and score.
    ``samples`` are recorded cases whose answers are shown.
    """
    unwritten = wrapped_lines(card.unwritten, width, _COLOURS["failed"]) if card.unwritten else []
    if verbosity <= -2:
        return [*_gates(card, width, whole=True), *unwritten]
    lines = _cases(samples, card, width)
    for text in ranking_sentences(card):
        lines += wrapped_lines(text, width, {"bold": True})
    lines += [Line("")] if lines and lines[-1].text else []
    lines += _scores(card, width, verbosity)
    if card.calibrations:
        lines += [Line(""), *_calibrations(card, width, table=verbosity > 0)]
    agreement = agreement_lines(card.agreements, width, whole=verbosity > 0)
    if agreement:
        lines += [Line(""), *agreement]
    if card.gates:
        lines += [Line(""), *_gates(card, width, whole=verbosity > 0)]
        lines += [Line(f"next: {sanitize(card.rerun)}")] if card.rerun and verbosity > -1 else []
    lines.append(Line(""))
    lines += wrapped_lines(_ledger(card.ledger), width)
    if card.interruption:
        lines += wrapped_lines(f"interrupted: {one_line(card.interruption)}", width, {"yellow": True})
        # In one piece, to be pasted.
        lines += [Line(f"to go on: {sanitize(card.resume)}")] if card.resume else []
    # What a reader must know about the numbers is beside them, however short the card is.
    for text in (*card.notes, *(use_line(use) for use in card.uses if verbosity > -1)):
        lines += wrapped_lines(text, width)
    lines += unwritten
    if card.artifact:
        lines.append(Line(f"artifact: {sanitize(card.artifact)}"))
    # Of a run that failed, the first one stays however short the card is.
    shown = card.hints if verbosity > -1 else card.hints[:1] if _failed(card) else ()
    return [*lines, *(Line(f"next: {sanitize(text)}") for text in shown)]


def _failed(card: ScoreCard) -> bool:
    return bool(card.ledger.failed or card.ledger.errored) or any(gate.fails for gate in card.gates)


def _scores(card: ScoreCard, width: int, verbosity: int) -> list[Line]:
    tables = score_tables(card, width, whole=verbosity > 0)
    lines: list[Line] = []
    for table in tables:
        lines += [*([Line("")] if lines else []), *map(Line, table)]
    # A column's heading says it; below a table without one, the columns that are missing are named.
    intervals = any(INTERVAL in line for table in tables for line in table if not line.startswith("no room for"))
    said = [*legend(card, intervals=intervals), *(insight_lines(card) if verbosity > -1 else [])]
    return [*lines, *(line for text in said for line in wrapped_lines(text, width))]


def _calibrations(card: ScoreCard, width: int, *, table: bool) -> list[Line]:
    lines: list[Line] = []
    for made in card.calibrations:
        for text in calibration_texts(made, card.shorts):
            lines += wrapped_lines(text, width)
        if table:
            tables = [*confusion_lines(made), *reliability_lines(made)]
            lines += [Line(sanitize(text)[: max(width, 20)]) for text in tables]
    return lines


_MOST_MET = 3
"""Gates that are met and have a line each."""


def _gates(card: ScoreCard, width: int, *, whole: bool) -> list[Line]:
    """Return the gates, those that fail first. Many that are met are counted unless the ``whole`` is wanted."""
    ranks = {"passed": 2, "not judged": 1}
    gates = sorted(card.gates, key=lambda gate: -1 if gate.fails else ranks.get(gate.verdict, 0))
    met = [gate for gate in gates if gate.verdict == "passed"]
    folded = len(met) if len(met) > _MOST_MET and not whole else 0
    several = len({score.model for score in card.scores}) > 1
    lines = [line for gate in gates[: len(gates) - folded] for line in _gate(gate, card.shorts, width, several=several)]
    if folded:
        said = f"gate {VERDICTS['passed']:<10} {folded} of {pluralize(len(gates), 'gate')} (-v names them)"
        lines += wrapped_lines(said, width, _COLOURS["passed"])
    return lines


def _gate(gate: GateResult, shorts: Mapping[str, str], width: int, *, several: bool) -> list[Line]:
    where = f"{gate.suite}[{shorts.get(gate.model, gate.model)}]" if several else gate.suite
    name = gate.gate if gate.gate.startswith(f"{gate.suite}.") and not several else f"{where}: {gate.gate}"
    return wrapped_lines(f"gate {VERDICTS[gate.verdict]:<10} {name}: {gate.reason}", width, _COLOURS[gate.verdict])


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


_COLUMN = 10


def _cases(samples: Iterable[ParsedLine], card: ScoreCard, width: int) -> list[Line]:
    """Return recorded cases, each with the end of what was asked, the answer and the grades."""
    lines: list[Line] = []
    room = max(width - _COLUMN - 2, 30)
    for sample in samples:
        markup = {"red": True} if sample["outcome"] in ("failed", "errored") else {}
        model = card.shorts.get(sample["interaction"]["source"] or "", "")
        repeat = f" r{sample['repeat']}" if sample["repeat"] > 1 else ""
        head = f"{sample['outcome']:<8} {sample['suite']}[{sample['case_id']}]{repeat} {model}"
        lines.append(Line(one_line(head, max(width, 40)), markup))
        lines += [
            Line(
                f"  {one_line(name, _COLUMN - 1):<{_COLUMN}}{last_line(text, room) if name == ASKED else one_line(text, room)}"
            )
            for name, text in case_texts(sample)
        ]
    return lines


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
    read = int(use.usage.get("prompt_tokens", 0))
    if not use.completions and read:
        # Likelihoods and embeddings: nothing is generated.
        text = f"{use.short} ({where}): no completions, read {pluralize(read, 'token')}"
        if use.seconds >= MEASURABLE_SECONDS:
            text += f" in {formatting.duration(use.seconds)}: {read / use.seconds:.0f} tokens/s"
        return "; ".join([text, *_savings(use)])
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
    return [*parts, *_served(use)]


def _served(use: ModelUse) -> list[str]:
    """Say what is told of servers, and what a process took."""
    parts = []
    if use.cost is not None:
        parts.append(f"cost {formatting.amount(use.cost)}")
    if use.usage.get("most_concurrency"):
        parts.append(f"settled on {use.usage['most_concurrency']:.0f} requests at a time")
    if use.usage.get("retries"):
        parts.append(f"{use.usage['retries']:.0f} tried again")
    if use.usage.get("throttled"):
        parts.append(f"{use.usage['throttled']:.0f} refused for now")
    if use.usage.get("peak_bytes"):
        parts.append(f"peak {formatting.size(use.usage['peak_bytes'])}")
    return parts
