"""One case: a row as mapping and attributes."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.case import Case


def make_case(row: dict[str, Any], files: dict[str, Path] | None = None) -> Case:
    return Case("c1", row, files=files or {}, metadata={"level": "easy"}, place="data.jsonl:3")


def test_a_field_is_an_item_and_an_attribute() -> None:
    case = make_case({"country": "France"})
    assert case["country"] == case.country == "France"


def test_a_case_is_a_mapping_of_its_row() -> None:
    case = make_case({"a": 1, "b": None})
    assert dict(case) == {"a": 1, "b": None}
    assert len(case) == 2
    assert "a" in case
    assert case.get("c", 3) == 3


def test_an_unknown_field_lists_the_fields() -> None:
    with pytest.raises(AttributeError, match=r"case 'c1' has no field 'contry' \(fields: country, capital\)"):
        make_case({"country": "France", "capital": "Paris"}).contry  # noqa: B018 - the access is what is tested


def test_a_field_named_as_an_attribute_is_reached_as_an_item() -> None:
    case = make_case({"id": "row", "files": "f", "metadata": "m", "place": "p"})
    assert (case.id, case.metadata, case.place) == ("c1", {"level": "easy"}, "data.jsonl:3")
    assert (case["id"], case["files"], case["metadata"], case["place"]) == ("row", "f", "m", "p")


def test_a_field_with_an_underscore_is_reached_as_an_item_only() -> None:
    case = make_case({"_secret": 1})
    assert case["_secret"] == 1
    assert not hasattr(case, "_secret")


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda case: pickle.loads(pickle.dumps(case))])  # noqa: S301 - our own bytes
def test_a_case_can_be_copied(duplicate: Any) -> None:
    case = make_case({"country": "France"})
    twin = duplicate(case)
    assert twin is not case
    assert dict(twin) == dict(case)
    assert (twin.id, twin.place) == (case.id, case.place)


def test_a_case_shows_id_and_place() -> None:
    assert repr(make_case({})) == "<Case c1 data.jsonl:3>"


def test_templates_see_the_row_as_item() -> None:
    assert make_case({"a": 1}).scope == {"item": {"a": 1}}


def test_templates_see_files_beside_the_fields() -> None:
    scope = make_case({"a": 1}, {"doc": Path("doc.txt")}).scope
    assert scope == {"item": {"a": 1, "files": {"doc": Path("doc.txt")}}}


def test_a_field_named_files_is_data_when_the_suite_has_none() -> None:
    assert make_case({"files": "f"}).scope["item"]["files"] == "f"


# -- fields with the names of methods


@pytest.mark.parametrize("name", ["items", "keys", "values", "get"])
def test_a_method_stays_one_beside_a_field_of_its_name(name: str) -> None:
    case = make_case({name: ["field"], "a": 1})
    assert dict(case) == {**case} == {name: ["field"], "a": 1}
    assert list(case.items()) == [(name, ["field"]), ("a", 1)]
    assert (list(case.keys()), list(case.values())) == ([name, "a"], [["field"], 1])
    assert case.get("a") == 1
    assert case[name] == ["field"]
    assert Case.items is not None


@pytest.mark.parametrize("name", ["items", "keys", "values", "get"])
@pytest.mark.parametrize(
    "use",
    [
        lambda value: value[0],
        list,
        len,
        bool,
        str,
        float,
        lambda value: f"{value}",
        lambda value: value == ["field"],
        lambda value: "x" in value,
        lambda value: value + "x",
        lambda value: value < 3,
        lambda value: value.append,
    ],
)
def test_a_method_that_is_taken_for_the_field_says_how_the_field_is_written(name: str, use: Any) -> None:
    with pytest.raises(TypeError, match=rf"case\.{name} is a method.* row is case\['{name}'\]"):
        use(getattr(make_case({name: ["field"]}), name))


def test_without_such_a_field_methods_are_methods() -> None:
    case = make_case({"a": 1})
    assert case.items == case.items
    assert callable(case.items)
    assert case.get("b", 2) == 2
    assert "the field of its row is case['items']" in repr(make_case({"items": 1}).items)


def test_a_field_that_begins_with_an_underscore_says_how_it_is_written() -> None:
    with pytest.raises(AttributeError, match=r"the field '_x' of the row is case\['_x'\]"):
        make_case({"_x": 1})._x  # noqa: B018 - the access is what is tested


def test_a_column_with_a_space_or_a_dot_is_an_item() -> None:
    case = make_case({"Correct Answer": "Paris", "a.b": 1})
    assert (case["Correct Answer"], case["a.b"]) == ("Paris", 1)
