"""Programs that a model wrote, run against tests: what passes, what must not, and what has to be allowed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.graders.code import sandbox
from pytest_evals.graders.code.runner import (
    WANTED,
    HarnessError,
    ProgramLimits,
    ProgramOutcome,
    ProgramTask,
    ScriptTest,
    run_program,
)

from .conftest import Evals

LIMITS = ProgramLimits(seconds=60)
RIGHT = "def f(x):\n    return x + 1\n"
WRONG = "def f(x):\n    return 0\n"
ASSERT = "assert f(1) == 2"


def run(program: str, *tests: str | ScriptTest, limits: ProgramLimits = LIMITS, **settings: Any) -> ProgramOutcome:
    return run_program(ProgramTask(program, tests or (ASSERT,), **settings), limits)


def test_each_test_counts_for_itself_and_errors_are_shown_as_python_shows_them() -> None:
    outcome = run("def g(x):\n    return 1 // x\n" + RIGHT, ASSERT, "assert f(1) == 3, 'no'", "g(0)", "x = f(1)")
    assert [error is None for error in outcome.errors] == [True, False, False, True]
    assert str(outcome.errors[1]).endswith("AssertionError: no")
    lines = [line.strip(" ~^") for line in str(outcome.errors[2]).splitlines()]
    assert [line for line in lines if line] == [
        'File "<tests>", line 1, in <module>',
        "g(0)",
        'File "<program>", line 2, in g',
        "return 1 // x",
        "ZeroDivisionError: integer division or modulo by zero",
    ]


def test_an_entry_point_is_given_to_the_check_of_each_test() -> None:
    checks = ("def check(candidate):\n    assert candidate(1) == 2", "def check(c):\n    assert c(2) == 2")
    assert [error is None for error in run(RIGHT, *checks, entry_point="f").errors] == [True, False]
    assert run("g = 1", *checks, entry_point="f").errors == ("the program defines no function 'f'",) * 2


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(RIGHT + "print('hello')", id="prints"),
        pytest.param(
            "from __future__ import annotations\nimport dataclasses\n@dataclasses.dataclass\nclass A:\n    x: int\n"
            "def f(x):\n    return A(x + 1).x",
            id="dataclass",
        ),
        pytest.param(
            "import threading\n" + RIGHT + "t = threading.Thread(target=f, args=(1,))\nt.start()\nt.join()", id="thread"
        ),
        pytest.param(
            "import asyncio\nasync def g(x):\n    return x + 1\ndef f(x):\n    return asyncio.run(g(x))", id="asyncio"
        ),
        pytest.param("open('mine', 'w').write('2')\ndef f(x):\n    return int(open('mine').read())", id="own file"),
        pytest.param("import json\njson.dumps = json.loads = None\n" + RIGHT, id="patches for itself"),
    ],
)
def test_an_honest_program_passes(program: str) -> None:
    assert run(program).errors == (None,)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import os\nos._exit(0)", "ended with exit status 0 before its tests were through"),
        ("import sys\nsys.exit(0)", "SystemExit: 0"),
        ("import os\ndef f(x):\n    os._exit(0)", "ended with exit status 0 before its tests were through"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        (WRONG + 'print(\'{"results": ["", [null]]}\', flush=True)', "AssertionError"),
        (
            WRONG + "import builtins\nbuiltins.AssertionError = ValueError\nclass AssertionError(Exception): ...",
            "AssertionError",
        ),
        (WRONG + "def check(candidate): ...", "AssertionError"),
        (WRONG + "import __main__\n__main__.test = __main__.run = lambda *_: None", "AssertionError"),
        (WRONG + "import sys\nsys.settrace(lambda *_: None)\nsys.excepthook = print", "AssertionError"),
        ("x: = 3", "SyntaxError: invalid syntax"),
        ("a = '\\ud800'\nraise ValueError(a)", "ValueError"),
        ("raise ValueError('x' * 10**7)", "ValueError: xxx"),
        ("class E(Exception):\n    def __str__(self):\n        raise self\nraise E", "<exception str() failed>"),
        ("def f(x):\n    return f(x)", "RecursionError"),
        ("while True:\n    print('x' * 10**6)", "printed more than 1 MiB"),
        ("import os\nos.closerange(0, 100)", "before its tests were through"),
    ],
)
def test_what_only_looks_like_success_does_not_pass(program: str, words: str) -> None:
    (error,) = run(program).errors
    assert words in str(error)
    assert len(str(error)) < 3000


def test_builtins_of_tests_are_those_of_python() -> None:
    program = WRONG + "import builtins\nbuiltins.all = lambda _: True\nbuiltins.isinstance = lambda *_: True"
    assert run(program, "assert all([f(1) == 2])", "assert isinstance(f(1), str)").errors.count(None) == 0


def test_what_does_not_end_is_ended() -> None:
    started = time.monotonic()
    for program in ("while True: ...", "import time\ndef f(x):\n    time.sleep(900)"):
        assert (
            run(program, ASSERT, ASSERT, limits=ProgramLimits(seconds=0.5)).errors
            == ("it did not end within 0.5 s",) * 2
        )
    assert time.monotonic() - started < 600


@pytest.mark.skipif(sys.platform != "linux", reason="what is limited here, the kernel of Linux limits")
def test_a_program_is_kept_from_everything_else(tmp_path: Path) -> None:
    outcome = run(RIGHT)
    missing = set(WANTED) - set(outcome.limits)
    if missing:
        pytest.skip(f"the kernel of this machine cannot limit {', '.join(sorted(missing))}")
    victim = tmp_path / "file"
    victim.write_text("kept", encoding="utf-8")
    forbidden = {
        "import os\nwhile True: os.fork()": "PermissionError",
        "import subprocess\nsubprocess.run(['true'])": "PermissionError",
        "import os\nos.execv('/bin/true', ['true'])": "PermissionError",
        "import socket\nsocket.create_connection(('127.0.0.1', 80))": "PermissionError",
        "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)": "PermissionError",
        "import os, signal\nos.kill(0, signal.SIGKILL)": "PermissionError",
        "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (99, 99))": "Error",
        f"open({str(victim)!r}, 'w')": "PermissionError",
        f"import os\nos.remove({str(victim)!r})": "PermissionError",
        f"import os\nos.mkdir({str(tmp_path / 'folder')!r})": "PermissionError",
        "x = bytearray(10**10)": "MemoryError",
        "open('large', 'w').write('x' * 10**8)": "File too large",
    }
    for program, words in forbidden.items():
        (error,) = run(program).errors
        assert words in str(error), program
    assert victim.read_text(encoding="utf-8") == "kept"
    allowed = "import os, resource\nresource.getrlimit(resource.RLIMIT_AS)\nopen(os.devnull, 'w').write('x')\n" + RIGHT
    assert run(allowed).errors == (None,)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="limits of processes are POSIX's")
def test_where_no_filter_can_be_set_a_limit_forbids_processes() -> None:
    code = """
