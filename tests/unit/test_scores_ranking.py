"""Which of several models is better, and what is said of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from pytest_evals import statistics
from pytest_evals.gates import GateResult
from pytest_evals.reports.grid import grid_lines, grids
from pytest_evals.reports.ranking import brief_sentences, ranking_sentences
from pytest_evals.scorecard import Ledger, ScoreCard, insights
from pytest_evals.scores.ranking import Ranking
from pytest_evals.scores.records import CaseRecord
from pytest_evals.scores.score import compute_scores
from tests.unit.building import case_record, grade_record

Values = Mapping[str, Sequence[float]]


def records_of(values: Values, grader: str = "right", suite: str = "facts", **more: Any) -> list[CaseRecord]:
    """Return cases of models that all answer the same ones."""
    return [
        case_record(grade_record(value, grader, **more), suite=suite, model=model, case_id=f"k{number}")
        for model, row in values.items()
        for number, value in enumerate(row)
    ]


def card_of(records: Sequence[CaseRecord], *gates: str, shorts: Mapping[str, str] | None = None) -> ScoreCard:
    scores = compute_scores(records)
    judged = tuple(GateResult(text, "facts", "a", "passed", 1, 1, 1, "") for text in gates)
    return ScoreCard(tuple(scores), judged, Ledger(), shorts=shorts or {}, **insights(scores, records, judged))


def rankings(records: Sequence[CaseRecord]) -> Sequence[Ranking]:
    return card_of(records).rankings


def sentences(records: Sequence[CaseRecord], *gates: str) -> list[str]:
    return ranking_sentences(card_of(records, *gates))


BETTER = {"a": [1] * 9 + [0], "b": [1] * 2 + [0] * 8}


def test_of_two_models_the_difference_its_interval_and_mcnemar_s_p_are_said() -> None:
    # Seven cases fell and none rose: 2 * 0.5 ** 7.
    interval = statistics.paired_difference(BETTER["b"], BETTER["a"])
    assert interval is not None
    assert interval.interval is not None
    low, high = interval.interval
    assert sentences(records_of(BETTER)) == [
        f"right: a is better than b by 0.700 (95% interval {low:.3f} .. {high:.3f}, p {2 * 0.5**7:.3f}), over the same 10 cases"
    ]


def test_a_difference_that_may_be_chance_is_not_called_better() -> None:
    (said,) = sentences(records_of({"a": [1, 1, 0, 1], "b": [1, 0, 0, 1]}))
    assert said.startswith("right: a is not clearly better than b: ahead by 0.250 (95% interval -")
    assert said.endswith(", p 1.000), over the same 4 cases")


def test_models_with_the_same_mean_are_not_ranked() -> None:
    assert sentences(records_of({"a": [1, 0], "b": [0, 1], "c": [0, 1]})) == [
        "right: a, b and c have the same mean, 0.500"
    ]


def test_p_is_adjusted_for_all_pairs_of_models() -> None:
    values = {"a": [1] * 20, "b": [1] * 12 + [0] * 8, "c": [1] * 4 + [0] * 16}
    (ranking,) = rankings(records_of(values))
    plain = {pair: 2 * 0.5**n for pair, n in {"ab": 8, "ac": 16, "bc": 8}.items()}
    adjusted = dict(zip(plain, statistics.holm(list(plain.values())), strict=True))
    assert [(other.model, other.behind) for other in ranking.others] == [("b", 0.4), ("c", 0.8)]
    assert [other.p for other in ranking.others] == pytest.approx([adjusted["ab"], adjusted["ac"]])
    assert ranking.marks == {"a": "*", "b": "", "c": ""}


def test_three_models_are_one_sentence() -> None:
    values = {"c": [1] * 10 + [0] * 10, "a": [1] * 20, "b": [1] * 18 + [0] * 2}
    (said,) = sentences(records_of(values))
    assert said.startswith("right: a is not clearly better than b: ahead by 0.100 (")
    assert "; and better than c by 0.500 (" in said
    assert said.endswith("), over the same 20 cases")


def test_many_models_are_counted() -> None:
    values = {f"m{number}": [1] * (20 - number) + [0] * number for number in range(8)}
    (said,) = sentences(records_of(values))
    assert "and ahead of 4 more models, of 0 of them clearly" in said


def test_clusters_take_what_belongs_together_as_one() -> None:
    alone = rankings(records_of(BETTER))[0].others[0]
    together = [
        dataclasses.replace(record, cluster=f"c{int(record.case_id[1:]) // 5}") for record in records_of(BETTER)
    ]
    assert rankings(together)[0].others[0].p > alone.p


@pytest.mark.parametrize(
    ("gates", "best"),
    [
        (("right.mean >= 0.1",), "b"),
        (("right.mean <= 9",), "a"),
        # What gates say of it in both directions, or of the measurement, tells nothing.
        (("right.mean <= 9", "right.min >= 0"), None),
        (("right.coverage >= 0.5",), None),
        ((), None),
    ],
)
def test_gates_tell_whether_more_or_less_is_better(gates: tuple[str, ...], best: str | None) -> None:
    card = card_of(records_of({"a": [2.5, 3.5, 4.5], "b": [3.5, 4.75, 5.5]}), *gates)
    assert [each.best for each in card.rankings] == ([(best,)] if best else [])
    said = ranking_sentences(card)
    assert all(text.endswith("; less is better") for text in said) == (best != "b")


@pytest.mark.parametrize(
    ("more", "values", "known"),
    [
        ({"bounds": (1.0, 5.0)}, [3, 4], True),
        ({"bounds": (0.0, math.inf)}, [3, 4], False),
        ({}, [0.25, 0.75], True),
        ({}, [7, 250], False),
        ({"passed": True}, [7, 250], True),
    ],
)
def test_grades_tell_by_themselves_whether_more_is_better(
    more: dict[str, Any], values: list[float], known: bool
) -> None:
    both = {"a": values, "b": [value + 0.125 for value in values]}
    assert bool(rankings(records_of(both, **more))) == known


def test_the_grader_that_a_gate_is_on_decides_what_is_said() -> None:
    records = [*records_of(BETTER, "short"), *records_of({"a": [0] * 8, "b": [1] * 8}, "right")]
    assert sentences(records)[0].startswith("short: a is better than b")
    assert sentences(records, "right.mean >= 0.5")[0].startswith("right: b is better than a")


def test_each_suite_has_its_sentence_up_to_five() -> None:
    records = [record for number in range(7) for record in records_of(BETTER, suite=f"s{number}")]
    said = sentences(records)
    assert [text.partition(":")[0] for text in said[:-1]] == [f"s{number}.right" for number in range(5)]
    assert said[-1] == "the models of 2 more suites are compared in the table only"


def test_a_model_whose_run_was_cut_short_is_not_ranked() -> None:
    records = records_of({"a": [0, 1] * 20, "b": [1] * 40, "c": [1]})
    (said,) = sentences(records)
    assert said.endswith("; c has only 1 graded case and is not ranked")
    assert card_of(records).leaders == {("facts", "b", "right"): "*", ("facts", "a", "right"): ""}


def test_models_without_a_common_case_are_not_compared() -> None:
    records = [
        case_record(grade_record(value, "right"), suite="facts", model=model, case_id=f"{model}{number}")
        for model, value in (("a", 1), ("b", 0))
        for number in range(9)
    ]
    assert sentences(records) == ["right: a is not compared with b, which has none of its cases"]


# -- Models beside each other.


def grid_of(values: Values, width: int, shorts: Mapping[str, str] | None = None, **more: Any) -> list[str]:
    card = card_of(records_of(values, **more), shorts=shorts)
    return [line for grid in grids(card.scores) for line in grid_lines(grid, card, width)]


def test_long_names_are_broken_into_lines_where_they_end_a_part() -> None:
    names = {"a": "Qwen2.5-0.5B-Instruct", "b": "Llama-3.2-1B-Instruct"}
    assert grid_of(BETTER, 44, names) == [
        "                         Qwen2.5-0.5B-",
        "mean, 95% interval   n        Instruct",
        "------------------  --  --------------",
        "facts",
        "  right             10         * 0.900",
        "                        0.596 .. 0.982",
        "",
        "                         Llama-3.2-1B-",
        "mean, 95% interval   n        Instruct",
        "------------------  --  --------------",
        "facts",
        "  right             10           0.200",
        "                        0.057 .. 0.510",
    ]


def test_models_that_do_not_fit_beside_each_other_stand_below_each_other() -> None:
    values = {f"model-{number}": [1] * (number + 1) + [0] * (12 - number) for number in range(12)}
    lines = grid_of(values, 60)
    assert max(map(len, lines)) <= 60
    shown = " ".join(lines)
    assert [shown.count(f"model-{number} ") + shown.count(f"model-{number}") for number in (0, 2, 11)] != [0, 0, 0]
    assert sum(line.startswith("mean") for line in lines) == 6
    assert lines.count("facts") == 6


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
@pytest.mark.parametrize("models", [2, 3, 9])
def test_every_model_and_grader_is_there_at_any_width(width: int, models: int) -> None:
    values = {f"m{number}": [number % 2, 1.0] for number in range(models)}
    lines = grid_of(values, width)
    words = " ".join(lines).split()
    assert all(f"m{number}" in words for number in range(models))
    assert words.count("*") + words.count("~") == models


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (BETTER, "a is better than b"),
        ({"a": [1, 1, 0, 1], "b": [1, 0, 0, 1]}, "no clear difference between a and b"),
        ({"a": [1, 0], "b": [0, 1], "c": [0, 1]}, "no clear difference between a, b and c"),
        ({"a": [1] * 20, "b": [1] * 20, "c": [0] * 20}, "a and b are not clearly different; a is better than c"),
        ({"a": [1] * 20, "b": [0] * 20, "c": [0] * 20}, "a is better than b and c"),
        (
            {f"m{number}": [1] * (20 - number) + [0] * number for number in range(6)},
            "no clear difference between m0, m1, m2 and 3 more models",
        ),
        ({"a": [1] * 20, **{f"m{number}": [0] * 20 for number in range(5)}}, "a is better than m0, m1, m2 and 2 more models"),
    ],
)  # fmt: skip
def test_in_brief_it_is_said_which_models_are_better_without_numbers(values: Values, said: str) -> None:
    assert brief_sentences(card_of(records_of(values))) == [f"right: {said}"]


def test_in_brief_suites_with_the_same_outcome_share_a_sentence_and_what_is_clear_comes_first() -> None:
    open_ones = [records_of({"a": [1, 0], "b": [0, 1]}, suite=f"open{number}") for number in range(3)]
    records = [*(record for each in open_ones for record in each), *records_of(BETTER)]
    assert brief_sentences(card_of(records)) == [
        "facts.right: a is better than b",
        "open0.right and 2 more suites: no clear difference between a and b",
    ]
    worse = records_of({"a": [0] * 10, "b": [1] * 10}, suite="last")
    assert brief_sentences(card_of([*records, *worse])) == [
        "facts.right: a is better than b",
        "last.right: b is better than a",
        "3 more suites: see the table",
    ]
    assert brief_sentences(card_of(records_of({"a": [1, 0]}))) == []
