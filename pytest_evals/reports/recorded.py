"""A score card from what was recorded: the one that the run printed, as far as its artifact tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from pytest_evals.agreement.calibration import Calibration
from pytest_evals.agreement.raters import Agreement, agreements
from pytest_evals.artifacts.reader import ArtifactReader
from pytest_evals.artifacts.sample import to_record
from pytest_evals.artifacts.validation import ParsedLine
from pytest_evals.engines.short_names import short_names
from pytest_evals.errors import ArtifactError
from pytest_evals.gates import GateResult
from pytest_evals.redaction import masked_run
from pytest_evals.reuse.command import RunCommand, hints
from pytest_evals.scorecard import (
    Ledger,
    ModelUse,
    Movement,
    ScoreCard,
    abstention_notes,
    apart_note,
    cut_note,
    insights,
    make_ledger,
    unfinished_note,
)
from pytest_evals.scores.records import CaseRecord
from pytest_evals.scores.score import compute_scores
from pytest_evals.text import pluralize


def card_of_artifact(artifact: ArtifactReader) -> ScoreCard:
    """Return the score card of a recorded run: scores from its samples, the rest from its last line.

    Of a run that was killed there is no last line, and its card says so.
    """
    records = tuple(map(to_record, artifact.samples()))
    summary = artifact.summary
    shortened = [note for note in (cut_note(records), unfinished_note(records), *abstention_notes(records)) if note]
    scores = compute_scores(records)
    baseline = (summary or {}).get("baseline") or {}
    limit = artifact.run["options"].get("limit")
    apart = 0 if artifact.complete else sum(1 for _ in artifact.answers())
    gates = tuple(_from_row(GateResult, row) for row in summary["gates"]) if summary else ()
    command = RunCommand.of_run(masked_run(artifact.run), artifact.path)
    card = ScoreCard(
        scores=tuple(scores),
        gates=gates,
        ledger=_from_row(Ledger, summary["ledger"]) if summary else make_ledger(len(records), records),
        uses=tuple(_from_row(ModelUse, use) for use in summary["throughput"].get("models", ())) if summary else (),
        notes=(
            *shortened,
            *([f"at most {pluralize(limit, 'row')} of each dataset (--evals-limit)"] if limit else []),
            *([apart_note(apart)] if apart else []),
        ),
        audit=summary.get("audit") if summary else None,
        artifact=str(artifact.path),
        interruption=_interruption(summary, len(records)),
        resume=command.resume() if command and not artifact.complete else None,
        records=records,
        shorts=short_names((record.model for record in records), aliases_of(artifact.run)),
        calibrations=tuple(map(Calibration.from_dict, summary.get("calibrations", ()))) if summary else (),
        agreements=_agreements(summary, records),
        baseline=baseline.get("run"),
        movements=tuple(_from_row(Movement, row) for row in baseline.get("movements", ())),
        **insights(scores, records, gates),
    )
    return replace(card, hints=tuple(hints(card, command)) if command else ())


def _agreements(summary: ParsedLine | None, records: Sequence[CaseRecord]) -> tuple[Agreement, ...]:
    """Return what the run found; of one that was killed, or is older, what its samples tell."""
    if summary is None or summary.get("agreements") is None:
        return tuple(agreements(records))
    return tuple(map(Agreement.from_dict, summary["agreements"]))


def _from_row(kind: type[Any], row: Mapping[str, Any]) -> Any:
    """Make a value of the data that was written of it; what a later version added is left out. Raises `ArtifactError`."""
    from pydantic import TypeAdapter, ValidationError

    names = {field.name for field in fields(kind)}
    try:
        return TypeAdapter(kind).validate_python({name: value for name, value in row.items() if name in names})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(
            f"the artifact's last line is damaged: {kind.__name__}.{place}: {first['msg']}; without that line, the rest can be read"
        ) from error


def _interruption(summary: ParsedLine | None, recorded: int) -> str | None:
    if summary is None:
        return f"the run did not end (it was killed, or still goes on); recorded: {pluralize(recorded, 'case')}; no gate was judged"
    return None if summary["complete"] else summary["interruption"] or "before its end"


def aliases_of(run: Mapping[str, Any]) -> dict[str, str]:
    """Return what the models of a run were called by its configuration, from its first line."""
    return {entry["model"]: entry["alias"] for entry in run["models"] if entry.get("alias")}
