"""Writes the artifact: a line a finished case, flushed, so that a crash costs nothing that was done."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import IO, Any, TextIO, cast

from pytest_evals.artifacts.sample import dump
from pytest_evals.errors import ArtifactError
from pytest_evals.text import pluralize

SCHEMA = 2
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
                if not locked(file):
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
    on, and nothing is lost that can still be kept. A file that another run wrote meanwhile is left to it. All lines are kept in
    memory too, packed, so that an artifact which is not as it was written can be written once more, somewhere else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.started = False
        self.problem: str | None = None
        self.whole = False
        """Whether all of it is in the file at ``path``, which after `finish` may be another one."""
        self._found = _state(path)
        self._taken: str | None = None
        self._file: FileIO | None = None
        self._identity: tuple[int, int] | None = None
        self._copy = PackedLines()
        # How many bytes were written, and those that follow: one value, since a signal may come between any two statements.
        self._rest = (0, b"")

    def start(self, run: Mapping[str, Any]) -> None:
        """Write the first line."""
        self.started = True
        self.write(dump(run))

    def restate(self, run: Mapping[str, Any]) -> None:
        """Replace the first line, as long as it is the only one: more is known now."""
        before, line = self._copy.read(), f"{dump(run)}\n".encode()
        if before.count(b"\n") != 1 or before == line:
            return
        # A shorter one is filled up with blanks, which JSON allows: the file is never without its first line.
        line = line[:-1].ljust(len(before) - 1) + b"\n"
        self._copy = PackedLines(line)
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.seek(0)
        self._rest = (0, line)
        self._flush()

    def write(self, line: str) -> None:
        """Write one line; when this returns without a problem, the file has it."""
        if not self.started:
            raise ArtifactError(f"the artifact {self.path} was not started")
        data = f"{line}\n".encode()
        self._copy.add(data)
        written, rest = self._rest
        self._rest = (written, rest + data)
        self._flush()

    def _flush(self) -> None:
        if self._taken is not None:
            # It is all in the copy.
            self._rest = (0, b"")
            return
        try:
            self._write_rest()
        except ForeignFileError as error:
            self._taken = self.problem = str(error)
            self._rest = (0, b"")
        except (OSError, ArtifactError) as error:
            self.problem = getattr(error, "strerror", None) or str(error)
        else:
            self.problem = None

    def _write_rest(self) -> None:
        if self._file is None:
            self._file = _opened(self.path, self._found)
            self._identity = _identity(self._file)
        if _identity(self._file) != self._identity:
            # A test that closes all descriptors closes this one, too; its number may be another file's by now.
            raise ArtifactError("something in this process closed it")
        while True:
            written, rest = self._rest
            place = self._file.tell()
            self._rest = (place, rest[place - written :])
            if not self._rest[1]:
                return
            self._file.write(self._rest[1])

    def finish(self, summary: Mapping[str, Any]) -> str | None:
        """Write the last line and close. Return what became of an artifact that is not where it should be, or not whole; `None`
        of one that is.
        """
        if not self.started:
            return None
        self.write(dump(summary))
        if self._file is not None and self.problem is None:
            self.problem = self._settled(self._file)
        self.whole = self.problem is None
        said = None if self.whole else f"the artifact {self.path} is not whole: {self.problem}; {self._rescue()}"
        if self._file is not None and _identity(self._file) == self._identity:
            self._file.close()
        return said

    def _settled(self, file: FileIO) -> str | None:
        """Have the file on disk; return why it is not, or not as it was written."""
        try:
            if not self.path.exists():
                gone = "removed" if not os.fstat(file.fileno()).st_nlink else "moved or removed"
                return f"it was {gone} while the run went on"
            if not is_at(file, self.path):
                return "another file was put in its place while the run went on"
            os.fsync(file.fileno())
            file.seek(0)
            if not self._copy.equals(iter(lambda: file.read(_CHUNK), b"")):
                return "something else changed it while the run went on"
        except OSError as error:
            return error.strerror or str(error)
        return None

    def _rescue(self) -> str:
        """Write the whole artifact somewhere else; say where."""
        try:
            descriptor, name = tempfile.mkstemp(prefix="evals-", suffix=".jsonl")
            with os.fdopen(descriptor, "wb") as whole:
                whole.writelines(self._copy.chunks())
                whole.flush()
                os.fsync(whole.fileno())
        except OSError as error:
            missing = self._rest[1].count(b"\n") or self._copy.lines
            return f"its last {pluralize(missing, 'line')} are lost, since nothing can be written to {tempfile.gettempdir()} either: {error.strerror}"
        self.path = Path(name)
        self.whole = True
        return f"all of it is in {name}"


_CHUNK = 1 << 20
_LINES = 64


class PackedLines:
    """Bytes that were written, in a quarter of their size."""

    def __init__(self, data: bytes = b"") -> None:
        self.lines = 0
        self._packer = zlib.compressobj(1)
        self._packed: list[bytes] = []
        # Packed together: a call for each line takes as long as writing it.
        self._unpacked: list[bytes] = []
        if data:
            self.add(data)

    def add(self, data: bytes) -> None:
        """Take what follows."""
        self.lines += data.count(b"\n")
        self._unpacked.append(data)
        if len(self._unpacked) >= _LINES:
            self._pack()

    def _pack(self) -> None:
        lines, self._unpacked = self._unpacked, []
        packed = self._packer.compress(b"".join(lines))
        if packed:
            self._packed.append(packed)

    def chunks(self) -> Iterator[bytes]:
        """Yield all of it."""
        self._pack()
        unpacker = zlib.decompressobj()
        for packed in (*self._packed, self._packer.copy().flush()):
            yield unpacker.decompress(packed)
        yield unpacker.flush()

    def read(self) -> bytes:
        """Return all of it."""
        return b"".join(self.chunks())

    def equals(self, others: Iterator[bytes]) -> bool:
        """Tell whether it is what ``others`` are together."""
        return _digest(self.chunks()) == _digest(others)


def _digest(chunks: Iterator[bytes]) -> tuple[int, int]:
    length = checksum = 0
    for chunk in chunks:
        length, checksum = length + len(chunk), zlib.crc32(chunk, checksum)
    return length, checksum


class ForeignFileError(ArtifactError):
    """A file belongs to another run."""


FileState = tuple[int, int, int, int]
"""Device, file, size and time of the last change."""


def _state(path: Path) -> FileState | None:
    """Return what changes when a file is written, `None` where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _opened(path: Path, found: FileState | None) -> FileIO:
    """Open the file for this run alone, and empty it. Raises `ForeignFileError` where another run is writing it, or has done so
    since it was ``found`` at the start.
    """
    # Opening empties nothing: another run may be writing.
    check_regular(path, "it cannot go there:")
    if _state(path) != found and _state(path) is not None:
        raise ForeignFileError("another run wrote it meanwhile")
    file = open_owner_only(path, os.O_RDWR | os.O_CREAT, "r+b")
    if not locked(file):
        file.close()
        raise ForeignFileError("another run is writing it")
    # Between the two looks another one may have begun, and come to its end.
    if os.fstat(file.fileno()).st_size and _state(path) != found:
        file.close()
        raise ForeignFileError("another run wrote it meanwhile")
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.truncate(0)
    return file


