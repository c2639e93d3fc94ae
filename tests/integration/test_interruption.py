"""A run that is cut short keeps what it has: the artifact is valid, marked incomplete, and engines end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable

import psutil
import pytest

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
    arguments = ["--evals", "--evals-artifact=run.jsonl", "--evals-model=scripted:script:answer", "-p", "no:xdist"]
    # A process started in the background of a shell ignores Ctrl-C, and so would its children.
    program = "import pytest, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [sys.executable, "-c", f"{program}; sys.exit(pytest.main({arguments!r}))"]
    process = subprocess.Popen(
        command, cwd=evals.pytester.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    _wait_until(lambda: evals.path.exists() and evals.path.read_bytes().count(b"\n") == 3, "two cases are finished")
    process.send_signal(number)
    try:
        output, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    artifact = evals.artifact
    assert [sample.case_id for sample in artifact.samples] == ["c0", "c1"]
    assert not artifact.complete
    if number == signal.SIGINT:
        assert process.returncode == pytest.ExitCode.INTERRUPTED
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
