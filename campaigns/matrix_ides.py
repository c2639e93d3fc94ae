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
from campaigns.matrix_suite import FILES, Facts, Folder, Result, differences, facts_of

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
    with tempfile.TemporaryDirectory(prefix="evals-matrix-") as path:
        folder = Folder(Path(path), environment.python)
        folder.write({**FILES, "runner.py": PYCHARM})
        result, facts = _pycharm_run(folder)
        problems = [*differences(facts, environment.expected), *service_messages(result.out, facts, GATES)]
        note = "Gates are tests below `evals_gates`, since PyCharm shows all that is reported."
        yield "the whole folder", tuple(problems), note
        for buffering in ((), ("-s",)):
            result, facts = _pycharm_run(folder, *buffering, CASE)
            problems = [*_one(facts, CASE, "passed", 0), *service_messages(result.out, facts, 0)]
            yield " ".join(("one case", *buffering)), tuple(problems), ""
        result, facts = _pycharm_run(folder, MISS)
        problems = [*_one(facts, MISS, "failed", 1), *service_messages(result.out, facts, 0)]
        if not re.search(r"##teamcity\[testFailed [^\n]*I do not know", result.out):
            problems.append("the answer is not shown")
        yield "one case that misses", tuple(problems), "Fails and shows the answer, since no gate judges a single case."


def _pycharm_run(folder: Folder, *arguments: str) -> tuple[Result, Facts]:
    variables = {"PYTEST_EVALS": "1", "PYCHARM_HOSTED": "1", "TEAMCITY_VERSION": "LOCAL"}
    result = folder.run("runner.py", "--evals-artifact=run.jsonl", *arguments, **variables)
    return result, facts_of(result, folder.path / "run.jsonl")


def _one(facts: Facts, nodeid: str, outcome: str, status: int) -> Iterator[str]:
    found = {name: case[0] for name, case in facts.cases.items()}
    if found != {nodeid: outcome}:
        yield f"{found}, not {outcome}"
    if facts.status != status:
        yield f"exit status {facts.status}, not {status}"


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
        missing = {str(folder.path / nodeid) for nodeid in environment.expected.cases} - set(ids)
        yield "the tree", (f"{len(missing)} cases are missing",) if missing else (), "No model is loaded."
        problems = _whole(runner, ids, environment.expected)
        note = "Gates are in the output: VS Code drops results of tests that are not in its tree."
        yield "all ids", tuple(problems), note
        yield "one case", tuple(_click(runner, CASE, "success")), ""
        note = "Fails and shows the answer, since no gate judges a single case."
        yield "one case that misses", tuple(_click(runner, MISS, "failure", shows="I do not know")), note
        folder.write({"test_mistake.py": MISTAKE})
        runner.discover()
        told = any("test_mistake.py:3" in error for error in runner.errors)
        note = "The tree has the error, with file and line."
        yield "a mistake in a suite", () if told else ("file and line are not told",), note


MISTAKE = """from pytest_evals import cases

@cases([{'id': 1}], gates='nonsense')
def test_it(completion): ...
"""


def _whole(runner: _VSCode, ids: list[str], expected: Facts) -> Iterator[str]:
    told = runner.run(ids)
    facts = facts_of(runner.result, runner.folder.path / "run.jsonl")
    # The extension's script passes no exit status on.
    yield from differences(dataclasses.replace(facts, status=expected.status), expected)
    if set(ids) - set(told):
        yield "some test has no result"


def _click(runner: _VSCode, nodeid: str, outcome: str, *, shows: str = "") -> Iterator[str]:
    path = str(runner.folder.path / nodeid)
    found = runner.run([path]).get(path, {})
    if found.get("outcome") != outcome:
        yield f"{found.get('outcome')}, not {outcome}"
    if shows not in str(found.get("message")):
        yield "the answer is not shown"


class _VSCode:
    """The extension's side of the pipe, which may be a file as well."""

    def __init__(self, folder: Folder, files: Path) -> None:
        self.folder = folder
        self._files = files
        self._pipe = folder.path / "messages"
        self.errors: list[str] = []

    def _messages(self) -> list[Mapping[str, Any]]:
        text = self._pipe.read_text(encoding="utf-8")
        parts = re.split(r"content-length: \d+\r?\ncontent-type: [^\n]*\n\r?\n", text)
        return [json.loads(part)["params"] for part in parts if part]

    def discover(self) -> list[str]:
        """Return the ids of all tests."""
        self._pipe.touch()
        self.result = self.folder.pytest("--collect-only", **self._variables)
        ids: list[str] = []
        for message in self._messages():
            self.errors += message.get("error") or []
            # Paths are relative to a base since the second version of these messages.
            base = Path(message.get("idBase", ""))
            ids += (str(base / nodeid) for nodeid in _ids(message.get("tests") or {}))
        return ids

    def run(self, ids: list[str]) -> dict[str, Mapping[str, Any]]:
        """Run tests; return their results by id, the first of each."""
        chosen = self.folder.path / "ids.txt"
        chosen.write_text("\n".join(ids), encoding="utf-8")
        script = self._files / "vscode_pytest" / "run_pytest_script.py"
        options = ("-p", "evals", f"--rootdir={self.folder.path}", "--evals", "--evals-artifact=run.jsonl")
        self.result = self.folder.run(str(script), *options, RUN_TEST_IDS_PIPE=str(chosen), **self._variables)
        found: dict[str, Mapping[str, Any]] = {}
        for message in self._messages():
            for nodeid, result in (message.get("result") or {}).items():
                found.setdefault(nodeid, result)
        return found

    @property
    def _variables(self) -> dict[str, str]:
        return {"TEST_RUN_PIPE": str(self._pipe), "PYTHONPATH": str(self._files)}


def _ids(node: Mapping[str, Any]) -> Iterator[str]:
    if node.get("type_") == "test":
        yield node["runID"]
    for child in node.get("children") or ():
        yield from _ids(child)


TITLES = {"vscode": "VS Code", "pycharm": "PyCharm"}
RUNNERS: Mapping[str, Callable[[Environment, Path | None], Found]] = {"vscode": vscode, "pycharm": pycharm}
