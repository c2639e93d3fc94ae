"""Runners of IDEs: pytest called as VS Code's Python extension and as PyCharm call it."""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from campaigns.matrix_plugins import GATES, service_messages
from campaigns.matrix_suite import FILES, Facts, Folder, differences, facts_of

Found = Iterator[tuple[str, tuple[str, ...], str]]
"""What was tried, what was wrong, and what to know."""
CASE, MISS = "test_capitals.py::test_capitals[fr]", "test_capitals.py::test_capitals[at]"


class Environment(Protocol):
    """Where runners run: see `campaigns.matrix.Environment`."""

    @property
    def python(self) -> Path:
        """Its Python."""
        ...

    @property
    def expected(self) -> Facts:
        """What the suite comes to without a runner."""
        ...


def find_vscode() -> Path | None:
    """Return the folder of the Python extension, where it is installed for the current user."""
    homes = (".vscode", ".vscode-server", ".vscode-insiders", ".vscode-oss")
    found = [path for home in homes for path in (Path.home() / home / "extensions").glob("ms-python.python-*")]
    return max(found) / "python_files" if found else None


# -- PyCharm calls pytest.main in a process of its own, with a plugin of teamcity-messages and these options.

PYCHARM = """
import os, sys
import pytest
from teamcity import pytest_plugin

os.environ["_JB_PPRINT_PRIMITIVES"] = "1"
arguments = ["-p", "evals", *sys.argv[1:], "--no-header", "--no-summary", "-q"]
sys.exit(pytest.main(arguments, [pytest_plugin]))
"""


def pycharm(environment: Environment, _vscode: Path | None) -> Found:
    """Try what a click on the folder, on one case, and on one that misses does."""
    variables = {"PYTEST_EVALS": "1", "PYCHARM_HOSTED": "1", "TEAMCITY_VERSION": "LOCAL"}
    with tempfile.TemporaryDirectory(prefix="evals-matrix-") as path:
        folder = Folder(Path(path), environment.python)
        folder.write({**FILES, "runner.py": PYCHARM})
        run = "--evals-artifact=run.jsonl"
        result = folder.run("runner.py", run, **variables)
        facts = facts_of(result, folder.path / "run.jsonl")
        problems = [*differences(facts, environment.expected), *service_messages(result.out, facts, GATES)]
        yield (
            "the whole folder",
            tuple(problems),
            "Gates are tests below `evals.gates`, since PyCharm shows all that is reported.",
        )
        for buffering in ((), ("-s",)):
            result = folder.run("runner.py", run, *buffering, CASE, **variables)
            facts = facts_of(result, folder.path / "run.jsonl")
            problems = [*_one(facts, CASE, "passed", result.status, 0), *service_messages(result.out, facts, 0)]
            yield " ".join(("one case", *buffering)), tuple(problems), ""
        result = folder.run("runner.py", run, MISS, **variables)
        facts = facts_of(result, folder.path / "run.jsonl")
        problems = [*_one(facts, MISS, "failed", result.status, 1), *service_messages(result.out, facts, 0)]
        if not re.search(r"##teamcity\[testFailed [^\n]*I do not know", result.out):
            problems.append("the answer is not shown")
        yield "one case that misses", tuple(problems), "Fails and shows the answer, since no gate judges a single case."


def _one(facts: Facts, nodeid: str, outcome: str, status: int, expected: int) -> Iterator[str]:
    found = {name: case[0] for name, case in facts.cases.items()}
    if found != {nodeid: outcome}:
        yield f"{found}, not {outcome}"
    if status != expected:
        yield f"exit status {status}, not {expected}"


# -- VS Code finds tests by a plugin of its own and --collect-only, and runs chosen ids by a script that calls pytest.main.


