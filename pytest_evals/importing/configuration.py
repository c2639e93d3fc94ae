"""Files of other tools: YAML and JSON, read into plain values; what they name in Python is kept as a name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_evals.datasets.loading import load
from pytest_evals.errors import DatasetError
from pytest_evals.importing.suite import ImportFileError


@dataclass(frozen=True, slots=True)
class PythonName:
    """A function that a configuration names (``!function utils.doc_to_text``). It is not imported."""

    name: str

    def __str__(self) -> str:
        return f"!function {self.name}"


def read_text(path: Path) -> str:
    """Return the text of a file. Raises `ImportFileError` for one that cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ImportFileError(f"{path} cannot be read: {reason}") from error


def read_mapping(path: Path, *, core: bool = False) -> dict[str, Any]:
    """Return the mapping that a YAML or JSON file holds. Raises `ImportFileError` for anything else."""
    value = read_value(path, core=core)
    if not isinstance(value, dict):
        raise ImportFileError(f"{path} holds {type(value).__name__}, not a mapping of names to values")
    return value


def read_value(path: Path, *, core: bool = False) -> Any:
    """Return what a YAML or JSON file holds. Raises `ImportFileError` for one that is not well formed."""
    text = read_text(path)
    try:
        return json.loads(text) if path.suffix == ".json" else parse_yaml(text, core=core)
    except ValueError as error:
        raise ImportFileError(f"{path} is not well formed: {' '.join(str(error).split())}") from error


def parse_yaml(text: str, *, core: bool = False) -> Any:
    """Return the value of a YAML text; ``!function`` gives a `PythonName`. Raises `ValueError` unless it is well formed.

    ``core``: only ``true`` and ``false`` are booleans, as in YAML 1.2 and JavaScript; else ``yes`` and ``off`` are some too.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    def name(_loader: Any, node: Any) -> PythonName:
        return PythonName(str(node.value))

    Loader.add_constructor("!function", name)
    if core:
        boolean = "tag:yaml.org,2002:bool"
        Loader.yaml_implicit_resolvers = {
            first: [(tag, pattern) for tag, pattern in known if tag != boolean]
            for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }
        Loader.add_implicit_resolver(boolean, re.compile(r"\A(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF"))
    try:
        return yaml.load(text, Loader)  # noqa: S506 - a SafeLoader, with one more tag that makes no object of the file's
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(error) from error


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a data file. Raises `ImportFileError` for one that cannot be read, as a pointer of Git LFS."""
    try:
        return [dict(row) for row in load(path.name, path.parent).rows]
    except DatasetError as error:
        pointer = path.is_file() and path.stat().st_size < 1000 and b"git-lfs" in path.read_bytes()
        hint = " (it is a pointer of Git LFS: run 'git lfs pull' where it comes from)" if pointer else ""
        raise ImportFileError(f"the rows cannot be read: {error}{hint}") from error


def as_mapping(value: object, what: str) -> Mapping[str, Any]:
    """Return ``value``, an empty mapping for null. Raises `ImportFileError` for what is not a mapping."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ImportFileError(f"{what} must be a mapping, not {value!r:.60}")
    return value


def as_list(value: object) -> list[Any]:
    """Return a list: of one value where it is none, empty for null."""
    return value if isinstance(value, list) else [] if value is None else [value]
