"""What a user calls a run, and the file that it means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_evals.artifacts.locating import baseline_path, find_baselines, locate, newest
from pytest_evals.errors import ArtifactError

RUN = '{"type": "run", "schema": 1}\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with three artifacts, the second of which is the newest, and two baselines."""
    for age, name in ((30, "a.jsonl"), (10, "b.jsonl"), (20, "c.jsonl")):
        path = tmp_path / ".evals" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(RUN)
        os.utime(path, (1_700_000_000 - age,) * 2)
    (tmp_path / ".evals" / "rows.jsonl").write_text('{"question": "not an artifact"}\n')
    for name in ("main", "nightly"):
        path = tmp_path / "evals_baselines" / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text('{"type": "baseline"}\n')
    (tmp_path / "tests" / "deep").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    ("written", "found"),
    [
        (".evals/a.jsonl", ".evals/a.jsonl"),
        (".evals", ".evals/b.jsonl"),
        ("latest", ".evals/b.jsonl"),
        ("latest~1", ".evals/c.jsonl"),
        ("latest~2", ".evals/a.jsonl"),
        ("main", "evals_baselines/main.jsonl"),
    ],
)
def test_a_run_is_found_by_path_folder_age_or_name(written: str, found: str, project: Path) -> None:
    assert locate(written, project) == project / found
    if "/" not in written and written != ".evals":
        assert locate(written, project / "tests" / "deep") == project / found, "folders above are looked at too"


def test_a_path_is_shown_as_a_user_would_write_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    assert locate("latest") == Path(".evals/b.jsonl")
    assert locate("-") == "-"
    (project / "latest").write_text(RUN)
    assert locate("latest") == Path("latest"), "a file that is there is meant"


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (
            "mian",
            "there is no file 'mian', and no baseline of this name in .*; baselines: main, nightly; did you mean 'main'",
        ),
        ("../x", "there is no file '../x'"),
        ("", "the path of the run is empty"),
        ("latest~7", "there is not an artifact 7 before the newest in .*: it holds 3"),
        ("tests", "there is not an artifact in .*tests: 'pytest --evals' writes one"),
    ],
)
def test_what_is_not_there_says_what_is(written: str, words: str, project: Path) -> None:
    with pytest.raises(ArtifactError, match=words):
        locate(written, project)


def test_without_any_run_the_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"there is not an artifact in .*\.evals: "):
        locate("latest", tmp_path)
    assert find_baselines(tmp_path) == tmp_path / "evals_baselines"


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "latest", "latest~1", "x" * 101, "a b"])
def test_a_baseline_s_name_is_that_of_a_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot be the name of a baseline"):
        baseline_path(name, tmp_path)


def test_of_artifacts_of_one_age_the_last_name_is_the_newest(project: Path) -> None:
    for path in (project / ".evals").iterdir():
        os.utime(path, (1_700_000_000,) * 2)
    assert newest(project / ".evals").name == "c.jsonl"
