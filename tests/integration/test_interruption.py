"""A run that is cut short keeps what it has: the artifact is valid, marked incomplete, and engines end."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_evals.artifacts.artifact import EvaluationArtifact

from .conftest import Evals

SUITE = """
from pytest_evals import cases, graders

exact = graders.exact_match("item.id")

@cases([{"id": f"c{n}"} for n in range(6)], prompt="{{item.id}}", id="id", gates=["exact.mean >= 0"])
def test_it(exact, case):
    BODY
"""
PATIENCE = 120  # seconds, for what takes one or two
ECHO = "def answer(messages):\n    return messages[-1]['content']\n"


# Signals reach the run alone, not the tests, and Ctrl-C is heard also where the shell of the tests starts its children without it.
TERMINAL = """
import os, signal

if "PYTEST_XDIST_WORKER" not in os.environ:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
"""


class Begun:
    """A run that goes on beside its test, forked as others are; what it prints goes to a file."""

    def __init__(self, evals: Evals, *arguments: str) -> None:
        folder = evals.pytester.path
        (folder / "conftest.py").write_text(TERMINAL, encoding="utf-8")
        self._output = folder / f"output-{len(list(folder.glob('output-*')))}"
        with self._output.open("w") as file:
            command = (sys.executable, "-mpytest", *arguments)
            self._process: Any = evals.pytester.popen(
                command, stdout=file, stderr=file, stdin=evals.pytester.CLOSE_STDIN
            )
        self.pid: int = self._process.pid

    def end(self) -> tuple[int, str]:
        """Wait for its end; return its exit status and what it printed."""
        try:
            self._process.wait(timeout=PATIENCE)
        finally:
            self.kill()
        return self._process.returncode, self._output.read_text(encoding="utf-8")

    def kill(self) -> None:
        """End it at once, if it goes on."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def test_x_stops_and_keeps_what_was_done(evals_both: Evals) -> None:
    evals_both.write(SUITE.replace("BODY", "{}['x'] if case['id'] == 'c2' else None"), script=ECHO)
    result = evals_both.run("-x")
    assert result.ret in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)
    artifact = evals_both.artifact
    assert not artifact.complete
    assert artifact.summary is not None
    assert "stopping after 1 failures" in str(artifact.summary.interruption)
    assert artifact.summary.ledger["not_run"] > 0
    assert sum(artifact.summary.ledger[name] for name in ("passed", "errored", "not_run", "missed")) == 6
    assert [gate["verdict"] for gate in artifact.summary.gates] == ["not judged"]
    result.stdout.fnmatch_lines(["gate NOT JUDGED*", "*interrupted: *stopping after 1 failures*"])


def test_pytest_exit_keeps_what_was_done(evals: Evals) -> None:
    evals.write(
        "import pytest\n" + SUITE.replace("BODY", "pytest.exit('enough') if case['id'] == 'c2' else None"), script=ECHO
    )
    assert evals.run().ret == pytest.ExitCode.INTERRUPTED
    assert not evals.artifact.complete
    assert [sample.case_id for sample in evals.artifact.samples] == ["c0", "c1"]


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_ctrl_c_and_kill_leave_a_readable_artifact_and_no_engine(evals: Evals, number: signal.Signals) -> None:
    slow = "import os, pathlib, time\npathlib.Path('pid').write_text(str(os.getpid()))\n\ndef answer(messages):\n    if messages[-1]['content'] == 'c2' and pathlib.Path('slow').exists():\n        time.sleep(900)\n    return messages[-1]['content']\n"
    evals.write(SUITE.replace("BODY", "pass"), script=slow, slow="")
    run = Begun(
        evals, "--evals", "--evals-artifact=run.jsonl", "--evals-model=scripted:script:answer", "-p", "no:xdist"
    )
    _wait_until(lambda: evals.path.exists() and evals.path.read_bytes().count(b"\n") == 3, "two cases are finished")
    os.kill(run.pid, number)
    status, output = run.end()
    artifact = evals.artifact
    assert [sample.case_id for sample in artifact.samples] == ["c0", "c1"]
    assert not artifact.complete
    if number == signal.SIGINT:
        assert status == pytest.ExitCode.INTERRUPTED
        assert artifact.summary is not None
        assert artifact.summary.interruption == "KeyboardInterrupt"
        assert "6 cases: 2 passed, 0 missed, 0 failed, 0 errored, 4 not run" in output
    else:
        assert artifact.summary is None
    pid = int((evals.pytester.path / "pid").read_text())
    _wait_until(lambda: not psutil.pid_exists(pid), f"the engine process {pid} is gone")
    # What it left is the beginning of the next run.
    (evals.pytester.path / "slow").unlink()
    evals.path.rename(evals.pytester.path / "old.jsonl")
    resumed = evals.run("--evals-resume", "old.jsonl")
    resumed.assert_outcomes(passed=6)
    assert "2 completions taken over, 4 generated (4 not in it)" in " ".join(resumed.stdout.str().split())
    assert (evals.artifact.complete, len(evals.artifact.samples)) == (True, 6)


