"""The score card as lines of text for a terminal of a given width."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tabulate import tabulate

from pytest_evals.gates import GateResult
from pytest_evals.plain import one_line, plain
from pytest_evals.render import numbers
from pytest_evals.render.calibration import calibration_texts, confusion_lines
from pytest_evals.scorecard import Ledger, ModelUse, ScoreCard
from pytest_evals.scores import CaseRecord, Score

MEASURABLE_SECONDS = 0.5
"""A rate over less time than this says nothing."""
VERDICTS = {
    "passed": "PASSED",
    "failed": "FAILED",
    "not judged": "NOT JUDGED",
    "regressed": "REGRESSED",
    "inconclusive": "INCONCLUSIVE",
}
# Texts of a score card come from users, models and data; this is far more than any of them should need.
_LONGEST = 2000
_COLOURS = {"passed": {"green": True}, "failed": {"red": True, "bold": True}, "not judged": {"yellow": True}}
_COLOURS |= {"regressed": _COLOURS["failed"], "inconclusive": _COLOURS["not judged"]}


@dataclass(frozen=True, slots=True)
class Line:
    """One line, and how the terminal may mark it; the text says everything without the mark."""

    text: str
    markup: dict[str, bool] = field(default_factory=dict)


def score_card_lines(card: ScoreCard, width: int, verbosity: int = 0) -> list[Line]:
    """Return the lines. ``verbosity`` is pytest's: -2 is gates only, -1 is compact, 1 adds a line a case."""
    several = len({score.model for score in card.scores}) > 1
    if verbosity <= -2:
        return _gates(card.gates, width, several=several)
    lines = [*_cases(card.records, card, width), Line("")] if verbosity > 0 and card.records else []
    lines += _scores(card, width, several=several)
    if card.calibrations:
        lines += [Line(""), *_calibrations(card, width, table=verbosity > 0)]
    if card.gates:
        lines += [Line(""), *_gates(card.gates, width, several=several)]
    lines += [Line(""), *_wrapped(_ledger(card.ledger), width)]
    if card.interruption:
        lines += _wrapped(f"interrupted: {one_line(card.interruption)}", width, {"yellow": True})
    if verbosity > -1:
        for text in (*card.notes, *(_use(use) for use in card.uses)):
            lines += _wrapped(text, width)
    if card.artifact:
        lines.append(Line(f"artifact: {plain(card.artifact)}"))
    return lines


Column = tuple[str, Callable[[Score], str]]


def _scores(card: ScoreCard, width: int, *, several: bool) -> list[Line]:
    """Return the table with as many columns as fit; name, count and mean always stay."""
    if not card.scores:
        return [Line("no grader was used")]
    columns: list[Column] = [
        ("suite", lambda score: score.suite),
        *([("model", lambda score: card.shorts.get(score.model, score.model))] if several else []),
        ("grader", lambda score: score.grader),
        ("n", lambda score: f"{score.n}/{score.applicable}"),
        ("mean", lambda score: numbers.value(score.mean)),
        ("corpus", lambda score: "" if score.corpus is None else numbers.value(score.corpus)),
        ("stderr", lambda score: numbers.value(score.stderr)),
        ("passed", lambda score: numbers.percent(score.pass_rate)),
        ("min", lambda score: numbers.value(min(score.values, default=None))),
        ("max", lambda score: numbers.value(max(score.values, default=None))),
        ("errors", lambda score: str(score.errors) if score.errors else ""),
        ("n/a", lambda score: str(score.not_applicable) if score.not_applicable else ""),
    ]
    columns = [
        (name, show)
        for name, show in columns
        if name not in ("corpus", "errors", "n/a") or any(show(score) for score in card.scores)
    ]
    for expendable in ("", "max", "min", "stderr", "passed", "n/a"):
        columns = [column for column in columns if column[0] != expendable]
        table = _table(columns, card.scores)
        if max(map(len, table)) <= width:
            break
    return [Line(text[: max(width, 20)]) for text in table]


