"""How far a grader can be trusted, as values: how people labelled, and what its grades came to beside their labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_evals.scores.records import CaseRecord, GradeRecord, grades_of
from pytest_evals.scores.score import compute_score
from pytest_evals.statistics.agreement import Coefficient, agreement, cohen_kappa, confusion, krippendorff_alpha
from pytest_evals.statistics.prevalence import Accuracy, corrected_interval, corrected_rate

if TYPE_CHECKING:
    from pytest_evals.statistics.prediction_powered import CorrectedMean
    from pytest_evals.statistics.reliability import Criterion, FittedThreshold, Judged, Reliability

_HALF = 0.5


@dataclass(frozen=True, slots=True)
class Labelled:
    """How people labelled cases for a grader: the values that they chose from, whether their order counts, and from where on
    the grader passes. ``identity`` tells the grader from others of its name.
    """

    categories: tuple[float, ...] = ()
    ordered: bool = False
    threshold: float | None = None
    identity: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for the wire."""
        return {**asdict(self), "categories": list(self.categories)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Labelled:
        """Return what `to_dict` described."""
        return cls(**{**data, "categories": tuple(data["categories"])})


@dataclass(frozen=True, slots=True)
class Rate:
    """A grader's pass rate in a suite, raw and corrected; `None` if it cannot be corrected."""

    suite: str
    model: str
    n: int
    raw: float
    corrected: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far a grader agrees with people's labels, in one suite and for one model.

    Attributes:
        suite: The suite with the labels.
        model: The model under test.
        grader: The grader's key.
        n: Cases with a label and a grade.
        unlabelled: Graded cases without a label.
        ungraded: Labelled cases without a grade.
        level: The confidence level of the intervals.
        agreement: The share of cases on which both agree, from 0 to 1.
        kappa: Cohen's kappa; weighted by the squared distance for ratings.
        alpha: Krippendorff's alpha; ordinal for ratings.
        categories: The values of the labels, in order.
        confusion: Counts: a row for each category of people's labels, a column for each of the grader's.
        accuracy: Right passes and right fails; `None` unless labels and grades are verdicts.
        human_rate: The share of labels that pass; `None` unless they are verdicts.
        rates: The grader's pass rate in each suite, raw and corrected for its errors (Rogan and Gladen 1978).
        mean: The mean grade of all graded cases, labelled or not.
        corrected: That mean, corrected by the labels (PPI++).
        reliability: Brier score, calibration error and bins, for grades that are probabilities.
        fitted: The threshold that was asked for with ``fit``.
    """

    suite: str
    model: str
    grader: str
    n: int
    unlabelled: int
    ungraded: int
    level: float
    agreement: float
    kappa: Coefficient
    alpha: Coefficient
    categories: tuple[float, ...]
    confusion: tuple[tuple[int, ...], ...]
    accuracy: Accuracy | None = None
    human_rate: float | None = None
    rates: tuple[Rate, ...] = field(default=())
    mean: float | None = None
    corrected: CorrectedMean | None = None
    reliability: Reliability | None = None
    fitted: FittedThreshold | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as in the artifact's summary."""
        data = asdict(self)
        accuracy = self.accuracy
        if accuracy is not None:
            data["accuracy"] |= {"sensitivity": accuracy.sensitivity, "specificity": accuracy.specificity}
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Calibration:
        """Make a calibration of the data of `to_dict`."""
        from pytest_evals.statistics.intervals import Interval
        from pytest_evals.statistics.prediction_powered import CorrectedMean
        from pytest_evals.statistics.reliability import FittedThreshold, Reliability

        counts = ("true_passes", "passes", "true_fails", "fails")
        accuracy, corrected, fitted = data.get("accuracy"), data.get("corrected"), data.get("fitted")
        return cls(
            **{
                **data,
                "kappa": Coefficient.from_dict(data["kappa"]),
                "alpha": Coefficient.from_dict(data["alpha"]),
                "categories": tuple(data["categories"]),
                "confusion": tuple(tuple(row) for row in data["confusion"]),
                "accuracy": Accuracy(**{name: accuracy[name] for name in counts}) if accuracy else None,
                "rates": tuple(Rate(**{**rate, "interval": _pair(rate["interval"])}) for rate in data["rates"]),
                "corrected": CorrectedMean(**{**corrected, "interval": Interval(*corrected["interval"])})
                if corrected
                else None,
                "reliability": Reliability.from_dict(data["reliability"]) if data.get("reliability") else None,
                "fitted": FittedThreshold(**fitted) if fitted else None,
            }
        )


def _pair(values: Sequence[float] | None) -> tuple[float, float] | None:
    return None if values is None else (values[0], values[1])


# -- Grades beside the labels of people -> how far each grader can be trusted, and what follows for its pass rates.


def calibrations(
    records: Sequence[CaseRecord],
    labelled: Mapping[str, Mapping[str, Labelled]],
    identities: Mapping[str, Mapping[str, str]],
    level: float = 0.95,
    fit: Criterion | None = None,
) -> list[Calibration]:
    """Return the calibration of each labelled suite, model and grader; ``fit`` fits a threshold by this criterion.

    ``labelled``: by suite and grader, how people labelled. ``identities``: by suite, which grader each name means, so that pass
    rates of the same grader in other suites are corrected too.
    """
    found = []
    for suite, graders in labelled.items():
        mine = [record for record in records if record.suite == suite]
        for grader, how in graders.items():
            for model in dict.fromkeys(record.model for record in mine):
                chosen = [record for record in mine if record.model == model]
                made = _calibration(chosen, grader, how, level, fit)
                if made is not None:
                    others = [name for name, known in identities.items() if _same(known, grader, how) and name != suite]
                    found.append(_with_rates(made, records, others))
    return found


def _same(known: Mapping[str, str], grader: str, how: Labelled) -> bool:
    return bool(how.identity) and known.get(grader.partition(".")[0]) == how.identity


def _calibration(
    records: Sequence[CaseRecord], grader: str, how: Labelled, level: float, fit: Criterion | None
) -> Calibration | None:
    pairs: list[tuple[float, GradeRecord]] = []
    unlabelled = ungraded = 0
    for record in records:
        label = record.label.get(grader)
        for grade in grades_of(record, grader):
            if label is None:
                unlabelled += 1
            elif grade.value is None:
                ungraded += 1
            else:
                pairs.append((label, grade))
    if not pairs:
        return None
    # Most runs have no labels.
    from pytest_evals.statistics.reliability import fit_threshold, reliability

    categories = how.categories or tuple(sorted({label for label, _ in pairs}))
    coded = [(_nearest(label, categories), _coded(grade, categories)) for label, grade in pairs]
    accuracy = _accuracy(pairs, how, categories)
    score = compute_score(records[0].suite, records[0].model, grader, records)
    judged = _judged(pairs, how, categories)
    return Calibration(
        suite=records[0].suite,
        model=records[0].model,
        grader=grader,
        n=len(pairs),
        unlabelled=unlabelled,
        ungraded=ungraded,
        level=level,
        agreement=agreement(coded) or 0.0,
        kappa=cohen_kappa(coded, categories, "quadratic" if how.ordered else "none", level),
        alpha=krippendorff_alpha(coded, categories, "ordinal" if how.ordered else "nominal", level),
        categories=categories,
        confusion=tuple(tuple(row) for row in confusion(coded, categories)),
        accuracy=accuracy,
        human_rate=accuracy.passes / len(pairs) if accuracy else None,
        mean=score.mean,
        corrected=score.corrected,
        reliability=reliability(judged) if _are_probabilities(pairs, categories) else None,
        fitted=fit_threshold(judged, fit, how.threshold or _HALF) if fit else None,
    )


def _are_probabilities(pairs: Sequence[tuple[float, GradeRecord]], categories: Sequence[float]) -> bool:
    grades = [grade for _, grade in pairs]
    return (
        set(categories) <= {0.0, 1.0}
        and all(grade.by_probability for grade in grades)
        and all(0 <= (grade.value or 0.0) <= 1 for grade in grades)
    )


def _judged(pairs: Sequence[tuple[float, GradeRecord]], how: Labelled, categories: Sequence[float]) -> Judged:
    """Return the grades beside what people found; nothing unless labels are verdicts."""
    verdicts = set(categories) <= {0.0, 1.0}
    if not verdicts and how.threshold is None:
        return []
    line = _HALF if verdicts else how.threshold or 0.0
    return [(grade.value or 0.0, label >= line) for label, grade in pairs]


def _coded(grade: GradeRecord, categories: Sequence[float]) -> float:
    """Return the category that a grade means: of a probability what its verdict says."""
    if grade.by_probability and grade.passed is not None and set(categories) == {0.0, 1.0}:
        return float(grade.passed)
    return _nearest(grade.value or 0.0, categories)


def _nearest(value: float, categories: Sequence[float]) -> float:
    return min(categories, key=lambda category: (abs(category - value), category))


def _accuracy(
    pairs: Sequence[tuple[float, GradeRecord]], how: Labelled, categories: Sequence[float]
) -> Accuracy | None:
    """Return how often both verdicts agree; `None` unless labels and grades are verdicts."""
    threshold = how.threshold
    if set(categories) <= {0.0, 1.0}:
        threshold = 1.0
    if threshold is None:
        return None
    verdicts = [(label >= threshold, passed(grade)) for label, grade in pairs]
    said = [(human, judge) for human, judge in verdicts if judge is not None]
    if len(said) < len(verdicts):
        return None
    return Accuracy(
        true_passes=sum(human and judge for human, judge in said),
        passes=sum(human for human, _ in said),
        true_fails=sum(not human and not judge for human, judge in said),
        fails=sum(not human for human, _ in said),
    )


def passed(grade: GradeRecord) -> bool | None:
    """Return a grade's verdict; 1 and 0 are verdicts too."""
    if grade.passed is None and grade.value in (0.0, 1.0):
        return grade.value == 1.0
    return grade.passed


def _with_rates(made: Calibration, records: Sequence[CaseRecord], others: Sequence[str]) -> Calibration:
    if made.accuracy is None:
        return made
    keys = dict.fromkeys((record.suite, record.model) for record in records if record.suite in others)
    rates = [
        rate
        for suite, model in ((made.suite, made.model), *keys)
        for rate in [_rate(made, records, suite, model)]
        if rate is not None
    ]
    return dataclasses.replace(made, rates=tuple(rates))


def _rate(made: Calibration, records: Sequence[CaseRecord], suite: str, model: str) -> Rate | None:
    chosen = [record for record in records if (record.suite, record.model) == (suite, model)]
    grades = [grade for record in chosen for grade in grades_of(record, made.grader) if grade.value is not None]
    verdicts = [verdict for grade in grades for verdict in [passed(grade)] if verdict is not None]
    accuracy = made.accuracy
    if accuracy is None or not verdicts or len(verdicts) < len(grades):
        return None
    positive, n = sum(verdicts), len(verdicts)
    corrected = corrected_rate(positive, n, accuracy)
    return Rate(suite, model, n, positive / n, corrected, corrected_interval(positive, n, accuracy, made.level))
