"""Nothing that a model writes, no pattern and no model keeps a run for ever, and nothing is left of it when it is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pytest_evals.artifacts.artifact import EvaluationArtifact

from .conftest import Evals

PATIENCE = 120
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs timers and signals of POSIX")
linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends processes that hold their interpreter")

PATTERNS = r"""
from pytest_evals import cases, grader, graders

pattern = graders.matches(r'"(a+)+"', full=True)
schema = graders.json_schema({"type": "string", "pattern": "^(a+)+$"})
keyword = graders.instructions(["keywords:existence"], [{"keywords": ['(a+)+"$']}])
both = graders.all_of("pattern", "schema")

@grader
async def combined(both):
    return both

@grader
async def wrapped(pattern, schema, keyword):
    return [pattern, schema, keyword][0]

@grader
async def told(keyword):
    return keyword

ROWS = [{"id": "ok1", "completion": '"aaa"'}, {"id": "evil", "completion": '"' + "a" * 40 + '!"'}, {"id": "ok2", "completion": '"aaa"'}]

@cases(ROWS, id="id", prompt="q")
def test_combined(combined): assert True

@cases(ROWS, id="id", prompt="q")
def test_told(told): assert True
"""


@posix
def test_patterns_end_at_the_time_limit_alone_in_combinations_and_for_async_graders(evals: Evals) -> None:
    evals.write(PATTERNS)
    result = evals.run("-o", "evals_grader_timeout=1", model=None)
    result.assert_outcomes(passed=4, errors=2)
    errored = [sample for sample in evals.artifact.samples if sample.outcome == "errored"]
    assert {sample.case_id for sample in errored} == {"evil"}
    reasons = {grade.grader_key: grade.reasoning for sample in errored for grade in sample.grades}
    for grader in ("pattern", "schema", "keyword"):
        assert reasons[grader] == "did not return within 1 s (evals_grader_timeout)"


LOOPS = """
import time
from pytest_evals import cases, grader

@grader
async def computes(case):
    while case["id"] == "spins":
        pass
    return True

@cases([{"id": name, "completion": "x"} for name in ("a", "spins", "b")], id="id", prompt="q")
def test_it(computes): assert computes
"""


def test_a_loop_in_an_async_grader_is_interrupted_and_a_call_that_blocks_ends_the_run_in_order(evals: Evals) -> None:
    evals.write(LOOPS)
    result = evals.run("-o", "evals_grader_timeout=1", model=None)
    result.assert_outcomes(passed=2, errors=1)
    assert evals.grades("computes")["spins"].reasoning == "did not return within 1 s (evals_grader_timeout)"
    # It holds the loop in which the others wait: they cannot have their grades, and say why.
    evals.write(LOOPS.replace("    while", "    if").replace("pass\n", "time.sleep(900)\n"))
    result = evals.run("-o", "evals_grader_timeout=1", model=None)
    assert evals.artifact.complete
    assert evals.ledger()["errored"] >= 1
    result.stdout.fnmatch_lines(["*grader 'computes' (test_*) of *spins* holds the event loop in which all steps run*"])


HOLDS = """
import asyncio, pathlib, re
from pytest_evals import cases, grader

@grader
async def wild(completion, first):
    while not pathlib.Path("go").exists():
        await asyncio.sleep(0.05)
    pathlib.Path("begun").write_text("")
    return re.match(r"(a+)+$", completion.text) is not None

@grader
def first(completion): return True

@cases([{"id": "one", "completion": "b"}], id="id", prompt="q")
def test_before(first): assert first

