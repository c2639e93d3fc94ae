"""A dataset: its rows, and where each is written."""

from __future__ import annotations

import dataclasses
import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from pytest_evals.errors import DatasetError
from pytest_evals.hashing import content_hash

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Rows in their order. ``places[i]`` says where row ``i`` is, as ``file:line`` or ``row 3 of data``.

    ``lines`` are those of ``path`` where the rows start: none where the rows do not come from a file of text.
    """

    key: str
    rows: tuple[Row, ...]
    places: tuple[str, ...]
    path: Path | None = None
    lines: tuple[int, ...] = ()
    sources: tuple[tuple[Path, int] | None, ...] = ()
    """What the rows say themselves of their places, see `PLACE`."""

    def source(self, index: int) -> tuple[Path, int] | None:
        """Return the file and the line where a row starts; `None` where no reader could go there."""
        if self.sources and self.sources[index] is not None:
            return self.sources[index]
        return (self.path, self.lines[index]) if self.path and self.lines else None

    @property
    def hash(self) -> str:
        """Hash of the content of all rows, in order; the same data in another file format hashes the same."""
        return content_hash([dict(row) for row in self.rows], length=16)


PLACE = "__place__"
"""The field by which a row says where it is written, as ``prompts.yaml:12``; it is not a field of the case."""
_PLACE = re.compile(r"(.+):([1-9]\d{0,8})", re.DOTALL)


def with_places(dataset: Dataset, base: Path) -> Dataset:
    """Return the dataset with the places that its rows name; paths are relative to ``base``.

    Raises `DatasetError` for a place that is not ``FILE:LINE``, or is in a file that does not exist.
    """
    if not any(PLACE in row for row in dataset.rows):
        return dataset
    sources = [_source(row, place, base) for row, place in zip(dataset.rows, dataset.places, strict=True)]
    return dataclasses.replace(
        dataset,
        rows=tuple({name: value for name, value in row.items() if name != PLACE} for row in dataset.rows),
        places=tuple(
            place if source is None else f"{source[0].name}:{source[1]}"
            for place, source in zip(dataset.places, sources, strict=True)
        ),
        sources=tuple(sources),
    )


def _source(row: Row, place: str, base: Path) -> tuple[Path, int] | None:
    written = row.get(PLACE)
    if written is None:
        return None
    match = _PLACE.fullmatch(written) if isinstance(written, str) else None
    if match is None:
        raise DatasetError(f"{place}: {PLACE} is 'FILE:LINE', as 'prompts.yaml:12', not {written!r:.80}")
    path = base / match[1]
    if not path.is_file():
        raise DatasetError(
            f"{place}: {PLACE} names a file that does not exist: {path} (paths are relative to the test file)"
        )
    return path, int(match[2])


_MISSING = ("NAType", "NaTType")
"""What pandas puts where a value is missing, beside NaN."""


def without_missing(row: Row) -> Row:
    """Return the row with null where a value is missing: NaN, of NumPy and `Decimal` too, and pandas' ``NA`` and ``NaT``, in lists and objects too."""
    changed: Row = _present(row)
    return changed


def _present(value: Any) -> Any:
    """Return the value itself unless something in it is missing."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        entries = {name: _present(entry) for name, entry in value.items()}
        return entries if any(entries[name] is not entry for name, entry in value.items()) else value
    if isinstance(value, (list, tuple)):
        present = [_present(entry) for entry in value]
        return present if any(map(operator.is_not, present, value)) else value
    return None if _is_missing(value) else value


def _is_missing(value: object) -> bool:
    if isinstance(value, float):
        return math.isnan(value)
    if isinstance(value, Decimal):
        return value.is_nan()
    kind = type(value)
    # Other numbers and times of NumPy than its float64, which is a float.
    numpy = kind.__module__ == "numpy" and kind.__name__.startswith(("float", "longdouble", "datetime", "timedelta"))
    return kind.__name__ in _MISSING or (numpy and bool(value != value))  # noqa: PLR0124 - what NaN and NaT are not


def _named(value: object) -> str:
    """Show how a row that has no names could be written."""
    if isinstance(value, str):
        return ", as in {'question': " + repr(value[:40]) + "}"
    if isinstance(value, (list, tuple)) and value and not isinstance(value[0], Mapping):
        return (
            ", as in {"
            + ", ".join(f"'field{number}': {entry!r:.40}" for number, entry in enumerate(value[:3], start=1))
            + "}"
        )
    return ""


def as_row(value: object, where: str) -> Row:
    """Return a row. Raises `DatasetError`, with ``where``, for what has no named fields."""
    if not isinstance(value, Mapping):
        raise DatasetError(
            f"{where}: a row must be an object with named fields, not {type(value).__name__}{_named(value)}"
        )
    for name in value:
        if not isinstance(name, str):
            raise DatasetError(f"{where}: field names must be strings, not {name!r}")
    return value
