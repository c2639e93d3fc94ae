"""CSV and JSON Lines: a row a case."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from pytest_evals.artifacts.sample import dump
from pytest_evals.text import encodable

# What a spreadsheet takes for a formula (also in full width, for some languages); a plain number is none.
_FORMULA = re.compile(r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?\Z")


def write_csv(file: TextIO, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows under ``columns``. What a spreadsheet would run as a formula gets a ``'`` before it."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([cell(name) for name in columns])
    writer.writerows([cell(row.get(name)) for name in columns] for row in rows)


def cell(value: Any) -> str:
    """Return a value as a cell: nothing for `None`, JSON for lists and objects."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return (
            json.dumps(value, ensure_ascii=False) if not isinstance(value, (list, dict)) else encodable(dump_any(value))
        )
    text = encodable(value).replace("\0", "\\x00")
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.match(text) else text


def dump_any(value: Any) -> str:
    """Return any value of an artifact as JSON."""
    return dump({"": value})[len('{"": ') : -1]


def write_jsonl(file: TextIO, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write each row as an object on a line."""
    file.writelines(f"{dump(row)}\n" for row in rows)
