"""The score card: what came out of a run, as a value. `reports` makes text of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pytest_evals.agreement.calibration import Calibration
from pytest_evals.agreement.raters import Agreement
from pytest_evals.baselines.comparison import Change
from pytest_evals.gates import GateResult, recorded_gate, resolve
from pytest_evals.scores import corpus
from pytest_evals.scores.ranking import Ranking, rank_models
from pytest_evals.scores.records import CaseRecord
from pytest_evals.scores.score import Score
from pytest_evals.scores.slices import WeakSlice, weak_slices
from pytest_evals.text import pluralize

FailurePlace = tuple[str, str, str]
"""Suite, model and grader of a score."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """Where every collected case ended up: ``collected`` is the sum of all the others."""

    collected: int = 0
    passed: int = 0
    missed: int = 0
    failed: int = 0
    errored: int = 0
    not_applicable: int = 0
    pending: int = 0
    """Cases whose test needs a grade that people have yet to give."""
    not_run: int = 0

    def to_dict(self) -> dict[str, int]:
        """Return plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ModelUse:
    """What one model did. ``seconds`` is the time in which it had work.

    ``duplicates`` were answered by an identical request. ``usage`` is what its engine accounts for; see there.
    ``cost`` is in the unit of ``evals_prices``, `None` where no answer has one.
    Of a model that was not loaded, with no ``replicas``, ``recalled`` answers were known from before.
    """

    model: str
    short: str
    device: str | None
    dtype: str | None
    completions: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    duplicates: int = 0
    replicas: int = 1
    loading_seconds: float = 0.0
    rows: int | None = None
    recalled: int = 0
    cost: float | None = None
    usage: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, with the rates."""
        data = {**asdict(self), "usage": dict(self.usage)}
        if self.seconds > 0:
            data["tokens_per_second"] = round(self.completion_tokens / self.seconds, 2)
            data["completions_per_second"] = round(self.completions / self.seconds, 3)
        shares = {
            "occupancy": self.occupancy,
            "shared_prompt": self.shared_prompt,
            "reused_prompt": self.reused_prompt,
            "padding": self.padding,
        }
        return {**data, **{name: round(share, 4) for name, share in shares.items() if share is not None}}

    @property
    def occupancy(self) -> float | None:
        """How full batches were while they decoded: rows, as a share of the fullest one."""
        return _share(self.usage.get("decode_rows"), self.usage.get("decodes", 0) * self.usage.get("most_rows", 0))

    @property
    def shared_prompt(self) -> float | None:
        """Share of prompt tokens that were not computed because a common prefix held them."""
        return _share(self.usage.get("shared_tokens", 0), self._prompt)

    @property
    def reused_prompt(self) -> float | None:
        """Share of prompt tokens that were not computed because an earlier request had left them."""
        return _share(self.usage.get("reused_tokens", 0), self._prompt)

    @property
    def _prompt(self) -> float:
        """Prompt tokens, computed or not."""
        return sum(self.usage.get(f"{name}_tokens", 0) for name in ("prompt", "shared", "reused"))

    @property
    def padding(self) -> float | None:
        """Share of the prompt tokens in the forwards that were padding."""
        padding = self.usage.get("padding_tokens", 0)
        return _share(padding, padding + self.usage.get("prompt_tokens", 0))


def _share(part: float | None, whole: float) -> float | None:
    return None if not part and not whole else (part or 0) / whole if whole else None


@dataclass(frozen=True, slots=True)
class Movement:
    """What a score did since the baseline, over the cases that can be compared: see `baseline.comparison.Change`.

    ``rose`` and ``fell`` count the cases whose grade did; ``p`` is adjusted for the number of scores that were compared.
    """

    suite: str
    model: str
    grader: str
    n: int
    difference: float | None
    interval: tuple[float, float] | None
    verdict: str
    before: float | None = None
    after: float | None = None
    p: float | None = None
    rose: int | None = None
    fell: int | None = None


def movement(change: Change) -> Movement:
    """Return what a score card has of a change."""
    difference = change.difference
    return Movement(
        change.suite,
        change.model,
        change.grader,
        len(change.grades.pairs),
        difference.mean if difference else None,
        difference.interval if difference else None,
        change.verdict,
        change.before,
        change.after,
        change.p,
        difference.better if difference else None,
        difference.worse if difference else None,
    )


def agreeing(movements: Iterable[Movement], gates: Iterable[GateResult]) -> tuple[Movement, ...]:
    """Return the movements with verdicts that do not contradict the gates that compare the same mean with the baseline.

    A row is tested on both sides and adjusted for all rows, a gate on one side and adjusted for all gates. Where both are about
    one mean, the gate's test counts: what has regressed is worse, and what is inconclusive for a gate without an allowance is
    unclear.
    """
    movements = tuple(movements)
    graders: dict[str, list[str]] = {}
    for each in movements:
        graders.setdefault(each.suite, []).append(each.grader)
    found: dict[tuple[str, str, str | None], GateResult] = {}
    for result in gates:
        gate = recorded_gate(result.gate)
        if gate is None:
            continue
        if gate.relative and gate.slice is None and gate.statistic in ("mean", "pass_rate") and result.p is not None:
            place = (result.suite, result.model, resolve(gate, result.suite, graders.get(result.suite, ())))
            plain = (gate.number, gate.factor) == (0.0, 1.0)
            if result.verdict == "regressed" or (result.verdict == "inconclusive" and plain):
                known = found.get(place)
                found[place] = known if known and known.verdict == "regressed" else result
    return tuple(_agreeing(each, found.get((each.suite, each.model, each.grader))) for each in movements)


def _agreeing(moved: Movement, result: GateResult | None) -> Movement:
    if result is None:
        return moved
    return replace(moved, verdict="worse" if result.verdict == "regressed" else "unclear", p=result.p)


@dataclass(frozen=True, slots=True)
class ScoreCard:
    """Everything that a report shows, already computed."""

    scores: tuple[Score, ...]
    gates: tuple[GateResult, ...]
    ledger: Ledger
    uses: tuple[ModelUse, ...] = ()
    notes: tuple[str, ...] = ()
    """What a reader should know beside the numbers: completions that were cut, a dataset that was limited."""
    audit: Mapping[str, Any] | None = None
    """What an audit found, as plain data."""
    artifact: str | None = None
    unwritten: str | None = None
    """What became of an artifact that could not be written to its end."""
    interruption: str | None = None
    resume: str | None = None
    """The command that goes on with a run which was cut short."""
    hints: tuple[str, ...] = ()
    """Commands to run next, for what there is to look at."""
    rerun: str | None = None
    """The command that runs the cases behind failed gates again: their tests did not fail, so that ``--lf`` has none of them."""
    wants_baseline: str | None = None
    """The name of the baseline that gates compare with, where there is none yet."""
    records: tuple[CaseRecord, ...] = ()
    shorts: Mapping[str, str] = field(default_factory=dict)
    """Model -> the name that tables show."""
    calibrations: tuple[Calibration, ...] = ()
    """Graders against the labels of people."""
    agreements: tuple[Agreement, ...] = ()
    """Those who answered the same question, beside each other."""
    baseline: str | None = None
    """What the run was compared with."""
    movements: tuple[Movement, ...] = ()
    slices: tuple[WeakSlice, ...] = ()
    rankings: tuple[Ranking, ...] = ()
    """Of several models, which is better: graders that gates are on come first."""
    leaders: Mapping[FailurePlace, str] = field(default_factory=dict)
    """Of several models: ``*`` for the best mean, ``~`` for those that are not clearly worse."""


def insights(
    scores: Sequence[Score], records: Sequence[CaseRecord], gates: Iterable[GateResult] = ()
) -> dict[str, Any]:
    """Return the fields of a score card that are found in scores, cases and gates."""
    asked = _asked_by_gates(gates, scores)
    lower = _lower_is_better(scores, asked)
    # Graders that gates are on come first, as those that decide.
    rankings = sorted(rank_models(scores, lower), key=lambda each: (each.suite, each.grader) not in asked)
    upwards = [score for score in scores if lower[score.suite, score.grader] is False]
    return {
        "slices": weak_slices(upwards, records),
        "rankings": tuple(rankings),
        "leaders": {(each.suite, model, each.grader): mark for each in rankings for model, mark in each.marks.items()},
    }


# -- Whether more or less of a grader's values is better: without that, no model is the best one and no slice is low.


def _lower_is_better(
    scores: Sequence[Score], asked: Mapping[tuple[str, str], set[bool]]
) -> dict[tuple[str, str], bool | None]:
    """Tell it by suite and grader, `None` where it is not known: as gates ask, else by the grades themselves."""
    grouped: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        grouped.setdefault((score.suite, score.grader), []).append(score)
    found: dict[tuple[str, str], bool | None] = {}
    for place, models in grouped.items():
        wanted = asked.get(place, set())
        found[place] = _by_grades(models) if not wanted else None if len(wanted) > 1 else next(iter(wanted))
    return found


def _asked_by_gates(gates: Iterable[GateResult], scores: Sequence[Score]) -> dict[tuple[str, str], set[bool]]:
    """Return, by suite and grader, whether its gates ask for a low value."""
    asked: dict[tuple[str, str], set[bool]] = {}
    for result in gates:
        gate = recorded_gate(result.gate)
        if gate is None:
            continue
        graders = dict.fromkeys(score.grader for score in scores if score.suite == result.suite)
        grader = resolve(gate, result.suite, graders)
        if grader and gate.comparison != "==" and gate.statistic not in _OF_THE_MEASUREMENT:
            asked.setdefault((result.suite, grader), set()).add(gate.comparison.startswith("<"))
    return asked


_OF_THE_MEASUREMENT = ("coverage", "stderr", "count", "rate")
"""Statistics that say how good the measurement is, not the model."""


def _by_grades(scores: Sequence[Score]) -> bool | None:
    """A metric of loss says that less is better; verdicts, declared bounds and shares mean that more is."""
    kinds = {part.kind for score in scores for case in score.cases for part in case.parts}
    if kinds:
        return all(map(corpus.lower_is_better, kinds))
    return False if all(map(_is_graded_upwards, scores)) else None


def _is_graded_upwards(score: Score) -> bool:
    declared = score.bounds is not None and math.isfinite(score.bounds[1])
    return score.has_verdicts or declared or all(0 <= value <= 1 for value in score.values)


def make_ledger(collected: int, records: Sequence[CaseRecord]) -> Ledger:
    """Count the outcomes of ``collected`` cases; those without a record did not run."""
    counts = Counter(record.outcome for record in records)
    pending = sum(record.outcome == "skipped" and _waits(record) for record in records)
    return Ledger(
        collected=collected,
        passed=counts["passed"],
        missed=counts["missed"],
        failed=counts["failed"],
        errored=counts["errored"],
        not_applicable=counts["skipped"] - pending,
        pending=pending,
        not_run=collected - len(records),
    )


def _waits(record: CaseRecord) -> bool:
    return any(grade.status == "pending" for grade in record.grades)


def cut_note(records: Sequence[CaseRecord]) -> str | None:
    """Say how many completions ended at ``max_new_tokens``: a low score may only mean that the answer was cut off."""
    cut = sum(record.finish_reason == "length" for record in records)
    return f"{cut} of {len(records)} completions were cut at max_new_tokens" if cut else None


def unfinished_note(records: Sequence[CaseRecord]) -> str | None:
    """Say how many completions ended inside their reasoning: they have no answer, so that their cases were missed."""
    unfinished = sum(record.unfinished for record in records)
    return (
        f"{unfinished} of {len(records)} completions ended inside their reasoning, without an answer"
        if unfinished
        else None
    )


def abstention_notes(records: Sequence[CaseRecord]) -> list[str]:
    """Say of how many cases judges by probability said nothing, by suite and grader: these are among those that do not apply."""
    counts: Counter[tuple[str, str]] = Counter()
    asked: Counter[tuple[str, str]] = Counter()
    for record in records:
        for grade in record.grades:
            asked[record.suite, grade.grader_key] += 1
            if grade.abstained:
                counts[record.suite, grade.grader_key] += 1
    return [
        f"{suite}: {grader} abstained on {number} of {pluralize(asked[suite, grader], 'case')}, which count as not applicable"
        for (suite, grader), number in counts.items()
    ]


def apart_note(answers: int) -> str:
    """Say that a run which was cut short has answers of cases that did not finish."""
    return f"{pluralize(answers, 'answer')} of cases that did not finish {'is' if answers == 1 else 'are'} kept"
