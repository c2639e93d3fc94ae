"""The journal beside an artifact: whose it is, what becomes of it, who reads it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pytest_evals.artifacts.artifact import EvaluationArtifact
from pytest_evals.artifacts.journal import Journal, journal_path, read_journal
from pytest_evals.artifacts.reader import ArtifactReader
from pytest_evals.completion import Completion
from pytest_evals.engines.journal import JournalWriter
from pytest_evals.engines.protocol import Result
from pytest_evals.errors import ArtifactError
from pytest_evals.reuse.recorded_run import read_recorded

from .recorded import run_line, sample_line, summary_line


def answered(path: Path, *names: str) -> None:
    writer = JournalWriter(str(path))
    for name in names:
        writer.add(Result(name, Completion(f"text of {name}")), "m", f"d-p-{name}")
    assert writer.problem is None


def test_what_is_in_no_sample_is_moved_to_the_artifact_and_the_journal_goes(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run.jsonl")
    journal.begin("r1")
    answered(journal.path, "a", "b", "a", "c")
    lines = [json.loads(line) for line in journal.rest({"d-p-b"})]
    assert [(line["type"], line["key"], line["model"]) for line in lines] == [
        ("answer", "d-p-a", "m"),
        ("answer", "d-p-c", "m"),
    ]
    journal.close(remove=True)
    assert list(tmp_path.iterdir()) == []
    assert list(journal.rest(())) == []


@pytest.mark.skipif(sys.platform == "win32", reason="files are locked on POSIX systems only")
def test_one_artifact_is_one_runs_whatever_leads_to_it(tmp_path: Path) -> None:
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "run.jsonl")
    journal = Journal(tmp_path / "run.jsonl")
    for name in ("run.jsonl", "link.jsonl"):
        with pytest.raises(ArtifactError, match=rf"{name} is being written by another run; choose another file"):
            Journal(tmp_path / name)
    other = Journal(tmp_path / "other.jsonl")
    journal.close()
    again = Journal(tmp_path / "link.jsonl")
    for each in (other, again):
        each.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.jsonl"]


def test_what_a_killed_run_left_stays_until_its_artifact_is_replaced(tmp_path: Path) -> None:
    artifact = tmp_path / "run.jsonl"
    killed = Journal(artifact)
    killed.begin("r1")
    answered(killed.path, "a")
    killed.close()
    Journal(artifact).close(remove=False)
    assert [line["id"] for line in read_journal(artifact, "r1")] == ["a"]
    assert list(read_journal(artifact, "another run")) == []
    following = Journal(artifact)
    following.begin("r2")
    assert list(read_journal(artifact, "r1")) == []
    following.close(remove=True)
    assert not journal_path(artifact).exists()


def test_a_folder_that_takes_no_journal_is_said_and_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "run.jsonl.journal").mkdir()
    journal = Journal(tmp_path / "run.jsonl")
    assert "answers cannot be kept as they arrive" in str(journal.problem)
    journal.begin("r1")
    assert list(journal.rest(())) == []
    journal.close(remove=True)


@pytest.mark.parametrize("damage", ["", "not JSON\n", "[]\n", '{"run_id": 3}\n'])
def test_what_is_no_journal_has_no_answers(tmp_path: Path, damage: str) -> None:
    (tmp_path / "run.jsonl.journal").write_text(f"{damage}nonsense\n", encoding="utf-8")
    assert list(read_journal(tmp_path / "run.jsonl", "r1")) == []


# -- readers


def test_an_artifact_reads_with_the_answers_of_cases_that_did_not_finish(tmp_path: Path) -> None:
    artifact = tmp_path / "run.jsonl"
    run = run_line()
    artifact.write_text(f"{json.dumps(run)}\n{json.dumps(sample_line())}\n", encoding="utf-8")
    journal = Journal(artifact)
    journal.begin(run["run_id"])
    answered(journal.path, "a", "b")
    # Of a run that was killed, they are in the journal.
    assert [line["id"] for line in ArtifactReader(artifact).answers()] == ["a", "b"]
    loaded = EvaluationArtifact.load(artifact)
    assert [answer.completion["text"] for answer in loaded.answers] == ["text of a", "text of b"]
    loaded.save(tmp_path / "saved.jsonl")
    assert EvaluationArtifact.load(tmp_path / "saved.jsonl").answers == loaded.answers
    # Of one that came to an end, in the file.
    with artifact.open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in journal.rest({"d-p-a"}))
        file.write(f"{json.dumps(summary_line())}\n")
    assert [line["id"] for line in ArtifactReader(artifact).answers()] == ["b"]
    journal.close()
    recorded = read_recorded(artifact, "run.jsonl")
    assert (recorded.answers["d-p-b"].text, recorded.apart) == ("text of b", 1)
    assert recorded.calls["m", "p-b"].text == "text of b"
    assert recorded.described.startswith("run.jsonl (1 case and 1 answer of others")


def test_a_damaged_answer_is_refused_by_its_line(tmp_path: Path) -> None:
    artifact = tmp_path / "run.jsonl"
    lines = [json.dumps(line) for line in (run_line(), {"type": "answer", "id": "a"}, summary_line())]
    artifact.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"run\.jsonl:2: not a valid answer line: key: Field required"):
        list(ArtifactReader(artifact).answers())
