"""``pytest-evals doctor``: what is printed, as text and as JSON, and the exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_evals import cli
from pytest_evals.cli import doctor
from pytest_evals.diagnostics.finding import Finding

FOUND = [
    Finding("python", "ok", "3.13.1"),
    Finding("hub", "note", "HF_HUB_OFFLINE is set", "unset it"),
    Finding("torch", "problem", "torch is not installed", f"run: {'x' * 100}"),
]


def test_this_environment_has_no_problem_and_nothing_heavy_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from pytest_evals import cli; status = cli.main(['doctor', '--json']); "
        "print(status, sorted({'torch', 'transformers', 'numpy', 'pydantic'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr == "0 []\n"
    found = json.loads(done.stdout)
    assert found["problems"] == 0
    topics = {finding["topic"] for finding in found["findings"]}
    expected = {
        "pytest-evals-hf",
        "python",
        "pytest",
        "transformers",
        "torch",
        "cpu",
        "memory",
        "smollm2",
        "hub",
        "disk",
        "sandbox",
    }
    assert expected <= topics
    assert all(finding.keys() == {"topic", "level", "message", "action"} for finding in found["findings"])
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_lines_fit_and_commands_stay_whole(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "findings", lambda: iter(FOUND))
    monkeypatch.setenv("COLUMNS", "60")
    assert cli.main(["doctor"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "ok       python: 3.13.1",
        "note     hub: HF_HUB_OFFLINE is set",
        "         -> unset it",
        "problem  torch: torch is not installed",
        f"         -> run: {'x' * 100}",
        "1 problem, 1 note",
    ]
    monkeypatch.setattr(doctor, "findings", lambda: iter(FOUND[:2]))
    assert cli.main(["doctor"]) == 0
