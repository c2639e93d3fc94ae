"""Graders are checked against every case of their suite."""

from __future__ import annotations

import pytest

from pytest_evals.collection.checks import check_settings
from pytest_evals.errors import TemplateError
from tests.unit.building import ROWS, suite_of


def test_settings_of_a_grader_are_checked_against_every_case() -> None:
    suite = suite_of([ROWS[0], {"country": "Chad"}], prompt="x")
    check_settings(suite, "exact", {"expected": "item.country"})
    with pytest.raises(TemplateError, match=r"row 2 of inline: grader exact: unknown field 'capital'"):
        check_settings(suite, "exact", {"expected": ["{{item.capital}}"]})
