"""The suite that is run beside each plugin, and what a run of it comes to."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODELS = '''
"""Scripted models."""
CAPITALS = {"France": "Paris", "Japan": "Tokyo", "Peru": "Lima", "Kenya": "Nairobi", "Italy": "Rome"}


def answer(messages):
    asked = messages[-1]["content"]
    if "Chad" in asked:
        raise TimeoutError("no answer from the service")
    for country, capital in CAPITALS.items():
        if country in asked:
            return f"The capital is {capital}."
    return "I do not know." if "apital" in asked else f"Short: {asked.rpartition(':')[2].strip()[:20]}"


def judge(messages):
    return "PASS" if "capital" in messages[-1]["content"] else "FAIL"
'''
CAPITALS = """
import pytest
from pytest_evals import cases, grader, graders

COUNTRIES = {"fr": ("France", "Paris"), "jp": ("Japan", "Tokyo"), "pe": ("Peru", "Lima"), "ke": ("Kenya", "Nairobi"),
             "at": ("Atlantis", "Poseidonis"), "td": ("Chad", "N'Djamena")}
ROWS = [{"id": key, "country": country, "capital": capital, "level": "easy" if key < "l" else "hard"}
        for key, (country, capital) in COUNTRIES.items()]
named = graders.contains("{{item.capital}}")


@grader
def short(completion):
    return len(completion.text.split()) <= 12


@pytest.mark.xdist_group("capitals")
@cases(ROWS, prompt="What is the capital of {{item.country}}?", id="id",
       gates=["named.mean >= 0.9", "named.coverage >= 0.8", "short.pass_rate == 1", "named[level=hard].mean >= 0.1"])
def test_capitals(named, short):
    assert named
    assert short
"""
OTHERS = """
from pytest_evals import cases, grader, graders, task

CITIES = [{"id": name.lower(), "country": name} for name in ("France", "Japan", "Atlantis")]
TEXTS = [{"id": "cats", "text": "Cats sleep a lot.", "word": "sleep"}, {"id": "dogs", "text": "Dogs bark at night.", "word": "bark"},
         {"id": "long", "text": "A very long sentence, cut before its last word: zebra", "word": "sentence"}]


@task
async def summary(case, model):
    draft = await model.generate(f"Summarise: {case.text}")
    return (await model.generate([*draft.messages, {"role": "user", "content": f"Shorter: {case.text}"}])).text


@task
def reversed_text(case):
    return case.text[::-1]


kept = graders.contains("{{item.word}}", of="summary")


@grader
async def polite(completion, judge):
    return "PASS" in (await judge.generate(f"capital? {completion.text}")).text


@grader
def applies(case):
    return None if case.country == "Japan" else True


class TestSummaries:
    @cases(TEXTS, id="id", gates=["kept.mean >= 0.5"])
    def test_summaries(self, kept, reversed_text):
        assert kept


@cases(CITIES, prompt="Capital of {{item.country}}?", id="id", gates="polite.mean == 1")
def test_judged(polite):
    assert polite


@cases(CITIES, prompt="Capital of {{item.country}}?", id="id")
def test_ungated(applies, completion):
    assert applies
    assert "capital" in completion.text
"""
ORDINARY = """
import pytest


def test_one(tmp_path):
    (tmp_path / "x").write_text("x")


@pytest.mark.parametrize("n", [1, 2])
def test_two(n):
    assert n
"""
INI = """
[pytest]
evals_models = scripted:models:answer
evals_judge = scripted:models:judge
markers =
    xdist_group(name): tests of one worker
