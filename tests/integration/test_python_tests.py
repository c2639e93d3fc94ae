"""Programs that a model wrote, run against tests: what passes, what must not, and what has to be allowed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.graders.code import find_program, levels
from pytest_evals.graders.code.levels import find_sandbox
from pytest_evals.graders.code.runner import (
    HarnessError,
    ProgramLimits,
    ProgramOutcome,
    ProgramTask,
    ScriptTest,
    run_program,
)

from .conftest import Evals

DATA = Path(__file__).parents[1] / "unit" / "data"
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
    assert run(RIGHT, *checks, entry_point="f", isolated=False).errors[0] is None
    assert run(RIGHT, ASSERT, entry_point="f").errors == (None,)


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


@pytest.mark.parametrize("program", ["while True: ...", "import time\ndef f(x):\n    time.sleep(900)"])
@pytest.mark.parametrize("isolated", [True, False])
def test_what_does_not_end_is_ended(program: str, isolated: bool) -> None:
    limits = ProgramLimits(seconds=0.5)
    started = time.monotonic()
    assert run(program, ASSERT, ASSERT, limits=limits, isolated=isolated).errors == ("it did not end within 0.5 s",) * 2
    assert time.monotonic() - started < 600


@pytest.mark.parametrize("isolated", [True, False])
def test_a_test_that_never_ends_or_ends_the_program_fails_alone(isolated: bool) -> None:
    program = (
        "import os\ndef f(x):\n    while x == 1: pass\n    if x == 2: os._exit(0)\n"
        "    while x == 3: print('x' * 100000)\n    return x + 1\n"
    )
    tests = [f"assert f({x}) == {x + 1}" for x in (0, 1, 2, 3, 4)]
    errors = run(program, *tests, limits=ProgramLimits(seconds=8), isolated=isolated).errors
    assert [error is None for error in errors] == [True, False, False, False, True]
    assert "did not end within 8 s" in str(errors[1])
    assert "exit status 0 before its tests were through" in str(errors[2])
    assert "printed more than 1 MiB" in str(errors[3])


def test_a_slow_test_has_the_time_that_the_others_leave() -> None:
    program = "import time\ndef f(x):\n    time.sleep(3 if x == 0 else 0)\n    return x + 1\n"
    outcome = run(program, "assert f(0) == 1", ASSERT, ASSERT, limits=ProgramLimits(seconds=10))
    assert outcome.errors == (None, None, None)


ROWS_OF_COMPLAINTS = [json.loads(line) for line in (DATA / "programs.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("row", [pytest.param(row, id=row["id"]) for row in ROWS_OF_COMPLAINTS])
def test_right_programs_pass_and_wrong_ones_do_not(row: dict[str, Any]) -> None:
    program = find_program(row["completion"], row["tests"], "", None)
    errors = run(program, *row["tests"], limits=ProgramLimits(seconds=5)).errors
    assert (errors.count(None) == len(row["tests"])) is not row.get("wrong", False), errors
    if row["id"] == "loop_in_one_test":
        assert [error is None for error in errors] == [True, True, False]


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="limits of processes are POSIX's")
def test_where_no_filter_can_be_set_a_limit_forbids_processes() -> None:
    code = """
import os, resource, sys
from pytest_evals.graders.code.sandbox import forbid_processes as forbid
if os.geteuid() == 0:
    assert forbid() == []  # no limit holds root
    os.setuid(65534)
assert forbid() == ["processes"]
try:
    os.fork()
except BlockingIOError:
    print("forbidden")
"""
    command = [sys.executable, "-c", code]
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
    assert not run("import sys\nassert sys.stdin.read() == ''\n" + RIGHT).errors[0]
    assert run("import pytest").errors[0] is not None
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_does_not_start_is_no_wrong_program(monkeypatch: pytest.MonkeyPatch) -> None:
    find_sandbox("auto")
    monkeypatch.setattr(levels, "BOOT", "import sys; sys.exit('no harness')")
    with pytest.raises(HarnessError, match=r"did not start: .* exit status 1 no harness"):
        run(RIGHT)


def test_a_limit_that_does_not_hold_is_no_wrong_program(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = find_sandbox("auto")
    monkeypatch.setattr(levels, "REQUIRED", {sandbox.level: ("gravity",)})
    with pytest.raises(HarnessError, match="its limits do not hold: gravity"):
        run_program(ProgramTask(RIGHT, [ASSERT]), LIMITS, sandbox)


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
    evals.pytester.makeini("[pytest]\nevals_run_code = true\nevals_code_sandbox = none")
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
    assert "row 1 of inline: grader right: python_tests: 'assert add(0, 0 == 0' is not valid Python" in " ".join(
        result.stdout.str().split()
    )


HUMAN_EVAL = """
import json
from pathlib import Path
from pytest_evals import cases, graders

right = graders.python_tests("item.test", before="item.prompt", entry_point="item.entry_point", timeout=30)

