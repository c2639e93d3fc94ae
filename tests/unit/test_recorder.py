"""The artifact as it is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_evals.artifacts.recorder import Recorder, check_writable, make_folder
from pytest_evals.errors import ArtifactError


def test_every_line_is_on_disk_as_soon_as_it_is_written(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run.jsonl")
    recorder.start({"type": "run"})
    recorder.write('{"type": "sample"}')
    assert recorder.path.read_bytes() == b'{"type": "run"}\n{"type": "sample"}\n'
    recorder.finish({"type": "summary"})
    assert [json.loads(line)["type"] for line in recorder.path.read_text().splitlines()] == ["run", "sample", "summary"]


def test_an_existing_file_is_replaced_by_the_first_line_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text("the run before\n")
    check_writable(path)
    recorder = Recorder(path)
    assert path.read_text() == "the run before\n"
    assert not recorder.started
    recorder.start({})
    assert recorder.started
    recorder.finish({})
    assert path.read_text() == "{}\n{}\n"


def test_a_run_without_cases_leaves_no_file(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run.jsonl")
    recorder.finish({"type": "summary"})
    assert not recorder.path.exists()


def test_writing_before_the_start_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"run\.jsonl was not started"):
        Recorder(tmp_path / "run.jsonl").write("{}")


def test_text_is_utf8_whatever_the_platform_prefers(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run.jsonl")
    recorder.start({"city": "Zürich", "broken": "\ud800"})
    recorder.finish({})
    assert json.loads(recorder.path.read_text(encoding="utf-8").partition("\n")[0])["city"] == "Zürich"


# -- before anything runs


def test_parents_are_made_and_no_file_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "run.jsonl"
    check_writable(path)
    assert list(path.parent.iterdir()) == []


def test_a_folder_in_the_place_of_the_artifact_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is a folder; give the path of a file"):
        check_writable(tmp_path)


def test_a_file_in_the_place_of_a_parent_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"run\.jsonl cannot be written: "):
        check_writable(tmp_path / "file" / "run.jsonl")


def test_the_default_folder_keeps_itself_out_of_git(tmp_path: Path) -> None:
    make_folder(tmp_path / ".evals")
    assert "\n*\n" in (tmp_path / ".evals" / ".gitignore").read_text()


def test_a_gitignore_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("mine\n")
    make_folder(tmp_path)
    assert (tmp_path / ".gitignore").read_text() == "mine\n"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"the artifact folder .* cannot be made: "):
        make_folder(tmp_path / "file" / ".evals")
