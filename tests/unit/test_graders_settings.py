"""Settings that were meant otherwise: a text where a list is meant, and what begins like a locator and is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_evals import graders
from pytest_evals.collection.checks import check_settings
from pytest_evals.errors import SuiteError, TemplateError
from pytest_evals.fixtures.declaration import declaration_of
from pytest_evals.graders import text
from pytest_evals.graders.metrics import lexical
from pytest_evals.graders.metrics.base import as_references
from pytest_evals.templates.rendering import render
from tests.unit.building import declare, suite_of

DATA = Path(__file__).parent / "data"
MAKERS: dict[str, Callable[[Any], Any]] = {
    "one_of": graders.one_of,
    "exact_match": graders.exact_match,
    "squad": lambda setting: graders.exact_match(setting, normalize="squad"),
    "contains": graders.contains,
    "contains_any": lambda setting: graders.contains(setting, require="any"),
    "f1": graders.f1,
}


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def refusal(row: dict[str, Any]) -> str | None:
    """Return what collection says of the grader for the row, `None` where it says nothing."""
    try:
        declaration = declaration_of(fixture_function(MAKERS[row["grader"]](row["setting"])))
        assert declaration is not None
        check_settings(suite_of([row["row"] or {"a": 1}], prompt="x"), "g", declaration.settings, declaration.check)
    except (SuiteError, TemplateError) as error:
        return str(error)
    return None


def fixture_function(fixture: Any) -> Any:
    return fixture._get_wrapped_function()


def passes(row: dict[str, Any]) -> bool:
    setting = render(row["setting"], {"item": row["row"]})
    if row["grader"] == "f1":
        return lexical.f1(row["completion"], as_references(setting, "f1")).value > 0
    if row["grader"].startswith("contains"):
        return text.contains(
            row["completion"], setting, require="any" if row["grader"].endswith("any") else "all"
        ).passed
    check = text.one_of if row["grader"] == "one_of" else text.exact_match
    return check(row["completion"], setting).passed


@pytest.mark.parametrize("row", rows("settings.jsonl"), ids=lambda row: str(row["setting"]))
def test_what_was_meant_otherwise_is_read_or_refused(row: dict[str, Any]) -> None:
    found = refusal(row)
    if row["result"].startswith("passes"):
        assert found is None
        assert passes(row)
    else:
        assert found is not None
        assert ("text" if row["grader"] == "one_of" else 'item["Correct Answer"]') in found


@pytest.mark.parametrize("row", rows("settings_more.jsonl"), ids=lambda row: f"{row['grader']}-{row['setting']!a:.40}")
def test_a_setting_is_read_as_it_is_meant_or_refused_with_how_to_write_it(row: dict[str, Any]) -> None:
    found = refusal(row)
    if "error" in row:
        assert found is not None
        assert row["error"] in found
    else:
        assert found is None
        assert passes(row)


def test_one_tag_needs_no_list() -> None:
    assert declare([{"a": 1}], tags="smoke").tags == ("smoke",)
    assert declare([{"a": 1}], tags=["smoke", "geo"]).tags == ("smoke", "geo")


@pytest.mark.parametrize("steps", [5, None, {"case": True}])
def test_steps_are_a_name_or_a_list(steps: Any) -> None:
    with pytest.raises(SuiteError, match="normalize is the name of a step or a list of them"):
        graders.exact_match("x", normalize=steps)


@pytest.mark.parametrize("of", ["draft", "draft.title", "draft.points.0", "draft['full name']", 'draft["a.b"][0]'])
def test_the_field_of_a_result_may_have_any_name(of: str) -> None:
    assert graders.contains("x", of=of) is not None


@pytest.mark.parametrize("of", ["", "draft.full name", "draft[", "draft..x", "{{draft}}", "3"])
def test_what_names_no_field_of_a_result_is_refused(of: str) -> None:
    with pytest.raises(SuiteError, match="of is the name of a task"):
        graders.contains("x", of=of)


@pytest.mark.parametrize(
    "of",
    [
        *("completion", "completion.reasoning", "completion.raw", "completion.tool_calls", "completion.finish_reason"),
        *("completion.tool_calls.0", "completion.tool_calls[-1].name", "completion.tool_calls.0.arguments.city.name"),
        *(
            'completion.tool_calls.0.arguments["a b"]',
            "completion.samples.1.text",
            "completion.samples.0.tool_calls.0.id",
        ),
    ],
)
def test_a_part_of_a_completion_may_be_graded(of: str) -> None:
    assert graders.contains("x", of=of) is not None


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ("completion.tol_calls.0.name", "did you mean 'tool_calls'"),
        ("completion.tool_calls.name", "is a list: the first of it is completion.tool_calls.0"),
        ("completion.tool_calls.0.argument.city", "a call has name, arguments, id.*did you mean 'arguments'"),
        ("completion.tool_calls.0.name.first", "the name of a call is a text"),
        ("completion.reasoning.text", "'reasoning' of a completion has no fields"),
        ("completion.samples.text", "is a list"),
        ("completion.samples.0.tool_calls.0.args", "a call has name, arguments, id"),
    ],
)
def test_what_no_completion_has_is_refused_where_it_is_written(of: str, message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        graders.contains("x", of=of)
