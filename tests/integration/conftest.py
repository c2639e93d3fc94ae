"""Helpers of the integration shelf: small suites in a folder of their own, run by pytest itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.artifact import EvaluationArtifact

SCRIPT = '''
def answer(messages):
    """Knows one capital."""
    question = messages[-1]["content"]
    return "Paris" if "France" in question else "I do not know."
'''


@dataclass
class Evals:
    """A folder with suites. ``run`` runs pytest in it with evals on and a scripted model."""

    pytester: pytest.Pytester
    workers: tuple[str, ...]

    def write(self, source: str, script: str = SCRIPT, **files: str) -> None:
        """Write ``test_suite.py`` and the module of the scripted model; ``files`` by name, ``__`` for the dot."""
        self.pytester.makepyfile(test_suite=source, script=script)
        for name, text in files.items():
            (self.pytester.path / name.replace("__", ".")).write_text(text, encoding="utf-8")

    def run(self, *arguments: str, model: str | None = "scripted:script:answer") -> pytest.RunResult:
        """Run ``pytest --evals``; the artifact goes to ``run.jsonl``."""
        chosen = ("--evals-model", model) if model else ()
        base = ("--evals", "--evals-artifact", "run.jsonl", "-p", "no:cacheprovider")
        return self.pytester.runpytest_subprocess(*base, *chosen, *self.workers, *arguments)

    @property
    def path(self) -> Path:
        """Where the run left its artifact."""
        return self.pytester.path / "run.jsonl"

    @property
    def artifact(self) -> EvaluationArtifact:
        """The artifact of the last run."""
        return EvaluationArtifact.load(self.path)

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines of the artifact as they stand there."""
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]

    def ledger(self) -> dict[str, int]:
        """Return the ledger of the last run without its zeros."""
        summary = self.artifact.summary
        assert summary is not None
        return {name: number for name, number in summary.ledger.items() if number}


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs inside tests see a terminal of 80 columns and no switches from outside."""
    for name in ("PYTEST_ADDOPTS", "PYTEST_EVALS", "CI", "GITHUB_ACTIONS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def evals(pytester: pytest.Pytester) -> Evals:
    """A folder for suites, run in one process."""
    return Evals(pytester, ("-p", "no:xdist"))


@pytest.fixture(params=[("-p", "no:xdist"), ("-n", "2")], ids=["plain", "xdist"])
def evals_both(request: pytest.FixtureRequest, pytester: pytest.Pytester) -> Evals:
    """The same, run in one process and by two workers of pytest-xdist."""
    return Evals(pytester, request.param)


@pytest.fixture
def scores_by_grader() -> Callable[[EvaluationArtifact], dict[str, dict[str, Any]]]:
    """Look up a score row by grader; for runs with one suite and model."""
    return lambda artifact: {row["grader"]: row for row in artifact.scores()}
