"""Files and objects -> rows, with the place of each."""

from __future__ import annotations

import csv
import datetime
import gzip
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy
import pandas
import pyarrow
import pyarrow.parquet
import pytest

from pytest_evals.datasets.loading import load
from pytest_evals.errors import DatasetError

ROWS = [{"q": "1+1", "a": "2"}, {"q": "ü\n東", "a": "3"}]


def as_jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")


def as_json(path: Path) -> None:
    path.write_text(json.dumps(ROWS, indent=1), encoding="utf-8")


def as_csv(path: Path, delimiter: str = ",") -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["q", "a"], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(ROWS)


def as_tsv(path: Path) -> None:
    as_csv(path, delimiter="\t")


def as_yaml(path: Path) -> None:
    path.write_text('- {q: "1+1", a: "2"}\n- q: "ü\\n東"\n  a: "3"\n', encoding="utf-8")


def as_parquet(path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)


WRITERS: dict[str, Callable[[Path], None]] = {
    "rows.jsonl": as_jsonl,
    "rows.json": as_json,
    "rows.csv": as_csv,
    "rows.tsv": as_tsv,
    "rows.yaml": as_yaml,
    "rows.yml": as_yaml,
    "rows.parquet": as_parquet,
    "ROWS.JSONL": as_jsonl,
    "rows.v1.2.csv": as_csv,
}


def read(folder: Path, text: str | bytes, name: str = "data.jsonl") -> list[dict[str, Any]]:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return [dict(row) for row in load(name, folder).rows]


