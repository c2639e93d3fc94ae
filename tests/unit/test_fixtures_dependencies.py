"""Steps and what they need of each other; the rest of a task's small rules."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydantic
import pytest

from pytest_evals.completion import Completion
from pytest_evals.errors import NotApplicable, SuiteError, TemplateError
from pytest_evals.fixtures.declaration import FixtureSpec, NotApplicableResult
from pytest_evals.fixtures.dependencies import TaskGraph, build_task_graph
from pytest_evals.fixtures.limits import CallBudget, CallLimits, LimitExceeded
from pytest_evals.fixtures.task import plain_data
from pytest_evals.templates.expressions import check_condition, holds
from pytest_evals.templates.locators import may_name_a_task, with_tasks
from pytest_evals.templates.rendering import names_in, render, render_apart_from


def definition(declaration: FixtureSpec | None = None, scope: str = "function", **marks: str) -> Any:
    function = SimpleNamespace(**marks)
    if declaration is not None:
        function.__evals_step__ = declaration
    return SimpleNamespace(func=function, scope=scope)


PROVIDED = {
    "completion": [definition(__evals_provides__="completion")],
    "model": [definition(__evals_provides__="model")],
    "case": [definition(__evals_provides__="case")],
    "store": [definition(scope="session")],
}


def workflow(names: str, **fixtures: Any) -> TaskGraph:
    table = {**PROVIDED}
    for name, given in fixtures.items():
        table[name] = [
            *table.get(name, ()),
            *(definition(each) for each in (given if isinstance(given, list) else [given])),
        ]
    return build_task_graph(names.split(), lambda name: table.get(name, ()), lambda: table)


def test_each_step_follows_what_it_builds_on_by_name_and_in_templates() -> None:
    async def last(middle: Any, first: Any) -> None: ...
    async def middle(checked: Any, case: Any) -> None: ...
    def checked(first: Any) -> None: ...
    async def first(model: Any, store: Any) -> None: ...
    async def apart(completion: Any) -> None: ...
    def reader() -> None: ...

    found = workflow(
        "last reader unrelated",
        last=FixtureSpec("task", last),
        middle=FixtureSpec("grader", middle),
        checked=FixtureSpec("grader", checked),
        first=FixtureSpec("task", first),
        apart=FixtureSpec("task", apart),
        reader=FixtureSpec("grader", reader, settings={"needles": ["{{apart}} and {{ item.x }}", "first.y", "plain"]}),
    )
    assert list(found.steps) == ["first", "checked", "middle", "last", "apart"]
    assert found.steps["last"].needs == ("middle", "first")
    assert found.aliases == {"reader": ("apart", "first")}
    assert {key for key, step in found.steps.items() if step.late} == {"first", "checked", "middle", "last"}
    assert found.asks_for("completion")
    assert found.asks_for("model")
    assert not found.asks_for("judge")


def test_a_step_that_overrides_another_builds_on_it() -> None:
    async def lower(completion: Any) -> None: ...
    async def upper(completion: Any) -> None: ...

    found = workflow("completion", completion=[FixtureSpec("task", lower), FixtureSpec("task", upper)])
    assert list(found.steps) == ["completion^1", "completion"]
    assert found.steps["completion"].arguments == {"completion": "completion^1"}
    assert found.steps["completion^1"].sources == {"completion": "completion"}


def test_what_no_step_asks_for_makes_no_step() -> None:
    def sync() -> None: ...

    assert workflow("sync completion model", sync=FixtureSpec("grader", sync)).steps == {}


# -- what templates may name

SCOPE = with_tasks({"item": {"q": "x"}}, {"draft": {"text": "T", "tags": ["a", "b"]}, "plain": "P"})


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("draft.text", "T"),
        ("{{ draft.tags }}", ["a", "b"]),
        ("draft.tags.1", "b"),
        ("plain", "P"),
        ("{{plain}} {{item.q}} {{draft.tags[0]}}", "P x a"),
        ("other.text", "other.text"),
        ("item", "item"),
        ("drafty", "drafty"),
        ("a draft.text", "a draft.text"),
    ],
)
def test_a_template_reads_the_results_of_tasks(text: str, rendered: object) -> None:
    assert render(text, SCOPE) == rendered


def test_a_word_is_a_locator_only_where_it_is_a_task_s_alias() -> None:
    assert render("draft.text", {"item": {}, "draft": {"text": "T"}}) == "draft.text"
    assert may_name_a_task("draft.text")
    assert not may_name_a_task("a draft")
    assert names_in(["draft.text", {"x": "{% if a %}{{ b.c }}{% endif %}{{ item.q }}"}, 3]) == {"draft", "a", "b"}
    with pytest.raises(TemplateError, match="draft has text, tags; did you mean 'tags'"):
        render("draft.tagz", SCOPE)


def test_before_a_task_has_a_result_the_fields_of_the_case_are_checked() -> None:
    settings = {"a": "{{draft}} of {{item.q}}", "b": ["item.q", "draft.x"]}
    assert render_apart_from(settings, {"item": {"q": "x"}}, ["draft"]) == {
        "a": "{{draft}} of {{item.q}}", "b": ["x", "draft.x"]
    }  # fmt: skip
    with pytest.raises(TemplateError, match="unknown field 'nope'"):
        render_apart_from("{{draft}} of {{item.nope}}", {"item": {"q": "x"}}, ["draft"])


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("item.q == 'x'", True),
        ("item.n > 3", False),
        ("item.z is defined and item.z", False),
        ("item.q in ['y']", False),
    ],
)
def test_a_condition_is_an_expression_over_the_case(expression: str, expected: bool) -> None:
    check_condition(expression)
    assert holds(expression, {"item": {"q": "x", "n": 3}}) is expected


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "must be an expression like"),
        ("item.q ==", "is not well formed"),
        ("{{ item.q }}", "is not well formed"),
        ("item.z == 1", "unknown field 'z'.*is defined and"),
        ("z", "unknown name 'z'"),
        ("item.q > 1", "failed: TypeError"),
        ("item.q.__class__", "unknown field|access to attribute '__class__'|no field"),
    ],
)
def test_a_condition_that_cannot_be_told_is_refused(expression: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        holds(expression, {"item": {"q": "x"}})


# -- results of tasks


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Plan:
    steps: tuple[str, ...]
    when: datetime.date


class Note(pydantic.BaseModel):
    text: str
    path: Path


def test_the_result_of_a_task_becomes_plain_data() -> None:
    completion = Completion("hi", (), "stop")
    value = {
        1: [Plan(("a",), datetime.date(2026, 1, 2)), Note(text="n", path=Path("p"))],
        "c": (completion, Colour.RED, None),
    }
    assert plain_data(value) == {
        "1": [{"steps": ["a"], "when": "2026-01-02"}, {"text": "n", "path": "p"}],
        "c": ["hi", "red", None],
    }
    with pytest.raises(SuiteError, match=r"returned object \(<object object.*the artifact cannot hold"):
        plain_data({"deep": [object()]})


def test_whoever_looks_into_a_task_that_does_not_apply_does_not_apply() -> None:
    absent = NotApplicableResult("the task 'x', which does not apply: no rag")
    for look in (bool, str, len, iter, lambda value: value.text, lambda value: value["a"], lambda value: "a" in value):
        with pytest.raises(NotApplicable, match="no rag"):
            look(absent)
    assert not hasattr(absent, "__html__")


def test_a_case_may_not_call_for_ever() -> None:
    budget = CallBudget(CallLimits(calls=2, tokens=10))
    budget.count_call()
    budget.count_tokens(10)
    budget.count_call()
    with pytest.raises(LimitExceeded, match=r"more than 2 times \(evals_case_calls\)"):
        budget.count_call()
    with pytest.raises(LimitExceeded, match=r"used 11 tokens, more than 10 \(evals_case_tokens\)"):
        budget.count_tokens(1)
    with pytest.raises(LimitExceeded, match="used 11 tokens"):
        budget.count_call()
    assert not issubclass(LimitExceeded, Exception)
    unlimited = CallBudget(CallLimits())
    for _ in range(1000):
        unlimited.count_call()
        unlimited.count_tokens(1000)
