"""Two runs -> the cases that they share, and those that only one of them has.

Cases are joined on suite, case id and model; repeats of a case stay together, since repeat 1 of one run has no more to
do with repeat 1 of the other than with repeat 2. A case whose row changed is not the same case and is kept apart; one
whose prompt changed, with the same row, is: a prompt is part of what is evaluated.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_evals.scores.content import PROMPT, changes
from pytest_evals.scores.records import CaseRecord, GradeRecord
from pytest_evals.scores.score import common_bounds
from pytest_evals.statistics import Bounds
from pytest_evals.text import pluralize

PairKey = tuple[str, str, str]
"""Suite, model, case id."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A case that both runs have. ``before`` and ``after`` are its repeats; ``changes`` says what of it differs."""

    before: tuple[CaseRecord, ...]
    after: tuple[CaseRecord, ...]
    changes: tuple[str, ...] = ()

    @property
    def suite(self) -> str:
        """Suite of the case."""
        return self.after[0].suite

    @property
    def model(self) -> str:
        """Model of the later run; the earlier one's may have another name, see `Joined.models`."""
        return self.after[0].model

    @property
    def case_id(self) -> str:
        """Id of the case."""
        return self.after[0].case_id

    @property
    def same_row(self) -> bool:
        """Tell whether both runs had the same row, so that their grades can be compared."""
        return all(change == PROMPT for change in self.changes)


@dataclass(frozen=True, slots=True)
class Joined:
    """What two runs have in common. Every case of both runs is in exactly one of ``pairs``, ``changed``, ``new``, ``gone``."""

    pairs: tuple[Pair, ...]
    """With the same row: these can be compared."""
    changed: tuple[Pair, ...]
    """With a row that changed."""
    new: tuple[tuple[CaseRecord, ...], ...]
    """Cases (each with its repeats) of the later run only."""
    gone: tuple[tuple[CaseRecord, ...], ...]
    """Cases of the earlier run only."""
    models: Mapping[tuple[str, str], str]
    """Suite and model of the later run -> model of the earlier one, where both had a single model of different names."""

    def of(self, suite: str, model: str) -> Joined:
        """Return the part that concerns one suite and one model of the later run."""
        former = self.models.get((suite, model), model)
        return Joined(
            tuple(pair for pair in self.pairs if (pair.suite, pair.model) == (suite, model)),
            tuple(pair for pair in self.changed if (pair.suite, pair.model) == (suite, model)),
            tuple(case for case in self.new if (case[0].suite, case[0].model) == (suite, model)),
            tuple(case for case in self.gone if (case[0].suite, case[0].model) == (suite, former)),
            {key: name for key, name in self.models.items() if key == (suite, model)},
        )

    @property
    def prompts_changed(self) -> int:
        """Number of pairs whose prompt differs though their row does not."""
        return sum(bool(pair.changes) for pair in self.pairs)

    @property
    def repeats_differ(self) -> bool:
        """Tell whether some pair has more repeats on one side than on the other."""
        return any(len(pair.before) != len(pair.after) for pair in self.pairs)

    def notes(self) -> list[str]:
        """Say, in sentences, where the runs differ in more than their grades."""
        said = [f"{suite}: model {was} then, {now} now" for (suite, now), was in self.models.items()]
        if self.prompts_changed:
            said.append(f"the prompt of {self.prompts_changed} of {len(self.pairs)} compared cases changed")
        if self.changed:
            fields = dict.fromkeys(name for pair in self.changed for name in pair.changes if name != PROMPT)
            said.append(f"{pluralize(len(self.changed), 'case')} not compared: the row changed ({', '.join(fields)})")
        if self.new:
            said.append(f"{pluralize(len(self.new), 'case')} not compared: new, only the later run has them")
        if self.gone:
            said.append(f"{pluralize(len(self.gone), 'case')} not compared: gone, only the earlier run has them")
        if self.repeats_differ:
            said.append("numbers of repeats differ: of each case, the means over its repeats are compared")
        return said


def join(before: Iterable[CaseRecord], after: Iterable[CaseRecord]) -> Joined:
    """Join the cases of two runs, in the order of the later one (and of the earlier one, for those that are gone).

    Where a suite has one model in each run and their names differ, its cases are still joined and
    `Joined.models` says so.
    """
    earlier, later = _grouped(before), _grouped(after)
    models = _renamed(earlier, later)
    pairs: list[Pair] = []
    new: list[tuple[CaseRecord, ...]] = []
    for (suite, model, case_id), repeats in later.items():
        former = earlier.pop((suite, models.get((suite, model), model), case_id), None)
        if former is None:
            new.append(repeats)
        else:
            pairs.append(Pair(former, repeats, changes(former[0], repeats[0])))
    return Joined(
        pairs=tuple(pair for pair in pairs if pair.same_row),
        changed=tuple(pair for pair in pairs if not pair.same_row),
        new=tuple(new),
        gone=tuple(earlier.values()),
        models=models,
    )


def _grouped(records: Iterable[CaseRecord]) -> dict[PairKey, tuple[CaseRecord, ...]]:
    found: dict[PairKey, list[CaseRecord]] = {}
    for record in records:
        found.setdefault((record.suite, record.model, record.case_id), []).append(record)
    return {key: tuple(repeats) for key, repeats in found.items()}