def refusal(data: object, folder: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        load(data, folder)
    return str(caught.value)


def file_refusal(folder: Path, text: str | bytes, name: str = "data.jsonl") -> str:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return refusal(name, folder)


# -- formats


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("zipped", [False, True], ids=["", "gz"])
def test_every_format_gives_the_same_rows(name: str, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    if zipped:
        path.with_name(f"{name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        name = f"{name}.gz"
    assert [dict(row) for row in load(name, tmp_path).rows] == ROWS


def test_the_same_data_in_another_format_hashes_the_same(tmp_path: Path) -> None:
    hashes = set()
    for name, write in WRITERS.items():
        write(tmp_path / name)
        hashes.add(load(name, tmp_path).hash)
    assert hashes == {load(ROWS, tmp_path).hash}


def test_the_order_of_rows_changes_the_hash(tmp_path: Path) -> None:
    assert load(ROWS, tmp_path).hash != load(ROWS[::-1], tmp_path).hash


def test_a_path_object_is_a_path_too(tmp_path: Path) -> None:
    as_jsonl(tmp_path / "rows.jsonl")
    assert load(Path("rows.jsonl"), tmp_path).key == "rows.jsonl"


def test_an_absolute_path_is_taken_as_it_is(tmp_path: Path) -> None:
    as_jsonl(tmp_path / "rows.jsonl")
    assert len(load(str(tmp_path / "rows.jsonl"), Path("/elsewhere")).rows) == 2


def test_the_key_is_what_the_suite_wrote_even_when_the_file_is_known(tmp_path: Path) -> None:
    as_jsonl(tmp_path / "rows.jsonl")
    absolute = str(tmp_path / "rows.jsonl")
    assert [load(name, tmp_path).key for name in ("rows.jsonl", absolute)] == ["rows.jsonl", absolute]


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    assert read(tmp_path, '{"a": 1}') == [{"a": 1}]
    path = tmp_path / "data.jsonl"
    path.write_text('{"a": 2}')
    os.utime(path, ns=(1, 1))
    assert load("data.jsonl", tmp_path).rows == ({"a": 2},)


# -- places


def test_places_are_lines_of_the_file_and_count_blank_ones(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('\n{"a": 1}\n\n  \n{"a": 2}\n')
    assert load("data.jsonl", tmp_path).places == ("data.jsonl:2", "data.jsonl:5")


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        ("data.jsonl", '\n{"a": 1}\r\n{"a": "x\u2028y"}\n', (2, 3)),
        ("data.csv", 'a,b\n1,2\n\n"3\n3",4\n5,6\n', (2, 4, 6)),
        ("data.tsv", "a\tb\r\n1\t2\r\n3\t4", (2, 3)),
        ("data.json", '\ufeff \n[\n  {"a": "[\\n,"},\n\n {\n"a": [1, 2]}\n\n, {"a": 3},{"a": 4}\n]\n', (3, 5, 8, 8)),
        ("data.yaml", "# rows\n- a: 1\n  b: |\n    x\n\n- {a: 2}\n-\n  a: 3\n", (2, 6, 8)),
        ("data.yml", "[{a: 1},\n {a: 2}]", (1, 2)),
    ],
)
def test_the_line_of_a_row_is_where_it_starts(name: str, text: str, lines: tuple[int, ...], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text.encode())
    dataset = load(name, tmp_path)
    assert dataset.lines == lines
    assert dataset.places == tuple(f"{name}:{line}" for line in lines)
    assert dataset.source(1) == (tmp_path / name, lines[1])


def test_rows_that_no_reader_finds_by_a_line_have_none(tmp_path: Path) -> None:
    as_parquet(tmp_path / "rows.parquet")
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(b'{"a": 1}\n'))
    for data, place in (
        ("rows.parquet", "row 1 of rows.parquet"),
        ("rows.jsonl.gz", "rows.jsonl.gz:1"),
        (ROWS, "row 1 of inline"),
    ):
        dataset = load(data, tmp_path)
        assert dataset.source(0) is None
        assert dataset.places[0] == place


def test_places_of_inline_rows_are_counted_from_one() -> None:
    assert load([{"a": 1}, {"a": 2}], Path()).places == ("row 1 of inline", "row 2 of inline")


# -- what text files may hold


@pytest.mark.parametrize("name", ["data.jsonl", "data.json", "data.csv", "data.yaml"])
def test_a_byte_order_mark_is_not_part_of_the_first_field(name: str, tmp_path: Path) -> None:
    text = {"data.jsonl": '{"a": "1"}', "data.json": '[{"a": "1"}]', "data.csv": "a\n1\n", "data.yaml": "- a: '1'"}
    assert read(tmp_path, "\ufeff" + text[name], name) == [{"a": "1"}]


def test_windows_line_ends_are_line_ends(tmp_path: Path) -> None:
    assert read(tmp_path, '{"a": 1}\r\n{"a": 2}\r\n') == [{"a": 1}, {"a": 2}]
    assert read(tmp_path, "a,b\r\n1,2\r\n", "data.csv") == [{"a": "1", "b": "2"}]


def test_a_last_line_needs_no_line_end(tmp_path: Path) -> None:
    assert read(tmp_path, '{"a": 1}\n{"a": 2}') == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0c"])
def test_a_line_separator_inside_a_json_string_does_not_end_the_line(separator: str, tmp_path: Path) -> None:
    row = {"a": f"one{separator}two"}
    if separator == "\x0c":  # JSON wants control characters as escapes
        assert read(tmp_path, json.dumps(row)) == [row]
    else:
        assert read(tmp_path, json.dumps(row, ensure_ascii=False)) == [row]


def test_a_lone_surrogate_in_an_escape_is_kept(tmp_path: Path) -> None:
    assert read(tmp_path, '{"a": "\\ud800"}') == [{"a": "\ud800"}]


def test_json_keeps_types(tmp_path: Path) -> None:
    row = {"n": 1, "f": 1.5, "b": True, "z": None, "l": [1], "o": {"x": 1}}
    assert read(tmp_path, json.dumps(row)) == [row]


def test_csv_values_are_text(tmp_path: Path) -> None:
    assert read(tmp_path, "n,b\n1,true\n", "data.csv") == [{"n": "1", "b": "true"}]


# -- what is missing


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id,context\na,\nb,x\n", [None, "x"]),
        ('id,context\na,""\nb,x\n', [None, "x"]),
        ("id,context\na,NaN\nb,nan\n", [None, "nan"]),
        ("id,context\na,NA\nb,null\n", ["NA", "null"]),
        ("id,context\na, \nb,0\n", [" ", "0"]),
        ("context,id\n,a\n-,b\n", [None, "-"]),
    ],
)
def test_a_blank_cell_of_csv_is_null(text: str, expected: list[str | None], tmp_path: Path) -> None:
    assert [row["context"] for row in read(tmp_path, text, "data.csv")] == expected
    assert [row["context"] for row in read(tmp_path, text.replace(",", "\t"), "data.tsv")] == expected


