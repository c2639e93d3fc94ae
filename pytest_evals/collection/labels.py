"""What people said of the cases of a suite: ``cases(label=...)``, read and checked when the suite is collected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_evals.errors import DatasetError, SuiteError, did_you_mean
from pytest_evals.questions.scales import Scale
from pytest_evals.suites.suite import Suite

if TYPE_CHECKING:
    from pytest_evals.agreement.calibration import Labelled


@dataclass(frozen=True, slots=True)
class CaseLabels:
    """By case, what its label is worth on the scale of each grader; and by grader, how people labelled."""

    values: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    graders: Mapping[str, Labelled] = field(default_factory=dict)


def read_labels(suite: Suite, scales: Mapping[str, Scale | None], identities: Mapping[str, str]) -> CaseLabels:
    """Return the labels of a suite. ``scales`` are those of its graders, `None` where it is unknown what a grader says.

    Raises `SuiteError` and `DatasetError` for a field that no row has, a grader that the suite does not have, and a label
    outside of the scale, with the row's place.
    """
    declared = suite.declaration.label
    if declared is None:
        return CaseLabels()
    fields = _fields(suite, declared, scales)
    known = dict.fromkeys(name for prepared in suite.cases.values() for name in prepared.case)
    for name in fields.values():
        if name not in known:
            hint = did_you_mean(name, known)
            raise DatasetError(
                f"{suite.declaration.place}: label: no row has a field {name!r} (fields: {', '.join(known)}){hint}"
            )
    values: dict[str, dict[str, float]] = {}
    for prepared in suite.cases.values():
        for grader, name in fields.items():
            label = prepared.case.get(name)
            if label is None:
                continue
            try:
                worth = (scales.get(grader) or Scale()).read(label)
            except SuiteError as error:
                where = f"{suite.declaration.place}: {prepared.case.place}: grader {grader}"
                raise SuiteError(f"{where}: {error}, in the field {name!r}") from error
            if worth is not None:
                values.setdefault(prepared.case.id, {})[grader] = worth
    return CaseLabels(
        values,
        {grader: _labelled(scales.get(grader), identities.get(grader.partition(".")[0], "")) for grader in fields},
    )


def _fields(suite: Suite, declared: object, scales: Mapping[str, Scale | None]) -> dict[str, str]:
    """Return the field of the labels of each grader that has some."""
    place = suite.declaration.place
    if isinstance(declared, str):
        judges = [grader for grader, scale in scales.items() if scale is not None]
        if not judges:
            raise SuiteError(
                f"{place}: label={declared!r} needs a judge among the graders of the test; for another grader write "
                f"label={{'its_name': {declared!r}}}"
            )
        return dict.fromkeys(judges, declared)
    if (
        not isinstance(declared, Mapping)
        or not declared
        or not all(isinstance(name, str) for name in declared.values())
    ):
        raise SuiteError(f"{place}: label is the field of people's labels, or a mapping of graders to fields")
    for grader in declared:
        if str(grader).partition(".")[0] not in scales:  # an entry of a grader that gives several is named with a dot
            known = ", ".join(scales) or "none"
            hint = did_you_mean(str(grader), scales)
            raise SuiteError(f"{place}: label: the test has no grader {grader!r} (graders: {known}){hint}")
    return dict(declared)


def _labelled(scale: Scale | None, identity: str) -> Labelled:
    from pytest_evals.agreement.calibration import Labelled

    if scale is None:
        return Labelled((0.0, 1.0), identity=identity)
    return Labelled(tuple(scale.categories), not scale.names, scale.threshold, identity)
