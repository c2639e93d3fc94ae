"""An artifact -> the numbers of its report page, as plain data: scores, gates, slices, ledger, provenance."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_evals.artifacts.reader import ArtifactReader
from pytest_evals.baselines.comparison import compare
from pytest_evals.baselines.loading import Baseline
from pytest_evals.gates import GateResult, recorded_gate, resolve
from pytest_evals.redaction import masked_run
from pytest_evals.reports.agreement import agreement_blocks, calibration_texts
from pytest_evals.reports.grid import Grid, GridRow, grids, ungraded_lines
from pytest_evals.reports.ranking import brief_sentences, ranking_sentences
from pytest_evals.reports.scores import legend
from pytest_evals.scorecard import Movement, ScoreCard, agreeing, movement
from pytest_evals.scores.records import CaseRecord
from pytest_evals.scores.score import Score, compute_scores
from pytest_evals.scores.slices import WeakSlice

BINS = 12
MOST_SLICES = 12
"""A field with more values than this is not a slice: each would be too small to say anything."""
_LONGEST_VALUE = 60


def overview(artifact: ArtifactReader, card: ScoreCard, baseline: Baseline | None = None) -> dict[str, Any]:
    """Return what the page shows before anybody looks at single cases. ``card`` is that of the artifact."""
    moved, left_out = movements(card, baseline)
    before = {(each.suite, each.model, each.grader): each.before for each in moved}
    weak = {(each.suite, each.model, each.grader, each.field, each.value): each for each in card.slices}
    return {
        "run": run_facts(artifact.run),
        "complete": artifact.complete,
        "interruption": card.interruption,
        "rankings": ranking_sentences(card),
        "brief": brief_sentences(card),
        "comparison": model_comparison(card),
        "samples": len(artifact),
        "models": [{"model": model, "short": short} for model, short in card.shorts.items()],
        "suites": list(dict.fromkeys(record.suite for record in card.records)),
        "scores": [score_entry(score, before.get(score_key(score))) for score in card.scores],
        "gates": [{**dataclasses.asdict(gate), "fails": gate.fails} for gate in card.gates],
        "changes": changes(card, moved),
        "uncompared": left_out,
        "slices": slices(card.records, weak),
        "agreement": [
            *(text for made in card.calibrations for text in calibration_texts(made, card.shorts)),
            *({"about": about, "texts": texts} for about, texts in agreement_blocks(card.agreements).items()),
        ],
        "ledger": card.ledger.to_dict(),
        "notes": list(card.notes),
        "throughput": [use.to_dict() for use in card.uses],
        "baseline": _baseline_facts(card, baseline),
        "paired": baseline is not None,
    }


def _baseline_facts(card: ScoreCard, baseline: Baseline | None) -> dict[str, Any] | None:
    if baseline and baseline.runs:
        return run_facts(baseline.runs[0])
    return {"run_id": card.baseline} if card.baseline else None


def run_facts(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tells this run from others, without secrets."""
    return {name: value for name, value in masked_run(run).items() if name not in ("type", "schema")}


def score_key(score: Score) -> tuple[str, str, str]:
    """Return what a score is of."""
    return score.suite, score.model, score.grader


def score_entry(score: Score, before: float | None = None) -> dict[str, Any]:
    """Return a score as the page shows it; ``before`` is the baseline's mean of the cases that both runs have."""
    return {**score.to_row(), "applicable": score.applicable, "histogram": histogram(score.values), "before": before}


def model_comparison(card: ScoreCard) -> dict[str, Any]:
    """Return the grids of the score card, a row for each grader and a column for each model, and what is to be said of them."""
    found = grids(card.scores)
    return {
        "grids": [_grid(grid, card) for grid in found],
        "notes": [
            *(text for grid in found for text in ungraded_lines(grid, card.shorts)),
            *(legend(card) if found else []),
        ],
    }


def _grid(grid: Grid, card: ScoreCard) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    suite = ""
    for row in grid.rows:
        if not row.scores:
            suite = row.label
            continue
        cells = [_grid_cell(row, model, card) for model in grid.models]
        rows.append({"suite": suite, "label": row.label, "n": row.n, "corpus": row.corpus, "cells": cells})
    return {"models": list(grid.models), "rows": rows}


def _grid_cell(row: GridRow, model: str, card: ScoreCard) -> dict[str, Any] | None:
    score = row.scores.get(model)
    if score is None:
        return None
    if row.corpus:
        return {"grader": score.grader, "value": score.corpus, "interval": None, "n": score.n, "mark": ""}
    interval = list(score.interval) if score.interval else None
    mark = card.leaders.get(score_key(score), "")
    return {"grader": score.grader, "value": score.mean, "interval": interval, "n": score.n, "mark": mark}


