"""What ``cases(...)`` was given -> a dataset."""

from __future__ import annotations

import gzip
import inspect
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from pytest_evals.datasets.formats import ALWAYS_PRESENT, READERS
from pytest_evals.datasets.rows import Dataset, Row, as_row, with_places, without_missing
from pytest_evals.errors import DatasetError, did_you_mean

_cache: dict[tuple[Path, str, int, int], Dataset] = {}


def load(data: object, base: Path) -> Dataset:
    """Read ``data`` into a `Dataset`.

    ``data`` is a path (relative to ``base``, the folder of the test file), a list of mappings, a callable that returns
    one, a Hugging Face ``datasets`` object or a pandas frame. A blank cell of CSV and a missing value (NaN) are null.

    A row may say in the field ``__place__`` where it is written, as ``prompts.yaml:12``: IDEs and reports go there.

    Raises `DatasetError` for a missing or malformed file (with its line), an unknown kind, and an empty dataset.
    """
    if isinstance(data, (str, Path)):
        dataset = _load_file(base / data, str(data))
    elif callable(data):
        dataset = _from_callable(data)
    else:
        dataset = _from_object(data, "inline")
    if not dataset.rows:
        raise DatasetError(f"dataset {dataset.key!r} is empty: an eval needs at least one row")
    return with_places(dataset, base)


def _load_file(path: Path, key: str) -> Dataset:
    try:
        status = path.stat()
    except OSError as error:
        raise DatasetError(
            f"dataset {key!r} not found: {path} ({error.strerror}); paths are relative to the test file"
            f"{_on_hub(key) or did_you_mean(path.name, _beside(path))}"
        ) from error
    stamp = (path, key, status.st_mtime_ns, status.st_size)
    if stamp not in _cache:
        _cache[stamp] = _read_file(path, key)
    return _cache[stamp]


def _beside(path: Path) -> list[str]:
    """Return the names of the files that are where ``path`` would be."""
    try:
        return sorted(each.name for each in path.parent.iterdir() if each.is_file())
    except OSError:
        return []


def _on_hub(key: str) -> str:
    """Say how a data set of the hub is given, where a path that does not exist looks like the name of one."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", key) or "." in key.rpartition("/")[2]:
        return ""
    return f"; for a data set of the Hugging Face hub write data=datasets.load_dataset({key!r}, split='test')"


def _read_file(path: Path, key: str) -> Dataset:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    zipped = suffixes[-1:] == [".gz"]
    kind = (suffixes[:-1] if zipped else suffixes)[-1:]
    if not kind or kind[0] not in READERS:
        raise DatasetError(f"dataset {key!r}: unknown format; known are {', '.join(READERS)}, and .gz of each")
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if zipped else raw
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"dataset {path} cannot be read: {error}") from error
    numbers: list[int] = []
    rows: list[Row] = []
    for number, row in READERS[kind[0]](path, content):
        numbers.append(number)
        rows.append(row if kind[0] in ALWAYS_PRESENT else without_missing(row))
    if kind[0] in (".parquet", ".xlsx"):
        # No line of a file of text.
        return Dataset(key, tuple(rows), tuple(f"row {number} of {path.name}" for number in numbers))
    places = tuple(f"{path.name}:{number}" for number in numbers)
    # A packed file has lines only once it is unpacked: a reader who is sent to it would not see them.
    return Dataset(key, tuple(rows), places, path, () if zipped else tuple(numbers))


def _from_callable(function: Callable[[], object]) -> Dataset:
    name = getattr(function, "__qualname__", type(function).__name__)
    try:
        value = function()
        rows = list(value) if isinstance(value, Iterator) else value
    except Exception as error:  # a user's loader may fail in any way; the message says whose it is
        raise DatasetError(f"dataset function {name} raised {type(error).__name__}: {error}") from error
    if inspect.isawaitable(value):
        getattr(value, "close", lambda: None)()
        raise DatasetError(f"dataset function {name} is async; a dataset function returns rows directly")
    return _from_object(rows, name)


def _from_object(value: object, key: str) -> Dataset:
    if type(value).__name__ == "DataFrame" and hasattr(value, "to_dict"):
        frame: Any = value
        # An index with a name is a column; without one it only counts rows.
        named_index = any(name is not None for name in frame.index.names)
        value = (frame.reset_index() if named_index else frame).to_dict("records")
    elif isinstance(value, Iterator):
        raise DatasetError(
            f"dataset {key!r}: a {type(value).__name__} can be read only once; give the function itself, without calling it, or a list"
        )
    elif isinstance(value, Mapping) and not hasattr(value, "column_names"):
        raise DatasetError(
            f"dataset {key!r}: a dict is not a list of rows; of columns, pandas.DataFrame(data) makes rows, and of rows by their id, "
            "[{'id': key, **row} for key, row in data.items()]"
        )
    elif not isinstance(value, (list, tuple)) and not hasattr(value, "column_names"):
        raise DatasetError(
            f"dataset {key!r}: cannot read rows from {type(value).__name__}; give a path, a list of dicts, "
            "a function that returns one, or a Hugging Face dataset (one split of it)"
        )
    if isinstance(getattr(value, "column_names", None), Mapping):
        raise DatasetError(f"dataset {key!r} holds several splits; name one, as in data['test']")
    rows = cast("Iterable[object]", value)
    named = tuple(without_missing(as_row(row, f"row {number} of {key}")) for number, row in enumerate(rows, start=1))
    return Dataset(key, named, tuple(f"row {number} of {key}" for number in range(1, len(named) + 1)))
