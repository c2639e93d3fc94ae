"""The answers of people, in a file beside the artifact: ``run.jsonl`` has ``run.answers.jsonl``.

JSON Lines: a line that names the run, then one line an answer, in the order in which they were given; of several by the
same person to the same question the last counts. Lines are only ever appended, each under a lock and down to the disk,
so that two windows, several people and a crash cost nothing that was answered.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any

from pytest_evals.artifacts.writer import check_regular, open_owner_only
from pytest_evals.errors import ArtifactError

SCHEMA = 1
AnswerPlace = tuple[str, str]
"""Sample id and grader: where an answer belongs."""


@dataclass(frozen=True, slots=True)
class HumanAnswer:
    """One answer. ``value`` is `None` where the reviewer skipped the case or took an answer back; ``question`` and
    ``shown`` are digests of what was asked and what the case showed.
    """

    sample: str
    grader: str
    reviewer: str
    value: Any = None
    skipped: bool = False
    flagged: bool = False
    comment: str = ""
    question: str = ""
    shown: str = ""
    at: str = ""


def answers_path(artifact: Path) -> Path:
    """Return where the answers to an artifact's questions are."""
    return artifact.with_name(f"{artifact.name.removesuffix('.gz').removesuffix('.jsonl')}.answers.jsonl")


class AnswerBook:
    """The answers to one run's questions. The file is made with the first answer.

    Raises `ArtifactError` for a file that belongs to another run, that a newer version wrote, or that is damaged.
    """

    def __init__(self, path: Path, run_id: str) -> None:
        self.path = path
        self._run_id = run_id
        self._read = 0
        self._answers: dict[tuple[str, str, str], HumanAnswer] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take in what was written since, by this process or another one."""
        check_regular(self.path, "the file of answers")
        try:
            with self.path.open("rb") as file:
                file.seek(self._read)
                lines = file.read()
        except FileNotFoundError:
            return
        except OSError as error:
            raise ArtifactError(f"the answers {self.path} cannot be read: {error.strerror or error}") from error
        # A line without its end is one that a crash cut off, or that is being written.
        whole = lines[: lines.rfind(b"\n") + 1]
        for line in whole.split(b"\n")[:-1]:
            self._take(line, first=self._read == 0)
            self._read += len(line) + 1

    def _take(self, line: bytes, *, first: bool) -> None:
        try:
            data = json.loads(line)
        except ValueError as error:
            raise ArtifactError(f"the answers {self.path} are damaged after byte {self._read}: {error}") from error
        kind = data.get("type") if isinstance(data, dict) else None
        if first:
            self._check_header(data if isinstance(data, dict) else {})
        elif kind == "answer" and all(isinstance(data.get(name), str) for name in ("sample", "grader", "reviewer")):
            known = {field.name for field in fields(HumanAnswer)}
            answer = HumanAnswer(**{name: value for name, value in data.items() if name in known})
            self._answers[answer.sample, answer.grader, answer.reviewer] = answer
        else:
            raise ArtifactError(f"the answers {self.path} are damaged after byte {self._read}: a line is not an answer")

    def _check_header(self, data: dict[str, Any]) -> None:
        if data.get("type") != "answers" or not isinstance(data.get("schema"), int):
            raise ArtifactError(
                f"{self.path} holds no answers of pytest-evals annotate: its first line is not an 'answers' line"
            )
        if data["schema"] > SCHEMA:
            raise ArtifactError(
                f"{self.path}: written with schema {data['schema']}, newer than schema {SCHEMA} which this version reads; upgrade pytest-evals-hf"
            )
        if data.get("run_id") != self._run_id:
            raise ArtifactError(
                f"{self.path} holds answers to the run {data.get('run_id')!r}, and this run is {self._run_id!r}; "
                "move the file away, or take the artifact that it was made for"
            )

    def __len__(self) -> int:
        return sum(answer.value is not None for answer in self._answers.values())

    def all(self) -> list[HumanAnswer]:
        """Return the last answer of each reviewer to each question, those taken back and skipped among them."""
        return list(self._answers.values())

    def at(self, place: AnswerPlace) -> list[HumanAnswer]:
        """Return the answers of all reviewers at one place, in the order in which they first answered."""
        return [answer for (sample, grader, _), answer in self._answers.items() if (sample, grader) == place]

    def by_place(self) -> dict[AnswerPlace, list[HumanAnswer]]:
        """Return the answers that have a value, by their places."""
        found: dict[AnswerPlace, list[HumanAnswer]] = {}
        for answer in self._answers.values():
            if answer.value is not None:
                found.setdefault((answer.sample, answer.grader), []).append(answer)
        return found

    def add(self, answer: HumanAnswer) -> None:
        """Write an answer down to the disk. Raises `ArtifactError` when it cannot be written."""
        line = json.dumps({"type": "answer", **asdict(answer)}, ensure_ascii=True, allow_nan=False)
        header = json.dumps({"type": "answers", "schema": SCHEMA, "run_id": self._run_id})
        try:
            with self._open() as file, _locked(file):
                _drop_partial_line(file)
                start = f"{header}\n" if file.tell() == 0 else ""
                file.write(f"{start}{line}\n".encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ArtifactError(f"the answer cannot be written to {self.path}: {error.strerror or error}") from error
        self.refresh()

    def _open(self) -> IO[bytes]:
        return open_owner_only(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, "ab+")

    def check_writable(self) -> None:
        """Find out before anybody answers whether answers can be kept. Raises `ArtifactError`."""
        existed = self.path.exists()
        try:
            with self._open():
                pass
            if not existed:
                self.path.unlink()
        except OSError as error:
            raise ArtifactError(
                f"answers go beside the artifact, and {self.path} cannot be written: {error.strerror or error}; "
                "copy the artifact to a folder of yours"
            ) from error


def _drop_partial_line(file: IO[bytes]) -> None:
    """Cut off what a crash left of a line, and move to the end. No other process writes while the lock is held."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return
    file.seek(0)
    end = file.read().rfind(b"\n") + 1
    if end < size:
        file.truncate(end)
    file.seek(0, os.SEEK_END)


@contextlib.contextmanager
def _locked(file: IO[bytes]) -> Iterator[None]:
    """Hold the file for this process alone."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined]  # only there on Windows
        try:
            yield
        finally:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined]  # the same
        return
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


# -- What people said, from the grades of a run that took their answers in.


def recorded_answers(samples: Iterable[Mapping[str, Any]]) -> dict[AnswerPlace, list[HumanAnswer]]:
    """Return the answers in the grades of a run that was itself graded again."""
    found: dict[AnswerPlace, dict[str, HumanAnswer]] = {}
    for sample in samples:
        forms: dict[str, Mapping[str, Any]] = {}
        for grade in sample["grades"]:
            metadata = grade.get("metadata") or {}
            if "shown" not in metadata and "of" not in metadata:
                continue
            name = metadata.get("field")
            key = grade["grader_key"].removesuffix(f".{name}") if name else grade["grader_key"]
            asked = forms.setdefault(key, metadata)
            for record in metadata.get("answers", ()):
                before = found.get((sample["id"], key), {}).get(record["reviewer"])
                value = {**(before.value if before else {}), name: record["value"]} if name else record["value"]
                answer = HumanAnswer(
                    sample["id"], key, record["reviewer"], value, False, bool(record.get("flagged")),
                    record.get("comment", ""), asked.get("digest", ""), asked.get("shown", ""), record.get("at", ""),
                )  # fmt: skip
                found.setdefault((sample["id"], key), {})[record["reviewer"]] = answer
    return {place: list(answers.values()) for place, answers in found.items()}
