"""The plugins of the matrix: how each is run beside evals, and what its own report must have."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from campaigns.matrix_suite import FILES, Facts, Folder, Result

Check = Callable[[Folder, Result, Facts], Iterator[str]]
"""Yields what is wrong, beyond what differs from the run without the plugin."""
GATES = 6
NEWEST, OLDEST = "newest pytest", "oldest pytest"


@dataclass(frozen=True)
class Plugin:
    """A plugin (a distribution), and one way to use it.

    ``needs`` are distributions whose plugins it builds on. Of several ``parts`` each is a run of its own, and what the command
    ``pytest-evals merge`` makes of them is compared. ``expected`` are outcomes by case id, for suites of their own (``files``).
    """

    name: str
    options: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    environment: str = NEWEST
    variables: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[tuple[str, ...], ...] = ()
    expected: Mapping[str, str] = field(default_factory=dict)
    check: Check | None = None
    note: str = ""
    """What a user should know."""
    differs: bool = False
    """Whether the run is meant to differ from one without the plugin."""


# -- What reports must have.


def _html(folder: Folder, _result: Result, _facts: Facts) -> Iterator[str]:
    found = folder.text("report.html").count("evals.gates::test_capitals.")
    if found < 4:
        yield f"{found} of 4 gates of a suite in the page"


def _allure(folder: Folder, _result: Result, facts: Facts) -> Iterator[str]:
    results = [json.loads(path.read_text(encoding="utf-8")) for path in (folder.path / "allure").glob("*-result.json")]
    gates = [result for result in results if result["fullName"].startswith("evals.gates::")]
    failed = [gate for gate in gates if gate["status"] == "failed"]
    if (len(gates), len(failed)) != (GATES, list(facts.gates.values()).count("failed")):
        yield f"{len(gates)} gates in Allure's results, {len(failed)} of them failed"
    if "CaseKey" in folder.text("allure"):
        yield "parameters show what is internal"


def _json_lines(folder: Folder, _result: Result, _facts: Facts) -> Iterator[str]:
    lines = [json.loads(line) for line in folder.text("log.jsonl").splitlines()]
    gates = {line["nodeid"] for line in lines if line.get("nodeid", "").startswith("evals.gates::")}
    if len(gates) != GATES:
        yield f"{len(gates)} gates in the log"


def _json_report(folder: Folder, _result: Result, facts: Facts) -> Iterator[str]:
    tests = json.loads(folder.text("report.json"))["tests"]
    gates = [test for test in tests if test["nodeid"].startswith("evals.gates::")]
    failed = sum(test["outcome"] == "failed" for test in gates)
    if (len(gates), failed) != (GATES, list(facts.gates.values()).count("failed")):
        yield f"{len(gates)} gates in the report"


def junit(folder: Folder, _result: Result, _facts: Facts) -> Iterator[str]:
    """JUnit's XML: every gate is a test case, and every case has a property for each of its graders."""
    cases = list(ET.parse(folder.path / "junit.xml").iter("testcase"))
    gates = [case for case in cases if case.get("classname") == "evals.gates"]
    if len(gates) != GATES:
        yield f"{len(gates)} gates in JUnit's file"
    for case in cases:
        names = {entry.get("name") for entry in case.iter("property")}
        if str(case.get("name")).startswith("test_capitals[") and not {"evals.named", "evals.short"} <= names:
            yield f"{case.get('name')} has no property for some grader"


def _annotations(_folder: Folder, result: Result, facts: Facts) -> Iterator[str]:
    lines = [line for line in result.out.splitlines() if "::error" in line]
    for name, verdict in facts.gates.items():
        gate = name.partition(": ")[2]
        # In ids of gates, what is in brackets stands at the end.
        shown = sum(gate in line or re.sub(r"\[.*?\]", "", gate) in line for line in lines)
        if shown != (verdict == "failed"):
            yield f"{shown} annotations of the gate {gate}, which {verdict}"


def _tree(_folder: Folder, result: Result, facts: Facts) -> Iterator[str]:
    yield from service_messages(result.out, facts, gates=GATES)