def test_what_pandas_wrote_for_a_missing_value_is_null_in_every_format(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"id": ["a", "b"], "level": [1.5, None], "text": ["x", None]})
    expected = [{"id": "a", "level": 1.5, "text": "x"}, {"id": "b", "level": None, "text": None}]
    frame.to_parquet(tmp_path / "data.parquet")
    frame.to_json(tmp_path / "data.jsonl", orient="records", lines=True)
    frame.to_csv(tmp_path / "data.csv", index=False)
    assert [dict(row) for row in load("data.parquet", tmp_path).rows] == expected
    assert [dict(row) for row in load("data.jsonl", tmp_path).rows] == expected
    assert [dict(row) for row in load(frame, tmp_path).rows] == expected
    assert [row["level"] for row in load("data.csv", tmp_path).rows] == ["1.5", None]


@pytest.mark.parametrize(
    "missing",
    [
        *(float("nan"), pandas.NA, pandas.NaT, numpy.float64("nan"), numpy.float64("nan").astype(object)),
        *(numpy.float32("nan"), numpy.float16("nan"), numpy.longdouble("nan")),
        *(numpy.datetime64("NaT"), numpy.timedelta64("NaT"), Decimal("NaN"), Decimal("sNaN")),
    ],
    ids=repr,
)
def test_every_missing_value_of_an_object_is_null_also_deep_inside(missing: object, tmp_path: Path) -> None:
    rows = [{"a": missing, "b": [1, missing], "c": {"d": (missing,)}, "e": "x"}]
    assert [dict(row) for row in load(rows, tmp_path).rows] == [
        {"a": None, "b": [1, None], "c": {"d": [None]}, "e": "x"}
    ]


def test_nan_in_parquet_is_null(tmp_path: Path) -> None:
    table = pyarrow.table({"a": [float("nan"), 1.0], "l": [[float("nan"), 2.0], None]})
    pyarrow.parquet.write_table(table, tmp_path / "data.parquet")
    assert [dict(row) for row in load("data.parquet", tmp_path).rows] == [
        {"a": None, "l": [None, 2.0]},
        {"a": 1.0, "l": None},
    ]


def test_what_is_not_missing_is_the_same_object(tmp_path: Path) -> None:
    row = {"a": (1, 2), "b": {"c": [float("inf")]}, "d": 0, "e": ""}
    assert load([row], tmp_path).rows[0] is row


def test_a_csv_field_may_be_a_long_document(tmp_path: Path) -> None:
    assert read(tmp_path, "a\n" + "x" * 200_000 + "\n", "data.csv") == [{"a": "x" * 200_000}]


def test_a_csv_field_may_hold_quotes_commas_and_lines(tmp_path: Path) -> None:
    assert read(tmp_path, 'a,b\n"x, ""y""\nz",2\n', "data.csv") == [{"a": 'x, "y"\nz', "b": "2"}]


def test_yaml_keeps_dates(tmp_path: Path) -> None:
    assert read(tmp_path, "- day: 2024-05-06\n", "data.yaml") == [{"day": datetime.date(2024, 5, 6)}]


def test_yaml_makes_no_python_objects(tmp_path: Path) -> None:
    message = file_refusal(tmp_path, "- a: !!python/object/apply:os.getcwd []\n", "data.yaml")
    assert "not valid YAML" in message


# -- users' mistakes


def test_a_missing_file_says_where_it_was_looked_for(tmp_path: Path) -> None:
    message = refusal("nope.jsonl", tmp_path)
    assert message.startswith(f"dataset 'nope.jsonl' not found: {tmp_path / 'nope.jsonl'}")
    assert message.endswith("paths are relative to the test file")