def vscode(environment: Environment, files: Path | None) -> Found:
    """Try the tree, all of its ids, one case, one that misses, and a suite with a mistake."""
    if files is None or not (files / "vscode_pytest").is_dir():
        yield "", ("not tried: --vscode names no folder with the extension",), ""
        return
    with tempfile.TemporaryDirectory(prefix="evals-matrix-") as path:
        # The extension names files by their real paths.
        folder = Folder(Path(path).resolve(), environment.python, ["vscode_pytest"])
        folder.write(FILES)
        runner = _VSCode(folder, files)
        ids = runner.discover()
        wanted = {str(folder.path / nodeid) for nodeid in environment.expected.cases}
        missing = wanted - set(ids)
        yield "the tree", ("ids of cases are missing",) if missing else (), "No model is loaded."
        told = runner.run(ids)
        facts = facts_of(runner.result, folder.path / "run.jsonl")
        unheard = set(ids) - set(told)
        # The extension's script passes no exit status on.
        facts = dataclasses.replace(facts, status=environment.expected.status)
        problems = [*differences(facts, environment.expected), *(["some test has no result"] if unheard else [])]
        yield (
            "all ids",
            tuple(problems),
            "Gates are in the output: VS Code drops results of tests that are not in its tree.",
        )
        for nodeid, outcome, shown in ((CASE, "success", ""), (MISS, "failure", "I do not know")):
            told = runner.run([str(folder.path / nodeid)])
            one = told.get(str(folder.path / nodeid), {})
            problems = [] if one.get("outcome") == outcome else [f"{one.get('outcome')}, not {outcome}"]
            if shown not in str(one.get("message")):
                problems.append("the answer is not shown")
            yield f"one case ({'a miss' if shown else 'right'})", tuple(problems), ""
        folder.write(
            {
                "test_mistake.py": "from pytest_evals import cases\n\n@cases([{'id': 1}], gates='nonsense')\ndef test_it(completion): ...\n"
            }
        )
        runner.discover()
        told_place = any("test_mistake.py:3" in error for error in runner.errors)
        yield (
            "a mistake in a suite",
            () if told_place else ("file and line are not told",),
            "The tree has the error, with file and line.",
        )


class _VSCode:
    """The extension's side of the pipe, which may be a file as well."""

    def __init__(self, folder: Folder, files: Path) -> None:
        self._folder = folder
        self._files = files
        self._pipe = folder.path / "messages"
        self.errors: list[str] = []

    def _messages(self) -> list[Mapping[str, Any]]:
        text = self._pipe.read_text(encoding="utf-8")
        return [
            json.loads(part)["params"]
            for part in re.split(r"content-length: \d+\r?\ncontent-type: [^\n]*\n\r?\n", text)
            if part
        ]

    def discover(self) -> list[str]:
        """Return the ids of all tests."""
        self._pipe.touch()
        self.result = self._folder.pytest("--collect-only", **self._variables)
        ids: list[str] = []
        for message in self._messages():
            self.errors += message.get("error") or []
            _collect(message.get("tests") or {}, ids)
        return ids

    def run(self, ids: list[str]) -> dict[str, Mapping[str, Any]]:
        """Run tests; return their results by id, the first of each."""
        chosen = self._folder.path / "ids.txt"
        chosen.write_text("\n".join(ids), encoding="utf-8")
        script = self._files / "vscode_pytest" / "run_pytest_script.py"
        options = ("-p", "evals", f"--rootdir={self._folder.path}", "--evals", "--evals-artifact=run.jsonl")
        self.result = self._folder.run(str(script), *options, RUN_TEST_IDS_PIPE=str(chosen), **self._variables)
        found: dict[str, Mapping[str, Any]] = {}
        for message in self._messages():
            for nodeid, result in (message.get("result") or {}).items():
                found.setdefault(nodeid, result)
        return found

    @property
    def _variables(self) -> dict[str, str]:
        return {"TEST_RUN_PIPE": str(self._pipe), "PYTHONPATH": str(self._files)}


def _collect(node: Mapping[str, Any], ids: list[str]) -> None:
    if node.get("type_") == "test":
        ids.append(node["runID"])
    for child in node.get("children") or ():
        _collect(child, ids)


TITLES = {"vscode": "VS Code", "pycharm": "PyCharm"}
RUNNERS: Mapping[str, Callable[[Environment, Path | None], Found]] = {"vscode": vscode, "pycharm": pycharm}
