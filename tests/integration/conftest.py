"""Helpers of the integration shelf: small suites in a folder of their own, run by pytest itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np  # noqa: F401 - loads once in a process, and pytester forgets what a test imported
import pytest

from pytest_evals.artifacts.artifact import EvaluationArtifact

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
    for name in (
        "PYTEST_ADDOPTS",
        "PYTEST_EVALS",
        "CI",
        "GITHUB_ACTIONS",
        "GITHUB_STEP_SUMMARY",
        "GITHUB_WORKSPACE",
        "TF_BUILD",
        "TEAMCITY_VERSION",
        "GITLAB_CI",
        "TRAVIS",
        "PYCHARM_HOSTED",
        "PYTEST_RUN_CONFIG",
        "CI_PROJECT_DIR",
        "NO_COLOR",
        "FORCE_COLOR",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    # A module that a test writes anew within a second, and as long as before, would be taken for the one before.
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")


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


CITIES = """
from pytest_evals import cases, grader, graders

named = graders.contains("{{item.capital}}")

@grader
def length(completion):
    return len(completion.text) / 100

@cases("cities.jsonl", prompt="Capital of {{item.country}}?", id="id", gates=["named.mean >= 0.1"])
def test_cities(named, length):
    assert named
"""
ANSWERS = """
KNOWN = {"France": "Paris", "Japan": "Tokyo", "Peru": "Lima", "Kenya": "Nairobi", "Chile": "Santiago"}

def early(messages):
    country = messages[-1]["content"].removeprefix("Capital of ").rstrip("?")
    return f"It is {KNOWN[country]}." if country in ("France", "Japan", "Kenya") else "=HYPERLINK(1) \\x1b[31mno idea"

def late(messages):
    country = messages[-1]["content"].removeprefix("Capital of ").rstrip("?")
    if country == "Kenya":
        raise RuntimeError("this one breaks")
    return f"It is {KNOWN[country]}." if country != "Japan" else "Kyoto, I think."
"""
_PLACES = {"fr": ("France", "Paris"), "jp": ("Japan", "Tokyo"), "pe": ("Peru", "Lima"), "ke": ("Kenya", "Nairobi")}


def _rows(*ids: str, **changed: str) -> str:
    rows = [{"id": name, "country": _PLACES[name][0], "capital": changed.get(name, _PLACES[name][1])} for name in ids]
    return "".join(f"{json.dumps({**row, 'level': 'hard' if row['id'] > 'l' else 'easy'})}\n" for row in rows)


@dataclass(frozen=True)
class Recorded:
    """A folder with runs of one suite: ``before.jsonl``; ``after.jsonl``, in which a case rose, one fell, one errored, one is new,
    one is gone and one changed; and ``part.jsonl``, of a run with ``-k``.
    """

    folder: Path
    before: str
    after: str
    part: str


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Runs to look at with the command, made once for all tests."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "test_cities.py").write_text(CITIES, encoding="utf-8")
    (folder / "answers.py").write_text(ANSWERS, encoding="utf-8")
    found = {}
    for name, rows, arguments in (
        ("before", _rows("fr", "jp", "pe", "ke") + '{"id": "cl", "country": "Chile", "capital": "Santiago"}\n', ()),
        (
            "after",
            _rows("fr", "jp", "pe", "ke", fr="Lyon") + '{"id": "cl2", "country": "Chile", "capital": "Santiago"}\n',
            (),
        ),
        ("part", _rows("fr", "jp", "pe", "ke"), ("-k", "fr or jp")),
    ):
        (folder / "cities.jsonl").write_text(rows, encoding="utf-8")
        model = "early" if name == "before" else "late"
        options = (
            "--evals",
            f"--evals-model=scripted:answers:{model}",
            "-p",
            "no:xdist",
            "-p",
            "no:cacheprovider",
            "-q",
        )
        path = folder / f"{name}.jsonl"
        subprocess.run(
            [sys.executable, "-m", "pytest", *options, "--evals-artifact", str(path), *arguments],
            cwd=folder,
            check=False,
            stdout=subprocess.DEVNULL,
        )
        found[name] = str(path)
    return Recorded(folder, **found)
