"""A score card as Markdown, for the summary of a CI job or a comment on a change.

What models, data and users wrote is text in it, never markup; a limit of size is kept by leaving cases out, and said so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_evals.collection.location import Location
from pytest_evals.gates import GateResult
from pytest_evals.reports import formatting
from pytest_evals.reports.agreement import agreement_texts, calibration_texts
from pytest_evals.reports.grid import Grid, grids, single_model_scores, ungraded_lines
from pytest_evals.reports.ranking import ranking_sentences
from pytest_evals.reports.scores import insight_lines, legend
from pytest_evals.scorecard import Ledger, Movement, ScoreCard
from pytest_evals.scores.score import Score
from pytest_evals.sinks import for_markdown, for_markdown_block, for_markdown_code
from pytest_evals.text import pluralize

STEP_LIMIT = 1024 * 1024
"""What GitHub takes as the summary of one step, in bytes. A larger one is refused as a whole."""
_MOST_OPEN = 5
"""The number of met gates that are shown without a click."""
_RESERVE = 400
"""Bytes kept for the note that something was left out."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A case that did not pass: what a reader of the summary may want to see of it."""

    suite: str
    model: str
    case_id: str
    outcome: str
    prompt: str
    text: str
    reason: str
    location: Location | None = None
    sample_id: str = ""
    reasoning: str = ""


def summary_markdown(card: ScoreCard, excerpts: Sequence[Excerpt], limit: int = STEP_LIMIT) -> str:
    """Return the summary in at most ``limit`` bytes: verdict, gates, scores, ledger, notes, and the cases of ``excerpts``."""
    places = {(score.suite, score.model) for score in card.scores} | {(gate.suite, gate.model) for gate in card.gates}
    several = len(places) > len({suite for suite, _ in places})
    met = [gate for gate in card.gates if gate.verdict == "passed"]
    folded = met if len(met) > _MOST_OPEN else []
    shown = [gate for gate in card.gates if gate not in folded]
    blocks = [
        Block([f"### Evals: {verdict(card)}"]),
        Block([f"**{for_markdown(text)}**\n" for text in ranking_sentences(card)]),
        _gates(shown, card, several=several),
        _folded(_gates(folded, card, several=several), f"{pluralize(len(folded), 'gate')} met"),
        *(_grid(grid, card) for grid in grids(card.scores)),
        _scores(card, single_model_scores(card.scores)),
        _changes(card, grids(card.scores)),
        Block([_ledger(card.ledger)]),
        Block([f"- {note}" for note in _notes(card)]),
        *(_cases(excerpts, card, outcome) for outcome in ("errored", "failed", "missed")),
    ]
    return fitted([block for block in blocks if block.rows], limit)


@dataclass(frozen=True, slots=True)
class Block:
    """Rows between an opening and a closing; rows can be left out from the end."""

    rows: Sequence[str]
    opening: str = ""
    closing: str = ""


def fitted(blocks: Iterable[Block], limit: int) -> str:
    """Join blocks, leaving out rows that would make the text longer than ``limit`` bytes, with a note of how many."""
    text, room, left = [], limit - _RESERVE, 0
    for block in blocks:
        frame = _bytes(block.opening) + _bytes(block.closing) + 1
        kept = []
        for row in block.rows:
            if left or room - frame - _bytes(row) < 0:
                left += 1
                continue
            room -= _bytes(row)
            kept.append(row)
        if kept:
            room -= frame
            text.append("\n".join(part for part in (block.opening, *kept, block.closing) if part))
    if left:
        text.append(
            f"{formatting.count(left)} more lines or cases were left out: this summary is cut at {formatting.size(limit)}."
        )
    return "\n\n".join(text) + "\n"


def _bytes(text: str) -> int:
    return len(text.encode()) + 1