import os, resource, runpy, sys
forbid = runpy.run_path(sys.argv[1])["forbid_processes"]
if os.geteuid() == 0:
    assert forbid() == []  # no limit holds root
    os.setuid(65534)
assert forbid() == ["processes"]
try:
    os.fork()
except BlockingIOError:
    print("forbidden")
"""
    command = [sys.executable, "-c", code, sandbox.__file__]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "forbidden\n", done.stderr


def test_nothing_of_this_process_is_there_and_nothing_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECRET_KEY", "1")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = (
        "import os, sys\nprint(sorted(os.environ), os.listdir(), sys.argv, sys.stdin.read())\nopen('a', 'w')\n" + RIGHT
    )
    outcome = run(program)
    assert outcome.errors == (None,)
    assert "SECRET_KEY" not in outcome.output
    assert outcome.output.endswith("[] ['program']")
    assert run("import pytest").errors[0] is not None
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_does_not_start_is_no_wrong_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_evals.graders.code.runner.HARNESS", Path("nowhere.py"))
    with pytest.raises(HarnessError, match=r"did not start: it ended with exit status 2 .*nowhere\.py"):
        run(RIGHT)


ROWS = """
ROWS = [
    {"id": "add", "tests": ["assert add(1, 2) == 3", "assert add(0, 0) == 0"], "name": "add", "kind": "asserts"},
    {"id": "sub", "tests": ["assert sub(3, 2) == 1", "assert sub(0, 1) == -1"], "name": "sub", "kind": "asserts"},
]
"""
SUITE = f"""
from pytest_evals import cases, graders
{ROWS}
right = graders.python_tests("item.tests", before="import math", timeout=30)

