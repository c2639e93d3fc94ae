"""Cells of CSV, columns of Parquet."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from pytest_evals.export.csv import cell, write_csv
from pytest_evals.export.parquet import column_types


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t'=1"),
        ("\r=1", "'\r'=1"),
        ("\uff1d1", "'\uff1d1"),
        ("-5", "-5"),
        ("+1.5e-3", "+1.5e-3"),
        (-5, "-5"),
        (-0.5, "-0.5"),
        ("a=1", "a=1"),
        ("lone \ud800", "lone \\ud800"),
        ("nul \0", "nul \\x00"),
        (None, ""),
        (True, "true"),
        (10**30, str(10**30)),
        (["a", {"b": None}], '["a", {"b": null}]'),
        ({"city": "Zürich"}, '{"city": "Zürich"}'),
    ],
)
def test_a_cell_is_text_that_no_spreadsheet_runs(value: Any, text: str) -> None:
    assert cell(value) == text


def test_rows_come_back_from_csv_whatever_is_in_them() -> None:
    file = io.StringIO(newline="")
    write_csv(file, ["a", "=b"], [{"a": 'quo"te, and\nlines', "=b": 1}, {"a": None}])
    assert list(csv.reader(io.StringIO(file.getvalue(), newline=""))) == [
        ["a", "'=b"],
        ['quo"te, and\nlines', "1"],
        ["", ""],
    ]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([True, None], "bool"),
        ([1, 2], "int64"),
        ([1, 2.5, None], "double"),
        (["a"], "string"),
        ([None], "string"),
        ([1, "a"], "json"),
        ([True, 1], "json"),
        ([2**63], "json"),
        ([["a"]], "json"),
    ],
)
def test_a_column_has_the_type_of_all_its_values(values: list[Any], kind: str) -> None:
    assert column_types({"x": value} for value in values) == {"x": kind}