def _wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not after {PATIENCE} s: {what}"
        time.sleep(0.05)


def test_a_worker_that_crashes_loses_its_case_and_nothing_else(pytester: pytest.Pytester) -> None:
    evals = Evals(pytester, ("-n", "2"))
    evals.write("import os\n" + SUITE.replace("BODY", "os._exit(1) if case['id'] == 'c2' else None"), script=ECHO)
    result = evals.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert evals.ledger() == {"collected": 6, "passed": 5, "errored": 1}
    (sample,) = [sample for sample in evals.artifact.samples if sample.outcome == "errored"]
    assert sample.case_id == "c2"
    assert sample.error is not None
    assert sample.error.kind == "crash"


# -- Answers are kept as they arrive.

FLOW = """
from pytest_evals import cases, graders, task

@task
async def summary(case, model):
    return (await model.generate(f"draft {case.id}")).text

good = graders.contains("reply")
fine = graders.judge.binary("Is it fine?", answer="{{summary}}")

@cases([{"id": f"c{n}"} for n in range(6)], prompt="question {{item.id}}", id="id")
def test_it(good, fine):
    assert good and fine
"""
HELD_UP = """
import asyncio, os, pathlib, time

pathlib.Path(f"pid-{os.getpid()}").touch()

async def answer(messages):
    text = messages[-1]["content"]
    while text == "question c0" and pathlib.Path("slow").exists():
        await asyncio.sleep(0.01)
    with open("calls.log", "a") as log:
        log.write(text + chr(10))
    return f"reply to {text}"

async def judge(messages):
    text = messages[-1]["content"]
    with open("calls.log", "a") as log:
        log.write("judge " + text[text.index("draft"):][:8] + chr(10))
    return "PASS"
"""


def calls(evals: Evals) -> list[str]:
    log = evals.pytester.path / "calls.log"
    return sorted(log.read_text(encoding="utf-8").splitlines()) if log.exists() else []


def start(evals: Evals, *arguments: str) -> Begun:
    """Start a run whose first case waits for ever, and let all others have their answers."""
    evals.write(FLOW, HELD_UP, slow="")
    base = (
        "--evals",
        "--evals-artifact=run.jsonl",
        "--evals-model=scripted:script:answer",
        "--evals-judge=scripted:script:judge",
    )
    run = Begun(evals, *base, "-p", "no:cacheprovider", *arguments)
    # The default turn of one, all drafts, and the judge of all drafts.
    _wait_until(lambda: len(calls(evals)) == 5 + 6 + 6, "all answers but one are given")
    return run


def ended(evals: Evals, run: Begun) -> tuple[int, str]:
    """Wait for the end of a run and of its engines; return its status and what it printed."""
    status, output = run.end()
    for path in evals.pytester.path.glob("pid-*"):
        pid = int(path.name.partition("-")[2])
        _wait_until(lambda pid=pid: not psutil.pid_exists(pid), f"the engine process {pid} is gone")  # type: ignore[misc]  # mypy infers no default
        path.unlink()
    (evals.pytester.path / "slow").unlink()
    return status, output


def to_go_on(output: str) -> list[str]:
    """Return the arguments of pytest in the command that is named."""
    (command,) = [line.partition(": ")[2] for line in output.splitlines() if line.startswith("to go on: ")]
    program, *arguments = shlex.split(command)
    assert program == "pytest"
    return arguments