@cases(ROWS, prompt="Write {{{{item.name}}}}.", id="id", gates=["right.mean >= 0.75", "right.pass_rate >= 0.5", "right.corpus == 75%"])
def test_programs(right):
    assert right
"""
SCRIPT = """
def answer(messages):
    name = messages[-1]["content"].split()[1][:-1]
    body = "math.floor(a + b)" if name == "add" else "abs(a - b)"
    return f"Here it is:\\n```python\\ndef {name}(a, b):\\n    return {body}\\n```"
"""


def test_a_suite_of_programs_is_graded_when_that_is_allowed(evals_both: Evals) -> None:
    evals_both.write(SUITE, SCRIPT)
    evals_both.run("--evals-run-code").assert_outcomes(passed=1, xfailed=1)
    grades = {sample.case_id: sample.grades[0] for sample in evals_both.artifact.samples}
    assert [(grade.value, grade.passed) for grade in (grades["add"], grades["sub"])] == [(1, True), (0.5, False)]
    reasoning = grades["sub"].reasoning or ""
    assert reasoning.startswith("1 of 2 tests passed\ntest 2: assert sub(0, 1) == -1\n")
    assert reasoning.endswith("AssertionError")
    assert grades["sub"].metadata["passed"] == [True, False]


def test_running_programs_has_to_be_allowed(evals: Evals) -> None:
    evals.write(SUITE, SCRIPT)
    result = evals.run()
    result.assert_outcomes(errors=1)
    output = " ".join(result.stdout.str().split())
    assert "grader 'right' runs programs that a model wrote; allow that with --evals-run-code" in output
    assert not evals.path.exists()
    evals.pytester.makeini("[pytest]\nevals_run_code = true")
    evals.run("-k", "add").assert_outcomes(passed=1, deselected=1)
    # Without --evals nothing runs, so nothing is refused.
    evals.pytester.makeini("[pytest]\n")
    evals.pytester.runpytest_subprocess("test_suite.py::test_programs[add]").assert_outcomes(skipped=1)


def test_a_time_limit_that_the_graders_own_would_end_first_is_an_error_of_collection(evals: Evals) -> None:
    evals.write(SUITE.replace("timeout=30", "timeout=60"), SCRIPT)
    result = evals.run("--evals-run-code", "-k", "add")
    result.assert_outcomes(errors=1)
    output = " ".join(result.stdout.str().split())
    assert (
        "grader 'right' may take 60 s, and evals_grader_timeout (60 s) would end it first; make its timeout=" in output
    )
    evals.run("--evals-run-code", "-k", "add", "-o", "evals_grader_timeout=0").assert_outcomes(passed=1, deselected=1)


def test_a_row_whose_tests_are_no_python_is_an_error_of_collection(evals: Evals) -> None:
    evals.write(SUITE.replace("assert add(0, 0) == 0", "assert add(0, 0 == 0"), SCRIPT)
    result = evals.run("--evals-run-code")
    result.assert_outcomes(errors=1)
    assert "row 1 of inline: grader right: python_tests: 'assert add(0, 0 == 0' is no Python" in " ".join(
        result.stdout.str().split()
    )
