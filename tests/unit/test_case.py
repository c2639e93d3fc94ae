"""One case: a row as mapping and attributes."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.case import Case
from pytest_evals.errors import SuiteError


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


METHODS = ("items", "keys", "values", "get")


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    "use",
    [
        list,
        len,
        bool,
        str,
        repr,
        float,
        lambda value: value == [1, 2],
        lambda value: value != [1, 2],
        lambda value: 1 in value,
        lambda value: value[0],
        lambda value: f"{value}",
        lambda value: value + "x",
        lambda value: "x" + value,
        lambda value: value > 1,
        lambda value: value.lower(),
        lambda value: {value: 1},
    ],
)
def test_a_field_that_is_called_as_a_method_says_how_it_is_reached(name: str, use: Callable[[Any], object]) -> None:
    case = make_case({name: [1, 2], "other": 3})
    with pytest.raises((SuiteError, TypeError), match=rf"case\['{name}'\]|unhashable"):
        use(getattr(case, name))
    assert case[name] == [1, 2]


def test_methods_stay_methods_whatever_the_fields_are_called() -> None:
    row = dict.fromkeys(METHODS, 1)
    case = make_case(row)
    assert dict(case) == {**case} == dict(case.items()) == row
    assert list(case.keys()) == list(METHODS)
    assert list(case.values()) == [1, 1, 1, 1]
    assert (case.get("items"), case.get("absent"), case.get("absent", 2)) == (1, None, 2)
    assert (make_case({"a": 1}).get("a"), list(make_case({"a": 1}).items())) == (1, [("a", 1)])
