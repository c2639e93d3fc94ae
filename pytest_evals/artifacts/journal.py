"""The journal of a run as a file: ``run.jsonl`` has ``run.jsonl.journal`` while the run goes on.

It holds the answers of engines as they arrive, and it is locked, so that no other run writes the same artifact. A run that comes to
an end, however it does, moves what its samples do not have into the artifact and removes the journal. Readers of
the artifact of a killed run read its journal too.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Collection, Iterator
from io import FileIO
from pathlib import Path
from typing import Any

from pytest_evals.artifacts.writer import is_at, locked, open_owner_only
from pytest_evals.engines.journal import journal_keys
from pytest_evals.errors import ArtifactError

SUFFIX = ".journal"


def journal_path(artifact: Path) -> Path:
    """Return where the journal of an artifact is: beside the file itself, whatever links lead to it."""
    found = Path(os.path.realpath(artifact))
    return found.with_name(f"{found.name}{SUFFIX}")


class Journal:
    """The journal of this run, from before anything is collected until its end. ``problem`` says why there is none.

    Raises `ArtifactError` where another run is writing the artifact.
    """

    def __init__(self, artifact: Path) -> None:
        self.path = journal_path(artifact)
        self.problem: str | None = None
        self._begun = False
        self._file: FileIO | None = None
        try:
            self._file = _claimed(self.path)
        except OSError as error:
            self.problem = f"answers cannot be kept as they arrive: {self.path}: {error.strerror or error}"
        else:
            if self._file is None:
                raise ArtifactError(f"the artifact {artifact} is being written by another run; choose another file")

    def begin(self, run_id: str) -> None:
        """Replace what a killed run left, now that its artifact is replaced."""
        if self._file is None:
            return
        try:
            self._file.truncate(0)
            self._file.write(f"{json.dumps({'type': 'journal', 'run_id': run_id})}\n".encode())
            self._begun = True
        except OSError as error:
            self.problem = f"answers cannot be kept as they arrive: {self.path}: {error.strerror or error}"

    def rest(self, keys: Collection[str]) -> Iterator[str]:
        """Yield the lines of the answers whose key is not among ``keys``, each key once."""
        if self._file is None or not self._begun:
            return
        seen = set(keys)
        with contextlib.suppress(OSError), os.fdopen(os.dup(self._file.fileno()), "rb") as file:
            file.seek(0)
            for key, line in journal_keys(file):
                if key not in seen:
                    seen.add(key)
                    yield line.decode("ascii").removesuffix("\n")

    def close(self, *, remove: bool = False) -> None:
        """Let go of the file. ``remove`` it where everything in it is in the artifact; one that was never begun, and has nothing of
        another run in it, goes anyway.
        """
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            idle = not self._begun and not os.fstat(self._file.fileno()).st_size
            if (remove or idle) and is_at(self._file, self.path):
                self.path.unlink()
        with contextlib.suppress(OSError):
            self._file.close()
        self._file = None


def _claimed(path: Path) -> FileIO | None:
    """Open a file and lock it as long as this process has it open; return `None` where another one has. Raises `OSError`."""
    while True:
        file = open_owner_only(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, "a+b")
        if not locked(file):
            file.close()
            return None
        if is_at(file, path):
            return file
        # Who had it before removed it between the two calls.
        file.close()


def read_journal(artifact: Path, run_id: str) -> Iterator[dict[str, Any]]:
    """Yield the answers that a run left in its journal, with the keys of `schema.AnswerRecord`; none where it has none."""
    with contextlib.suppress(OSError), journal_path(artifact).open("rb") as file:
        if _run_of(file) == run_id:
            for _, line in journal_keys(file):
                yield json.loads(line)


def _run_of(file: io.BufferedReader) -> object:
    try:
        return json.loads(file.readline()).get("run_id")
    except (ValueError, AttributeError):
        return None