@cases("human_eval.jsonl", prompt="item.prompt", id="task_id", gates=["right.mean == 1"])
def test_human_eval(right):
    assert right
"""
HUMAN_EVAL_SCRIPT = """
import json
from pathlib import Path

ROWS = {row["prompt"]: row for row in map(json.loads, Path("human_eval.jsonl").read_text().splitlines())}

def rest(messages):
    return ROWS[messages[-1]["content"]]["canonical_solution"]

def whole(messages):
    row = ROWS[messages[-1]["content"]]
    return f"Sure:\\n```python\\n{row['prompt']}{row['canonical_solution']}```\\nUse it:\\n```python\\nprint({row['entry_point']}(1))\\n```"

def nothing(messages):
    return "    return None"
"""


@pytest.mark.parametrize("style", ["rest", "whole", "nothing"])
def test_rows_of_human_eval_are_a_suite_as_they_are_published(evals: Evals, style: str) -> None:
    rows = (DATA / "human_eval.jsonl").read_text(encoding="utf-8")
    evals.write(HUMAN_EVAL, HUMAN_EVAL_SCRIPT, human_eval__jsonl=rows)
    result = evals.run("--evals-run-code", model=f"scripted:script:{style}")
    if style == "nothing":
        result.assert_outcomes(failed=1, xfailed=6)  # the gate, and a miss each
    else:
        result.assert_outcomes(passed=6)


MBPP = """
import json
from pathlib import Path
from pytest_evals import cases, graders

ROWS = [json.loads(line) for line in Path(__file__).with_name("mbpp_style.jsonl").read_text().splitlines()]
full = graders.python_tests(["item.test_list", "item.challenge_test_list"], setup="item.test_setup_code", timeout=30)
sanitized = graders.python_tests("item.test_list", setup="item.test_imports", timeout=30)

@cases([row for row in ROWS if "text" in row], prompt="{{item.text}} Tests:\\n{{item.test_list | join('\\n')}}", id="task_id", gates=["full.mean == 1"])
def test_full(full):
    assert full

@cases([row for row in ROWS if "prompt" in row], prompt="{{item.prompt}} Tests:\\n{{item.test_list | join('\\n')}}", id="task_id", gates=["sanitized.mean == 1"])
def test_sanitized(sanitized):
    assert sanitized
"""
MBPP_SCRIPT = """
import json
from pathlib import Path

ROWS = {row.get("text", row.get("prompt")): row for row in map(json.loads, Path("mbpp_style.jsonl").read_text().splitlines())}

def code(messages):
    task, _, tests = messages[-1]["content"].partition(" Tests:\\n")
    assert tests.startswith("assert ")
    return ROWS[task]["code"]

def fenced(messages):
    return f"Here it is:\\n```python\\n{code(messages)}\\n```\\nUse it so:\\n```python\\nprint('done')\\n```"

def marked(messages):
    return f"[BEGIN]\\n{code(messages)}\\n[DONE]\\n"

def mutated(messages):
    return code(messages).replace("return", "return None and").replace("yield", "yield None and")
"""


@pytest.mark.parametrize("style", ["code", "fenced", "marked", "mutated"])
def test_rows_of_mbpp_are_a_suite_as_they_are_published(evals: Evals, style: str) -> None:
    rows = (DATA / "mbpp_style.jsonl").read_text(encoding="utf-8")
    evals.write(MBPP, MBPP_SCRIPT, mbpp_style__jsonl=rows)
    result = evals.run("--evals-run-code", model=f"scripted:script:{style}")
    if style == "mutated":
        result.assert_outcomes(failed=2, xfailed=12)  # a gate of each suite, and a miss each
    else:
        result.assert_outcomes(passed=12)


SCRIPTS = """
from pytest_evals import cases, graders

right = graders.python_tests("item.tests", timeout=20)
TESTS = [{"input": "1 2", "output": "3"}, {"input": "5 5", "output": "10"}]

@cases([{"id": kind, "tests": TESTS} for kind in ("right", "wrong")], prompt="{{item.id}}", id="id")
def test_scripts(right):
    assert right
"""
SCRIPTS_SCRIPT = """
def answer(messages):
    if messages[-1]["content"] == "right":
        return "```python\\nimport sys\\nif __name__ == '__main__':\\n    print(sum(map(int, input().split())))\\n    sys.exit()\\n```\\nIt prints\\n```\\n3\\n```"
    return "```python\\nprint(3)\\n```"
"""


def test_programs_that_read_and_print_are_run_as_scripts(evals: Evals) -> None:
    evals.write(SCRIPTS, SCRIPTS_SCRIPT)
    evals.run("--evals-run-code").assert_outcomes(passed=1, failed=1)
    grades = {sample.case_id: sample.grades[0] for sample in evals.artifact.samples}
    assert grades["right"].value == 1
    assert grades["wrong"].value == 0.5
    assert "it printed '3\\n' where '10' was expected" in (grades["wrong"].reasoning or "")
