"""Which cases run, under which ids, and which of them somebody named one by one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_evals.collection.item import EVAL, CaseKey
from pytest_evals.collection.selection import names_case, note_selection, single_cases, without_copies
from pytest_evals.suites.manifest import ItemKey, SuiteManifest


def suite(*models: str, name: str = "test_it", ids: str = "abc") -> SuiteManifest:
    found = SuiteManifest(name, "test_it.py", 1, "", "", len(ids), len(ids), [], [], [])
    for model in models or ("",):
        for case in ids:
            suffix = f"-{model}" if len(models) > 1 else ""
            found.items[f"test_it.py::{name}[{case}{suffix}]"] = ItemKey(case, model)
    return found


def item(info: SuiteManifest | None, nodeid: str, now: str | None = None) -> Any:
    stash = {}
    if info is not None:
        key = info.items[nodeid]
        stash[EVAL] = SimpleNamespace(key=CaseKey(key.case_id, key.model or None), info=info, nodeid=nodeid)
    return SimpleNamespace(nodeid=now or nodeid, name=nodeid.partition("::")[2], stash=stash)


def items(info: SuiteManifest, *left_out: str) -> list[Any]:
    return [item(info, nodeid) for nodeid in info.items if not any(part in nodeid for part in left_out)]


def test_all_of_a_suite_is_selected() -> None:
    info = suite()
    note_selection([info], items(info))
    assert info.unselected == []


def test_what_was_deselected_is_noted() -> None:
    info, other = suite(), suite(name="test_other")
    note_selection([info, other], items(info, "[b]"))
    assert info.unselected == ["test_it.py::test_it[b]"]
    assert other.unselected == list(other.items)


def test_cases_have_the_ids_that_other_plugins_gave_them_in_their_order() -> None:
    info = suite()
    renamed = [item(info, nodeid, f"{nodeid}@group" if "[b]" in nodeid else None) for nodeid in info.items]
    note_selection([info], renamed)
    assert list(info.items) == ["test_it.py::test_it[a]", "test_it.py::test_it[b]@group", "test_it.py::test_it[c]"]
    assert info.items["test_it.py::test_it[b]@group"].case_id == "b"
    assert info.unselected == []
    note_selection([info], renamed)  # of a second session over the same items
    assert len(info.items) == 3


def test_two_cases_of_one_id_are_refused() -> None:
    info = suite()
    with pytest.raises(pytest.UsageError, match=r"several cases have one id.*The capital"):
        note_selection([info], [item(info, nodeid, "The capital") for nodeid in info.items])


def test_other_tests_may_have_any_ids() -> None:
    info = suite()
    same = [item(None, "test_it.py::test_plain"), item(None, "test_it.py::test_plain")]
    note_selection([info], [*same, *items(info)])
    assert without_copies(same) == (same, [])


def test_a_case_that_was_collected_twice_runs_once() -> None:
    info = suite()
    once, again = items(info), items(info)
    assert without_copies([*once, *again]) == (once, again)


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("test_it.py::test_it[a]", True),
        ("/home/me/tests/test_it.py::TestIt::test_it[a-b::c]", True),
        ("test_it.py::test_it", False),
        ("test_it.py", False),
        ("tests[old]/test_it.py", False),
        (".", False),
    ],
)
def test_an_argument_that_names_a_case(argument: str, named: bool) -> None:
    assert names_case(argument) is named


def single(arguments: list[str], info: SuiteManifest, *left_out: str) -> set[str]:
    selected = items(info, *left_out)
    note_selection([info], selected)
    return {each.partition("[")[2].rstrip("]") for each in single_cases(arguments, selected)}


def test_a_click_on_one_case() -> None:
    assert single(["/home/me/test_it.py::test_it[a]"], suite(), "[b]", "[c]") == {"a"}


def test_ids_of_all_cases_are_a_whole_run() -> None:
    info = suite()
    assert single([f"/home/me/{nodeid}" for nodeid in info.items], info) == set()


def test_no_case_is_named_by_an_expression() -> None:
    assert single(["test_it.py", "-k", "a"], suite(), "[b]", "[c]") == set()


def test_the_gates_of_a_model_of_which_all_cases_run_are_judged() -> None:
    info = suite("one", "two")
    named = [
        "test_it.py::test_it[a-one]",
        "test_it.py::test_it[b-one]",
        "test_it.py::test_it[c-one]",
        "test_it.py::test_it[a-two]",
    ]
    assert single(named, info, "[b-two]", "[c-two]") == {"a-two"}


def test_cases_that_were_not_named_but_run_beside_one_stay_as_they_are() -> None:
    first = suite()
    assert single(["test_other.py::test_other[a]", "test_it.py"], first, "[c]") == set()
