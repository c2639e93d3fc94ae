"""Two runs joined case by case."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_evals.baselines.pairing import Joined, Pair, join, paired_grades
from pytest_evals.scores.content import changes, content_of, digests_of
from pytest_evals.scores.records import CaseRecord

from .building import case_record, grade_record


def case(case_id: str, value: float | None = 1.0, **arguments: Any) -> CaseRecord:
    status = "graded" if value is not None else "error"
    return case_record(grade_record(value, status=status), case_id=case_id, **arguments)


def ids(joined: Joined) -> dict[str, list[str]]:
    """Return the case ids in each part of ``joined``."""
    return {
        "pairs": [pair.case_id for pair in joined.pairs],
        "changed": [pair.case_id for pair in joined.changed],
        "new": [repeats[0].case_id for repeats in joined.new],
        "gone": [repeats[0].case_id for repeats in joined.gone],
    }


# -- which cases are the same


def test_every_case_stands_in_exactly_one_part() -> None:
    before = [case("same", capital="Paris"), case("edited", capital="Lima"), case("old")]
    after = [case("fresh"), case("edited", capital="Quito"), case("same", capital="Paris")]
    joined = join(before, after)
    assert ids(joined) == {"pairs": ["same"], "changed": ["edited"], "new": ["fresh"], "gone": ["old"]}
    assert joined.changed[0].changes == ("item.capital",)
    assert joined.notes() == [
        "1 case not compared: the row changed (item.capital)",
        "1 case not compared: new, only the later run has them",
        "1 case not compared: gone, only the earlier run has them",
    ]
    assert join(after, after).notes() == []


def test_the_same_case_id_in_another_suite_is_another_case() -> None:
    joined = join([case("a", suite="one")], [case("a", suite="two")])
    assert ids(joined) == {"pairs": [], "changed": [], "new": ["a"], "gone": ["a"]}


def test_a_prompt_that_changed_over_the_same_row_is_compared_and_said() -> None:
    before = case("a", content={"prompt": "p1"}, country="Peru")
    after = case("a", content={"prompt": "p2"}, country="Peru")
    joined = join([before], [after])
    assert ids(joined)["pairs"] == ["a"]
    assert joined.notes() == ["the prompt of 1 of 1 compared cases changed"]
    # A row that brings its conversation is data, not a prompt of the suite's.
    own = [
        replace(record, content={**record.content, "item.messages": f"{record.content['prompt']}m"})
        for record in (before, after)
    ]
    assert ids(join(own[:1], own[1:]))["changed"] == ["a"]


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ({"q": 1}, {"q": 1, "level": "new column"}, ()),
        ({"q": 1, "level": "dropped"}, {"q": 1}, ()),
        ({"q": [1, {"a": None}]}, {"q": [1, {"a": None}]}, ()),
        ({"q": "1"}, {"q": 1}, ("item.q",)),
        ({"q": 1, "r": 2}, {"q": 2, "r": 3}, ("item.q", "item.r")),
    ],
)
def test_changes_are_the_same_from_fields_and_from_digests(
    before: dict[str, Any], after: dict[str, Any], found: tuple[str, ...]
) -> None:
    left, right = case("a", **before), case("a", **after)
    digested = [replace(record, fields={}, content=digests_of(record)) for record in (left, right)]
    for was in (left, digested[0]):
        for now in (right, digested[1]):
            assert changes(was, now) == found


def test_content_is_the_prompt_and_the_row_s_own_conversation() -> None:
    prompt = [{"role": "user", "content": "Capital of Peru?"}]
    assert content_of(prompt, {"country": "Peru"}).keys() == {"prompt"}
    assert content_of(prompt, {"messages": prompt}).keys() == {"prompt", "item.messages"}
    assert content_of([], {"completion": "Lima"}) == {}
    assert content_of(prompt, {}) != content_of([*prompt, *prompt], {})


# -- models


def test_one_model_in_each_run_is_joined_whatever_its_name_and_said() -> None:
    joined = join([case("a", model="small")], [case("a", model="large")])
    assert ids(joined)["pairs"] == ["a"]
    assert joined.notes() == ["capitals: model small then, large now"]
    assert joined.of("capitals", "large") == joined


def test_of_several_models_only_the_same_are_joined() -> None:
    before = [case("a", model="small"), case("a", model="other")]
    after = [case("a", model="small"), case("a", model="large")]
    joined = join(before, after)
    assert [(pair.model, pair.case_id) for pair in joined.pairs] == [("small", "a")]
    assert (joined.new[0][0].model, joined.gone[0][0].model) == ("large", "other")
    assert ids(joined.of("capitals", "large")) == {"pairs": [], "changed": [], "new": ["a"], "gone": []}


def test_a_part_is_one_suite_and_model_with_what_is_gone_from_it() -> None:
    before = [case("a", suite="x", model="m1"), case("b", suite="x", model="m1"), case("c", suite="y", model="m1")]
    after = [case("a", suite="x", model="m2"), case("c", suite="y", model="m1"), case("d", suite="y", model="m1")]
    joined = join(before, after)
    assert ids(joined.of("x", "m2")) == {"pairs": ["a"], "changed": [], "new": [], "gone": ["b"]}
    assert ids(joined.of("y", "m1")) == {"pairs": ["c"], "changed": [], "new": ["d"], "gone": []}


# -- grades


def test_repeats_of_a_case_are_one_pair_and_their_mean_is_compared() -> None:
    before = [case("a", value, repeat=repeat) for repeat, value in enumerate([0.0, 1.0, 1.0, 1.0], 1)]
    joined = join(before, [case("a", 0.0)])
    (pair,) = joined.pairs
    assert (len(pair.before), len(pair.after)) == (4, 1)
    grades = paired_grades(joined.pairs, "exact")
    assert (grades.before, grades.after) == ((0.75,), (0.0,))
    assert joined.notes() == ["numbers of repeats differ: of each case, the means over its repeats are compared"]


def test_cases_without_a_grade_are_counted_by_why() -> None:
    na = case_record(grade_record(None, status="not_applicable"), case_id="na")
    other = case_record(grade_record(1.0, grader="other"), case_id="other")
    before = [case("a", 1.0), case("b", None), case("c", 0.5), case("d", None), case("na"), case("other")]
    after = [case("a", 0.0), case("b", 1.0), case("c", None), case("d", None), na, other]
    grades = paired_grades(join(before, after).pairs, "exact")
    assert [pair.case_id for pair in grades.pairs] == ["a"]
    assert (grades.before, grades.after) == ((1.0,), (0.0,))
    assert (grades.errored_before, grades.errored_after, grades.not_applicable, grades.absent) == (2, 2, 1, 1)


def test_a_grader_of_several_entries_that_failed_before_naming_them_failed_for_each() -> None:
    before = case_record(grade_record(1.0, grader="style.tone"))
    after = case_record(grade_record(None, grader="style", status="error"))
    grades = paired_grades([Pair((before,), (after,))], "style.tone")
    assert (grades.pairs, grades.errored_after, grades.absent) == ((), 1, 0)
