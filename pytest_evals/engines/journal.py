"""The journal: answers as engines give them, one on a line, in a file that outlives the processes.

The process of an engine writes an answer before it sends it. So an answer that was there is still there, whichever process is
killed, and whether or not the turn of its case has come. `pytest_evals.artifacts.journal` makes the file and reads it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_evals.completion import Completion
from pytest_evals.engines.protocol import Result, plain_answer

# Every line that this module writes begins like this, so that finding its key and its id takes no parsing.
_ANSWER = re.compile(rb'\{"type": "answer", "key": ("[^"\\]*"), "id": ("(?:[^"\\]|\\.)*")')


class JournalWriter:
    """Appends answers to the journal at ``path``; with `None`, to none.

    Each is with the operating system when `add` returns. Lines that cannot be written wait for the next ones, and ``problem`` says
    why they do.
    """

    def __init__(self, path: str | None) -> None:
        self.problem: str | None = None
        self._path = path
        self._descriptor: int | None = None
        self._waiting = b""

    def add(self, result: Result, model: str, key: str | None) -> None:
        """Write the answer to a request. An answer without a ``key`` must not be reused, so it is left out."""
        if self._path is None or key is None or result.completion is None:
            return
        line = {"type": "answer", "key": key, "id": result.id, "model": model}
        self._waiting += f"{json.dumps({**line, 'completion': plain_answer(result.completion)})}\n".encode()
        try:
            self._write()
        except OSError as error:
            self.problem = error.strerror or str(error)
            # What follows must not continue a line that is broken off.
            self._waiting = b"\n" + self._waiting.lstrip(b"\n")
        else:
            self.problem = None

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _write(self) -> None:
        if self._descriptor is None:
            # Not made here: a journal that was moved away is not begun anew without its first line.
            flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
            self._descriptor = os.open(str(self._path), flags)
        # One call for a line: other engines append to the same file.
        while self._waiting:
            self._waiting = self._waiting[os.write(self._descriptor, self._waiting) :]


def journal_keys(lines: Iterator[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield the whole answers among the lines of a journal, with their keys."""
    for line in lines:
        found = _ANSWER.match(line)
        if found and line.endswith(b"}\n"):
            yield json.loads(found[1]), line


def journal_results(path: Path, wanted: Collection[str]) -> Iterator[Result]:
    """Yield the answers in a journal to the requests with these ids. A journal that cannot be read has none."""
    written = {json.dumps(key).encode() for key in wanted}
    with contextlib.suppress(OSError), path.open("rb") as file:
        for line in file:
            found = _ANSWER.match(line)
            if found and found[2] in written and line.endswith(b"}\n"):
                data = json.loads(line)
                yield Result(data["id"], Completion.from_dict(data["completion"]))


def journal_answer(data: Mapping[str, Any]) -> Completion | None:
    """Return the answer on a line of a journal or an artifact, `None` where it cannot be read."""
    try:
        completion = data["completion"]
        return Completion.from_dict(completion) if "text" in completion or "likelihoods" in completion else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
