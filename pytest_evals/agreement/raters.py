"""How far those who answered the same question agree: people with each other, judges with people, the models of a panel."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pytest_evals.questions.answers import Code, RecordedAnswers
from pytest_evals.scores.records import CaseRecord
from pytest_evals.statistics.agreement import AlphaMetric, Coefficient, agreement, cohen_kappa, krippendorff_alpha
from pytest_evals.statistics.intervals import LEVEL


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """Two of the raters, over the ``n`` cases that both answered. Kappa is weighted by squared distance where answers have an
    order, and not defined for numbers.
    """

    one: str
    other: str
    n: int
    agreement: float
    kappa: Coefficient


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far ``raters`` agree about one question in a suite: the people or models behind one ``grader``, or graders
    (then ``grader`` is empty). ``n`` cases have answers of several; ``agreement`` is the share of pairs of answers that
    are the same. Without a ``question``, it is people's verdicts beside those of a grader that was not asked.
    """

    suite: str
    question: str
    grader: str
    raters: tuple[str, ...]
    measure: AlphaMetric
    n: int
    agreement: float
    alpha: Coefficient
    pairs: tuple[PairAgreement, ...]
    level: float = LEVEL

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as the artifact's summary has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Agreement:
        """Return the agreement that `to_dict` described."""
        pairs = (PairAgreement(**{**pair, "kappa": Coefficient.from_dict(pair["kappa"])}) for pair in data["pairs"])
        alpha = Coefficient.from_dict(data["alpha"])
        return cls(**{**data, "raters": tuple(data["raters"]), "alpha": alpha, "pairs": tuple(pairs)})


@dataclass(frozen=True, slots=True)
class Unit:
    """One answer that was rated: what each rater said of it. ``cluster`` is what it shares with others that belong to it."""

    cluster: Hashable
    codes: Mapping[str, Code]


def agreements(records: Sequence[CaseRecord], level: float = LEVEL) -> list[Agreement]:
    """Return the agreement about each question that several answered, by suite, over all models under test and repeats."""
    found = []
    for suite in dict.fromkeys(record.suite for record in records):
        mine = [record for record in records if record.suite == suite]
        questions = {grade.said.key: grade.said for record in mine for grade in record.grades if grade.said}
        for asked in questions.values():
            found += _about(suite, asked, mine, level)
        found += _with_others(suite, mine, level)
    return found


def _about(suite: str, asked: RecordedAnswers, records: Sequence[CaseRecord], level: float) -> list[Agreement]:
    """Return the agreement of those behind each grader of a question, then that of the graders."""
    within: dict[str, list[Unit]] = {}
    between: list[Unit] = []
    graders: dict[str, None] = {}
    for record in records:
        decided: dict[str, Code] = {}
        said = [(grade, grade.said) for grade in record.grades if grade.said and grade.said.key == asked.key]
        for grade, answers in sorted(said, key=lambda each: not each[1].people):
            name = f"people ({grade.grader_key})" if answers.people else grade.grader_key
            graders[name] = None
            codes = by_rater(answers.answers, asked.kind)
            within.setdefault(grade.grader_key, []).append(Unit(_cluster(record), codes))
            answer = answers.decided
            if answer is None and grade.status != "error":
                answer = decision(list(codes.values()), asked.kind)
            if answer is not None:
                decided[name] = answer
        between.append(Unit(_cluster(record), decided))
    found = [agree(units, asked.measure, suite, asked.text, grader, level=level) for grader, units in within.items()]
    found.append(agree(between, asked.measure, suite, asked.text, raters=graders, level=level))
    return [each for each in found if each is not None]


def _cluster(record: CaseRecord) -> str:
    return record.case_id if record.cluster is None else record.cluster


def by_rater(answers: Iterable[tuple[str, Code]], kind: str) -> dict[str, Code]:
    """Return the answer of each rater; of a model that was asked several times what it decided."""
    given: dict[str, list[Code]] = {}
    for rater, code in answers:
        given.setdefault(rater, []).append(code)
    decided = {rater: decision(codes, kind) for rater, codes in given.items()}
    return {rater: code for rater, code in decided.items() if code is not None}