@pytest.mark.parametrize("name", ["data.txt", "data", "data.gz", "data.jsonl.zip", "data.ods"])
def test_an_unknown_format_lists_the_known_ones(name: str, tmp_path: Path) -> None:
    message = file_refusal(tmp_path, "{}", name)
    assert f"dataset {name!r}: unknown format; known are .jsonl, .json, .csv" in message


def test_a_folder_is_not_a_dataset(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").mkdir()
    assert "cannot be read" in refusal("data.jsonl", tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data.jsonl", ""),
        ("data.jsonl", "\n\n"),
        ("data.json", "[]"),
        ("data.csv", ""),
        ("data.csv", "a,b\n"),
        ("data.tsv", ""),
        ("data.yaml", "[]"),
    ],
)
def test_an_empty_file_is_refused(name: str, text: str, tmp_path: Path) -> None:
    assert file_refusal(tmp_path, text, name) == f"dataset {name!r} is empty: an eval needs at least one row"


def test_an_empty_parquet_file_is_refused(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"a": []}), tmp_path / "data.parquet")
    assert "is empty" in refusal("data.parquet", tmp_path)


def test_malformed_json_names_file_and_line(tmp_path: Path) -> None:
    message = file_refusal(tmp_path, '{"a": 1}\n\n{"a": }\n')
    assert message.startswith(f"{tmp_path / 'data.jsonl'}:3: not valid JSON: Expecting value")


def test_a_malformed_json_file_names_line_and_column(tmp_path: Path) -> None:
    message = file_refusal(tmp_path, '[{"a": 1},\n{"a" 2}]', "data.json")
    assert message.startswith(f"{tmp_path / 'data.json'}: not valid JSON: ")
    assert "line 2 column 6" in message


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have_are_refused(constant: str, tmp_path: Path) -> None:
    message = file_refusal(tmp_path, f'{{"a": {constant}}}')
    assert message.endswith(f"data.jsonl:1: not valid JSON: {constant} is not JSON; use null or leave the field out")


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1.5E+999", "17976931348623157" + "0" * 300 + ".0"])
@pytest.mark.parametrize("name", ["data.jsonl", "data.json", "data.jsonl.gz"])
def test_a_number_beyond_floats_is_refused_with_its_line(number: str, name: str, tmp_path: Path) -> None:
    rows = f'{{"a": 1e300, "b": 1e-400}}\n{{"a": [{{"b": {number}}}]}}'
    text = rows if "jsonl" in name else f"[{rows.replace(chr(10), f',{chr(10)}')}]"
    message = file_refusal(tmp_path, gzip.compress(text.encode()) if name.endswith(".gz") else text, name)
    assert message.endswith(f"{name}:2: the number {number[:40]} is beyond the range of a float; write it as a string")


@pytest.mark.parametrize("name", ["data.jsonl", "data.json"])
def test_an_integer_longer_than_python_reads_is_refused_with_its_line(name: str, tmp_path: Path) -> None:
    text = f'{{"a": {"7" * 5000}}}'
    message = file_refusal(tmp_path, text if name == "data.jsonl" else f"[{text}]", name)
    assert message.endswith(f"{name}:1: an integer of 5000 digits is longer than Python reads; write it as a string")


@pytest.mark.parametrize("number", [".inf", "-.inf", ".nan", "1.0e+400"])
def test_yaml_has_numbers_that_no_row_can_hold(number: str, tmp_path: Path) -> None:
    message = file_refusal(tmp_path, f"- a: 1\n- a: {{b: [{number}]}}\n", "data.yaml")
    assert message.endswith("data.yaml:2: NaN and infinities are no values of a row; use null or leave the field out")


def test_json_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    assert file_refusal(tmp_path, "[" * 100_000).endswith("data.jsonl:1: nested too deeply")