def verdict(card: ScoreCard) -> str:
    """Return the outcome of the gates in a few words."""
    gates = card.gates
    failed = sum(gate.fails for gate in gates)
    met = sum(gate.verdict == "passed" for gate in gates)
    if not gates:
        return f"{pluralize(card.ledger.collected, 'case')}, no gates"
    if failed:
        return f"{failed} of {pluralize(len(gates), 'gate')} not met"
    return f"{met} of {pluralize(len(gates), 'gate')} met" + (
        f", {len(gates) - met} undecided" if met < len(gates) else ""
    )


def _folded(block: Block, title: str) -> Block:
    """Return a table that a click opens."""
    return Block(block.rows, f"<details><summary>{title}</summary>\n\n{block.opening}", "\n</details>")


def _gates(gates: Sequence[GateResult], card: ScoreCard, *, several: bool) -> Block:
    rows = [
        _row(
            f"{'❌' if gate.fails else '✅' if gate.verdict == 'passed' else '⚪'} {gate.verdict}",
            # Below each other: long names beside each other make a table too wide to be seen as a whole.
            f"{for_markdown_code(gate.gate, cell=True)}<br>{_where(gate, card, several=several)}",
            for_markdown(gate.reason),
        )
        for gate in sorted(gates, key=lambda gate: (not gate.fails, gate.verdict == "passed"))
    ]
    return _table(["verdict", "gate", "found"], rows)


def _where(gate: GateResult, card: ScoreCard, *, several: bool) -> str:
    model = [card.shorts.get(gate.model, gate.model)] if several else []
    return for_markdown(", ".join([gate.suite, *model]))


def _grid(grid: Grid, card: ScoreCard) -> Block:
    """Return models beside each other: a row for each grader."""
    rows = []
    for row in grid.rows:
        if not row.scores:
            rows.append(_row(f"**{for_markdown(row.label)}**", "", *([""] * len(grid.models))))
            continue
        cells = [_grid_cell(row.scores.get(model), card, corpus=row.corpus) for model in grid.models]
        rows.append(_row(for_markdown(row.label), row.n, *cells))
    heads = [for_markdown(card.shorts.get(model, model)) for model in grid.models]
    return _table(["mean, 95% interval", "n", *heads], rows, 1)


def _grid_cell(score: Score | None, card: ScoreCard, *, corpus: bool) -> str:
    if score is None:
        return formatting.ABSENT
    if corpus:
        return formatting.value(score.corpus)
    mark = for_markdown(card.leaders.get((score.suite, score.model, score.grader), ""))
    interval = _interval(score)
    shown = f" ({interval})" if interval != formatting.ABSENT else ""
    return f"{mark} {formatting.value(score.mean)}{shown}".strip()


def _scores(card: ScoreCard, scores: Sequence[Score]) -> Block:
    """Return the scores of suites with one model each: a row for each grader."""
    extra = [
        (title, name)
        for title, name in (("errors", "errors"), ("pending", "pending"), ("n/a", "not_applicable"))
        if any(getattr(score, name) for score in scores)
    ]
    several = len({score.model for score in scores}) > 1
    moved = {(each.suite, each.model, each.grader): each for each in card.movements}
    change = ["change", "since the baseline"] if moved else []
    rows = [
        _row(
            for_markdown(score.suite),
            *([for_markdown(card.shorts.get(score.model, score.model))] if several else []),
            for_markdown(score.grader),
            f"{score.n}/{score.applicable}",
            formatting.value(score.mean),
            _interval(score),
            *_moved(moved, score),
            formatting.percent(score.pass_rate),
            *(str(getattr(score, name) or "") for _, name in extra),
        )
        for score in scores
    ]
    model = ["model"] if several else []
    return _table(
        ["suite", *model, "grader", "n", "mean", "95% interval", *change, "passed", *(title for title, _ in extra)],
        rows,
        2 + len(model),
    )


