"""The tables of scores, and what scores tell beside their means."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_evals.reports import formatting
from pytest_evals.reports.formatting import Column, fitted_table, without_repeats, wrapped_lines
from pytest_evals.reports.grid import INTERVAL, grid_lines, grids, single_model_scores, ungraded_lines
from pytest_evals.scorecard import FailurePlace, Movement, ScoreCard
from pytest_evals.scores.score import Score
from pytest_evals.scores.slices import WeakSlice
from pytest_evals.text import pluralize

_MOST_NAMES = 5
_MOST_LINES = 3


def score_tables(card: ScoreCard, width: int, *, whole: bool = False) -> list[list[str]]:
    """Return the tables of scores: models beside each other where a suite has several, else a row for each grader. ``whole`` adds a
    row for each grader and model, with all that there is to say.
    """
    if not card.scores:
        return [["no grader was used"]]
    compared = grids(card.scores)
    single = single_model_scores(card.scores)
    tables = [_score_table(card, single, width)] if single else []
    tables += [
        [*grid_lines(grid, card, width), *_wrapped(ungraded_lines(grid, card.shorts), width)] for grid in compared
    ]
    several = [score for score in card.scores if score not in single]
    if several and whole:
        tables.append(_score_table(card, several, width))
    elif several and card.movements:
        tables.append(_change_table(card, several, width))
    return tables


def _wrapped(texts: Sequence[str], width: int) -> list[str]:
    return [line.text for text in texts for line in wrapped_lines(text, width)]


def _score_table(card: ScoreCard, scores: Sequence[Score], width: int) -> list[str]:
    """Return the table with as many columns as fit: names, count, mean and change always stay. Where the change leaves no room for the
    interval of the mean, it has a table of its own.
    """
    lines = _fitted(_score_columns(card, scores), width)
    if not card.movements or INTERVAL in lines[0]:
        return lines
    return [*_fitted(_score_columns(card, scores, moved=False), width), "", *_change_table(card, scores, width)]


def _fitted(columns: Sequence[Column], width: int) -> list[str]:
    return [line[: max(width, 20)] for line in fitted_table(columns, width)]


def _score_columns(card: ScoreCard, scores: Sequence[Score], *, moved: bool = True) -> list[Column]:
    marks = [card.leaders.get(_place(score), "") for score in scores]
    corpus = ["" if score.corpus is None else formatting.value(score.corpus) for score in scores]
    return [
        Column("suite", without_repeats([score.suite for score in scores]), named=True, heading=True),
        *_models(card, scores),
        Column("grader", [score.grader for score in scores], named=True),
        Column("n", [f"{score.n}/{score.applicable}" for score in scores], numeric=True),
        Column(
            "mean",
            [f"{mark} {formatting.value(score.mean)}".lstrip() for mark, score in zip(marks, scores, strict=True)],
            numeric=True,
        ),
        Column(INTERVAL, [formatting.interval(score.interval) for score in scores], numeric=True, rank=3),
        *([Column("corpus", corpus, numeric=True)] if any(corpus) else []),
        *(_moved(card, scores) if moved else []),
        Column("passed", [formatting.percent(score.pass_rate) for score in scores], numeric=True, rank=6),
        Column("min", [formatting.value(min(score.values, default=None)) for score in scores], numeric=True, rank=8),
        Column("max", [formatting.value(max(score.values, default=None)) for score in scores], numeric=True, rank=9),
        *_counts("errors", [score.errors for score in scores], rank=1),
        *_counts("pending", [score.pending for score in scores], rank=7),
        *_counts("n/a", [score.not_applicable for score in scores], rank=5),
    ]


def _models(card: ScoreCard, scores: Sequence[Score]) -> list[Column]:
    if len({score.model for score in scores}) < 2:
        return []
    return [Column("model", [card.shorts.get(score.model, score.model) for score in scores], named=True, heading=True)]


def _moved(card: ScoreCard, scores: Sequence[Score]) -> list[Column]:
    if not card.movements:
        return []
    by_place = {(each.suite, each.model, each.grader): each for each in card.movements}
    found = [by_place.get(_place(score)) for score in scores]
    return [
        Column(
            "change", [formatting.signed(each.difference if each else None) for each in found], numeric=True, rank=2
        ),
        Column("its interval", [_change_interval(each) for each in found], numeric=True, rank=4),
        Column("verdict", [each.verdict if each else formatting.ABSENT for each in found], numeric=True),
    ]


def _place(score: Score) -> FailurePlace:
    return score.suite, score.model, score.grader


def _change_table(card: ScoreCard, scores: Sequence[Score], width: int) -> list[str]:
    """Return what changed since the baseline, where models beside each other leave no room for it."""
    by_place = {(each.suite, each.model, each.grader): each.p for each in card.movements}
    found = [by_place.get(_place(score)) for score in scores]
    columns = [
        Column("since the baseline", without_repeats([score.suite for score in scores]), heading=True),
        *_models(card, scores),
        Column("grader", [score.grader for score in scores], named=True),
        *_moved(card, scores),
        *([Column("p", list(map(formatting.p_value, found)), numeric=True, rank=5)] if any(found) else []),
    ]
    return _fitted(columns, width)


def _change_interval(found: Movement | None) -> str:
    if found is None or found.interval is None:
        return formatting.ABSENT
    return f"{formatting.signed(found.interval[0])} .. {formatting.signed(found.interval[1])}"


def _counts(name: str, counts: Sequence[int], rank: int) -> list[Column]:
    return [Column(name, [str(count) if count else "" for count in counts], numeric=True, rank=rank)] * any(counts)


def legend(card: ScoreCard, *, intervals: bool = True) -> list[str]:
    """Say what the marks in the tables mean, where there are some; ``intervals`` tells whether a table has intervals."""
    said = _intervals(card.scores) if intervals else []
    if any(card.leaders.values()):
        said.append(
            "* is the best mean; ~ is not clearly worse, case by case (p > 0.05, Holm over all pairs of models)"
        )
    if card.movements:
        said.append("change: of the mean over the cases that both runs have; verdict at 5 % over all rows (Holm)")
    return said


def _intervals(scores: Sequence[Score]) -> list[str]:
    """Say how intervals came about where they are not those of right and wrong, and why there is none."""
    named: dict[str, dict[str, None]] = {}
    for score in scores:
        if (score.interval is None and score.stderr is None) or score.interval_kind == "Wilson":
            continue
        if score.interval is None:
            how = "of {}: none, since all values are the same"
        elif score.interval_kind == "bounded" and score.bounds:
            how = f"of {{}}: between the bounds {score.bounds[0]:g} and {score.bounds[1]:g}"
        else:
            how = "of {}: Student's t, since its values have no bounds"
        named.setdefault(how, {})[score.grader] = None
    said = "; ".join(how.format(", ".join(graders)) for how, graders in named.items())
    return [f"{INTERVAL} {said}"] if said else []


def insight_lines(card: ScoreCard) -> list[str]:
    """Say which slices are worse than the rest, and how steady repeats are."""
    suites, models = ({getattr(score, part) for score in card.scores} for part in ("suite", "model"))

    def where(place: Score | WeakSlice, part: str = "") -> str:
        suite = f"{place.suite}." if len(suites) > 1 else ""
        model = card.shorts.get(place.model, place.model) if len(models) > 1 else ""
        return f"{suite}{place.grader}{part}" + (f" of {model}" if model else "")

    said = [
        f"low slice: {where(each, f'[{each.field}={each.value}]')}: {formatting.value(each.mean)} "
        f"({formatting.interval(each.interval)}, {pluralize(each.n, 'case')}), the rest {formatting.value(each.rest)}, p {formatting.p_value(each.p)}"
        for each in card.slices[:_MOST_LINES]
    ]
    said += [f"repeats: {where(score)}: {_repeats(score)}" for score in card.scores if score.repeats > 1]
    left = len(card.slices) - _MOST_LINES
    return [*said, *([f"lower than the rest of their cases: {pluralize(left, 'more slice')}"] if left > 0 else [])]


def _repeats(score: Score) -> str:
    head = f"{score.repeats} of each of {pluralize(len(score.cases), 'case')}"
    if not score.has_verdicts:
        spread = score.spread
        within, between = (
            formatting.value(None if part is None else math.sqrt(part)) for part in (spread.within, spread.between)
        )
        return f"{head}, standard deviation within a case {within}, between cases {between}"
    at, hat = score.pass_at(score.repeats), score.pass_hat(score.repeats)
    both = [formatting.value(each.mean if each else None) for each in (at, hat)]
    head += f", pass@{score.repeats} {both[0]}, pass^{score.repeats} {both[1]}"
    flaky = [case.case_id for case in score.cases if case.flaky]
    if not flaky:
        return f"{head}, none flaky"
    more = f" and {formatting.count(len(flaky) - _MOST_NAMES)} more" if len(flaky) > _MOST_NAMES else ""
    return f"{head}, {formatting.count(len(flaky))} flaky: {', '.join(flaky[:_MOST_NAMES])}{more}"
