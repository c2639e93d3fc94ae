"""Data as spreadsheets write it: semicolons, UTF-16, workbooks, cells that list several values."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from pytest_evals.datasets.loading import load
from pytest_evals.errors import DatasetError, TemplateError
from pytest_evals.templates.rendering import render

# What stands in the file, and its rows. Excel separates by semicolons where a country writes decimals with a comma.
TEXTS: list[tuple[bytes, list[dict[str, Any]]]] = [
    (b"id;name\n1;Ada\n", [{"id": "1", "name": "Ada"}]),
    (b"\xef\xbb\xbfid;price\r\n1;2,50\r\n", [{"id": "1", "price": "2,50"}]),
    (b"sep=;\r\nid;name\r\n1;Ada\r\n", [{"id": "1", "name": "Ada"}]),
    (b"sep=,\nid,name\n1,Ada\n", [{"id": "1", "name": "Ada"}]),
    (b"id\tname\n1\tAda\n", [{"id": "1", "name": "Ada"}]),
    (b'"id;no",name\n1,Ada\n', [{"id;no": "1", "name": "Ada"}]),
    (b'id;"name, first"\n1;"a;b"\n', [{"id": "1", "name, first": "a;b"}]),
    (b"only\nAda;Grace\n", [{"only": "Ada;Grace"}]),
    ("id\tname\r\n1\tZoë\r\n".encode("utf-16"), [{"id": "1", "name": "Zoë"}]),
    ("id;name\r\n1;漢字\r\n".encode("utf-16-le").join([b"\xff\xfe", b""]), [{"id": "1", "name": "漢字"}]),
]


@pytest.mark.parametrize(("content", "rows"), TEXTS)
def test_csv_is_read_as_spreadsheets_write_it(tmp_path: Path, content: bytes, rows: list[dict[str, Any]]) -> None:
    (tmp_path / "rows.csv").write_bytes(content)
    assert list(load("rows.csv", tmp_path).rows) == rows


def test_lines_are_right_below_a_line_that_names_the_separator(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("sep=;\nid;name\n1;Ada\n2;Grace\n")
    assert load("rows.csv", tmp_path).lines == (3, 4)
    (tmp_path / "bad.csv").write_text("sep=;\nid;name\n1;Ada;x\n")
    with pytest.raises(DatasetError, match=r"bad.csv:3: 3 values for 2 columns; put a text that holds a semicolon in"):
        load("bad.csv", tmp_path)


def workbook(path: Path, *lines: tuple[object, ...]) -> Path:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for line in lines:
        sheet.append(line)
    book.save(path)
    return path


def test_a_workbook_gives_its_first_sheet(tmp_path: Path) -> None:
    day = datetime.datetime(2026, 3, 1, 12, 30)  # noqa: DTZ001 - cells of Excel have no time zone
    workbook(
        tmp_path / "rows.xlsx",
        ("id", "name", "n", "share", "ok", "day", None),
        ("1", "Ada", 3, 0.5, True, day),
        (None, None, None, None, None, None),
        ("2", " ", None, None, False, None),
    )
    dataset = load("rows.xlsx", tmp_path)
    assert list(dataset.rows) == [
        {"id": "1", "name": "Ada", "n": 3, "share": 0.5, "ok": True, "day": "2026-03-01T12:30:00"},
        {"id": "2", "name": None, "n": None, "share": None, "ok": False, "day": None},
    ]
    assert dataset.places == ("row 2 of rows.xlsx", "row 4 of rows.xlsx")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([("id", "id"), (1, 2)], "each with a name of its own"),
        ([(1, 2), (1, 2)], "the first row names the columns"),
        ([("id", None), (1, 2)], "rows.xlsx:2: a cell is outside of the 1 column that row 1 names"),
        ([], "is empty"),
    ],
)
def test_a_workbook_of_another_shape_is_refused(tmp_path: Path, lines: list[tuple[object, ...]], said: str) -> None:
    workbook(tmp_path / "rows.xlsx", *lines)
    with pytest.raises(DatasetError, match=said):
        load("rows.xlsx", tmp_path)


def test_what_is_no_workbook_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.xlsx").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(DatasetError, match="not a workbook of Excel"):
        load("rows.xlsx", tmp_path)


@pytest.mark.parametrize(
    ("template", "cell", "values"),
    [
        ("{{item.words | split(';')}}", "red; white;", ["red", "white"]),
        ('{{ item.words|split(";") }}', "red", ["red"]),
        ("{{item.words | split}}", "a, b,c", ["a", "b", "c"]),
        ("{{item.words | split()}}", "a\tb", ["a\tb"]),
        ("{{item.words | split(' - ')}}", "a-b - c", ["a-b", "c"]),
        ("{{item.words | split(';')}}", None, []),
        ("{{item.words | split(';')}}", ["a", 1], ["a", "1"]),
        ("{% for word in item.words | split(';') %}[{{word}}]{% endfor %}", "a;b", "[a][b]"),
    ],
)
def test_a_cell_that_lists_values_is_split(template: str, cell: object, values: object) -> None:
    assert render(template, {"item": {"words": cell}}) == values


def test_what_has_no_parts_is_not_split() -> None:
    with pytest.raises(TemplateError, match="the filter 'split' takes a text, not int"):
        render("{{item.words | split(';')}}", {"item": {"words": 3}})


def test_a_frame_with_a_named_index_has_it_as_a_column() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"capital": ["Paris"]}, index=pandas.Index(["fr"], name="id"))
    assert list(load(frame, Path()).rows) == [{"id": "fr", "capital": "Paris"}]
    assert list(load(frame.reset_index(drop=True), Path()).rows) == [{"capital": "Paris"}]
