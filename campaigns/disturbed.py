"""A run to disturb: a suite with a default turn, a task of two calls, a judge and two repeats of each case, and scripts as models that log
each call when it ends.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pytest_evals.artifacts.artifact import EvaluationArtifact
from pytest_evals.errors import ArtifactError

CASES, REPEATS = 24, 2
LINE = 23  # bytes of a call in the log
PATIENCE = 120.0
MODEL = """
import asyncio, hashlib, os

def _number(text):
    return int(hashlib.sha256(text.encode()).hexdigest(), 16)

async def _answer(kind, messages, seconds):
    text = "\\n".join(message["content"] for message in messages)
    await asyncio.sleep(seconds * (1 + _number(text) % 10))
    with open("calls.log", "a") as log:
        log.write(f"{kind:<5} {hashlib.sha256(text.encode()).hexdigest()[:16]}\\n")
    return text

async def answer(messages):
    text = await _answer("model", messages, 0.004)
    # Not the same for two cases: judges would be asked the same.
    return f"reply {_number(text) % 10**9}"

async def judge(messages):
    return "PASS" if _number(await _answer("judge", messages, 0.004)) % 3 else "FAIL"
"""
SUITE = f"""
import os, time
from pytest_evals import cases, grader, graders, task

@task
async def summary(case, model, completion):
    draft = await model.generate(f"draft {{case.id}} {{completion.text}}")
    final = await model.generate([*draft.messages, {{"role": "user", "content": f"shorter {{case.id}}"}}])
    return final.text

fine = graders.judge.binary("Is it fine?", answer="{{{{summary}}}}")
even = graders.matches(r"reply \\d*[02468]")

@grader
def digits(completion):
    return sum(character.isdigit() for character in completion.text)

@cases(
    [{{"id": f"c{{n:02d}}"}} for n in range({CASES})], prompt="question {{{{item.id}}}}", id="id", repeat={REPEATS},
    generation={{"temperature": 1.0}}, gates=["fine.mean >= 0.2"],
)
def test_it(even, fine, digits):
    time.sleep(float(os.environ.get("TEST_SECONDS", "0.004")))
    exec(os.environ.get("DEED", ""))
    assert fine
"""
BASE = (
    "--evals",
    "--evals-model=scripted:model:answer",
    "--evals-judge=scripted:model:judge",
    "-p",
    "no:cacheprovider",
    "-q",
)


@dataclass
class Tally:
    """A row of the table: how often something was tried, and what went wrong."""

    title: str
    tries: int = 0
    ended: int = 0
    again: int = 0
    kept: int = 0
    wrong: list[str] = field(default_factory=list)

    def note(self, problem: str | None) -> None:
        """Count a try."""
        self.tries += 1
        if problem:
            self.wrong.append(problem)


class Folder:
    """A folder with the suite, in which pytest runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "model.py").write_text(MODEL, encoding="utf-8")
        (path / "test_suite.py").write_text(SUITE, encoding="utf-8")
        (path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start ``pytest --evals``; it gets the signals that a person at a terminal sends."""
        found = {
            name: value for name, value in os.environ.items() if name not in ("PYTEST_ADDOPTS", "CI", "GITHUB_ACTIONS")
        }
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *BASE, *arguments],
            cwd=self.path,
            env={**found, "COLUMNS": "200", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Run it to its end; return its status and what it printed."""
        process = self.start(*arguments, **environment)
        output, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, output

    def logged(self, answers: int) -> bool:
        """Tell whether that many answers were given."""
        log = self.path / "calls.log"
        return log.exists() and log.stat().st_size >= LINE * answers

    def calls(self) -> Counter[str]:
        """Return how often each answer was given."""
        log = self.path / "calls.log"
        return Counter(log.read_text(encoding="utf-8").splitlines()) if log.exists() else Counter()

    def scores(self, name: str) -> list[tuple[object, ...]]:
        """Return the scores in an artifact."""
        artifact = EvaluationArtifact.load(self.path / name)
        if not artifact.complete:
            raise ArtifactError(f"{name} is not complete")
        return [(row["grader"], row["n"], row["mean"], row["errors"]) for row in artifact.scores()]


# A process that is started in the background may ignore Ctrl-C, and with nohup the end of its terminal; so would its children.
PROGRAM = """
import pytest, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
for name in ("SIGTERM", "SIGHUP"):
    signal.signal(getattr(signal, name), signal.SIG_DFL)
sys.exit(pytest.main(sys.argv[1:]))
"""


@contextlib.contextmanager
def folder() -> Iterator[Folder]:
    """Make a folder with the suite."""
    with tempfile.TemporaryDirectory(prefix="evals-kills-") as name:
        yield Folder(Path(name))


def reference() -> tuple[list[tuple[object, ...]], float, Counter[str]]:
    """Return the scores of an undisturbed run, its seconds, and its answers."""
    with folder() as place:
        started = time.monotonic()
        status, output = place.run("--evals-artifact=run.jsonl")
        seconds = time.monotonic() - started
        if status != 0 or place.calls().total() < 4 * CASES:
            raise RuntimeError(f"{place.calls().total()} answers, status {status}:\n{output}")
        return place.scores("run.jsonl"), seconds, place.calls()


def told(tally: Tally, verbose: bool) -> Tally:
    """Print what went wrong, and with ``verbose`` what did not; return the row."""
    if verbose or tally.wrong:
        print(f"  {tally.title}: {'; '.join(tally.wrong) or 'nothing lost'}", flush=True)
    return tally
