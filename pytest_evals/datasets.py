"""Files and objects -> rows.

A dataset is read as it is collected and never touches a model. Every row knows where it stands, so that an error, and
later whoever shows its case, can name the file and the line.
"""

from __future__ import annotations

import csv
import gzip
import importlib
import inspect
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

from pytest_evals.errors import DatasetError
from pytest_evals.ids import content_hash

Row = Mapping[str, Any]
FORMATS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".yaml", ".yml")
_JSON_SPACE = re.compile(r"[ \t\n\r]*")
# csv refuses fields above 128 KiB unless told otherwise; long documents are ordinary data here.
_CSV_FIELD_LIMIT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Dataset:
    """Rows in their order. ``places[i]`` says where row ``i`` stands, as ``file:line`` or ``row 3 of data``.

    ``lines`` are those of ``path`` where the rows start: none where the rows do not come from a file of text.
    """

    key: str
    rows: tuple[Row, ...]
    places: tuple[str, ...]
    path: Path | None = None
    lines: tuple[int, ...] = ()

    def source(self, index: int) -> tuple[Path, int] | None:
        """Return the file and the line where a row starts; `None` where no reader could go there."""
        return (self.path, self.lines[index]) if self.path and self.lines else None

    @property
    def hash(self) -> str:
        """Hash of the content of all rows, in order; the same data in another file format hashes the same."""
        return content_hash([dict(row) for row in self.rows], length=16)


_cache: dict[tuple[Path, str, int, int], Dataset] = {}


def load(data: object, base: Path) -> Dataset:
    """Read ``data`` into a `Dataset`.

    ``data`` is a path (relative to ``base``, the folder of the test file), a list of mappings, a callable that returns
    one, a Hugging Face ``datasets`` object or a pandas frame.

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
    return dataset


def _load_file(path: Path, key: str) -> Dataset:
    try:
        status = path.stat()
    except OSError as error:
        raise DatasetError(
            f"dataset {key!r} not found: {path} ({error.strerror}); paths are relative to the test file"
        ) from error
    stamp = (path, key, status.st_mtime_ns, status.st_size)
    if stamp not in _cache:
        _cache[stamp] = _read_file(path, key)
    return _cache[stamp]


def _read_file(path: Path, key: str) -> Dataset:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    zipped = suffixes[-1:] == [".gz"]
    kind = (suffixes[:-1] if zipped else suffixes)[-1:]
    if not kind or kind[0] not in FORMATS:
        raise DatasetError(f"dataset {key!r}: unknown format; known are {', '.join(FORMATS)}, and .gz of each")
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if zipped else raw
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"dataset {path} cannot be read: {error}") from error
    numbers: list[int] = []
    rows: list[Row] = []
    for number, row in _READERS[kind[0]](path, content):
        numbers.append(number)
        rows.append(row)
    if kind[0] == ".parquet":
        return Dataset(key, tuple(rows), tuple(f"row {number} of {path.name}" for number in numbers))
    places = tuple(f"{path.name}:{number}" for number in numbers)
    # What is packed has lines once it is unpacked, and nobody who is sent to the file would see them.
    return Dataset(key, tuple(rows), places, path, () if zipped else tuple(numbers))


def _decode(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DatasetError(f"{path}:{line}: not UTF-8 ({error.reason}); save the file as UTF-8") from error


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; use null or leave the field out")


def _parse_json(text: str, where: str) -> Any:
    try:
        return json.loads(text, parse_constant=_reject_constant)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{where}: not valid JSON: {error}") from error


def _as_row(value: object, where: str) -> Row:
    if not isinstance(value, Mapping):
        raise DatasetError(f"{where}: a row must be an object with named fields, not {type(value).__name__}")
    for name in value:
        if not isinstance(name, str):
            raise DatasetError(f"{where}: field names must be strings, not {name!r}")
    return value


def _read_jsonl(path: Path, content: bytes) -> Iterator[tuple[int, Row]]:
    # Only newlines end a line: str.splitlines would also break at U+2028, which may stand inside a JSON string.
    for number, line in enumerate(_decode(path, content).split("\n"), start=1):
        if line.strip():
            where = f"{path}:{number}"
            yield number, _as_row(_parse_json(line, where), where)


def _read_json(path: Path, content: bytes) -> Iterator[tuple[int, Row]]:
    text = _decode(path, content)
    try:
        numbered = list(_elements(text))
    except (ValueError, RecursionError):
        # The whole of it says best what is wrong.
        raise _no_list(path, _parse_json(text, str(path))) from None
    yield from _numbered(path, numbered)


def _elements(text: str) -> Iterator[tuple[int, object]]:
    """Yield the elements of a JSON array with their lines, each parsed once. Raises `ValueError` for anything else."""
    decoder = json.JSONDecoder(parse_constant=_reject_constant)
    position, line, counted = _after_space(text, 0), 1, 0
    closing = "["
    while text[position : position + 1] == closing:
        position = _after_space(text, position + 1)
        if closing == "[" and text[position : position + 1] == "]":
            break
        line += text.count("\n", counted, position)
        counted = position
        value, position = decoder.raw_decode(text, position)
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
        value = None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that does not exist
        raise DatasetError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(value, list):
        raise _no_list(path, value)
    yield from _numbered(path, zip((entry.start_mark.line + 1 for entry in node.value), value, strict=True))


def _no_list(path: Path, value: object) -> DatasetError:
    return DatasetError(f"{path}: expected a list of rows, found {type(value).__name__}")


def _numbered(path: Path, entries: Iterable[tuple[int, object]]) -> Iterator[tuple[int, Row]]:
    for number, (line, entry) in enumerate(entries, start=1):
        yield line, _as_row(entry, f"{path}:{line}: row {number}")


def _read_csv(path: Path, content: bytes, delimiter: str = ",") -> Iterator[tuple[int, Row]]:
    csv.field_size_limit(_CSV_FIELD_LIMIT)
    reader = csv.reader(io.StringIO(_decode(path, content), newline=""), delimiter=delimiter, strict=True)
    try:
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
                raise DatasetError(f"{path}:{line}: {len(values)} values for {len(header)} columns")
            yield line, dict(zip(header, values, strict=True))
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


_READERS: dict[str, Callable[[Path, bytes], Iterator[tuple[int, Row]]]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".parquet": _read_parquet,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
}


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
        value = value.to_dict("records")
    elif not isinstance(value, (list, tuple)) and not hasattr(value, "column_names"):
        raise DatasetError(
            f"dataset {key!r}: cannot read rows from {type(value).__name__}; give a path, a list of dicts, "
            "a function that returns one, or a Hugging Face dataset (one split of it)"
        )
    if isinstance(getattr(value, "column_names", None), Mapping):
        raise DatasetError(f"dataset {key!r} holds several splits; name one, as in data['test']")
    rows = cast("Iterable[object]", value)
    named = tuple(_as_row(row, f"row {number} of {key}") for number, row in enumerate(rows, start=1))
    return Dataset(key, named, tuple(f"row {number} of {key}" for number in range(1, len(named) + 1)))
