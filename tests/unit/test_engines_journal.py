"""The journal as engines write it, and as it is read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.completion import Completion, Failure, Likelihood
from pytest_evals.engines.journal import JournalWriter, journal_answer, journal_keys, journal_results
from pytest_evals.engines.protocol import Result

HEAD = '{"type": "journal", "run_id": "r1"}\n'
TEXTS = ['say "x"', "back\\slash", "Zürich \ud800 日本", "two\nlines", ""]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "run.jsonl.journal"
    path.write_text(HEAD, encoding="utf-8")
    return path


def test_an_answer_is_in_the_file_when_it_was_added_and_reads_as_it_was(path: Path) -> None:
    writer = JournalWriter(str(path))
    for number, text in enumerate(TEXTS):
        writer.add(Result(f'test_a.py::test["{number}\\]', Completion(text, latency=0.5)), "m", f"a-b-{number}")
        assert path.read_bytes().count(b"\n") == number + 2
    writer.add(Result("weighed", Completion(likelihoods=(Likelihood("x", -1.5, 2, 3),))), "m", "a-b-9")
    assert writer.problem is None
    with path.open("rb") as file:
        assert [key for key, _ in journal_keys(file)] == ["a-b-0", "a-b-1", "a-b-2", "a-b-3", "a-b-4", "a-b-9"]
    found = list(journal_results(path, ['test_a.py::test["2\\]', "weighed", "other"]))
    assert [result.answer.text for result in found] == [TEXTS[2], ""]
    assert found[0].answer == Completion(TEXTS[2], latency=0.5)
    assert found[1].answer.likelihoods == (Likelihood("x", -1.5, 2, 3),)


def test_errors_and_answers_that_are_asked_for_to_be_computed_are_not_kept(path: Path) -> None:
    writer = JournalWriter(str(path))
    writer.add(Result("a", error=Failure("model", "no")), "m", "a-b-c")
    writer.add(Result("b", Completion("x")), "m", None)
    JournalWriter(None).add(Result("c", Completion("x")), "m", "a-b-c")
    assert path.read_text(encoding="utf-8") == HEAD


def test_what_cannot_be_written_waits_for_the_next_answer(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, write, room = JournalWriter(str(path)), os.write, [30]

    def full(descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        written = write(descriptor, data[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr("pytest_evals.engines.journal.os.write", full)
    writer.add(Result("a", Completion("one")), "m", "a-b-1")
    assert writer.problem == "No space left on device"
    room[0] = 10_000
    writer.add(Result("b", Completion("two")), "m", "a-b-2")
    assert writer.problem is None
    # The line that was broken off is left out, and does not take the next one along.
    with path.open("rb") as file:
        assert [key for key, _ in journal_keys(file)] == ["a-b-2"]


def test_a_journal_that_is_gone_is_not_made_anew(path: Path) -> None:
    path.unlink()
    writer = JournalWriter(str(path))
    writer.add(Result("a", Completion("one")), "m", "a-b-1")
    assert writer.problem == "No such file or directory"
    assert not path.exists()
    assert list(journal_results(path, ["a"])) == []
    path.write_text(HEAD, encoding="utf-8")
    writer.add(Result("b", Completion("two")), "m", "a-b-2")
    assert writer.problem is None
    assert [result.answer.text for result in journal_results(path, ["a", "b"])] == ["one", "two"]


@pytest.mark.parametrize("data", [{}, {"completion": None}, {"completion": {}}, {"completion": {"likelihoods": 3}}])
def test_an_answer_that_cannot_be_read_is_none(data: dict[str, Any]) -> None:
    assert journal_answer(json.loads(json.dumps(data))) is None