def histogram(values: Sequence[float]) -> dict[str, Any] | None:
    """Return how often values fall into each of a few bins of equal width; `None` without values.

    Values from 0 to 1 are shown on that scale, others from the lowest to the highest. Two bins where all are 0 or 1.
    """
    if not values:
        return None
    low, high = min(0.0, *values), max(1.0, *values)
    if (low, high) != (0.0, 1.0):
        low, high = min(values), max(values)
    bins = 2 if set(values) <= {0.0, 1.0} else 1 if low == high else BINS
    counts = [0] * bins
    for value in values:
        counts[min(int((value - low) / (high - low) * bins), bins - 1) if high > low else 0] += 1
    return {"low": low, "high": high, "counts": counts}


def slices(
    records: Sequence[CaseRecord], weak: Mapping[tuple[str, str, str, str, str], WeakSlice] | None = None
) -> list[dict[str, Any]]:
    """Return the scores of each suite over the values of each field that has a few, each several times.

    ``weak``: those that are worse than the rest of their suite, by suite, model, grader, field and value.
    """
    known = weak or {}
    found = []
    for suite in dict.fromkeys(record.suite for record in records):
        mine = [record for record in records if record.suite == suite]
        for name, values in _fields(mine).items():
            rows = [
                {"value": value, **_small(score), **_rest(known.get((*score_key(score), name, value)))}
                for value in values
                for score in compute_scores(
                    [record for record in mine if slice_value(record.fields.get(name)) == value]
                )
            ]
            found.append({"suite": suite, "field": name, "rows": rows})
    return found


def _fields(records: Sequence[CaseRecord]) -> dict[str, list[str]]:
    """Return the fields that cut a suite into slices, with their values, the most frequent first."""
    cases = {record.case_id: record.fields for record in records}
    names = dict.fromkeys(itertools.chain.from_iterable(cases.values()))
    found = {}
    for name in names:
        values = [slice_value(fields.get(name)) for fields in cases.values()]
        counts = Counter(value for value in values if value is not None)
        if None not in values and 2 <= len(counts) <= MOST_SLICES and len(values) >= 2 * len(counts):
            found[name] = [value for value, _ in counts.most_common()]
    return found


def slice_value(value: object) -> str | None:
    """Return a field's value as a slice of gates knows it (true and false are JSON's), `None` for what makes none."""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value) if isinstance(value, (str, int)) else ""
    return text if 0 < len(text) <= _LONGEST_VALUE else None


def _rest(weak: WeakSlice | None) -> Mapping[str, Any]:
    """What a slice is worse than, and how sure that is."""
    return {"rest": weak.rest, "p": weak.p} if weak else {}


def _small(score: Score) -> Mapping[str, Any]:
    row = score.to_row()
    names: Iterable[str] = ("model", "grader", "n", "mean", "stderr", "ci_low", "ci_high", "pass_rate")
    return {name: row[name] for name in names if name in row}


# -- What scores did since the baseline, as plain data: the rows of the score card, each with the gates that are about it.


def movements(card: ScoreCard, baseline: Baseline | None) -> tuple[tuple[Movement, ...], list[str]]:
    """Return what changed, and what was not compared and why: against ``baseline``, else as the run recorded it."""
    if baseline is None:
        return card.movements, []
    suites = {record.suite for record in card.records}
    compared = compare([record for record in baseline.records if record.suite in suites], card.records)
    return agreeing(map(movement, compared.changes), card.gates), compared.notes()


def changes(card: ScoreCard, moved: Sequence[Movement]) -> list[dict[str, Any]]:
    """Return a row for each score that was compared."""
    graders: dict[str, list[str]] = {}
    for each in moved:
        graders.setdefault(each.suite, []).append(each.grader)
    return [
        {
            "suite": each.suite,
            "model": each.model,
            "grader": each.grader,
            "n": each.n,
            "before": each.before,
            "after": each.after,
            "difference": each.difference,
            "interval": list(each.interval) if each.interval and each.verdict != "same" else None,
            "p": each.p,
            "rose": each.rose,
            "fell": each.fell,
            "verdict": each.verdict,
            "gates": [_gate(gate) for gate in card.gates if _is_about(gate, each, graders[each.suite])],
        }
        for each in moved
    ]


def _is_about(gate: GateResult, moved: Movement, graders: Sequence[str]) -> bool:
    if (gate.suite, gate.model) != (moved.suite, moved.model):
        return False
    parsed = recorded_gate(gate.gate)
    return parsed is not None and parsed.relative and resolve(parsed, gate.suite, graders) == moved.grader


def _gate(gate: GateResult) -> dict[str, Any]:
    return {"gate": gate.gate, "verdict": gate.verdict, "fails": gate.fails, "reason": gate.reason}
