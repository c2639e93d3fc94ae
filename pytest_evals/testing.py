"""Helpers for testing your own suites and graders, without a model.

There are three ways, from small to large:

* `make_completion` and `as_grade` call a grader function and give the grade that the plugin would make.
* ``scripted:pytest_evals.testing:echo`` puts a function in the model's place.
* ``pytest_plugins = ["pytest_evals.testing"]``, in the conftest of the root folder, gives the fixtures `evals` and `evals_both`:
  write a suite with its data and a scripted model into a folder, run pytest there, and look at the results.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_evals.completion import Completion, Message
from pytest_evals.fixtures.conversion import to_grades
from pytest_evals.media.parts import shown_text

if TYPE_CHECKING:
    from pytest_evals.artifacts.artifact import EvaluationArtifact
    from pytest_evals.grades import Grade

__all__ = ["Evals", "as_grade", "echo", "evals", "evals_both", "isolated_environment", "make_completion"]

# What this module becomes as a plugin: the harness runs pytest by pytest's own.
pytest_plugins = ["pytester"]

SCRIPT = '''
def answer(messages):
    """Knows one capital."""
    question = messages[-1]["content"]
    return "Paris" if "France" in question else "I do not know."
'''
PLAIN = ("-p", "no:xdist")
WORKERS = ("-n", "2")
_SWITCHES = (
    "PYTEST_ADDOPTS",
    "PYTEST_EVALS",
    "PYTEST_XDIST_WORKER",  # of the tests around it
    "CI",
    "GITHUB_ACTIONS",
    "GITHUB_STEP_SUMMARY",
    "GITHUB_WORKSPACE",
    "CI_PROJECT_DIR",
    "GITLAB_CI",
    "PYCHARM_HOSTED",
    "PYTEST_RUN_CONFIG",
    "TEAMCITY_VERSION",
    "TF_BUILD",
    "TRAVIS",
    "NO_COLOR",
    "FORCE_COLOR",
)


# -- Grading a text directly.


def make_completion(text: str, prompt: str = "") -> Completion:
    """Return a completion with this text, as the answer to ``prompt``, for calling grader functions in unit tests."""
    messages: tuple[Message, Message] = ({"role": "user", "content": prompt}, {"role": "assistant", "content": text})
    return Completion(text, messages, "recorded")


def as_grade(value: Any, key: str = "grade") -> Grade:
    """Return the `Grade` that the plugin would make of a grader's return value.

    Raises:
        GradeError: The value cannot be a grade.
    """
    return to_grades(value, key)[""]


def echo(messages: list[dict[str, Any]]) -> str:
    """Answer with the last message: ``--evals-model scripted:pytest_evals.testing:echo``."""
    return shown_text(messages[-1])


# -- Running a suite.


@dataclass(frozen=True)
class Evals:
    """A folder with suites, in which pytest runs in its own process.

    Attributes:
        pytester: pytest's own fixture, for everything else; its ``path`` is the folder.
        workers: Options for every run that choose pytest-xdist or turn it off.
    """

    pytester: pytest.Pytester
    workers: tuple[str, ...] = PLAIN

    def write(self, source: str, script: str = SCRIPT, **files: str | Sequence[Mapping[str, Any]]) -> None:
        """Write the suite ``test_suite.py`` and the scripted model's module ``script.py``.

        Args:
            source: The suite's module. It is dedented.
            script: The module with the function ``answer(messages) -> str``. By default it answers "Paris" if the last message names France,
                else "I do not know."
            files: Further files by name, with ``__`` for the dot: a text, or rows, which are written as JSON Lines.
        """
        self.pytester.makepyfile(test_suite=source, script=script)
        for name, content in files.items():
            text = content if isinstance(content, str) else "".join(f"{json.dumps(row)}\n" for row in content)
            (self.pytester.path / name.replace("__", ".")).write_text(text, encoding="utf-8")

    def run(self, *arguments: str, model: str | None = "scripted:script:answer") -> pytest.RunResult:
        """Run ``pytest --evals``, with the artifact in ``run.jsonl``, which a later run replaces.

        Args:
            arguments: Further arguments.
            model: The specification for ``--evals-model``; `None` if suite or configuration file name a model.

        Returns:
            What pytest printed, its outcomes and its exit status.
        """
        chosen = ("--evals-model", model) if model else ()
        base = ("--evals", "--evals-artifact", "run.jsonl", "-p", "no:cacheprovider")
        return self.pytester.runpytest_subprocess(*base, *chosen, *self.workers, *arguments)

    @property
    def path(self) -> Path:
        """The path of the artifact."""
        return self.pytester.path / "run.jsonl"

    @property
    def artifact(self) -> EvaluationArtifact:
        """The artifact of the last run. Raises `ArtifactError` if there is none."""
        from pytest_evals.artifacts.artifact import EvaluationArtifact

        return EvaluationArtifact.load(self.path)

    def grades(self, grader: str) -> dict[str, Grade]:
        """Return the grades of one grader in the last run by case id. The run has one suite, one model and no repeats.

        Raises:
            LookupError: No case has a grade with this key, or a case has several.
        """
        given: dict[str, Grade] = {}
        keys: set[str] = set()
        for sample in self.artifact.samples:
            keys.update(grade.grader_key for grade in sample.grades)
            for grade in sample.grades:
                if grade.grader_key == grader and sample.case_id in given:
                    raise LookupError(
                        f"case {sample.case_id!r} has several grades of {grader!r}: several suites, models or repeats ran; look "
                        "at artifact.samples"
                    )
                if grade.grader_key == grader:
                    given[sample.case_id] = grade
        if not given:
            raise LookupError(f"no case has a grade {grader!r}; there are {', '.join(sorted(keys)) or 'no grades'}")
        return given

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines of the artifact as JSON objects: the run, each sample, each answer that is in no sample, the summary."""
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]

    def ledger(self) -> dict[str, int]:
        """Return the number of cases of the last run by outcome, without zeros: ``{"collected": 3, "passed": 3}``.

        Raises:
            LookupError: The run was killed before it could count.
        """
        summary = self.artifact.summary
        if summary is None:
            raise LookupError(f"{self.path} has no summary: the run was killed")
        return {name: number for name, number in summary.ledger.items() if number}


@pytest.fixture
def isolated_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs inside the test see a terminal of 80 columns, and no variables of the environment for pytest, colours and CI.

    ``evals`` and ``evals_both`` use it. Variables that a test sets afterwards count.
    """
    for name in _SWITCHES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    # A module that a test writes anew within a second, and as long as before, would be taken for the one before.
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")


@pytest.fixture
def evals(pytester: pytest.Pytester, isolated_environment: None) -> Evals:  # noqa: ARG001 - asked for what it does
    """A folder for suites, which run in one process."""
    return Evals(pytester)


@pytest.fixture(params=[PLAIN, WORKERS], ids=["plain", "xdist"])
def evals_both(
    request: pytest.FixtureRequest,
    pytester: pytest.Pytester,
    isolated_environment: None,  # noqa: ARG001 - asked for what it does
) -> Evals:
    """The same twice: suites run in one process, and in two workers of pytest-xdist. The second is skipped if it is not installed."""
    if request.param == WORKERS:
        pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    return Evals(pytester, request.param)