def _table(columns: Sequence[Column], scores: Sequence[Score]) -> list[str]:
    rows = [[one_line(show(score)) for _, show in columns] for score in scores]
    for previous, row in reversed(list(itertools.pairwise(rows))):
        if row[0] == previous[0]:
            row[0] = ""
    align = ["left" if name in ("suite", "model", "grader") else "right" for name, _ in columns]
    text = tabulate(
        rows, headers=[name for name, _ in columns], tablefmt="simple", colalign=align, disable_numparse=True
    )
    return [line.rstrip() for line in text.splitlines()]


def _calibrations(card: ScoreCard, width: int, *, table: bool) -> list[Line]:
    lines: list[Line] = []
    for made in card.calibrations:
        for text in calibration_texts(made, card.shorts):
            lines += _wrapped(text, width)
        if table:
            lines += [Line(plain(text)[: max(width, 20)]) for text in confusion_lines(made)]
    return lines


def _gates(gates: Sequence[GateResult], width: int, *, several: bool) -> list[Line]:
    lines: list[Line] = []
    for gate in gates:
        where = f"{gate.suite}[{gate.model}]" if several else gate.suite
        name = gate.gate if gate.gate.startswith(f"{gate.suite}.") and not several else f"{where}: {gate.gate}"
        lines += _wrapped(f"gate {VERDICTS[gate.verdict]:<10} {name}: {gate.reason}", width, _COLOURS[gate.verdict])
    return lines


def _ledger(ledger: Ledger) -> str:
    names = {"passed": "passed", "missed": "missed", "failed": "failed", "errored": "errored"}
    parts = [f"{numbers.count(getattr(ledger, name))} {word}" for name, word in names.items()]
    if ledger.not_applicable:
        parts.append(f"{ledger.not_applicable} not applicable")
    if ledger.not_run:
        parts.append(f"{ledger.not_run} not run")
    return f"{numbers.count(ledger.collected)} cases: {', '.join(parts)}"


def _use(use: ModelUse) -> str:
    where = " ".join(part for part in (use.device, use.dtype) if part)
    done = f"{numbers.count(use.completions)} completions, {numbers.count(use.completion_tokens)} tokens"
    text = f"{use.short} ({where}): {done}"
    if use.seconds >= MEASURABLE_SECONDS:
        rate = use.completion_tokens / use.seconds
        text += f" in {numbers.duration(use.seconds)}: {rate:.0f} tokens/s, {use.completions / use.seconds:.1f} cases/s"
    return "; ".join([text, *_savings(use)])


def _savings(use: ModelUse) -> list[str]:
    """Say how well the batches were filled and what was not computed twice; nothing where there is nothing to say."""
    parts = []
    if use.occupancy is not None and use.usage.get("most_rows", 0) > 1:
        parts.append(f"batches {numbers.percent(use.occupancy)} full")
    if use.shared_prompt:
        parts.append(f"{numbers.percent(use.shared_prompt)} of prompt tokens shared")
    if use.reused_prompt:
        parts.append(f"{numbers.percent(use.reused_prompt)} reused")
    if use.padding:
        parts.append(f"{numbers.percent(use.padding)} padding")
    if use.duplicates:
        parts.append(f"{numbers.count(use.duplicates)} duplicates")
    if use.usage.get("peak_bytes"):
        parts.append(f"peak {numbers.size(use.usage['peak_bytes'])}")
    return parts


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


def _wrapped(text: str, width: int, markup: dict[str, bool] | None = None) -> list[Line]:
    """Break at spaces; what follows is indented, so that a reader sees that it belongs to the line above."""
    lines: list[str] = []
    for word in one_line(text, _LONGEST).split(" "):
        if lines and len(lines[-1]) + 1 + len(word) <= max(width, 20):
            lines[-1] = f"{lines[-1]} {word}"
        else:
            lines.append(word if not lines else f"    {word}")
    return [Line(line.rstrip(), markup or {}) for line in lines]
