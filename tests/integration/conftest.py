"""Helpers of the integration shelf. Its fixtures ``evals`` and ``evals_both`` are those of `pytest_evals.testing`."""

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
from pytest_evals.testing import Evals

__all__ = ["Evals", "Recorded"]


@pytest.fixture(autouse=True)
def _plain_environment(isolated_environment: None) -> None:
    """Tests that use pytester alone have the environment of those that use ``evals``."""


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