def assert_nothing_is_asked_again(evals: Evals, said: str) -> None:
    expected = [f"question c{n}" for n in range(6)] + [f"{who}draft c{n}" for n in range(6) for who in ("", "judge ")]
    assert calls(evals) == sorted(expected), said
    artifact = evals.artifact
    assert artifact.complete
    assert [sample.outcome for sample in artifact.samples] == ["passed"] * 6
    assert not evals.path.with_name("run.jsonl.journal").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_a_run_that_is_killed_before_its_first_case_keeps_every_answer(evals: Evals) -> None:
    run = start(evals, "-p", "no:xdist")
    run.kill()
    ended(evals, run)
    artifact = evals.artifact
    assert (artifact.samples, len(artifact.answers), artifact.summary) == ([], 17, None)
    shown = evals.pytester.run(sys.executable, "-m", "pytest_evals", "show", "run.jsonl").stdout.str()
    assert "17 answers of cases that did not finish are kept" in shown
    # The run that resumes it is killed as well, and so on.
    (evals.pytester.path / "slow").touch()
    again = Begun(evals, *to_go_on(shown))
    _wait_until((evals.pytester.path / "run-2.jsonl").exists, "the second run has begun")
    again.kill()
    ended(evals, again)
    result = evals.run("--evals-resume=run-2.jsonl", "--evals-judge=scripted:script:judge")
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(["*which resumed run.jsonl (0 cases and 17 answers of others, which was cut off)*"])
    assert_nothing_is_asked_again(evals, result.stdout.str())


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
@pytest.mark.parametrize(
    ("name", "whole_group", "workers"),
    [("SIGTERM", False, True), ("SIGHUP", True, False)],
)
def test_a_signal_ends_a_run_with_all_that_ctrl_c_leaves(
    evals: Evals, name: str, whole_group: bool, workers: bool
) -> None:
    outputs = ("--junitxml=junit.xml", "--evals-html=page.html", "--evals-summary=summary.md")
    run = start(evals, *outputs, *(("-n", "2") if workers else ("-p", "no:xdist")))
    (os.killpg if whole_group else os.kill)(run.pid, getattr(signal, name))
    status, output = ended(evals, run)
    assert status == pytest.ExitCode.INTERRUPTED, output
    assert f"interrupted: {name}: the process was told to end" in output
    for written in ("junit.xml", "page.html", "summary.md"):
        assert (evals.pytester.path / written).stat().st_size, written
    artifact = evals.artifact
    assert artifact.summary is not None
    assert (artifact.complete, artifact.summary.ledger["collected"]) == (False, 6)
    arguments = to_go_on(output)
    assert arguments[-2:] == ["--evals-artifact=run-2.jsonl", "--evals-resume=run.jsonl"]
    resumed = evals.pytester.run(sys.executable, "-mpytest", *arguments)
    assert resumed.ret == 0, resumed.stdout.str()
    (evals.pytester.path / "run-2.jsonl").rename(evals.path)
    assert_nothing_is_asked_again(evals, resumed.stdout.str())


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_an_engine_that_is_killed_is_asked_only_for_what_it_had_not_answered(evals: Evals) -> None:
    run = start(evals, "-p", "no:xdist")
    for path in evals.pytester.path.glob("pid-*"):
        os.kill(int(path.name.partition("-")[2]), signal.SIGKILL)
        path.unlink()
    (evals.pytester.path / "slow").unlink()
    status, output = run.end()
    assert status == 0, output
    assert_nothing_is_asked_again(evals, output)


# -- The file of a run is its own.

TWO = """
import os, pathlib, time
from pytest_evals import cases, graders

good = graders.contains("c")

@cases([{"id": f"c{n}"} for n in range(6)], prompt="{{item.id}}", id="id", gates=["good.mean >= 0.5"])
def test_it(good, case):
    if case.id == "c3":
        DEED
    assert good
"""


@pytest.mark.skipif(sys.platform == "win32", reason="files are locked on POSIX systems only")
def test_a_second_run_does_not_touch_the_artifact_of_one_that_goes_on(evals: Evals) -> None:
    wait = "pathlib.Path('waits').touch()\n        while not pathlib.Path('go').exists(): time.sleep(0.01)"
    evals.write(TWO.replace("DEED", wait), ECHO)
    first = Begun(evals, "--evals", "--evals-artifact=run.jsonl", "--evals-model=scripted:script:answer")
    _wait_until((evals.pytester.path / "waits").exists, "the first run has begun")
    second = evals.run()
    assert second.ret == pytest.ExitCode.USAGE_ERROR
    second.stderr.fnmatch_lines(["ERROR: the artifact *run.jsonl is being written by another run; choose another file"])
    (evals.pytester.path / "go").touch()
    status, output = first.end()
    assert status == 0, output
    assert len(evals.artifact.samples) == 6
    assert not evals.path.with_name("run.jsonl.journal").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be moved there")
@pytest.mark.parametrize("deed", ["os.rename('run.jsonl', 'moved')", "os.truncate('run.jsonl', 0)"])
def test_an_artifact_that_is_not_where_it_was_is_an_error_of_the_run(evals: Evals, deed: str) -> None:
    evals.write(TWO.replace("DEED", deed), ECHO)
    result = evals.run("--evals-html=page.html", "--evals-summary=summary.md")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    said = " ".join(result.stdout.str().split())
    found = re.search(r"all of it is in (\S+)", said)
    assert found is not None
    rescued = Path(found[1])
    try:
        artifact = EvaluationArtifact.load(rescued)
        assert (artifact.complete, len(artifact.samples)) == (True, 6)
        # What is made of the artifact is made of the one that is whole.
        assert (evals.pytester.path / "page.html").stat().st_size > 10_000
        assert f"artifact: {rescued}" in said
    finally:
        rescued.unlink()
