"""Writes the artifact: a line a finished case, flushed, so that a crash costs nothing that was done."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from pytest_evals.artifacts.sample import dump
from pytest_evals.errors import ArtifactError

SCHEMA = 1
"""The version that this package writes, and the newest that it reads."""


def check_writable(path: Path, what: str = "the artifact") -> None:
    """Find out before anything is generated whether ``path`` can be written; parents are made. Raises `ArtifactError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise ArtifactError(f"{what} {path} is a folder; give the path of a file")
        if path.exists():
            with path.open("ab"):
                pass
        else:
            with tempfile.TemporaryFile(dir=path.parent):
                pass
    except OSError as error:
        raise ArtifactError(f"{what} {path} cannot be written: {error.strerror or error}") from error


def make_folder(folder: Path) -> None:
    """Make the default folder of artifacts, with a ``.gitignore`` of its own. Raises `ArtifactError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("# Artifacts of pytest --evals\n*\n", encoding="utf-8")
    except OSError as error:
        raise ArtifactError(f"the artifact folder {folder} cannot be made: {error.strerror or error}") from error


class Recorder:
    """One artifact in the making. An existing file is replaced when the first line is written, not before."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO | None = None

    @property
    def started(self) -> bool:
        """Tell whether anything was written."""
        return self._file is not None

    def start(self, run: Mapping[str, Any]) -> None:
        """Write the first line."""
        self._file = self.path.open("w", encoding="utf-8", newline="\n")
        self.write(dump(run))

    def write(self, line: str) -> None:
        """Write one line and flush it."""
        if self._file is None:
            raise ArtifactError(f"the artifact {self.path} was not started")
        self._file.write(line + "\n")
        self._file.flush()

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the last line and close."""
        if self._file is None:
            return
        self.write(dump(summary))
        os.fsync(self._file.fileno())
        self._file.close()


def make_parents(path: Path) -> None:
    """Make the folder that ``path`` goes into. Raises `ArtifactError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be written: {error.strerror or error}") from error


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """Open a file of text that takes the place of ``path`` once it is whole; see `replacing_path`."""
    with replacing_path(path) as part, part.open("x", encoding="utf-8", newline="\n") as file:
        yield file


@contextmanager
def replacing_path(path: Path) -> Iterator[Path]:
    """Yield where to write what takes the place of ``path`` once it is whole; after an error, ``path`` is as it was.

    Raises `ArtifactError` where it cannot be written.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
