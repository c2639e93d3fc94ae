"""Files -> rows, each with the line at which it starts; of Parquet, its number."""

from __future__ import annotations

import codecs
import csv
import datetime
import importlib
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from pytest_evals.datasets.rows import Row, as_row
from pytest_evals.errors import DatasetError
from pytest_evals.text import pluralize

_JSON_SPACE = re.compile(r"[ \t\n\r]*")
_BLANK = ("", "NaN")
# csv refuses fields above 128 KiB unless told otherwise; long documents are ordinary data here.
_CSV_FIELD_LIMIT = 2**31 - 1
_MOST_VALUES = 10_000_000
_SEPARATOR_LINE = re.compile(r"\Asep=(.)\Z")
_QUOTED = re.compile(r'"[^"]*"')
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}


def _decode(path: Path, content: bytes) -> str:
    try:
        # Excel's "Unicode text" is UTF-16, which begins with the mark of its byte order.
        return content.decode(
            "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
        )
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DatasetError(f"{path}:{line}: not UTF-8 ({error.reason}); save the file as UTF-8") from error


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; use null or leave the field out")


def _finite(written: str) -> float:
    number = float(written)
    if not math.isfinite(number):
        raise NumberError(f"the number {written[:40]} is beyond the range of a float; write it as a string")
    return number


