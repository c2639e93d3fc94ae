"""Commands find artifacts and the cache where pytest's configuration file says they are."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pytest_evals.cli import main
from pytest_evals.cli.common import artifacts_folder, cache_folder, configured_folder, find_run
from pytest_evals.errors import ArtifactError

from .recorded import run_line, sample_line

NAMED = "evals_dir = out/runs\nevals_cache_dir = kept\n"
QUOTED = 'evals_dir = "out/runs"\nevals_cache_dir = "kept"\n'
FILES = {
    "pyproject.toml": f"[tool.pytest.ini_options]\n{QUOTED}",
    "native/pyproject.toml": f"[tool.pytest]\n{QUOTED}",
    "pytest.toml": f"[pytest]\n{QUOTED}",
    "pytest.ini": f"[pytest]\n{NAMED}",
    ".pytest.ini": f"[pytest]\n{NAMED}",
    "tox.ini": f"[tox]\n\n[pytest]\n{NAMED}",
    "setup.cfg": f"[metadata]\nname = x\n\n[tool:pytest]\n{NAMED}",
}


def write_run(path: Path) -> Path:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in (run_line(), sample_line())))
    return path


@pytest.mark.parametrize("file", FILES)
def test_folders_are_those_of_the_configuration_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    project = (tmp_path / file).parent
    (project / "tests" / "deep").mkdir(parents=True)
    (tmp_path / file).write_text(FILES[file], encoding="utf-8")
    # Not what is meant, though it is nearer.
    (project / "tests" / ".evals").mkdir()
    runs = project / "out" / "runs"
    runs.mkdir(parents=True)
    for number, name in enumerate(("old", "new")):
        os.utime(write_run(runs / f"{name}.jsonl"), ns=(number, number))
    monkeypatch.chdir(project / "tests" / "deep")
    assert (artifacts_folder(), cache_folder()) == (runs, project / "kept")
    assert [find_run(name) for name in ("latest", "latest~1")] == [runs / "new.jsonl", runs / "old.jsonl"]
    monkeypatch.chdir(project)
    assert (artifacts_folder(), cache_folder()) == (Path("out/runs"), Path("kept"))
    assert main(["show"]) == main(["history"]) == main(["cache", "info"]) == 0
    assert "kept: no cache" in capsys.readouterr().out


def test_without_one_they_are_the_usual_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n", encoding="utf-8")
    (tmp_path / ".evals").mkdir()
    (tmp_path / "tests").mkdir()
    monkeypatch.chdir(tmp_path / "tests")
    assert configured_folder("evals_dir") is None
    assert (artifacts_folder(), cache_folder()) == (tmp_path / ".evals", tmp_path / ".evals" / "cache")
    (tmp_path / "pytest.ini").write_text("[pytest]\nevals_dir = runs\nevals_cache_dir =\n", encoding="utf-8")
    assert cache_folder() == tmp_path / "runs" / "cache"


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("pyproject.toml", "[tool.pytest", "the configuration of pytest cannot be read: .*pyproject.toml"),
        ("setup.cfg", "[pytest]\nevals_dir = x\n", r"cannot be read: .*\[pytest\] section in setup.cfg"),
        (
            "pyproject.toml",
            "[tool.pytest]\nevals_dir = 3\n",
            "evals_dir in the configuration of pytest is not a path: 3",
        ),
    ],
)
def test_what_cannot_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str, message: str
) -> None:
    (tmp_path / file).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtifactError, match=message):
        artifacts_folder()
    assert main(["show"]) == 2


def test_a_pytest_that_has_it_otherwise_costs_the_setting_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nevals_dir = runs\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("_pytest.config.findpaths.locate_config", lambda: None)
    assert artifacts_folder() == Path(".evals")
