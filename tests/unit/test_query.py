"""Expressions over recorded cases."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_evals.artifacts.query import Expression, Names, order, why_none
from pytest_evals.artifacts.table import FIXED, columns_of, flat_row
from pytest_evals.errors import TemplateError
from pytest_evals.grades import Grade

from .recorded import Line, errored_line, sample_line


def case(case_id: str, *grades: Grade, **fields: Any) -> Line:
    line = sample_line(case_id, *grades)
    return {**line, "interaction": {**line["interaction"], "metadata": fields}}


CASES = [
    case(
        "a", Grade(True, "exact"), Grade(0.5, "style.tone"), Grade(0.2, "text"), level="easy", size=3, tags=["x", "y"]
    ),
    {
        **case("b", Grade(False, "exact", "no"), Grade(0.9, "style.tone"), level="hard", size=10),
        "label": {"exact": 1.0},
    },
    case("c", Grade(None, "exact", status="error"), **{"size": 7, "odd name": 1}),
    errored_line("d"),
]
NAMES = Names.of(CASES)


def chosen(text: str) -> str:
    """Return the ids of the cases for which an expression is true; ``?`` for those where it cannot be told."""
    expression = Expression(text, NAMES, "--where")
    found = ""
    for sample in CASES:
        try:
            found += sample["case_id"] if expression.value(sample) else ""
        except TypeError:
            found += "?"
    return found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("exact.value < 1", "b??"),
        ("exact.value is not none and exact.value < 1", "b"),
        ("exact.passed", "a"),
        ("exact.status == 'error'", "cd"),
        ("grades.exact.reasoning == 'no'", "b"),
        ("style.tone.value > 0.6", "b??"),
        ("label.exact is not none and exact.value != label.exact", "b"),
        ("grades.text.value == 0.2 and text.startswith('Paris')", "a"),
        ("item.level == 'hard'", "b"),
        ("item.level is none", "cd"),
        ("item['odd name'] == 1", "c"),
        ("item.size > 5 and item.size < 10", "c?"),
        ("'x' in (item.tags or [])", "a"),
        ("'level' in item and grades['exact'].value == 1 and not style.tone.passed", "a"),
        ("outcome == 'errored' and error_kind == 'model'", "d"),
        ("model == 'smollm2' and tokens >= 2 and latency < 1 and repeat == 1", "abc"),
        ("tasks.steps == 3 and timing.call == 0.1", "abcd"),
        ("suite in ('capitals', 'other') and prompt == 'Capital?'", "abc"),
        ("text|length > 3 and text|lower is defined", "abc?"),
    ],
)
def test_cases_are_chosen_by_what_they_are(text: str, found: str) -> None:
    assert chosen(text) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("exct.value < 1", "unknown name 'exct.value' .*did you mean 'exact'"),
        ("exact.valu < 1", "unknown name 'exact.valu'"),
        ("style.tune.value < 1", "unknown name 'style.tune.value'"),
        ("grades.nope", "unknown name 'grades.nope'"),
        (
            "outcome == 'passed' or item.levl == 1",
            r"no case has item.levl \(known: item.level, item.size, .*did you mean 'level'",
        ),
        ("label.nope", r"no case has label.nope \(known: label.exact\)"),
        ("tasks.stepz", r"no case has tasks.stepz \(known: tasks.steps\)"),
        ("timing.cal > 1", r"no case has timing.cal \(known: timing.call.*did you mean 'call'"),
        ("exact == 1", "exact is a whole grade; write exact.value or exact.passed"),
        ("1 > grades.exact", "grades.exact is a whole grade; write grades.exact.value or grades.exact.passed"),
        ("item.size > 5 and not exact", "exact is a whole grade"),
        ("style < 1", "style has several grades; write style.tone.value or style.tone.passed"),
        ("item == 1", "item is not one value; write item.NAME"),
        ("item.level ==", "--where 'item.level ==' is not well formed"),
        ("'a' + {% if %}", "is not well formed"),
    ],
)
def test_a_mistake_is_found_before_any_case_is_looked_at(text: str, words: str) -> None:
    with pytest.raises(TemplateError, match=words):
        Expression(text, NAMES, "--where")


def test_a_whole_grade_can_be_shown() -> None:
    shown = Expression("exact", NAMES, "--fields", shown=True).value(CASES[1])
    assert (shown["value"], shown["reasoning"]) == (0.0, "no")


@pytest.mark.parametrize(
    "text", ["item.__class__.__mro__", "''.__class__.__mro__[1].__subclasses__()", "item.tags.append(1)"]
)
def test_an_expression_can_do_no_harm(text: str) -> None:
    with pytest.raises(TemplateError):
        Expression(text, NAMES, "--where").value(CASES[0])
    assert CASES[0]["interaction"]["metadata"]["tags"] == ["x", "y"]


def test_values_of_all_kinds_can_be_sorted_with_nothing_last() -> None:
    values = ["b", None, 2, True, [1], 0.5, "a"]
    assert sorted(values, key=order) == [0.5, True, 2, "a", "b", [1], None]


def test_a_flat_row_has_every_part_of_a_case() -> None:
    row = flat_row(CASES[0])
    assert set(FIXED) <= set(row)
    assert (row["item.level"], row["exact"], row["exact.passed"], row["style.tone"]) == ("easy", 1.0, True, 0.5)
    assert (row["text"], row["tasks.steps"]) == (0.2, 3)
    taken = flat_row(case("x", Grade(0.5, "suite")))
    assert (taken["suite"], taken["grades.suite"]) == ("capitals", 0.5)
    columns = columns_of(CASES)
    assert columns[: len(FIXED)] == list(FIXED)
    assert columns.index("item.size") < columns.index("exact") < columns.index("tasks.steps")
    assert len(columns) == len(set(columns))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("item.size == '3'", ["item.size is never '3'; it is one of 3, 10, 7"]),
        ("'3' == item.size", ["item.size is never '3'; it is one of 3, 10, 7"]),
        ("item.level in ['mid', 1]", ["item.level is never 'mid' or 1; it is one of 'easy', 'hard'"]),
        ("item.level > 1", ["item.level is text, as 'easy'; compare item.level|float"]),
        ("item.size > 100", []),
        ("item.level == 'easy' and item.size == 10", []),
        ("style.tone.value == 2 or label.exact == 3", [
            "style.tone.value is never 2; it is one of 0.5, 0.9",
            "label.exact is never 3; it is one of 1.0",
        ]),
    ],
)  # fmt: skip
def test_an_expression_that_is_never_true_is_explained(text: str, said: list[str]) -> None:
    assert why_none(text, CASES, NAMES) == said
