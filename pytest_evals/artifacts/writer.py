"""Writes the artifact: a line a finished case, flushed, so that a crash costs nothing that was done."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import IO, Any, TextIO, cast

from pytest_evals.artifacts.sample import dump
from pytest_evals.errors import ArtifactError
from pytest_evals.text import pluralize

SCHEMA = 1
"""The version that this package writes, and the newest that it reads."""
OWNER_ONLY = 0o600
"""The mode of artifacts, pages and answers, where the system has modes."""


def check_writable(path: Path, what: str = "the artifact") -> None:
    """Find out before anything is generated whether ``path`` can be written; parents are made. Raises `ArtifactError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise ArtifactError(f"{what} {path} is a folder; give the path of a file")
        if path.exists():
            check_regular(path, what)
            with path.open("ab") as file:
                if not _locked(file):
                    raise ArtifactError(f"{what} {path} is being written by another run; choose another file")
        else:
            with tempfile.TemporaryFile(dir=path.parent):
                pass
    except OSError as error:
        raise ArtifactError(f"{what} {path} cannot be written: {error.strerror or error}") from error


def check_regular(path: Path, what: str) -> None:
    """Raise `ArtifactError` for the path of a pipe, which hangs, or of a device, which keeps nothing."""
    if path.exists() and not path.is_file() and not path.is_dir():
        kind = "a pipe" if path.is_fifo() else "a socket" if path.is_socket() else "a device"
        raise ArtifactError(f"{what} {path} is {kind}; give the path of a file")


def make_folder(folder: Path) -> None:
    """Make the default folder of artifacts, for its owner alone, with a ``.gitignore`` of its own. Raises `ArtifactError`."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("# Artifacts of pytest --evals\n*\n", encoding="utf-8")
    except OSError as error:
        raise ArtifactError(f"the artifact folder {folder} cannot be made: {error.strerror or error}") from error


class ArtifactWriter:
    """One artifact in the making. An existing file is replaced when the first line is written, not before.

    Where a line cannot be written (the disk is full, say), ``problem`` says why, and every later line tries again: the run goes
    on, and nothing is lost that can still be kept.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.started = False
        self.problem: str | None = None
        self._file: FileIO | None = None
        self._pending = bytearray()

    def start(self, run: Mapping[str, Any]) -> None:
        """Write the first line."""
        self.started = True
        self.write(dump(run))

    def write(self, line: str) -> None:
        """Write one line; when this returns without a problem, the file has it."""
        if not self.started:
            raise ArtifactError(f"the artifact {self.path} was not started")
        self._pending += f"{line}\n".encode()
        try:
            self._write_pending()
        except (OSError, ArtifactError) as error:
            self.problem = getattr(error, "strerror", None) or str(error)
        else:
            self.problem = None

    def _write_pending(self) -> None:
        if self._file is None:
            self._file = _opened(self.path)
        while self._pending:
            del self._pending[: self._file.write(self._pending)]

    def finish(self, summary: Mapping[str, Any]) -> str | None:
        """Write the last line and close. Return what became of an artifact that could not be written, `None` of one that is
        whole.
        """
        if not self.started:
            return None
        self.write(dump(summary))
        if self._file is not None and self.problem is None:
            self.problem = self._settled(self._file)
        said = (
            None if self.problem is None else f"the artifact {self.path} is not whole: {self.problem}; {self._rescue()}"
        )
        if self._file is not None:
            self._file.close()
        return said

    def _settled(self, file: FileIO) -> str | None:
        """Have the file on disk; return why it is not."""
        if not os.fstat(file.fileno()).st_nlink:
            return "it was removed while the run went on"
        try:
            if self.path.is_file():
                os.fsync(file.fileno())
        except OSError as error:
            return error.strerror or str(error)
        return None

    def _rescue(self) -> str:
        """Write the whole artifact somewhere else; say where."""
        missing = self._pending.count(b"\n")
        try:
            descriptor, name = tempfile.mkstemp(prefix="evals-", suffix=".jsonl")
            with os.fdopen(descriptor, "wb") as whole:
                # A device holds nothing that could be read.
                if self._file is not None and stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                    self._file.seek(0)
                    shutil.copyfileobj(self._file, whole)
                whole.write(self._pending)
        except OSError as error:
            return f"its last {pluralize(missing, 'line')} are lost, since nothing can be written to {tempfile.gettempdir()} either: {error.strerror}"
        self.path = Path(name)
        return f"all of it is in {name}"


def _opened(path: Path) -> FileIO:
    """Open the file for this run alone, and empty it. Raises `ArtifactError` where another run is writing it."""
    # Opening empties nothing: another run may be writing.
    check_regular(path, "it cannot go there:")
    file = open_owner_only(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, "a+b")
    if not _locked(file):
        file.close()
        raise ArtifactError("another run is writing it")
    if path.is_file():
        file.truncate(0)
    return file


def open_owner_only(path: Path, flags: int, mode: str) -> FileIO:
    """Open a file that only its owner may read: texts of people and models are in it. Not every system has such modes."""
    descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0), OWNER_ONLY)
    make_owner_only(descriptor)
    return cast("FileIO", os.fdopen(descriptor, mode, buffering=0))


def make_owner_only(file: int | Path) -> None:
    """Take a file from everybody but its owner, where it is this user's and has a mode."""
    with contextlib.suppress(OSError, NotImplementedError):
        found = os.stat(file)  # noqa: PTH116 - a descriptor has no path
        if stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) & 0o077:
            os.chmod(file, stat.S_IMODE(found.st_mode) & 0o700)  # noqa: PTH101 - the same


def _locked(file: IO[bytes]) -> bool:
    """Lock a file as long as it is open; return false where another process has done so. Not every system can."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # A file system that knows no locks.
        return True
    return True


def make_parents(path: Path) -> None:
    """Make the folder that ``path`` goes into. Raises `ArtifactError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be written: {error.strerror or error}") from error


@contextmanager
def replacing(path: Path, *, owner_only: bool = False) -> Iterator[TextIO]:
    """Open a file of text that takes the place of ``path`` once it is whole; see `replacing_path`."""
    with replacing_path(path) as part, part.open("x", encoding="utf-8", newline="\n") as file:
        if owner_only:
            make_owner_only(part)
        yield file


@contextmanager
def replacing_path(path: Path) -> Iterator[Path]:
    """Yield where to write what takes the place of ``path`` once it is whole; after an error, ``path`` is as it was. Folders
    are made.

    Raises `ArtifactError` where it cannot be written, and for what is no file: a device must not be replaced.
    """
    make_parents(path)
    check_regular(path, "the file")
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
