"""Which model is better, in sentences: the first thing that a report of several models says."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_evals.reports import formatting
from pytest_evals.scorecard import ScoreCard
from pytest_evals.scores.ranking import RankedModel, Ranking
from pytest_evals.text import pluralize

_MOST_SUITES = 5
_MOST_MODELS = 3
_MOST_BRIEF = 2


def ranking_sentences(card: ScoreCard) -> list[str]:
    """Return a sentence for each suite with several models, by the grader that decides: the first one that a gate is on, else the
    first one for which it is known what is better.
    """
    leading = _leading(card)
    said = [f"{_place(each, card)}: {_sentence(each, card.shorts)}" for each in leading[:_MOST_SUITES]]
    left = len(leading) - _MOST_SUITES
    return [
        *said,
        *([f"the models of {pluralize(left, 'more suite')} are compared in the table only"] if left > 0 else []),
    ]


def brief_sentences(card: ScoreCard) -> list[str]:
    """Return the same in at most two short sentences, without intervals, and how many suites these leave out. Suites with the same
    outcome share a sentence, and what is clear comes first.
    """
    found: dict[str, list[Ranking]] = {}
    for each in sorted(_leading(card), key=lambda ranking: not any(other.clear for other in ranking.others)):
        found.setdefault(_outcome(each, card.shorts), []).append(each)
    said = [f"{_places(mine, card)}: {outcome}" for outcome, mine in found.items()]
    left = sum(map(len, list(found.values())[_MOST_BRIEF:]))
    return [*said[:_MOST_BRIEF], *([f"{pluralize(left, 'more suite')}: see the table"] if left else [])]


def _leading(card: ScoreCard) -> list[Ranking]:
    """Return the ranking of each suite by the grader that decides."""
    leading: dict[str, Ranking] = {}
    for ranking in card.rankings:
        leading.setdefault(ranking.suite, ranking)
    return list(leading.values())


def _place(ranking: Ranking, card: ScoreCard) -> str:
    several = len({score.suite for score in card.scores}) > 1
    return f"{f'{ranking.suite}.' if several else ''}{ranking.grader}"


def _places(found: list[Ranking], card: ScoreCard) -> str:
    if len(found) <= _MOST_BRIEF:
        return _listed([_place(each, card) for each in found])
    return f"{_place(found[0], card)} and {pluralize(len(found) - 1, 'more suite')}"


def _outcome(ranking: Ranking, shorts: Mapping[str, str]) -> str:
    """Return which model is better in a few words."""
    best = [_name(model, shorts) for model in ranking.best]
    behind, close = (
        [_name(other.model, shorts) for other in ranking.others if other.clear == clear] for clear in (True, False)
    )
    together = _few([*best, *close])
    if not behind:
        return f"no clear difference between {together}"
    if len(best) == 1 and not close:
        return f"{best[0]} is better than {_few(behind)}"
    return f"{together} are not clearly different; {best[0]} is better than {_few(behind)}"


def _few(names: list[str]) -> str:
    """Return names, and of many how many they are."""
    more = len(names) - _MOST_MODELS
    return _listed(names) if more <= 0 else f"{', '.join(names[:_MOST_MODELS])} and {pluralize(more, 'more model')}"


def _sentence(ranking: Ranking, shorts: Mapping[str, str]) -> str:
    best = [_name(model, shorts) for model in ranking.best]
    if not ranking.others:
        return f"{_listed(best)} have the same mean, {formatting.value(ranking.mean)}{_unranked(ranking, shorts)}"
    sizes = {other.n for other in ranking.others if other.n}
    clauses = [_clause(other, shorts, counted=len(sizes) > 1) for other in ranking.others[:_MOST_MODELS]]
    rest = ranking.others[_MOST_MODELS:]
    if rest:
        clear = sum(other.clear for other in rest)
        clauses.append(f"ahead of {pluralize(len(rest), 'more model')}, of {clear} of them clearly")
    verb = "is" if len(best) == 1 else "are"
    same = f", over the same {pluralize(sizes.pop(), 'case')}" if len(sizes) == 1 else ""
    direction = "; less is better" if ranking.lower_is_better else ""
    return f"{_listed(best)} {verb} {_listed(clauses)}{same}{direction}{_unranked(ranking, shorts)}"


def _clause(other: RankedModel, shorts: Mapping[str, str], *, counted: bool) -> str:
    """Return what the best model is, compared with another one."""
    name = _name(other.model, shorts)
    if not other.n:
        return f"not compared with {name}, which has none of its cases"
    measured = [
        *([f"95% interval {formatting.interval(other.interval)}"] if other.interval else []),
        f"p {formatting.p_value(other.p)}",
        *([pluralize(other.n, "case")] if counted else []),
    ]
    numbers = f"({', '.join(measured)})"
    if other.clear:
        return f"better than {name} by {formatting.value(other.behind)} {numbers}"
    if other.behind <= 0:
        return f"not ahead of {name} over the cases that both have {numbers}"
    return f"not clearly better than {name}: ahead by {formatting.value(other.behind)} {numbers}"


def _unranked(ranking: Ranking, shorts: Mapping[str, str]) -> str:
    said = [f"{_name(model, shorts)} has only {pluralize(n, 'graded case')}" for model, n in ranking.unranked.items()]
    return (
        f"; {_listed(said)} and is not ranked" if len(said) == 1 else f"; {_listed(said)}: not ranked" if said else ""
    )


def _name(model: str, shorts: Mapping[str, str]) -> str:
    return shorts.get(model, model)


def _listed(texts: list[str]) -> str:
    """Return texts as a list in a sentence; those with a comma of their own are told apart by semicolons."""
    if len(texts) < 2:
        return "".join(texts)
    separator = "; " if any(": " in text for text in texts) else ", "
    return f"{separator.join(texts[:-1])}{separator.rstrip() if separator == '; ' else ''} and {texts[-1]}"