"""
FILES: Mapping[str, str] = {
    "models.py": MODELS,
    "test_capitals.py": CAPITALS,
    "test_others.py": OTHERS,
    "test_ordinary.py": ORDINARY,
    "pytest.ini": INI,
}
_SWITCHES = ("CI", "GITHUB_", "TF_BUILD", "TEAMCITY_", "GITLAB_CI", "PYCHARM_", "PYTEST_")


@dataclass(frozen=True)
class Result:
    """What a command said."""

    status: int
    out: str


class Folder:
    """A folder with a suite, and the environment's Python that runs it. ``plugins`` are names of entry points."""

    def __init__(self, path: Path, python: Path, plugins: Sequence[str] = ()) -> None:
        self.path = path
        self._python = python
        self._plugins = [argument for name in ("evals", *plugins) for argument in ("-p", name)]

    def write(self, files: Mapping[str, str]) -> None:
        """Write files."""
        for name, text in files.items():
            (self.path / name).write_text(text, encoding="utf-8")

    def pytest(self, *arguments: str, artifact: str = "run.jsonl", **environment: str) -> Result:
        """Run ``pytest --evals`` with the plugins and no others."""
        options = ("--evals", f"--evals-artifact={artifact}", "--color=no")
        return self.run("-m", "pytest", *self._plugins, *options, *arguments, **environment)

    def ordinary(self, *arguments: str) -> Result:
        """Run ordinary tests with the plugins while evals are off."""
        return self.run("-m", "pytest", *self._plugins, "--color=no", *arguments, "test_ordinary.py")

    def run(self, *arguments: str, **environment: str) -> Result:
        """Run Python in an environment that no CI system and no IDE has set up."""
        found = {name: value for name, value in os.environ.items() if not name.startswith(_SWITCHES)}
        switches = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "120", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [self._python, *arguments],
            cwd=self.path,
            env={**found, **switches, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=180,
            check=False,
        )
        return Result(done.returncode, done.stdout.decode("utf-8", "replace"))

    def text(self, name: str) -> str:
        """Return what is in a file, or in all files of a folder."""
        path = self.path / name
        files = sorted(path.rglob("*")) if path.is_dir() else [path] if path.exists() else []
        return "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files if file.is_file())


@dataclass(frozen=True)
class Facts:
    """What a run came to: all that must not depend on other plugins."""

    status: int
    complete: bool
    cards: int
    ledger: Mapping[str, int]
    cases: Mapping[str, tuple[Any, ...]]
    """By id, the outcome of each case and its grades."""
    scores: Mapping[str, Any]
    gates: Mapping[str, str]


def facts_of(result: Result, artifact: Path) -> Facts:
    """Read the facts from what a run printed and wrote. Raises `OSError` or `ValueError` where it left no artifact."""
    lines = [json.loads(line) for line in artifact.read_text(encoding="utf-8").splitlines()]
    last = lines[-1]
    samples = {line["nodeid"]: line for line in lines if line["type"] == "sample"}
    scored = [row for row in last.get("scores", ()) if row["grader"] != "latency"]
    return Facts(
        status=result.status,
        complete=bool(last.get("complete")),
        cards=result.out.count(" score card "),
        ledger={name: number for name, number in last.get("ledger", {}).items() if number},
        cases={nodeid.partition("@")[0]: _case(sample) for nodeid, sample in samples.items()},  # xdist adds its group
        scores={f"{row['suite']}.{row['grader']}": (row["mean"], row["n"]) for row in scored},
        gates={f"{gate['suite']}: {gate['gate']}": gate["verdict"] for gate in last.get("gates", ())},
    )


def _case(sample: Mapping[str, Any]) -> tuple[Any, ...]:
    grades = sorted((grade["grader_key"], grade["value"], grade["status"]) for grade in sample["grades"])
    completion = sample["interaction"]["completion"] or {}
    return (sample["outcome"], completion.get("text"), *grades)


def differences(found: Facts, expected: Facts) -> Iterator[str]:
    """Say in what a run differs from another one."""
    if found.status != expected.status:
        yield f"exit status {found.status}, not {expected.status}"
    if found.complete != expected.complete:
        yield "does not say that it is complete" if expected.complete else "says that it is complete"
    if found.cards != expected.cards:
        yield f"{found.cards} score cards"
    if found.ledger != expected.ledger:
        yield f"ledger {dict(found.ledger)}, not {dict(expected.ledger)}"
    yield from _changed("case", found.cases, expected.cases)
    yield from _changed("score", found.scores, expected.scores)
    yield from _changed("gate", found.gates, expected.gates)


def _changed(what: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[str]:
    wrong = [name for name in {**expected, **found} if found.get(name) != expected.get(name)]
    if wrong:
        name = wrong[0]
        yield f"{len(wrong)} {what}s differ, as {name}: {found.get(name)}, not {expected.get(name)}"
