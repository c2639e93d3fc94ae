"""What a run was made with."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from pytest_evals.artifacts.provenance import git_state, provenance


def git(folder: Path, *arguments: str) -> None:
    command = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def test_outside_of_a_repository_there_is_no_commit(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None


def test_commit_branch_and_changes_are_told(tmp_path: Path) -> None:
    git(tmp_path, "init", "-b", "trunk")
    git(tmp_path, "commit", "--allow-empty", "-m", "x")
    state = git_state(tmp_path)
    assert state is not None
    assert len(state["commit"]) == 40
    assert (state["branch"], state["dirty"]) == ("trunk", False)
    (tmp_path / "new").touch()
    assert git_state(tmp_path) == {**state, "dirty": True}


def test_the_record_is_plain_data_with_the_versions_that_matter(tmp_path: Path) -> None:
    found = provenance(tmp_path, ("--evals", "x"))
    assert json.loads(json.dumps(found)) == found
    assert found["command"] == ["pytest", "--evals", "x"]
    assert {"torch", "transformers", "pydantic"} <= set(found["packages"])
