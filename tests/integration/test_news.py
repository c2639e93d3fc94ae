"""What a person sees who waits: a live line on a terminal, whole lines in a log, nothing under ``-q``."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from .conftest import Evals

SUITE = """
from pytest_evals import cases

@cases([{"id": "a"}, {"id": "b"}], id="id", prompt="{{item.id}}")
def test_it(completion): ...
"""
CALLS = """
from pytest_evals import cases

@cases([{"id": "a"}, {"id": "b"}], id="id", prompt="{{item.id}}")
def test_it(model):
    assert model.generate().result().text
"""
SLOW = """
import time

def answer(messages):
    time.sleep(1.5)
    return messages[-1]["content"]
"""
DYING = r"""
import os, pathlib, time

def answer(messages):
    if not pathlib.Path("died").exists():
        pathlib.Path("died").touch()
        print("50%\r\x1b[31m100%\x1b[0m \x07", flush=True)
        os._exit(3)
    # Long enough for somebody to ask what goes on.
    time.sleep(0.7)
    return "fine"
"""


def test_in_a_log_there_are_whole_lines_and_no_control_characters(evals_both: Evals) -> None:
    evals_both.write(SUITE, script=DYING)
    result = evals_both.run("--color=no")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "evals: answer: starting the engine",
            "evals: answer: the engine's process ended with status 3; it printed last:",
            "  50%",
            r"  \x1b[[]31m100%\x1b[[]0m \x07",
            "evals: answer: starting the engine",
            "answer: an engine process ended with status 3*",
        ]
    )
    out = result.stdout.str()
    assert not set("\r\x1b\x07") & set(out)
    # Nobody needs to be told every half second in a log.
    assert "completions, " not in out.partition("score card")[0]


def test_under_q_there_is_no_news(evals: Evals) -> None:
    evals.write(SUITE, script=DYING)
    result = evals.run("-q")
    result.assert_outcomes(passed=2)
    assert "evals: " not in result.stdout.str()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal of POSIX")
@pytest.mark.parametrize(
    ("source", "arguments"),
    [(SUITE, ()), (SUITE, ("-v",)), (CALLS, ()), (SUITE, ("--evals-audit", "2"))],
    ids=["completion", "verbose", "calls", "audit"],
)
def test_on_a_terminal_a_status_comes_and_goes(evals: Evals, source: str, arguments: tuple[str, ...]) -> None:
    evals.write(source, script=SLOW)
    raw = on_a_terminal(evals, *arguments)
    assert "\r\x1b[2Kevals: answer 0/" in raw
    lines = visible(raw)
    # What pytest printed stands alone; of the status nothing is left.
    assert not [line for line in lines if "/2 completions" in line]
    assert "evals: answer: starting the engine" in lines
    # What pytest writes of a file or a test goes on in its line.
    progress = [line for line in lines if line.startswith("test_suite.py")]
    expected = ["::test_it[a] PASSED", "::test_it[b] PASSED"] if arguments == ("-v",) else [" .."]
    if source == CALLS:
        # A whole line that came in the middle of one makes pytest name the file again.
        expected = [" ", " ."]
    assert [line.partition(".py")[2].partition("  ")[0] for line in progress] == expected
    assert "2 cases: 2 passed, 0 missed, 0 failed, 0 errored" in lines


def test_workers_leave_the_terminal_to_pytest(pytester: pytest.Pytester) -> None:
    evals = Evals(pytester, ("-n", "2"))
    evals.write(SUITE, script=SLOW)
    raw = on_a_terminal(evals)
    assert "completions" not in raw.partition("score card")[0]
    # It may stand behind what pytest-xdist says of its workers.
    assert [line for line in visible(raw) if line.endswith("evals: answer: starting the engine")]


def on_a_terminal(evals: Evals, *arguments: str) -> str:
    """Return what pytest writes to a terminal."""
    import pty

    base = ("--evals", "--evals-model=scripted:script:answer", "--color=no", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", *base, *evals.workers, *arguments]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, cwd=evals.pytester.path, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    written = b""
    try:
        while piece := os.read(ours, 4096):
            written += piece
    except OSError:
        # The other end was closed: so it is on Linux.
        pass
    finally:
        process.wait(60)
        os.close(ours)
    return written.decode().replace("\r\n", "\n")


def visible(raw: str) -> list[str]:
    """Return what is on the terminal in the end, as one does that knows how to clear a line and to move up and right."""
    rows: list[list[str]] = [[]]
    row = column = 0
    for part in re.findall(r"\x1b\[\d*[A-Z]|[^\x1b]", raw):
        if part == "\x1b[2K":
            rows[row] = []
        elif part == "\x1b[A":
            row -= 1
        elif part.startswith("\x1b["):
            assert part.endswith("C")
            column += int(part[2:-1])
        elif part == "\r":
            column = 0
        elif part == "\n":
            row, column = row + 1, 0
            rows += [[]] * (row == len(rows))
        else:
            rows[row] += [" "] * (column - len(rows[row]))
            rows[row][column : column + 1] = [part]
            column += 1
    return ["".join(cells) for cells in rows]


def test_news_during_a_test_are_no_output_of_that_test(evals: Evals) -> None:
    evals.write(f"{CALLS}    assert False\n", script=SLOW)
    result = evals.run("--color=no", "-k", "[a]")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["evals: answer: starting the engine"])
    assert "Captured" not in result.stdout.str()