def service_messages(out: str, facts: Facts, gates: int) -> Iterator[str]:
    """Messages to TeamCity and PyCharm: each test begins and ends once, and gates are tests."""
    found: dict[str, list[str]] = {}
    for kind, name in re.findall(r"##teamcity\[test(Started|Finished) [^\n]*?name='((?:[^'|]|\|.)*)'", out):
        found.setdefault(kind, []).append(re.sub(r"\|(.)", r"\1", name))
    begun, ended = found.get("Started", []), found.get("Finished", [])
    if sorted(begun) != sorted(set(ended)) or len(begun) != len(set(begun)):
        yield "tests begin and end unevenly"
    shown = [name for name in begun if name.startswith("evals_gates.")]
    if len(shown) != gates:
        yield f"{len(shown)} gates in the tree, not {gates}"
    missing = [case for case in facts.cases if _service_name(case) not in begun]
    if missing:
        yield f"{missing[0]} is not in the tree"


def _service_name(nodeid: str) -> str:
    """Return what a case is called in messages: dots separate nodes, and parameters are in parentheses."""
    function, _, parameters = nodeid.removesuffix("]").partition("[")
    return f"{function.replace('.py::', '.').replace('::', '.')}({parameters})"


def _reruns(folder: Folder, result: Result, facts: Facts) -> Iterator[str]:
    del folder, facts
    found = re.search(r"answer \([^)]*\): (\d+) completions", result.out)
    if found is None or found[1] != "17":
        yield f"{found[1] if found else 'no'} completions are said to have been made, not 17"


