"""Reads an artifact line by line, in as much memory as one line takes, however large the file is.

The file is gone through twice: once to find its ends and what was run again, once for the samples. Lines are plain data;
`pytest_evals.artifacts.schema` makes models of them. What is wrong with a file is an `ArtifactError` that names it and the line.
"""

from __future__ import annotations

import gzip
import re
import shutil
import sys
import tempfile
import weakref
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import BufferedReader
from pathlib import Path
from typing import cast

from pytest_evals.artifacts.journal import read_journal
from pytest_evals.artifacts.validation import (
    ParsedLine,
    checked_answer,
    checked_run,
    checked_summary,
    parsed,
    read_sample,
    unexpected,
)
from pytest_evals.errors import ArtifactError

STANDARD_INPUT = "-"
_GZIP = b"\x1f\x8b"
_BLANK = b" \t\r\n\0"  # a file system that lost power may have filled the end with zeros
_MARK = b"\xef\xbb\xbf"  # what some editors put before UTF-8
_LONGEST_RUN_LINE = 64 * 1024 * 1024
# Every sample that this package writes starts like this, so that finding its name takes no parsing.
_SAMPLE = re.compile(rb'\{"type": "sample", "id": "[^"\\]*", "nodeid": "([^"\\]*)"')
_ANSWER = b'{"type": "answer", "key": '


class ArtifactReader:
    """An artifact on disk. ``path`` may also be ``-``, the standard input, or a pipe.

    ``run`` and ``summary`` are its first and its last line (`None` if the run was killed), ``cut`` tells whether a last line
    was left out because it is broken off, and ``len()`` is the number of samples: each counts once, however often it was
    run. Raises `ArtifactError` for what is not an artifact.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path if path == STANDARD_INPUT else Path(path)
        self.run: ParsedLine
        self.summary: ParsedLine | None = None
        self.cut = False
        self._spool: BufferedReader | None = None
        self._last_attempts: set[int] = set()
        self._answer_lines: set[int] = set()
        self._scan()

    @property
    def complete(self) -> bool:
        """Tell whether the run came to its end."""
        return self.summary is not None and bool(self.summary["complete"])

    def __len__(self) -> int:
        return len(self._last_attempts)

    def samples(self) -> Iterator[ParsedLine]:
        """Yield the samples, of each case the last attempt. They have at least the keys of this version's schema."""
        for number, line in self._lines():
            if number in self._last_attempts:
                yield read_sample(line, self._where(number))

    def answers(self) -> Iterator[ParsedLine]:
        """Yield the answers that are in no sample: of cases that did not finish. A run that was killed, or still goes on, has them
        in its journal, beside the file.
        """
        for number, line in self._lines() if self._answer_lines else ():
            if number in self._answer_lines:
                yield checked_answer(parsed(line, self._where(number)), self._where(number))
        if self.summary is None and isinstance(self.path, Path):
            yield from read_journal(self.path, str(self.run["run_id"]))

    # -- the first pass

    def _scan(self) -> None:
        """Read both ends, and find out which lines are the last attempts of their case."""
        attempts: dict[str, int] = {}
        started = False
        for number, line in self._lines():
            where = self._where(number)
            if started and line.endswith(b"}\n") and self._told_apart(number, line, attempts):
                continue
            try:
                data = parsed(line, where)
            except ArtifactError:
                if started and not line.endswith(b"\n"):
                    # The run was killed while it wrote this line.
                    self.cut = True
                    break
                raise
            if not started:
                self.run, started = checked_run(data, where), True
            elif data.get("type") == "sample":
                attempts[str(data.get("nodeid"))] = number
            elif data.get("type") == "answer":
                self._answer_lines.add(number)
            elif data.get("type") == "summary":
                self.summary = checked_summary(data, where)
            else:
                raise ArtifactError(f"{where}: {unexpected(data.get('type'))}")
        if not started:
            raise ArtifactError(f"{self.path} is empty: it is not an artifact of pytest --evals")
        self._last_attempts = set(attempts.values())

    def _told_apart(self, number: int, line: bytes, attempts: dict[str, int]) -> bool:
        """Take note of a sample or an answer as this package writes them; return whether it is one."""
        known = _SAMPLE.match(line)
        if known:
            attempts[known[1].decode("utf-8", "replace")] = number
        elif line.startswith(_ANSWER):
            self._answer_lines.add(number)
        else:
            return False
        return True

    def _where(self, number: int) -> str:
        return f"{self.path}:{number}"

    # -- bytes

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield lines that are not blank, with their numbers."""
        try:
            with self._open() as file:
                _check_start(file.peek(64), self.path)
                number = 0
                while line := file.readline(_LONGEST_RUN_LINE if number == 0 else -1):
                    number += 1
                    if number == 1 and len(line) == _LONGEST_RUN_LINE:
                        raise ArtifactError(
                            f"{self.path} is not an artifact of pytest --evals: its first line has no end"
                        )
                    if line.strip(_BLANK):
                        yield number, line.removeprefix(_MARK) if number == 1 else line
        except EOFError:
            # A compressed file that breaks off: what is there counts.
            self.cut = True
        except (OSError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or error
            raise ArtifactError(f"artifact {self.path} cannot be read: {reason}") from error

    @contextmanager
    def _open(self) -> Iterator[BufferedReader | gzip.GzipFile]:
        if self._spool is None and not (isinstance(self.path, Path) and _rereadable(self.path)):
            self._spool = _spooled(self.path)
            weakref.finalize(self, self._spool.close)
        with nullcontext(self._spool) if self._spool else Path(self.path).open("rb") as file:
            file.seek(0)
            if file.peek(2)[:2] != _GZIP:
                yield file
                return
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield unpacked


def _check_start(start: bytes, path: object) -> None:
    if start.removeprefix(_MARK).lstrip()[:1] not in (b"{", b""):
        raise ArtifactError(f"{path} is not an artifact of pytest --evals: it does not hold JSON Lines")


def _rereadable(path: Path) -> bool:
    if path.is_dir():
        raise ArtifactError(f"{path} is a folder; give the path of an artifact in it")
    return path.is_file() or not path.exists()


def _spooled(path: str | Path) -> BufferedReader:
    """Copy what can be read only once into a file of its own, which goes with this process."""
    if path == STANDARD_INPUT and sys.stdin is None:
        raise ArtifactError("the standard input is closed: there is not an artifact to read")
    with nullcontext(sys.stdin.buffer) if path == STANDARD_INPUT else Path(path).open("rb") as source:
        start = source.read(64)
        if not start.startswith(_GZIP):
            _check_start(start, path)
        copy = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as its reader
        copy.write(start)
        shutil.copyfileobj(source, copy)
    return cast("BufferedReader", copy)
