"""``--evals-cache``: answers that are kept across runs, in one SQLite file that several runs may use at once.

A cache is never worth a run: what is wrong with it is said in a note, and the run goes on without it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_evals.artifacts.writer import open_owner_only
from pytest_evals.completion import Completion
from pytest_evals.engines.answer_cache import AnswerKey
from pytest_evals.engines.protocol import Request
from pytest_evals.errors import EvalsError
from pytest_evals.text import pluralize

FILE = "answers.sqlite3"
MOST_BYTES = 1 << 30
"""What is kept at most; beyond it the answers that were not used for the longest time are dropped."""
_KEPT_SHARE = 0.9
_BUSY_SECONDS = 10.0
_TABLE = (
    "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, data TEXT NOT NULL, used REAL NOT NULL) WITHOUT ROWID"
)
_SIZE = "SELECT count(*), coalesce(sum(length(data)), 0) FROM answers"


class Cache:
    """Answers by key in ``folder``. ``writes``: new ones are added. The caller lets one thread in at a time.

    ``shown`` is how messages name it; ``problem`` is why it is not used (any more).
    """

    name = "cache"

    def __init__(self, folder: Path, *, writes: bool, shown: str = "", most_bytes: int = MOST_BYTES) -> None:
        self.path = folder / FILE
        self.shown = shown or str(self.path)
        self.problem: str | None = None
        self._writes = writes
        self._most_bytes = most_bytes
        self._used: set[str] = set()
        self._database: sqlite3.Connection | None = None
        self._damaged: set[str] = set()
        self._added = 0
        self._opened = writes or self.path.exists()
        if self._opened:
            with self._guarded():
                self._database = connect(self.path, writes=writes)

    def find(self, key: AnswerKey, request: Request) -> Completion | None:
        """Return the answer to the same request; one that cannot be read is none."""
        del request  # the key says all
        with self._guarded():
            row = self._run("SELECT data FROM answers WHERE key = ?", str(key))
            if row is not None:
                self._used.add(str(key))
                answer = _answer(row[0])
                if answer is None:
                    self._damaged.add(str(key))
                return answer
        return None

    def has(self, model: str) -> bool:
        """Tell whether there is an answer of the model with this digest."""
        with self._guarded():
            # In the order of letters "." comes after "-".
            return self._run("SELECT 1 FROM answers WHERE key > ? AND key < ?", f"{model}-", f"{model}.") is not None
        return False

    def keep(self, key: AnswerKey, completion: Completion) -> None:
        """Keep an answer."""
        if not self._writes:
            return
        data = replace(completion, origin=None, queued=None).to_dict()
        with self._guarded():
            self._run("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", str(key), json.dumps(data), time.time())
            self._added += 1

    def notes(self, taken: str) -> list[str]:
        """Say what was ``taken`` from it, and what was wrong with it."""
        if self.problem:
            return [self.problem]
        parts = [f"{taken} taken from it"]
        if self._writes:
            parts.append(f"{pluralize(self._added, 'answer')} added")
        if self._damaged:
            parts.append(f"{pluralize(len(self._damaged), 'answer')} in it could not be read")
        if not self._opened:
            return [f"cache {self.shown}: there is none yet (--evals-cache=write makes one)"]
        return [f"cache {self.shown}: {', '.join(parts)}"]

    def close(self) -> None:
        """Note what was used, make room, and close."""
        with self._guarded():
            if self._database is not None and self._writes:
                with transaction(self._database):
                    marks = ((time.time(), key) for key in self._used)
                    self._database.executemany("UPDATE answers SET used = ? WHERE key = ?", marks)
                shrink(self._database, self._most_bytes)
        if self._database is not None:
            self._database.close()
            self._database = None

    def _run(self, statement: str, *values: Any) -> Any:
        return None if self._database is None or self.problem else self._database.execute(statement, values).fetchone()

    @contextlib.contextmanager
    def _guarded(self) -> Any:
        try:
            yield
        except sqlite3.Error as error:
            self.problem = (
                self.problem or f"the cache {self.shown} is not used: {error}; 'pytest-evals cache clear' removes it"
            )


def connect(path: Path, *, writes: bool = False) -> sqlite3.Connection:
    """Open the database, to be written if ``writes``: then it is made if need be. Raises `sqlite3.Error` when it is
    damaged.
    """
    if not writes:
        return sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS, check_same_thread=False
        )
    with contextlib.suppress(OSError):
        # SQLite gives the files beside it the same mode. What cannot be opened it names itself.
        open_owner_only(path, os.O_RDWR | os.O_CREAT, "r+b").close()
    # Every statement is a transaction of its own, so that what a crash leaves is whole.
    database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        # Readers and one writer do not wait for each other. A file system without shared memory refuses, and keeps its way.
        database.execute("PRAGMA journal_mode=WAL").fetchone()
        database.execute("PRAGMA synchronous=NORMAL")
        database.execute(_TABLE)
    except sqlite3.Error:
        database.close()
        raise
    return database


@contextlib.contextmanager
def transaction(database: sqlite3.Connection) -> Any:
    """Make one transaction of several statements."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def shrink(database: sqlite3.Connection, most_bytes: int) -> int:
    """Drop what was not used for the longest time until the rest fits; return how many answers went."""
    _, size = database.execute(_SIZE).fetchone()
    if size <= most_bytes:
        return 0
    dropped = []
    for key, length in database.execute("SELECT key, length(data) FROM answers ORDER BY used"):
        if size <= most_bytes * _KEPT_SHARE:
            break
        dropped.append((key,))
        size -= length
    with transaction(database):
        database.executemany("DELETE FROM answers WHERE key = ?", dropped)
    return len(dropped)


def measure(path: Path) -> tuple[int, int]:
    """Return the number of answers and their bytes. Raises `sqlite3.Error`."""
    database = connect(path)
    try:
        count, size = database.execute(_SIZE).fetchone()
    finally:
        database.close()
    return int(count), int(size)


def clear(folder: Path) -> bool:
    """Remove the cache from ``folder``, whatever state it is in; return whether there was one. Raises `OSError`."""
    files = [path for suffix in ("", "-wal", "-shm") if (path := folder / f"{FILE}{suffix}").exists()]
    for path in files:
        path.unlink()
    return bool(files)


def check_folder(folder: Path) -> None:
    """Find out whether the cache can be written; the folder is made. Raises `EvalsError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / FILE).open("ab"):
            pass
    except OSError as error:
        raise EvalsError(f"--evals-cache: {folder} cannot be written: {error.strerror or error}") from error


def _answer(text: str) -> Completion | None:
    try:
        data = json.loads(text)
        return Completion.from_dict(data) if "text" in data or "likelihoods" in data else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
