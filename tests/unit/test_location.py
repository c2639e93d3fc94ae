"""Where a case stands in the sources."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_evals.collection.location import Location, location_of, row_location, seen_from, suite_location
from pytest_evals.session.outputs import checkout
from pytest_evals.suites.declaration import EvalDeclaration, cases
from tests.unit.building import suite_of

ROOT = Path("/project")


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/project/evals/a.jsonl", "evals/a.jsonl"),
        ("/project/evals/../data/a.jsonl", "data/a.jsonl"),
        ("/shared/a.jsonl", "../shared/a.jsonl"),
    ],
)
def test_paths_are_seen_from_the_root(path: str, seen: str) -> None:
    assert seen_from(ROOT, Path(path)) == seen


def test_a_case_stands_at_its_row_and_without_one_at_its_suite(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.csv").write_text("q\na\nb\n")
    info: Any = SimpleNamespace(path="evals/test_it.py", line=7)
    placed = [{"q": "a"}, {"q": "b", "__place__": "../data/rows.csv:2"}]
    for data, expected in (
        ("../data/rows.csv", "data/rows.csv:3"),
        ([{"q": "a"}, {"q": "b"}], "evals/test_it.py:7"),
        (placed, "data/rows.csv:2"),
        (lambda: placed, "data/rows.csv:2"),
    ):
        (tmp_path / "evals").mkdir(exist_ok=True)
        prepared = list(suite_of(data, tmp_path / "evals", prompt="{{item.q}}").cases.values())[1]
        found: Any = SimpleNamespace(prepared=prepared, info=info)
        assert str(location_of(found, tmp_path)) == expected
        assert (row_location(found, tmp_path) is None) == expected.endswith(":7")


def test_a_suite_stands_where_it_is_declared_or_else_used() -> None:
    declaration: EvalDeclaration = cases([{"q": "a"}]).mark.args[0]
    here = Path(__file__)
    used: Any = SimpleNamespace(path=here, nodeid="unit/test_location.py::test_x", location=("other/test_y.py", 4, "y"))
    line = declaration.line
    assert suite_location(declaration, used, ROOT) == Location("unit/test_location.py", line)
    used.path = here.parent / "test_y.py"
    assert suite_location(declaration, used, here.parents[1]) == Location("unit/test_location.py", line)
    assert suite_location(declaration, used, ROOT) == Location("other/test_y.py", 5)


def test_the_checkout_is_what_the_runner_says_else_the_repository_around_the_root(tmp_path: Path) -> None:
    root = tmp_path / "repository" / "part"
    root.mkdir(parents=True)
    assert checkout(root, {"GITHUB_WORKSPACE": str(tmp_path)}) == tmp_path
    assert checkout(root, {"CI_PROJECT_DIR": str(tmp_path), "GITHUB_WORKSPACE": os.sep + "elsewhere"}) == tmp_path
    (root.parent / ".git").mkdir()
    assert checkout(root, {}) == root.parent
    assert checkout(root.parent, {"CI_PROJECT_DIR": str(root)}) == root.parent