SLOW = {
    "models.py": FILES["models.py"],
    "pytest.ini": FILES["pytest.ini"],
    "test_slow.py": """
import time
from pytest_evals import cases, graders
named = graders.contains("capital")

@cases([{"id": "a"}, {"id": "b"}], prompt="Capital of France?", id="id", gates="named.mean >= 0.5")
def test_slow(named, case):
    if case.id == "a":
        time.sleep(30)
    assert named
""",
}  # fmt: skip
FLAKY = {
    "models.py": FILES["models.py"],
    "pytest.ini": FILES["pytest.ini"],
    "test_flaky.py": """
from pathlib import Path
from pytest_evals import cases, graders
named = graders.contains("capital")

@cases([{"id": "a"}, {"id": "b"}], prompt="Capital of France?", id="id")
def test_flaky(named, case):
    seen = Path(f"{case.id}.seen")
    if case.id == "a" and not seen.exists():
        seen.touch()
        raise OSError("the service was away")
    assert named
""",
}  # fmt: skip
RENAMED = {
    **FILES,
    "conftest.py": """
def pytest_itemcollected(item):
    item._nodeid = "ci/" + item._nodeid
""",
}
SUBTESTS = {
    "models.py": FILES["models.py"],
    "pytest.ini": FILES["pytest.ini"],
    "test_parts.py": """
from pytest_evals import cases, graders
named = graders.contains("capital")

@cases([{"id": "a", "word": "capital"}, {"id": "b", "word": "zebra"}], prompt="Capital of France?", id="id")
def test_parts(named, completion, case, subtests):
    with subtests.test("word"):
        assert case.word in completion.text
    assert named
""",
}  # fmt: skip
GITHUB = {"GITHUB_ACTIONS": "true"}
XDIST = "pytest-xdist"
Rows: Any = tuple[Plugin, ...]
PLUGINS: tuple[Plugin, ...] = (
    Plugin(XDIST, ("-n", "2"), note="One model for all workers; score card, artifact and exit status as without it."),
    Plugin(XDIST, ("-n", "2", "--dist", "loadfile")),
    Plugin(XDIST, ("-n", "2", "--dist", "worksteal")),
    Plugin(XDIST, ("-n", "2", "--dist", "loadgroup")),
    Plugin(XDIST, ("-n", "2", "--dist", "loadgroup"), environment=OLDEST),
    Plugin("pytest", environment=OLDEST, note="pytest 9.0 is the oldest one that is tested."),
    Plugin("pytest", environment=OLDEST, files=RENAMED, differs=True, expected={"fr": "passed", "td": "errored", "at": "missed"}, note="A `conftest.py` may give items other ids, as long as each has its own."),
    Plugin("pytest", ("--junitxml=junit.xml",), check=junit),
    Plugin("pytest-asyncio", note="Tests of evals need not be async: what they ask for was awaited before."),
    Plugin("pytest-asyncio", ("-o", "asyncio_mode=auto")),
    Plugin("anyio"),
    Plugin("pytest-forked", ("--forked",), note="It cannot send the reports of pytest 9.2 to its parent process. Use pytest-xdist."),
    Plugin("pytest-forked", ("--forked",), environment=OLDEST),
    Plugin("pytest-timeout", ("--timeout=60",)),
    Plugin("pytest-timeout", ("--timeout=1",), files=SLOW, differs=True, expected={"a": "errored", "b": "passed"}, note="The time of models does not count. A test that runs out of time is errored, also where a gate decides."),
    Plugin("pytest-rerunfailures", ("--reruns=1",), check=_reruns, note="A rerun gets the same completion; only tests with state of their own gain by it. Misses under a gate are not run again."),
    Plugin("pytest-retry", ("--retries=1",), note="As pytest-rerunfailures."),
    Plugin("pytest-retry", ("--retries=1",), files=FLAKY, differs=True, expected={"a": "passed", "b": "passed"}),
    Plugin("flaky", ("--force-flaky", "--max-runs=2"), check=_reruns),
    Plugin("pytest-randomly", ("-p", "randomly")),
    Plugin("pytest-random-order", ("--random-order",)),
    Plugin("pytest-order"),
    Plugin("pytest-dependency"),
    Plugin("pytest-repeat", ("--count=1",), note="`--count 2` makes two cases of each; use `--evals-repeat 2`, which counts them as samples of one case."),
    Plugin("pytest-split", parts=(("--splits=2", "--group=1"), ("--splits=2", "--group=2")), note="No shard judges gates; `pytest-evals merge` of their artifacts does."),
    Plugin("pytest-shard", parts=(("--num-shards=2", "--shard-id=0"), ("--num-shards=2", "--shard-id=1")), note="As pytest-split."),
    Plugin("pytest-picked", ("--picked=first",), note="`--picked` alone runs a part of the tests, and gates are not judged."),
    Plugin("pytest-testmon", ("--testmon",), note="It knows Python code and not models or data: a changed model or data file selects nothing. Do not use it to decide about a merge."),
    Plugin("pytest-cov", ("--cov=models", "--cov-report=term")),
    Plugin("pytest-html", ("--html=report.html", "--self-contained-html"), ("pytest-metadata",), check=_html, note="Gates are tests of their own in the page. `--evals-html` writes the report of evals."),
    Plugin("pytest-metadata"),
    Plugin("allure-pytest", ("--alluredir=allure",), check=_allure, note="Gates are in the suite `evals.gates`."),
    Plugin("pytest-json-report", ("--json-report", "--json-report-file=report.json"), ("pytest-metadata",), check=_json_report),
    Plugin("pytest-reportlog", ("--report-log=log.jsonl",), check=_json_lines),
    Plugin("pytest-md-report", ("--md-report",)),
    Plugin("pytest-github-actions-annotate-failures", variables=GITHUB, check=_annotations, note="It annotates failed gates and cases; then evals annotate only the rest (`evals_annotations`)."),
    Plugin("teamcity-messages", ("--teamcity",), check=_tree),
    Plugin("pytest-sugar", ("--force-sugar",)),
    Plugin("pytest-pretty"),
    Plugin("pytest-rich", ("--rich",), note="The score card is printed below its own summary."),
    Plugin("pytest-instafail", ("--instafail",)),
    Plugin("pytest-clarity"),
    Plugin("pytest-icdiff"),
    Plugin("pytest-subtests", files=SUBTESTS, environment=OLDEST, differs=True, expected={"a": "passed", "b": "failed"}, note="Part of pytest since 9.0. A case is not better than its subtests."),
    Plugin("pytest-bdd"),
    Plugin("pytest-mock"),
    Plugin("pytest-benchmark"),
    Plugin("pytest-check"),
    Plugin("pytest-env"),
    Plugin("pytest-freezer"),
    Plugin("pytest-socket", ("--disable-socket", "--allow-unix-socket", "--allow-hosts=127.0.0.1"), note="The process of a test reaches its engines by a Unix socket: add `--allow-unix-socket`."),
    Plugin("pytest-django"),
    Plugin("hypothesis"),
    Plugin("syrupy"),
    Plugin("inline-snapshot"),
    Plugin("typeguard"),
    Plugin("pytest-run-parallel", ("--parallel-threads=1",)),
)  # fmt: skip
