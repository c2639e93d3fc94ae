"""Examples before a question, rows that are skipped, and rows that are chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_evals.errors import DatasetError, SuiteError, TemplateError
from pytest_evals.suites.declaration import cases
from pytest_evals.suites.skipping import is_chosen, skip_reason
from pytest_evals.suites.suite import Suite, build_suite

ROWS = [{"id": str(number), "q": f"What is {number}+1?", "a": number + 1} for number in range(6)]
TRAIN = [{"q": "What is 7+7?", "a": 14}, {"q": "What is 8+8?", "a": 16}, {"q": "What is 9+9?", "a": 18}]


def suite(**arguments: Any) -> Suite:
    mark = cases(ROWS, id="id", **{"prompt": "{{item.q}}", **arguments})
    return build_suite(mark.args[0], Path(), None)


def contents(made: Suite, case_id: str) -> list[tuple[str, object]]:
    return [(message["role"], message["content"]) for message in made.cases[case_id].prompt]


def test_the_first_rows_of_another_data_set_are_turns_before_the_question() -> None:
    made = suite(fewshot={"data": TRAIN, "k": 2, "answer": "{{item.a}}"}, system="Be brief.")
    assert contents(made, "3") == [
        ("system", "Be brief."),
        ("user", "What is 7+7?"),
        ("assistant", "14"),
        ("user", "What is 8+8?"),
        ("assistant", "16"),
        ("user", "What is 3+1?"),
    ]


def test_examples_as_text_are_what_lm_evaluation_harness_writes() -> None:
    made = suite(
        fewshot={"data": TRAIN, "k": 2, "answer": "{{item.a}}", "style": "text"}, prompt="Question: {{item.q}}\nAnswer:"
    )
    # lm_eval.api.task: doc_to_text + target_delimiter + doc_to_target + fewshot_delimiter, for each example.
    assert contents(made, "0") == [
        (
            "user",
            "Question: What is 7+7?\nAnswer: 14\n\nQuestion: What is 8+8?\nAnswer: 16\n\nQuestion: What is 0+1?\nAnswer:",
        )
    ]


def test_a_case_is_no_example_for_itself() -> None:
    made = suite(fewshot={"k": 2, "answer": "{{item.a}}"})
    assert [content for _, content in contents(made, "0")] == ["What is 1+1?", "2", "What is 2+1?", "3", "What is 0+1?"]
    assert [content for _, content in contents(made, "5")] == ["What is 0+1?", "1", "What is 1+1?", "2", "What is 5+1?"]


def test_a_seed_draws_examples_that_stay_the_same() -> None:
    drawn = [contents(suite(fewshot={"k": 3, "answer": "{{item.a}}", "seed": seed}), "0") for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(
    ("fewshot", "said"),
    [
        (5, "fewshot is a mapping"),
        ({"answer": "item.a", "k": 0}, "'k' is the number of examples"),
        ({"answer": "item.a", "k": True}, "'k' is the number of examples"),
        ({"answer": "item.a", "seed": "x"}, "'seed' is a whole number"),
        ({"answer": "item.a", "style": "turn"}, "'style' is 'turns' or 'text'"),
        ({"answer": "item.a", "delimiter": 1}, "are texts"),
        ({"answer": "item.a", "data": "no.jsonl"}, "fewshot: dataset 'no.jsonl' not found"),
        ({"answer": "item.b", "k": 1}, "unknown field 'b'"),
    ],
)
def test_what_fewshot_cannot_be_is_refused(fewshot: object, said: str) -> None:
    with pytest.raises((SuiteError, DatasetError, TemplateError), match=said):
        suite(fewshot=fewshot)


def test_fewshot_needs_a_prompt() -> None:
    with pytest.raises(SuiteError, match="needs prompt="):
        suite(prompt=None, messages=[{"role": "user", "content": "item.q"}], fewshot={"answer": "item.a"})


@pytest.mark.parametrize(
    ("skip", "row", "reason"),
    [
        (None, {}, None),
        ("item.status == 'draft'", {"status": "draft"}, "skip: item.status == 'draft'"),
        ("item.status == 'draft'", {"status": "done"}, None),
        ("item.skip", {"skip": "waits for\nthe new price list"}, "waits for the new price list"),
        ("item.skip", {"skip": ""}, None),
        ("item.skip", {"skip": None}, None),
        ("item.skip", {}, None),
        ("item.skip", {"skip": True}, "skip: item.skip"),
        ({"item.n > 3": "too long", "item.n > 1": "long"}, {"n": 2}, "long"),
        ({"item.n > 3": "too long", "item.n > 1": "long"}, {"n": 4}, "too long"),
    ],
)
def test_an_expression_skips_rows_with_its_reason(skip: Any, row: dict[str, Any], reason: str | None) -> None:
    assert skip_reason(skip, {"item": row}) == reason


def test_a_skipped_row_may_lack_what_others_need() -> None:
    rows = [{"id": "a", "q": "x", "skip": None}, {"id": "b", "skip": "not written yet"}]
    made = build_suite(cases(rows, id="id", prompt="{{item.q}}", skip="item.skip").args[0], Path(), None)
    assert {name: prepared.skip for name, prepared in made.cases.items()} == {"a": None, "b": "not written yet"}


@pytest.mark.parametrize("skip", ["item.x ==", "", {"item.x": ""}, {"item.x": 1}, 3])
def test_what_skip_cannot_be_is_refused(skip: Any) -> None:
    with pytest.raises((SuiteError, TemplateError), match="skip"):
        suite(skip=skip)


@pytest.mark.parametrize(
    ("where", "row", "chosen"),
    [
        ("item.tag == 'x'", {"tag": "x"}, True),
        ("item.tag == 'x'", {"tag": "y"}, False),
        ("item.tag == 'x'", {}, None),
        ("item.n > 1 or item.tag == 'x'", {"n": 2}, True),
        ("'red' in item.tags", {"tags": ["red", "blue"]}, True),
    ],
)
def test_rows_are_chosen_by_an_expression(where: str, row: dict[str, Any], chosen: bool | None) -> None:
    assert is_chosen(where, {"item": row}) is chosen
