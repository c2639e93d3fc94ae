"""Parquet: a row a case, in columns with a type each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pytest_evals.errors import ArtifactError
from pytest_evals.export.csv import dump_any
from pytest_evals.text import encodable

_ROWS = 2000
"""Rows that are in memory at a time."""
_LARGEST = 2**63


def column_types(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the type of each column: ``bool``, ``int64``, ``double``, or ``string``; what is mixed or nested is JSON in a string."""
    found: dict[str, set[str]] = {}
    for row in rows:
        for name, value in row.items():
            found.setdefault(name, set()).add(_kind(value))
    return {name: _type(kinds - {"nothing"}) for name, kinds in found.items()}


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64" if -_LARGEST <= value < _LARGEST else "large"
    return {float: "double", str: "string"}.get(type(value), "json")


def _type(kinds: set[str]) -> str:
    if len(kinds) == 1 and kinds <= {"bool", "int64", "double", "string"}:
        return next(iter(kinds))
    if not kinds:
        return "string"
    return "double" if kinds <= {"int64", "double"} else "json"


def _converter(kind: str) -> Callable[[Any], Any]:
    if kind == "string":
        return lambda value: None if value is None else encodable(value)
    if kind == "json":
        return lambda value: None if value is None else encodable(dump_any(value))
    return (lambda value: None if value is None else float(value)) if kind == "double" else (lambda value: value)


def write_parquet(path: Path, types: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows with columns of ``types``. Needs pyarrow: the extra ``parquet``."""
    try:
        import pyarrow
        from pyarrow.parquet import ParquetWriter
    except ImportError as error:
        raise ArtifactError("exporting Parquet needs pyarrow: pip install 'pytest-evals-hf[parquet]'") from error
    kinds = {"bool": pyarrow.bool_(), "int64": pyarrow.int64(), "double": pyarrow.float64()}
    schema = pyarrow.schema([(encodable(name), kinds.get(kind, pyarrow.string())) for name, kind in types.items()])
    converters = {name: _converter(kind) for name, kind in types.items()}
    stream = iter(rows)
    with ParquetWriter(path, schema, compression="zstd") as writer:
        while batch := list(itertools.islice(stream, _ROWS)):
            columns = [[convert(row.get(name)) for row in batch] for name, convert in converters.items()]
            arrays = [pyarrow.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
            writer.write_batch(pyarrow.record_batch(arrays, schema=schema))