@cases([{"id": "two", "completion": "a" * 60 + "!"}], id="id", prompt="q")
def test_wild(wild): assert wild
"""


def _started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start pytest in a process that takes Ctrl-C, whatever the shell of these tests does."""
    options = ["--evals", "--evals-artifact=run.jsonl", "-p", "no:cacheprovider", *arguments]
    program = "import pytest, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    return subprocess.Popen(
        [sys.executable, "-c", f"{program}; sys.exit(pytest.main({options!r}))"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _folder(evals: Evals, name: str, suite: str, script: str = "") -> Path:
    """Make a folder for one of several runs that go on at the same time, which spares the time that each of them waits."""
    folder = evals.pytester.mkdir(name)
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_it.py").write_text(suite)
    (folder / "script.py").write_text(script)
    return folder


def _wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not after {PATIENCE} s: {what}"
        time.sleep(0.05)


@posix
def test_code_of_a_suite_that_holds_the_interpreter_is_named_and_what_was_finished_is_shown(evals: Evals) -> None:
    limits = {"asked": 600, "limited": 1}
    folders = {name: _folder(evals, name, HOLDS) for name in limits}
    processes = {
        name: _started(folders[name], "-p", "no:xdist", "-o", f"evals_grader_timeout={limits[name]}") for name in limits
    }
    try:
        for folder in folders.values():
            _wait_until(lambda path=folder / "run.jsonl": _lines(path) == 2, "a case is finished")  # type: ignore[misc]  # mypy cannot infer lambdas with defaults
            (folder / "go").write_text("")
        for folder in folders.values():
            _wait_until((folder / "begun").exists, "the grader runs")
        processes["asked"].send_signal(signal.SIGINT)
        outputs = {name: process.communicate(timeout=PATIENCE)[0] for name, process in processes.items()}
    finally:
        for process in processes.values():
            process.kill()
    for name, output in outputs.items():
        assert processes[name].returncode == -signal.SIGKILL
        assert "grader 'wild' (test_" in output
        assert "::test_wild[two] keeps the interpreter to itself" in output
        assert ("Ctrl-C asked for its end" in output) is (name == "asked")
        if sys.platform == "linux":
            assert "in wild" in output
        artifact = EvaluationArtifact.load(folders[name] / "run.jsonl")
        assert [sample.case_id for sample in artifact.samples] == ["one"]
        assert "test_before" in output[output.index("What was finished is in") :]


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


ECHO = """
from pytest_evals import cases

@cases([{"id": f"c{n}"} for n in range(3)], id="id", prompt="{{item.id}}")
def test_it(completion): assert completion.text
"""
SPIN = "import re, time, os, pathlib\npathlib.Path('pid').write_text(str(os.getpid()))\n"
HOLD = "re.match(r'(a+)+$', 'a' * 60 + '!')\n"


def test_a_model_that_hangs_while_it_loads_is_ended_and_its_cases_say_so(evals: Evals) -> None:
    answer = "def answer(messages): return 'x'\n"
    evals.write(ECHO, script=f"{SPIN}time.sleep(900)\n\n{answer}", holds__py=f"{SPIN}{HOLD}\n{answer}")
    result = evals.run("-o", "evals_load_timeout=1", "--evals-model=scripted:holds:answer")
    result.assert_outcomes(errors=2, skipped=4)
    assert evals.ledger() == {"collected": 6, "errored": 6}
    for sample in evals.artifact.samples:
        assert sample.error is not None
        assert "(loading took more than 1 s (evals_load_timeout))" in sample.error.message
    # Not tried again: it would hang again.
    assert result.stdout.str().count("starting the engine") <= 2


def _ends(*pids: int) -> None:
    for pid in pids:
        _wait_until(lambda pid=pid: not _lives(pid), f"the process {pid} is gone")  # type: ignore[misc]  # mypy cannot infer lambdas with defaults


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


CHILD = "import subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(900)'])\npathlib.Path('child').write_text(str(child.pid))\n"


@linux
def test_no_engine_and_nothing_that_it_started_is_left_when_pytest_is_killed(evals: Evals) -> None:
    folders, processes = [], []
    for place in ("answer", "load", "stopped"):
        held = "os.kill(os.getpid(), 19)\n" if place == "stopped" else HOLD
        body = f"    {held}    return 'x'\n" if place != "load" else "    return 'x'\n"
        script = f"{SPIN}{CHILD}{HOLD if place == 'load' else ''}\ndef answer(messages):\n{body}"
        folders.append(_folder(evals, place, ECHO, script))
        processes.append(_started(folders[-1], "-p", "no:xdist", "--evals-model=scripted:script:answer"))
    children = [folder / "child" for folder in folders]
    try:
        _wait_until(lambda: all(path.exists() and path.read_text() for path in children), "the scripts run")
        time.sleep(0.5)
        pids = [int((folder / name).read_text()) for folder in folders for name in ("pid", "child")]
        assert all(map(_lives, pids))
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    _ends(*pids)


PROGRAM = """
from pytest_evals import cases, graders
right = graders.python_tests(["assert f()"], timeout=600)

@cases([{"id": "a", "completion": "```python\\nimport time\\ndef f():\\n    time.sleep(900)\\n```"}], id="id", prompt="q")
def test_it(right): assert right
"""


@linux
def test_no_program_and_no_worker_is_left_when_pytest_is_killed(evals: Evals) -> None:
    programs, workers = _folder(evals, "programs", PROGRAM), _folder(evals, "workers", HOLDS)
    (workers / "go").write_text("")
    limit = ("-o", "evals_grader_timeout=900")
    processes = [
        _started(programs, "-p", "no:xdist", "--evals-run-code", *limit),
        _started(workers, "-n", "1", *limit),
    ]
    roots = [psutil.Process(process.pid) for process in processes]
    try:
        # With the watcher: the tests of the program and itself, or the worker.
        for root, least in zip(roots, (3, 2), strict=True):
            _wait_until(
                lambda root=root, least=least: len(root.children(recursive=True)) >= least,  # type: ignore[misc]  # as above
                "the processes are there",
            )
        _wait_until((workers / "begun").exists, "the grader runs")
        time.sleep(1)
        pids = [child.pid for root in roots for child in root.children(recursive=True)]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    _ends(*pids)
