"""The artifact as it is written."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.artifacts import writer as recorder_module
from pytest_evals.artifacts.writer import ArtifactWriter, PackedLines, check_writable, make_folder
from pytest_evals.errors import ArtifactError


def test_every_line_is_on_disk_as_soon_as_it_is_written(tmp_path: Path) -> None:
    recorder = ArtifactWriter(tmp_path / "run.jsonl")
    recorder.start({"type": "run"})
    recorder.write('{"type": "sample"}')
    assert recorder.path.read_bytes() == b'{"type": "run"}\n{"type": "sample"}\n'
    recorder.finish({"type": "summary"})
    assert [json.loads(line)["type"] for line in recorder.path.read_text().splitlines()] == ["run", "sample", "summary"]


def test_an_existing_file_is_replaced_by_the_first_line_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text("the run before\n")
    check_writable(path)
    recorder = ArtifactWriter(path)
    assert path.read_text() == "the run before\n"
    assert not recorder.started
    recorder.start({})
    assert recorder.started
    recorder.finish({})
    assert path.read_text() == "{}\n{}\n"


def test_a_run_without_cases_leaves_no_file(tmp_path: Path) -> None:
    recorder = ArtifactWriter(tmp_path / "run.jsonl")
    recorder.finish({"type": "summary"})
    assert not recorder.path.exists()


def test_writing_before_the_start_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"run\.jsonl was not started"):
        ArtifactWriter(tmp_path / "run.jsonl").write("{}")


def test_what_cannot_be_written_is_tried_again_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(28, "No space left on device")

    class Disk:
        """Takes this many bytes at a time, and then no more."""

        room = 10

        def __init__(self, path: Path, _found: object) -> None:
            self._file = path.open("w+b", buffering=0)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def write(self, data: bytes) -> int:
            if not Disk.room:
                raise full
            written = self._file.write(data[: Disk.room])
            Disk.room -= written
            return written

    monkeypatch.setattr(recorder_module, "_opened", Disk)
    recorder = ArtifactWriter(tmp_path / "run.jsonl")
    recorder.start({"type": "run"})
    assert (recorder.problem, recorder.path.read_bytes()) == ("No space left on device", b'{"type": "')
    recorder.write('{"type": "sample"}')
    Disk.room = 100
    recorder.write('{"type": "sample"}')
    assert (recorder.problem, len(recorder.path.read_bytes().splitlines())) == (None, 3)
    Disk.room = 0
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    said = recorder.finish({"type": "summary"})
    assert recorder.path.parent == tmp_path
    assert recorder.path.name.startswith("evals-")
    assert said == (
        f"the artifact {tmp_path / 'run.jsonl'} is not whole: No space left on device; all of it is in {recorder.path}"
    )
    kinds = ["run", "sample", "sample", "summary"]
    assert [json.loads(line)["type"] for line in recorder.path.read_text().splitlines()] == kinds


def test_an_artifact_that_was_removed_meanwhile_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    recorder = ArtifactWriter(tmp_path / "run.jsonl")
    recorder.start({"type": "run"})
    recorder.path.unlink()
    assert "is not whole: it was removed while the run went on; all of it is in" in str(recorder.finish({}))
    assert recorder.path.read_text() == '{"type": "run"}\n{}\n'
    lost = ArtifactWriter(tmp_path / "gone" / "run.jsonl")
    lost.start({})
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    said = str(lost.finish({}))
    assert "is not whole: No such file or directory; its last 2 lines are lost, since nothing can be written to" in said


@pytest.mark.skipif(sys.platform == "win32", reason="files are locked on POSIX systems only")
def test_two_runs_do_not_write_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    first, second = ArtifactWriter(path), ArtifactWriter(path)
    check_writable(path)
    first.start({"run": 1})
    with pytest.raises(
        ArtifactError, match=r"the artifact .*run\.jsonl is being written by another run; choose another"
    ):
        check_writable(path)
    # One that was checked before the other began leaves it alone, also when the other is done.
    second.start({"run": 2})
    assert second.problem == "another run wrote it meanwhile"
    assert first.finish({}) is None
    said = str(second.finish({}))
    assert path.read_text() == '{"run": 1}\n{}\n'
    assert "is not whole: another run wrote it meanwhile; all of it is in" in said
    assert second.path.read_text() == '{"run": 2}\n{}\n'
    assert (first.whole, second.whole) == (True, True)
    second.path.unlink()


def test_a_run_that_is_done_before_another_one_begins_to_write_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = tmp_path / "run.jsonl"
    for before in (None, "a run of yesterday\n"):
        path.unlink(missing_ok=True)
        if before is not None:
            path.write_text(before)
        first, second = ArtifactWriter(path), ArtifactWriter(path)
        first.start({"run": 1})
        assert first.finish({}) is None
        second.start({"run": 2})
        second.write("{}")
        assert "all of it is in" in str(second.finish({}))
        assert path.read_text() == '{"run": 1}\n{}\n'
        assert second.path.read_text() == '{"run": 2}\n{}\n{}\n'


def other(path: Path) -> None:
    part = path.with_name("part")
    part.write_text("other\n")
    part.replace(path)


DEEDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "moved": (lambda path: path.rename(path.with_name("elsewhere")), "it was moved or removed while"),
    "moved and replaced": (
        lambda path: (path.rename(path.with_name("elsewhere")), path.write_text("other")),
        "another file was put in its place while",
    ),
    "replaced": (other, "another file was put in its place while"),
    "removed": (Path.unlink, "it was removed while"),
    "emptied": (lambda path: os.truncate(path, 0), "something else changed it while"),
    "cut": (lambda path: os.truncate(path, 5), "something else changed it while"),
    "changed": (lambda path: path.write_bytes(b"#" + path.read_bytes()[1:]), "something else changed it while"),
    "longer": (lambda path: path.write_bytes(path.read_bytes() + b"x" * 999), "something else changed it while"),
    "in a folder that moved": (lambda path: path.parent.rename(path.parent.with_name("m")), "it was moved or removed"),
    "in a folder that went": (lambda path: shutil.rmtree(path.parent), "it was removed while"),
}


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be moved there")
@pytest.mark.parametrize("deed", DEEDS)
def test_an_artifact_that_is_not_as_it_was_written_is_written_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deed: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = tmp_path / "folder"
    folder.mkdir()
    recorder = ArtifactWriter(folder / "run.jsonl")
    recorder.start({"type": "run"})
    recorder.write('{"n": 1}')
    do, why = DEEDS[deed]
    do(recorder.path)
    recorder.write('{"n": 2}')
    said = str(recorder.finish({"type": "summary"}))
    assert f"run.jsonl is not whole: {why}" in said
    assert recorder.path.parent == tmp_path
    assert recorder.path.read_text() == '{"type": "run"}\n{"n": 1}\n{"n": 2}\n{"type": "summary"}\n'


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are those of POSIX")
def test_a_descriptor_that_something_closed_is_not_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    recorder = ArtifactWriter(tmp_path / "run.jsonl")
    recorder.start({"type": "run"})
    assert recorder._file is not None
    descriptor = recorder._file.fileno()
    os.close(descriptor)
    victim = os.open(tmp_path / "victim", os.O_RDWR | os.O_CREAT)
    if victim != descriptor:
        os.dup2(victim, descriptor)
        os.close(victim)
    recorder.write("{}")
    assert "something in this process closed it; all of it is in" in str(recorder.finish({}))
    assert (tmp_path / "victim").read_bytes() == b""
    os.close(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        recorder._file.close()
    assert recorder.path.read_text() == '{"type": "run"}\n{}\n{}\n'


def test_the_first_line_can_be_written_anew_as_long_as_it_is_the_only_one(tmp_path: Path) -> None:
    recorder = ArtifactWriter(tmp_path / "run.jsonl")
    recorder.start({"models": ["a"]})
    recorder.restate({"models": ["a"]})
    recorder.restate({"models": ["a", "b"]})
    assert recorder.path.read_text() == '{"models": ["a", "b"]}\n'
    recorder.restate({"models": []})
    assert recorder.path.read_text() == '{"models": []}        \n'
    recorder.write("{}")
    recorder.restate({"models": ["late"]})
    assert recorder.finish({}) is None
    assert [json.loads(line) for line in recorder.path.read_text().splitlines()] == [{"models": []}, {}, {}]


def test_lines_are_packed_and_come_back_as_they_were() -> None:
    packed, data = PackedLines(), b""
    for number in range(3000):
        line = f'{{"text": "a sample like many others", "n": {number}}}\n'.encode()
        packed.add(line)
        data += line
    assert (packed.read(), packed.lines) == (data, 3000)
    assert sum(map(len, packed._packed)) < len(data) / 4
    assert packed.equals(iter([data[:7], data[7:]]))
    assert not packed.equals(iter([data[:-1]]))


def test_text_is_utf8_whatever_the_platform_prefers(tmp_path: Path) -> None:
    recorder = ArtifactWriter(tmp_path / "run.jsonl")
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
