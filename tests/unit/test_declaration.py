"""``cases(...)`` keeps what a suite's author wrote, and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_evals.errors import SuiteError
from pytest_evals.suites.declaration import MARK, EvalDeclaration, cases
from tests.unit.building import declare, suite_of

ROWS = [{"a": 1}]


def test_a_declaration_knows_its_file_and_line() -> None:
    declaration = cases(ROWS, prompt="x").mark.args[0]
    source = Path(__file__).read_text(encoding="utf-8").splitlines()
    assert declaration.path == Path(__file__)
    assert declaration.place == f"test_declaration.py:{declaration.line}"
    assert "declaration = cases(" in source[declaration.line - 1]


def test_a_mistake_of_the_suite_names_that_place() -> None:
    with pytest.raises(SuiteError, match=r"\Abuilding\.py:\d+: limit must be"):
        suite_of(ROWS, limit=0)


def test_the_mark_can_be_put_on_a_test() -> None:
    @cases(ROWS, prompt="x")
    def test_of_a_user() -> None: ...

    (mark,) = test_of_a_user.pytestmark  # type: ignore[attr-defined]  # the mark puts it there
    assert mark.name == MARK
    assert isinstance(mark.args[0], EvalDeclaration)


def test_nothing_is_read_before_collection() -> None:
    assert declare("no-such-file.jsonl").data == "no-such-file.jsonl"


@pytest.mark.parametrize("gates", ["exact.mean >= 1", ["exact.mean >= 1"]])
def test_one_gate_needs_no_list(gates: str | list[str]) -> None:
    assert declare(ROWS, gates=gates).gates == ("exact.mean >= 1",)


def test_two_declarations_of_the_same_data_are_not_the_same() -> None:
    assert declare(ROWS, prompt="x") != declare(ROWS, prompt="x")
