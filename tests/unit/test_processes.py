"""A process ends when the one that started it does, at once or after the time that it is given."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PATIENCE = 60
PARENT = """
import pathlib, subprocess, sys, time
from pytest_evals.processes import start_process

process = start_process([sys.executable, "-c", pathlib.Path("child.py").read_text()], last_seconds=float(sys.argv[1]))
time.sleep(900)
"""
# It writes down that it is alone; then it holds the interpreter for ever, or ends and leaves a child of its own.
CHILD = """
import os, pathlib, re, select, signal, subprocess, sys
from pytest_evals.processes import end_with_parent

parent = os.getppid()
signal.signal(signal.SIGHUP, signal.SIG_IGN)
end_with_parent()
left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(900)"])
pathlib.Path("pids.new").write_text(f"{os.getpid()} {left.pid}")
os.rename("pids.new", "pids")
while os.getppid() == parent:
    select.select([], [], [], 0.001)
pathlib.Path("last").write_text("words")
if HOLDS:
    re.match(r"(a+)+$", "a" * 60 + "!")
"""


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends processes there")
@pytest.mark.parametrize(("seconds", "holds"), [(0.0, True), (1.0, True), (1.0, False)])
def test_a_child_has_its_last_words_where_it_is_given_time_and_its_group_ends_in_any_case(
    tmp_path: Path, seconds: float, holds: bool
) -> None:
    (tmp_path / "child.py").write_text(CHILD.replace("HOLDS", str(holds)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(seconds)], cwd=tmp_path, env=environment)
    deadline = time.monotonic() + PATIENCE
    try:
        while not (tmp_path / "pids").exists():
            assert time.monotonic() < deadline, "the child has not begun"
            time.sleep(0.01)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    while not all(map(_gone, pids)):
        assert time.monotonic() < deadline, "the child goes on"
        time.sleep(0.01)
    if seconds:
        assert (tmp_path / "last").read_text() == "words"