def _renamed(earlier: Iterable[PairKey], later: Iterable[PairKey]) -> dict[tuple[str, str], str]:
    """Find the suites with a single model in each run, of different names."""
    was, now = _models(earlier), _models(later)
    singles = [
        (suite, *models, *was[suite]) for suite, models in now.items() if len(models) == len(was.get(suite, ())) == 1
    ]
    return {(suite, model): former for suite, model, former in singles if model != former}


def _models(keys: Iterable[PairKey]) -> dict[str, list[str]]:
    found: dict[str, dict[str, None]] = {}
    for suite, model, _ in keys:
        found.setdefault(suite, {})[model] = None
    return {suite: list(models) for suite, models in found.items()}


@dataclass(frozen=True, slots=True)
class PairedGrades:
    """The grades of one grader in cases that both runs have. ``before`` and ``after`` are as long as ``pairs``."""

    pairs: tuple[Pair, ...]
    """Cases with a grade in both runs."""
    before: tuple[float, ...]
    after: tuple[float, ...]
    bounds: Bounds | None
    """Between what the grades of either run can be, where that is known."""
    errored_before: int
    """Cases that have no grade in the earlier run because something broke there (or because it is pending)."""
    errored_after: int
    not_applicable: int
    """Cases to which the grader does not apply, in either run."""
    absent: int
    """Cases that one of the runs never asked this grader about."""


def paired_grades(pairs: Sequence[Pair], grader: str) -> PairedGrades:
    """Return what ``grader`` said of ``pairs`` (of one suite and model) before and after. Of repeats, it is their mean."""
    compared: list[tuple[Pair, float, float]] = []
    used: list[GradeRecord] = []
    counts = dict.fromkeys(("errored_before", "errored_after", "not_applicable", "absent"), 0)
    for pair in pairs:
        was, now = case_value(pair.before, grader), case_value(pair.after, grader)
        if isinstance(was, float) and isinstance(now, float):
            compared.append((pair, was, now))
            used += [grade for record in (*pair.before, *pair.after) for grade in graded(record, grader)]
        elif "absent" in (was, now) or "not_applicable" in (was, now):
            counts["absent" if "absent" in (was, now) else "not_applicable"] += 1
        else:
            counts["errored_before"] += was == "error"
            counts["errored_after"] += now == "error"
    return PairedGrades(
        tuple(pair for pair, _, _ in compared),
        tuple(was for _, was, _ in compared),
        tuple(now for _, _, now in compared),
        common_bounds(used),
        **counts,
    )


def graded(record: CaseRecord, grader: str) -> list[GradeRecord]:
    """Return the grades with a value that ``grader`` gave to a sample."""
    return [grade for grade in record.grades if grade.grader_key == grader and grade.status == "graded"]


def case_value(repeats: Sequence[CaseRecord], grader: str) -> float | str:
    """Return the mean grade of a case over its repeats; ``error``, ``not_applicable`` or ``absent`` where there is none."""
    grades = [
        grade
        for record in repeats
        for grade in record.grades
        # A grader that returns a dict and failed before it could name its entries failed for each.
        if grade.grader_key == grader or (grade.status == "error" and grader.startswith(f"{grade.grader_key}."))
    ]
    values = [grade.value for record in repeats for grade in graded(record, grader) if grade.value is not None]
    if values:
        return float(sum(values) / len(values))
    if not grades:
        return "absent"
    return "error" if any(grade.status in ("error", "pending") for grade in grades) else "not_applicable"


# -- What two runs were made with, and where that differs: a comparison must not keep it to itself.

ComparedRecords = Mapping[str, Any]
_PLAIN = {
    "plugin": "pytest-evals-hf",
    "pytest": "pytest",
    "python": "Python",
    "platform": "machine",
    "seed": "seed",
    "judge": "judge",
}


def run_differences(before: Sequence[ComparedRecords], after: Sequence[ComparedRecords]) -> list[str]:
    """Say, in sentences, where the first lines of two runs differ. A baseline may come from several runs.

    What only one of them recorded (a baseline's file is shorter) is not a difference.
    """
    was, now = _collected(before), _collected(after)
    differing = [name for name in was if name in now and was[name] != now[name]]
    return [f"{name}: {', '.join(was[name])} then, {', '.join(now[name])} now" for name in differing]


def _collected(runs: Sequence[ComparedRecords]) -> dict[str, list[str]]:
    """Return what a comparison may depend on, by its name, each with the values that the runs have."""
    found: dict[str, dict[str, None]] = {}
    for name, value in (fact for run in runs for fact in _facts(run)):
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
        found.setdefault(name, {})[text] = None
    return {name: sorted(values) for name, values in found.items()}


def _facts(run: ComparedRecords) -> Iterator[tuple[str, Any]]:
    yield from ((name, run[key]) for key, name in _PLAIN.items() if key in run)
    yield from (run.get("packages") or {}).items()
    yield from ((f"option {name}", value) for name, value in (run.get("options") or {}).items())
    for model in run.get("models") or ():
        yield from ((f"{key} of {model.get('model')}", model[key]) for key in ("dtype", "identity") if key in model)
    for suite in run.get("suites") or ():
        content = str(suite.get("dataset_hash"))[:8]
        yield f"dataset of {suite.get('name')}", f"{suite.get('dataset_key')} ({suite.get('n')} cases, {content})"
