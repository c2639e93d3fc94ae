"""``pytest-evals show``: the score card of a recorded run, again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_evals import EvaluationArtifact, cli

from .conftest import Recorded


def test_the_score_card_is_printed_again(recorded: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", recorded.after]) == 0
    out = capsys.readouterr().out
    run = EvaluationArtifact.load(recorded.after).run
    assert out.startswith(f"run {run.run_id} of {run.started[:10]} ")
    assert "named" in out
    assert "gate FAILED" in out, "a case errored"
    assert "5 cases: 2 passed, 2 missed, 0 failed, 1 errored" in out
    assert all(len(line) <= 80 for line in out.splitlines() if recorded.after not in line)
    assert "\x1b" not in out
    assert cli.main(["show", recorded.after, "-v"]) == 0
    assert "errored  test_cities[ke] late" in capsys.readouterr().out


def test_json_has_the_same_for_programs(recorded: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", recorded.after, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    artifact = EvaluationArtifact.load(recorded.after)
    assert artifact.summary is not None
    assert data["scores"] == artifact.summary.scores
    assert (data["ledger"], data["gates"]) == (artifact.summary.ledger, artifact.summary.gates)
    assert data["run"]["run_id"] == artifact.run.run_id


def test_check_tells_by_the_exit_status(recorded: Recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", recorded.before, "--check"]) == 0
    assert cli.main(["show", recorded.after, "--check"]) == 1
    killed = tmp_path / "killed.jsonl"
    killed.write_bytes(Path(recorded.before).read_bytes()[:-300])
    capsys.readouterr()
    assert cli.main(["show", str(killed), "--check"]) == 1
    assert (
        "interrupted: the run did not end (it was killed, or still goes on); recorded: 5 cases; no gate was judged"
        in " ".join(capsys.readouterr().out.split())
    )


def test_the_newest_run_of_a_folder_is_shown(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["show", str(recorded.folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ledger"]["not_run"] == 2, "the last run was part.jsonl"
    monkeypatch.chdir(recorded.folder)
    assert cli.main(["show"]) == 2
    assert "there is not an artifact in " in capsys.readouterr().err


def test_a_last_line_that_is_damaged_is_told(
    recorded: Recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged.jsonl"
    damaged.write_text(Path(recorded.before).read_text().replace('"verdict": "passed"', '"verdict": ["passed"]'))
    assert cli.main(["show", str(damaged)]) == 2
    assert "the artifact's last line is damaged: GateResult.verdict: " in capsys.readouterr().err
