"""Calibrations from a run's artifact."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pytest_evals.agreement.calibration import Calibration, Labelled, calibrations
from pytest_evals.errors import SuiteError
from pytest_evals.scores.records import CaseRecord

if TYPE_CHECKING:
    from pytest_evals.artifacts.artifact import EvaluationArtifact
    from pytest_evals.statistics.reliability import Criterion


def calibrate(
    artifact: EvaluationArtifact,
    *,
    grader: str | None = None,
    label: str | None = None,
    suite: str | None = None,
    level: float = 0.95,
    fit: Criterion | None = None,
) -> list[Calibration]:
    """Compare graders with people's labels, from a recorded run.

    Args:
        artifact: The run.
        grader: The grader to look at; by default each that has labels.
        label: The field of the rows with people's labels (numbers, true or false); by default that of ``cases(label=...)``.
        suite: The suite to look at; by default all.
        level: The confidence level of the intervals.
        fit: Also find the threshold that agrees best with people, by ``accuracy``, ``f1`` or ``youden`` (sensitivity + specificity - 1).

    Returns:
        A `Calibration` for each grader, suite and model.

    Raises:
        SuiteError: There is nothing to compare.
    """
    from pytest_evals.artifacts.sample import to_record

    if fit is not None:
        from pytest_evals.statistics.reliability import check_criterion

        try:
            check_criterion(fit)
        except ValueError as error:
            raise SuiteError(f"calibrate: {error}") from None
    if label is not None and grader is None:
        raise SuiteError("calibrate: label= says what people thought of one grader; name it with grader=")
    records = [to_record(sample.model_dump()) for sample in artifact.samples if suite in (None, sample.suite)]
    labels: dict[str, dict[str, Labelled]] = {}
    for record in records:
        found = record.label if label is None else _own_label(record, str(grader), label)
        for key in found:
            if grader in (None, key):
                labels.setdefault(record.suite, {})[key] = Labelled()
    if label is not None:
        records = [_relabelled(record, _own_label(record, str(grader), label)) for record in records]
    found_all = calibrations(records, labels, {}, level, fit)
    if not found_all:
        raise SuiteError("calibrate: no case has both a grade and a label; labels come from cases(label=...) or label=")
    return found_all


def _own_label(record: CaseRecord, grader: str, field_name: str) -> dict[str, float]:
    value = record.fields.get(field_name)
    if value is None:
        return {}
    if not isinstance(value, (bool, int, float)):
        raise SuiteError(
            f"calibrate: {record.suite}[{record.case_id}]: the label {value!r:.60} is not a number; labels of words need "
            "cases(label=...), which knows the judge's scale"
        )
    return {grader: float(value)}


def _relabelled(record: CaseRecord, label: Mapping[str, float]) -> CaseRecord:
    return dataclasses.replace(record, label=label)