def _identity(file: FileIO) -> tuple[int, int] | None:
    """Return what tells an open file from others, `None` of one that is closed."""
    try:
        found = os.fstat(file.fileno())
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_at(file: FileIO, path: Path) -> bool:
    """Tell whether an open file is the one at ``path``. Raises `OSError`."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(file.fileno()))


def open_owner_only(path: Path, flags: int, mode: str) -> FileIO:
    """Open a file that only its owner may read: texts of people and models are in it. Not every system has such modes."""
    descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0), OWNER_ONLY)
    make_owner_only(descriptor)
    return cast("FileIO", os.fdopen(descriptor, mode, buffering=0))


def make_owner_only(file: int | Path) -> None:
    """Take a file from everybody but its owner, where it is this user's and has a mode."""
    # File systems without modes, and files of another user, are left as they are: the artifact matters more.
    with contextlib.suppress(OSError, NotImplementedError):
        found = os.stat(file)  # noqa: PTH116 - a descriptor has no path
        if stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) & 0o077:
            os.chmod(file, stat.S_IMODE(found.st_mode) & 0o700)  # noqa: PTH101 - the same


def locked(file: IO[bytes]) -> bool:
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

    Raises `ArtifactError` where it cannot be written, and for what is not a file: a device must not be replaced.
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
