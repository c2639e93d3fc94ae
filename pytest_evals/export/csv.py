"""CSV and JSON Lines: a row a case."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from pytest_evals.artifacts.sample import dump
from pytest_evals.sinks import for_csv, for_json
from pytest_evals.text import encodable, encodable_data

# Also what separates cells for some readers. Python's own writer leaves a carriage return as it is before 3.13.
_QUOTED = re.compile(r'[",;\t\r\n]|\A\s|\s\Z')


def write_csv(file: TextIO, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows under ``columns``. What a spreadsheet would run as a formula gets a ``'`` before it."""
    file.write(_row(columns))
    file.writelines(_row([row.get(name) for name in columns]) for row in rows)


def _row(values: Sequence[Any]) -> str:
    cells = [cell(value) for value in values]
    quoted = ['"{}"'.format(text.replace('"', '""')) if _QUOTED.search(text) else text for text in cells]
    # For most readers an empty line is not a row.
    return f"{','.join(quoted)}\n" if cells != [""] else '""\n'


def cell(value: Any) -> str:
    """Return a value as a cell: nothing for `None`, JSON for lists and objects."""
    if value is None:
        return ""
    if isinstance(value, str):
        return for_csv(value)
    return for_csv(encodable(dump_any(value))) if isinstance(value, (list, dict)) else json.dumps(value)


def dump_any(value: Any) -> str:
    """Return any value of an artifact as JSON."""
    return dump({"": value})[len('{"": ') : -1]


def write_jsonl(file: TextIO, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write each row as an object on a line, which every reader of JSON takes: half of a surrogate pair is an escape in text."""
    file.writelines(f"{for_json(dump(encodable_data(row)))}\n" for row in rows)