def decision(codes: Sequence[Code], kind: str) -> Code | None:
    """Return what several answers amount to: the most frequent choice (`None` on a tie), the step nearest to the mean of
    ratings, the mean of numbers; `None` without answers.
    """
    if not codes:
        return None
    if kind == "choice":
        (code, votes), *others = Counter(codes).most_common(2)
        return None if others and others[0][1] == votes else code
    center = math.fsum(float(code) for code in codes) / len(codes)
    return center if kind == "number" else float(math.ceil(center - 0.5))


def agree(
    units: Sequence[Unit],
    measure: AlphaMetric,
    suite: str,
    question: str = "",
    grader: str = "",
    *,
    raters: Iterable[str] = (),
    level: float = LEVEL,
) -> Agreement | None:
    """Return how far the raters of ``units`` agree; `None` where no unit has answers of several. ``raters``: in which order
    they are named.
    """
    shared = [unit for unit in units if len(unit.codes) > 1]
    if not shared:
        return None
    present = dict.fromkeys(rater for unit in units for rater in unit.codes)
    named = tuple(rater for rater in dict.fromkeys([*raters, *present]) if rater in present)
    same = [one == other for unit in shared for one, other in itertools.combinations(unit.codes.values(), 2)]
    clusters = [unit.cluster for unit in shared]
    categories = _categories(shared, measure)
    alpha = krippendorff_alpha(
        [[unit.codes.get(rater) for rater in named] for unit in shared],
        categories,
        measure,
        level,
        clusters=clusters if len(set(clusters)) < len(clusters) else None,
    )
    pairs = [_pair(shared, *two, categories, measure, level) for two in itertools.combinations(named, 2)]
    return Agreement(
        suite,
        question,
        grader,
        named,
        measure,
        len(shared),
        sum(same) / len(same),
        alpha,
        tuple(pair for pair in pairs if pair is not None),
        level,
    )


def _categories(units: Sequence[Unit], measure: AlphaMetric) -> list[Code]:
    """Return the categories in order; between the ends of an order all of its steps, so that distances are right."""
    codes = {code for unit in units for code in unit.codes.values()}
    if measure == "ordinal":
        numbers = [int(code) for code in codes]
        return [float(step) for step in range(min(numbers), max(numbers) + 1)]
    return sorted(codes)


def _pair(
    units: Sequence[Unit], one: str, other: str, categories: Sequence[Code], measure: AlphaMetric, level: float
) -> PairAgreement | None:
    both = [unit for unit in units if one in unit.codes and other in unit.codes]
    if not both:
        return None
    labels = [(unit.codes[one], unit.codes[other]) for unit in both]
    clusters = [unit.cluster for unit in both]
    kappa = Coefficient(None)
    if measure != "interval":
        weights: Any = "quadratic" if measure == "ordinal" else "none"
        belong = clusters if len(set(clusters)) < len(clusters) else None
        kappa = cohen_kappa(labels, categories, weights, level, belong)
    return PairAgreement(one, other, len(both), agreement(labels) or 0.0, kappa)


def _with_others(suite: str, records: Sequence[CaseRecord], level: float) -> list[Agreement]:
    """Return people's verdicts beside those of each grader that answers no question."""
    found: dict[tuple[str, str], list[Unit]] = {}
    for record in records:
        verdicts = [grade for grade in record.grades if grade.passed is not None]
        people = [grade for grade in verdicts if grade.said is not None and grade.said.people]
        others = [grade for grade in verdicts if grade.said is None]
        for one, other in itertools.product(people, others):
            codes: dict[str, Code] = {
                f"people ({one.grader_key})": str(one.passed),
                other.grader_key: str(other.passed),
            }
            found.setdefault((one.grader_key, other.grader_key), []).append(Unit(_cluster(record), codes))
    made = (agree(units, "nominal", suite, level=level) for units in found.values())
    return [each for each in made if each is not None]