@pytest.mark.parametrize("name", ["data.jsonl", "data.csv", "data.json", "data.yaml"])
def test_a_file_that_is_not_utf8_names_the_line(name: str, tmp_path: Path) -> None:
    message = file_refusal(tmp_path, b"a\n1\n\xe9t\xe9\n", name)
    assert f"{name}:3: not UTF-8" in message
    assert message.endswith("save the file as UTF-8")


@pytest.mark.parametrize(("text", "kind"), [("[1]", "list"), ('"a"', "str"), ("1", "int"), ("null", "NoneType")])
def test_a_line_that_is_no_object_names_file_and_line(text: str, kind: str, tmp_path: Path) -> None:
    message = file_refusal(tmp_path, f'{{"a": 1}}\n{text}\n')
    assert f"data.jsonl:2: a row must be an object with named fields, not {kind}" in message


@pytest.mark.parametrize(("name", "text"), [("data.json", '{"a": 1}'), ("data.yaml", "a: 1")])
def test_an_object_where_rows_are_expected_is_refused(name: str, text: str, tmp_path: Path) -> None:
    assert file_refusal(tmp_path, text, name).endswith(f"{name}: expected a list of rows, found dict")


def test_an_entry_of_a_json_list_that_is_no_object_is_numbered(tmp_path: Path) -> None:
    assert "data.json:1: row 2: a row must be an object" in file_refusal(tmp_path, '[{"a": 1}, 2]', "data.json")


def test_a_csv_row_with_too_many_values_names_file_and_line(tmp_path: Path) -> None:
    assert file_refusal(tmp_path, "a,b\n1,2\n3,4,5\n", "data.csv").endswith(
        "data.csv:3: 3 values for 2 columns; put a text that holds a comma in double quotes"
    )


def test_a_csv_row_with_too_few_values_names_file_and_line(tmp_path: Path) -> None:
    assert file_refusal(tmp_path, "a,b\n1\n", "data.csv").endswith(
        "data.csv:2: 1 value for 2 columns; put a text that holds a comma in double quotes"
    )


def test_two_csv_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    message = file_refusal(tmp_path, "a,b,a\n1,2,3\n", "data.csv")
    assert message.endswith("data.csv:1: two columns have the same name: a, b, a")


@pytest.mark.parametrize("text", ['a\n"open\n', 'a\n"x"y\n'])
def test_malformed_csv_names_file_and_line(text: str, tmp_path: Path) -> None:
    assert "data.csv:2: not valid CSV" in file_refusal(tmp_path, text, "data.csv")


@pytest.mark.parametrize("text", ["- a: [1", "- a: 1\n b: 2", "- {day: 2024-13-45}", "- a\n---\n- b", "[" * 5000])
def test_malformed_yaml_is_refused(text: str, tmp_path: Path) -> None:
    assert f"{tmp_path / 'data.yaml'}: not valid YAML: " in file_refusal(tmp_path, text, "data.yaml")


def test_a_yaml_field_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    message = file_refusal(tmp_path, "- yes: 1\n", "data.yaml")
    assert message.endswith("data.yaml:1: row 1: field names must be strings, not True")


def test_malformed_parquet_is_refused(tmp_path: Path) -> None:
    assert "data.parquet: not valid Parquet" in file_refusal(tmp_path, b"PAR1 nonsense", "data.parquet")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    assert "pip install 'pytest-evals-hf[parquet]'" in file_refusal(tmp_path, b"PAR1", "data.parquet")


@pytest.mark.parametrize("damage", ["text", "cut", "flipped"])
def test_a_damaged_gz_file_is_refused(damage: str, tmp_path: Path) -> None:
    good = gzip.compress(b'{"a": 1}\n' * 100)
    content = {"text": b'{"a": 1}', "cut": good[:-6], "flipped": good[:12] + b"\xff\xff\xff\xff" + good[16:]}[damage]
    message = file_refusal(tmp_path, content, "data.jsonl.gz")
    assert message.startswith(f"dataset {tmp_path / 'data.jsonl.gz'} cannot be read: ")


# -- objects


