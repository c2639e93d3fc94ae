"""Which of several models is better, by each grader: their grades compared case by case."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pytest_evals import statistics
from pytest_evals.scores.score import Score

_ALPHA = 0.05
_FEWEST = 0.5
"""A model with a smaller share of the graded cases of the others is not ranked: its run was cut short."""


@dataclass(frozen=True, slots=True)
class RankedModel:
    """A model beside the best one. ``behind`` is by how much it is worse, over the ``n`` cases that both have; its interval is at
    95 %. ``p`` is two-sided, adjusted by Holm for all pairs of the models that are ranked.
    """

    model: str
    mean: float
    n: int
    behind: float
    interval: statistics.Interval | None
    p: float

    @property
    def clear(self) -> bool:
        """Tell whether it is worse than the best one beyond chance, at 5 %."""
        return self.behind > 0 and self.p <= _ALPHA


@dataclass(frozen=True, slots=True)
class Ranking:
    """The models of one suite and grader: ``best`` are those with the best mean, ``others`` the rest, the nearest first.

    ``unranked`` are models that have too few graded cases beside the others, with their number.
    """

    suite: str
    grader: str
    lower_is_better: bool
    best: tuple[str, ...]
    mean: float
    n: int
    others: tuple[RankedModel, ...]
    unranked: Mapping[str, int]

    @property
    def marks(self) -> dict[str, str]:
        """By model: ``*`` for the best, ``~`` for those that are not clearly worse; nothing where all have the same mean."""
        if not self.others:
            return {}
        return {
            **dict.fromkeys(self.best, "*"),
            **{other.model: "" if other.clear else "~" for other in self.others},
        }


def rank_models(scores: Iterable[Score], lower_is_better: Mapping[tuple[str, str], bool | None]) -> tuple[Ranking, ...]:
    """Rank the models of each suite and grader that several models have.

    ``lower_is_better`` has suite and grader; where it is `None`, better and worse are not known, and nothing is ranked.
    """
    grouped: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        if score.n:
            grouped.setdefault((score.suite, score.grader), []).append(score)
    found = []
    for place, models in grouped.items():
        lower = lower_is_better.get(place)
        if len(models) > 1 and lower is not None:
            found.append(_ranked(models, lower=lower))
    return tuple(each for each in found if each is not None)


def _ranked(scores: Sequence[Score], *, lower: bool) -> Ranking | None:
    most = max(len(score.cases) for score in scores)
    ranked = [score for score in scores if len(score.cases) >= _FEWEST * most]
    if len(ranked) < 2:
        return None
    # A stable sort: models with the same mean stay in the order in which they were named.
    ranked.sort(key=_mean, reverse=not lower)
    first = ranked[0]
    best = [score for score in ranked if _mean(score) == _mean(first)]
    pairs = list(itertools.combinations(range(len(ranked)), 2))
    adjusted = dict(
        zip(pairs, statistics.holm([_p(*_paired(ranked[here], ranked[there])) for here, there in pairs]), strict=True)
    )
    return Ranking(
        suite=first.suite,
        grader=first.grader,
        lower_is_better=lower,
        best=tuple(score.model for score in best),
        mean=_mean(first),
        n=len(first.cases),
        others=tuple(
            _beside(first, score, adjusted[0, number], lower=lower)
            for number, score in enumerate(ranked)
            if number >= len(best)
        ),
        unranked={score.model: len(score.cases) for score in scores if score not in ranked},
    )


def _mean(score: Score) -> float:
    return score.mean or 0.0


Pairs = tuple[list[float], list[float], Sequence[str] | None]


def _paired(score: Score, other: Score) -> Pairs:
    """Return the means of the cases that both have, and what the cases belong to."""
    own, others = ({case.case_id: case for case in each.cases} for each in (score, other))
    both = [case_id for case_id in own if case_id in others]
    clusters = score.of_cases([own[case_id] for case_id in both]).clusters
    return [own[case_id].mean for case_id in both], [others[case_id].mean for case_id in both], clusters


def _p(own: Sequence[float], others: Sequence[float], clusters: Sequence[str] | None) -> float:
    return statistics.paired_p(own, others, clusters) if own else 1.0


def _beside(best: Score, score: Score, p: float, *, lower: bool) -> RankedModel:
    own, others, clusters = _paired(score, best)
    low_to_high = (others, own) if lower else (own, others)
    difference = statistics.paired_difference(*low_to_high, clusters, bounds=best.bounds)
    if difference is None:
        return RankedModel(score.model, _mean(score), 0, 0.0, None, 1.0)
    return RankedModel(score.model, _mean(score), difference.n, difference.mean, difference.interval, p)
