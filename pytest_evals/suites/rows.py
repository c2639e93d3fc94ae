"""What a row says of its case besides the fields: its id, its files, its metadata, what it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_evals.case import Case
from pytest_evals.datasets.dataset import Dataset, Row
from pytest_evals.declaration import Declaration
from pytest_evals.errors import DatasetError, SuiteError, did_you_mean
from pytest_evals.ids import row_id
from pytest_evals.wording import counted


def case_ids(dataset: Dataset, declaration: Declaration, place: str) -> list[str]:
    """Return the id of each row. Raises `DatasetError` for a row without one, and for two that have the same."""
    field = declaration.id
    ids: list[str] = []
    seen: dict[str, int] = {}
    for index, row in enumerate(dataset.rows):
        if field is not None and row.get(field) in (None, ""):
            hint = did_you_mean(field, row)
            raise DatasetError(
                f"{place}: {dataset.places[index]}: no field {field!r} for the id (fields: {', '.join(row)}){hint}"
            )
        case_id = row_id(row, field)
        if case_id in seen:
            first = dataset.places[seen[case_id]]
            what = f"the id {row[field]!r} (as {case_id!r})" if field is not None else "the same content"
            advice = "ids must be unique" if field is not None else "remove one, or name an id field with id="
            raise DatasetError(f"{place}: {first} and {dataset.places[index]} both have {what}; {advice}")
        seen[case_id] = index
        ids.append(case_id)
    return ids


def files_of(declaration: Declaration, dataset: Dataset, index: int, base: Path) -> dict[str, Path]:
    """Return the files of a row, by name. Raises `SuiteError` where they are not declared as such or do not exist."""
    listed = declaration.files
    if listed is None:
        return {}
    if len(listed) != len(dataset.rows):
        raise SuiteError(
            f"{declaration.place}: files has {counted(len(listed), 'mapping')} for {counted(len(dataset.rows), 'row')}; there must be one a row"
        )
    if not isinstance(listed[index], Mapping):
        raise SuiteError(
            f"{declaration.place}: entry {index + 1} of files must be a mapping of name to path, not {type(listed[index]).__name__}"
        )
    paths = {name: base / path for name, path in listed[index].items()}
    for name, path in paths.items():
        if not path.is_file():
            raise SuiteError(f"{declaration.place}: {dataset.places[index]}: file {name!r} not found: {path}")
    return paths


def metadata_of(declaration: Declaration, row: Row, place: str) -> dict[str, Any]:
    """Return the metadata of a row over those of its suite. Raises `DatasetError` for what is no object."""
    own = row.get("metadata") or {}
    if not isinstance(own, Mapping):
        raise DatasetError(
            f"{declaration.place}: {place}: the field 'metadata' must be an object, not {type(own).__name__}"
        )
    return {**(declaration.metadata or {}), **own}


def cluster_of(declaration: Declaration, case: Case) -> str | None:
    """Return what a case shares with others that belong together, `None` where the suite names no field for it. Raises
    `DatasetError` for a row without it.
    """
    field = declaration.cluster
    if field is None:
        return None
    value = case.get(field)
    if value is None or value == "":
        raise DatasetError(
            f"no field {field!r} for the cluster (fields: {', '.join(case)}){did_you_mean(field, case)}; every row needs one"
        )
    if not isinstance(value, (str, int, float)):
        raise DatasetError(
            f"the field {field!r} for the cluster must be a text or a number, not {type(value).__name__}"
        )
    return str(value)