def _integer(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:
        raise NumberError(
            f"an integer of {len(digits)} digits is longer than Python reads; write it as a string"
        ) from None


_DECODER = json.JSONDecoder(parse_constant=_reject_constant, parse_float=_finite, parse_int=_integer)


class NumberError(ValueError):
    """A number that is JSON, and that no row can hold: what is written of it later would be another one."""


def _parse_json(text: str, where: str) -> Any:
    try:
        return _DECODER.decode(text)
    except NumberError as error:
        raise DatasetError(f"{where}: {error}") from error
    except RecursionError as error:
        raise DatasetError(f"{where}: nested too deeply") from error
    except ValueError as error:
        raise DatasetError(f"{where}: not valid JSON: {error}") from error


def _read_jsonl(path: Path, content: bytes) -> Iterator[tuple[int, Row]]:
    # Only newlines end a line: str.splitlines would also break at U+2028, which may be inside a JSON string.
    for number, line in enumerate(_decode(path, content).split("\n"), start=1):
        if line.strip():
            where = f"{path}:{number}"
            value = _parse_json(line, where)
            if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
                raise DatasetError(
                    f"{where}: this line is a list of rows; JSON Lines has one row a line (a file with a list is .json)"
                )
            yield number, as_row(value, where)


def _read_json(path: Path, content: bytes) -> Iterator[tuple[int, Row]]:
    text = _decode(path, content)
    try:
        numbered = list(_elements(text, path))
    except (ValueError, RecursionError):
        # The whole of it says best what is wrong.
        raise _no_list(path, _parse_json(text, str(path))) from None
    yield from _numbered(path, numbered)


def _elements(text: str, path: Path) -> Iterator[tuple[int, object]]:
    """Yield the elements of a JSON array with their lines, each parsed once. Raises `ValueError` for anything else, `DatasetError`
    for a number that no row can hold.
    """
    position, line, counted = _after_space(text, 0), 1, 0
    closing = "["
    while text[position : position + 1] == closing:
        position = _after_space(text, position + 1)
        if closing == "[" and text[position : position + 1] == "]":
            break
        line += text.count("\n", counted, position)
        counted = position
        try:
            value, position = _DECODER.raw_decode(text, position)
        except NumberError as error:
            raise DatasetError(f"{path}:{line}: {error}") from error
        yield line, value
        position, closing = _after_space(text, position), ","
    if text[position : position + 1] != "]" or _after_space(text, position + 1) != len(text):
        raise ValueError("not an array")


def _after_space(text: str, position: int) -> int:
    match = _JSON_SPACE.match(text, position)
    return match.end() if match else position


def _read_yaml(path: Path, content: bytes) -> Iterator[tuple[int, Row]]:
    yaml = importlib.import_module("yaml")
    try:
        # What yaml.safe_load does, in the two steps between which the lines are known.
        loader = yaml.SafeLoader(_decode(path, content))
        node = loader.get_single_node()
        if node is not None and _values_of(node, {}) > _MOST_VALUES:
            raise DatasetError(f"{path}: its aliases (*name) repeat what they name more than {_MOST_VALUES:,} times")
        value = None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that does not exist
        raise DatasetError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(value, list):
        raise _no_list(path, value)
    lines = [entry.start_mark.line + 1 for entry in node.value]
    for line, entry in zip(lines, value, strict=True):
        if _holds_no_number(entry):
            raise DatasetError(
                f"{path}:{line}: NaN and infinities are not values of a row; use null or leave the field out"
            )
    yield from _numbered(path, zip(lines, value, strict=True))


def _values_of(node: Any, known: dict[int, float]) -> float:
    """Return how many values a node of YAML comes to, with those of its aliases each time; infinite for one that holds itself."""
    if isinstance(node.value, str):
        return 1
    if id(node) not in known:
        known[id(node)] = math.inf
        parts = [part for entry in node.value for part in (entry if isinstance(entry, tuple) else (entry,))]
        known[id(node)] = 1 + sum(_values_of(part, known) for part in parts)
    return known[id(node)]


def _holds_no_number(value: object) -> bool:
    """Tell whether NaN or an infinity is somewhere in a value of YAML, which may hold itself."""
    waiting, seen = [value], set[int]()
    while waiting:
        each = waiting.pop()
        if isinstance(each, float) and not math.isfinite(each):
            return True
        if isinstance(each, (list, dict)) and id(each) not in seen:
            seen.add(id(each))
            waiting += each.values() if isinstance(each, dict) else each
    return False


def _no_list(path: Path, value: object) -> DatasetError:
    return DatasetError(f"{path}: expected a list of rows, found {type(value).__name__}")


def _numbered(path: Path, entries: Iterable[tuple[int, object]]) -> Iterator[tuple[int, Row]]:
    for number, (line, entry) in enumerate(entries, start=1):
        yield line, as_row(entry, f"{path}:{line}: row {number}")


def _delimiter_of(text: str) -> tuple[str, bool]:
    """Return what separates the columns of a CSV file, and whether its first line does nothing but say so, as Excel writes it
    (``sep=;``). Where the list separator of a country is a semicolon, spreadsheets write that.
    """
    first = text.split("\n", 1)[0].rstrip("\r")
    named = _SEPARATOR_LINE.match(first)
    if named:
        return named[1], True
    # A name in quotes may hold any of them.
    bare = _QUOTED.sub("", first)
    return next((each for each in (",", ";", "\t") if each in bare), ","), False


def _read_csv(path: Path, content: bytes, delimiter: str | None = None) -> Iterator[tuple[int, Row]]:
    csv.field_size_limit(_CSV_FIELD_LIMIT)
    text = _decode(path, content)
    delimiter, announced = (delimiter, False) if delimiter is not None else _delimiter_of(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        if announced:
            next(reader)
        header = next(reader, None)
        if header is None:
            return
        if len(set(header)) != len(header):
            raise DatasetError(f"{path}:1: two columns have the same name: {', '.join(header)}")
        start = reader.line_num + 1
        for values in reader:
            # A row may go over several lines, and starts after the one before.
            line, start = start, reader.line_num + 1
            if not values:
                continue
            if len(values) != len(header):
                raise DatasetError(
                    f"{path}:{line}: {pluralize(len(values), 'value')} for {pluralize(len(header), 'column')}; put a text that holds a "
                    f"{_DELIMITERS.get(delimiter, repr(delimiter))} in double quotes"
                )
            # CSV has no other way to say that there is nothing; pandas and spreadsheets write it so.
            yield line, {name: None if cell in _BLANK else cell for name, cell in zip(header, values, strict=True)}
    except csv.Error as error:
        raise DatasetError(f"{path}:{reader.line_num}: not valid CSV: {error}") from error


def _read_tsv(path: Path, content: bytes) -> Iterator[tuple[int, Row]]:
    yield from _read_csv(path, content, delimiter="\t")


def _read_parquet(path: Path, content: bytes) -> Iterator[tuple[int, Row]]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise DatasetError(f"{path}: reading Parquet needs pyarrow: pip install 'pytest-evals-hf[parquet]'") from error
    try:
        rows = parquet.read_table(io.BytesIO(content)).to_pylist()
    except Exception as error:  # pyarrow raises its own tree of errors, whose base is Exception
        raise DatasetError(f"{path}: not valid Parquet: {error}") from error
    yield from enumerate(rows, start=1)


def _read_xlsx(path: Path, content: bytes) -> Iterator[tuple[int, Row]]:
    """Read the first sheet of a workbook: its first row names the columns, formulas have the values that were computed last."""
    try:
        openpyxl = importlib.import_module("openpyxl")
    except ImportError as error:
        raise DatasetError(
            f"{path}: reading Excel workbooks needs openpyxl: pip install 'pytest-evals-hf[xlsx]'"
        ) from error
    try:
        workbook = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        lines = list(workbook.worksheets[0].iter_rows(values_only=True)) if workbook.worksheets else []
    except Exception as error:  # openpyxl raises what its parsers of ZIP and XML raise
        raise DatasetError(f"{path}: not a workbook of Excel (.xlsx): {error}") from error
    header = [_as_plain(cell) for cell in lines[0]] if lines else []
    while header and header[-1] is None:
        header.pop()
    if any(not isinstance(name, str) for name in header) or len(set(header)) != len(header):
        raise DatasetError(f"{path}:1: the first row names the columns, each with a name of its own, not {header}")
    for number, cells in enumerate(lines[1:], start=2):
        if any(cell is not None for cell in cells[len(header) :]):
            raise DatasetError(
                f"{path}:{number}: a cell is outside of the {pluralize(len(header), 'column')} that row 1 names"
            )
        values = [_as_plain(cell) for cell in cells[: len(header)]]
        if any(value is not None for value in values):
            yield number, {str(name): value for name, value in zip(header, values, strict=False)}


def _as_plain(cell: object) -> object:
    """Return the value of a cell as JSON has it: dates as ISO 8601 writes them, blank ones as null."""
    if isinstance(cell, (datetime.date, datetime.time)):
        return cell.isoformat()
    if isinstance(cell, datetime.timedelta):
        return cell.total_seconds()
    if isinstance(cell, str) and (cell in _BLANK or not cell.strip()):
        return None
    return cell


ALWAYS_PRESENT = (".jsonl", ".json", ".csv", ".tsv", ".yaml", ".yml")
"""Formats whose readers give no NaN: JSON has none, YAML's is refused, and the cells of CSV are text."""
READERS: dict[str, Callable[[Path, bytes], Iterator[tuple[int, Row]]]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".xlsx": _read_xlsx,
    ".parquet": _read_parquet,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
}