def test_inline_rows_may_be_a_tuple(tmp_path: Path) -> None:
    assert load(({"a": 1},), tmp_path).rows == ({"a": 1},)


@pytest.mark.parametrize("data", [5, None, {"a"}, object()])
def test_an_object_without_rows_says_what_to_give(data: object, tmp_path: Path) -> None:
    message = refusal(data, tmp_path)
    assert f"cannot read rows from {type(data).__name__}" in message
    assert "give a path, a list of dicts, a function that returns one, or a Hugging Face dataset" in message


def test_an_inline_row_that_is_no_object_is_numbered(tmp_path: Path) -> None:
    assert refusal([{"a": 1}, ["b"]], tmp_path) == (
        "row 2 of inline: a row must be an object with named fields, not list, as in {'field1': 'b'}"
    )


def test_an_inline_field_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    assert refusal([{1: "a"}], tmp_path) == "row 1 of inline: field names must be strings, not 1"


def test_an_empty_list_is_refused(tmp_path: Path) -> None:
    assert refusal([], tmp_path) == "dataset 'inline' is empty: an eval needs at least one row"


def rows_of_a_function() -> list[dict[str, int]]:
    return [{"a": 1}]


def generated_rows() -> Iterator[dict[str, int]]:
    yield {"a": 1}
    yield {"a": 2}


def test_a_function_gives_its_rows_under_its_name(tmp_path: Path) -> None:
    dataset = load(rows_of_a_function, tmp_path)
    assert (dataset.key, dataset.rows) == ("rows_of_a_function", ({"a": 1},))


def test_a_generator_function_gives_its_rows(tmp_path: Path) -> None:
    assert load(generated_rows, tmp_path).rows == ({"a": 1}, {"a": 2})


def test_a_function_that_raises_is_named(tmp_path: Path) -> None:
    def broken() -> list[dict[str, int]]:
        raise KeyError("token")

    assert refusal(broken, tmp_path).endswith("broken raised KeyError: 'token'")


def test_a_generator_function_that_raises_is_named(tmp_path: Path) -> None:
    def broken() -> Iterator[dict[str, int]]:
        yield {"a": 1}
        raise ValueError("half way")

    assert refusal(broken, tmp_path).endswith("broken raised ValueError: half way")


def test_an_async_function_is_refused(tmp_path: Path) -> None:
    async def later() -> list[dict[str, int]]:
        return [{"a": 1}]

    assert refusal(later, tmp_path).endswith("later is async; a dataset function returns rows directly")


def test_an_async_generator_is_refused(tmp_path: Path) -> None:
    async def later() -> AsyncIterator[dict[str, int]]:
        yield {"a": 1}

    assert "cannot read rows from async_generator" in refusal(later, tmp_path)


def test_a_function_that_returns_no_rows_is_refused(tmp_path: Path) -> None:
    assert "cannot read rows from NoneType" in refusal(lambda: None, tmp_path)


def test_a_pandas_frame_gives_a_row_a_line(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"q": ["a", "b"], "n": [1, 2]}, index=[7, 8])
    assert load(frame, tmp_path).rows == ({"q": "a", "n": 1}, {"q": "b", "n": 2})


class HubDataset:
    """Has the shape of a `datasets.Dataset`."""

    column_names = ("q",)

    def __iter__(self) -> Iterator[dict[str, str]]:
        return iter([{"q": "a"}, {"q": "b"}])


class HubSplits(dict[str, HubDataset]):
    """Has the shape of a `datasets.DatasetDict`."""

    @property
    def column_names(self) -> dict[str, tuple[str, ...]]:
        return {name: split.column_names for name, split in self.items()}


def test_a_hub_dataset_gives_its_rows(tmp_path: Path) -> None:
    assert load(HubDataset(), tmp_path).rows == ({"q": "a"}, {"q": "b"})


def test_a_hub_dataset_with_splits_asks_for_one(tmp_path: Path) -> None:
    message = refusal(HubSplits(test=HubDataset()), tmp_path)
    assert message == "dataset 'inline' holds several splits; name one, as in data['test']"