def _changes(card: ScoreCard, compared: Sequence[Grid]) -> Block:
    """Return what changed since the baseline, for models shown beside each other."""
    moved = {(each.suite, each.model, each.grader): each for each in card.movements}
    scores = [score for grid in compared for row in grid.rows if not row.corpus for score in row.scores.values()]
    rows = [
        _row(
            for_markdown(score.suite),
            for_markdown(score.grader),
            for_markdown(card.shorts.get(score.model, score.model)),
            *_moved(moved, score),
        )
        for score in (scores if moved else ())
    ]
    return _table(["suite", "grader", "model", "change", "since the baseline"], rows, 3)


def _interval(score: Score) -> str:
    row: dict[str, Any] = score.to_row()
    low, high = row.get("ci_low"), row.get("ci_high")
    return formatting.ABSENT if low is None or high is None else f"{formatting.value(low)} to {formatting.value(high)}"


def _moved(moved: Mapping[tuple[str, str, str], Movement], score: Score) -> list[str]:
    """What the score did since the baseline, over the cases that both runs have; nothing where there is no baseline."""
    if not moved:
        return []
    found = moved.get((score.suite, score.model, score.grader))
    if found is None or found.difference is None:
        return [formatting.ABSENT, "not compared"]
    change = formatting.signed(found.difference)
    if found.interval and found.verdict != "same":
        change += f" ({formatting.signed(found.interval[0])} to {formatting.signed(found.interval[1])})"
    return [change, found.verdict]


def _table(names: Sequence[str], rows: Sequence[str], left: int | None = None) -> Block:
    rule = ["---" if left is None or number < left else "---:" for number in range(len(names))]
    return Block(rows, f"{_row(*names)}\n{_row(*rule)}", "")


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _ledger(ledger: Ledger) -> str:
    words = {name: name.replace("_", " ") for name in ledger.to_dict() if name != "collected"}
    parts = [
        f"{formatting.count(number)} {words[name]}"
        for name, number in ledger.to_dict().items()
        if name in words and number
    ]
    return f"**{pluralize(ledger.collected, 'case')}**: {', '.join(parts) or 'none ran'}"


def _notes(card: ScoreCard) -> list[str]:
    interrupted = [f"interrupted: {card.interruption}"] if card.interruption else []
    trust = [text for made in card.calibrations for text in calibration_texts(made, card.shorts)]
    trust += agreement_texts(card.agreements, whole=False)
    lost = [text for grid in grids(card.scores) for text in ungraded_lines(grid, card.shorts)]
    said = [*interrupted, *lost, *legend(card), *insight_lines(card), *trust, *card.notes]
    return [*map(for_markdown, said), *([f"artifact: {for_markdown_code(card.artifact)}"] if card.artifact else [])]


def _cases(excerpts: Sequence[Excerpt], card: ScoreCard, outcome: str) -> Block:
    chosen = [excerpt for excerpt in excerpts if excerpt.outcome == outcome]
    opening = f"<details><summary>{pluralize(len(chosen), 'case')} {outcome}</summary>\n"
    return Block([_case(excerpt, card) for excerpt in chosen], opening, "\n</details>")


def _case(excerpt: Excerpt, card: ScoreCard) -> str:
    model = card.shorts.get(excerpt.model, excerpt.model)
    parts = {"Asked": excerpt.prompt, "Answered": excerpt.text}
    texts = [f"{name}\n{for_markdown_block(text)}" for name, text in parts.items() if text]
    if excerpt.reasoning:
        thought = for_markdown_block(excerpt.reasoning)
        texts.append(f"<details><summary>Reasoning</summary>\n\n{thought}\n</details>\n")
    texts += [f"\nBecause {for_markdown(excerpt.reason)}"] if excerpt.reason else []
    place = str(excerpt.location or "")
    where = [for_markdown_code(excerpt.case_id), for_markdown(model), for_markdown_code(place)]
    return "\n".join([f"\n**{for_markdown(excerpt.suite)}** {', '.join(part for part in where if part)}\n", *texts])
