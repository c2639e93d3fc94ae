"""The program in a completion, the tests of a row, and the words for how they went."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_evals import graders
from pytest_evals.errors import SuiteError
from pytest_evals.graders.code import check_task, details, reason
from pytest_evals.graders.code.extract import program_in
from pytest_evals.graders.code.runner import ProgramOutcome


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("def f(): ...", "def f(): ..."),
        ("First:\n```python\na = 1\n```\nbetter:\n```python\na = 2\n```\nDone.", "a = 2\n"),
        ("```py\na = 1\n```\nIt prints\n```\n1\n```\n", "a = 1\n"),
        ("```python\na = 1\n```\n```text\n1\n```", "a = 1\n"),
        ("```\na = 1\n```\n```console\n$ run\n```", "a = 1\n"),
        ("```text\n1\n```", "1\n"),
        ("cut off:\n```python\na = 1\nb =", "a = 1\nb =\n"),
        ("~~~Python title=x\na = '''\n```\n'''\n~~~", "a = '''\n```\n'''\n"),
        ("````python\n```\n````", "```\n"),
        ("use `x` and ```y``` inline", "use `x` and ```y``` inline"),
        ("```python\r\na = 1\r\n```", "a = 1\n"),
        ("```python\n```", ""),
        ("", ""),
    ],
)
def test_the_program_is_the_last_fenced_block_of_python(text: str, program: str) -> None:
    assert program_in(text) == program


CHECK = "def check(candidate):\n    assert candidate(1) == 2"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"tests": None}, "needs tests, as code or a list of it, and none may be empty; got None"),
        ({"tests": []}, "needs tests"),
        ({"tests": ["assert f(1)", "  "]}, "needs tests"),
        ({"tests": ["assert f(1)", 2]}, "needs tests"),
        ({"tests": "assert f("}, "'assert f(' is not valid Python: '(' was never closed"),
        ({"tests": "a = '\0'"}, "is not valid Python: "),
        ({"tests": CHECK, "entry_point": "f g"}, "entry_point must be the name of a function, not 'f g'"),
        ({"tests": CHECK}, "only defines things, so that it could not fail; with entry_point=, a test that defines"),
        ({"tests": "import math\nX = 3\n'text'", "entry_point": "f"}, "only defines things"),
        ({"tests": [{"input": "1"}]}, "a test of a script is {'input': TEXT, 'output': TEXT}"),
        ({"tests": [{"input": "1", "output": 2}]}, "a test of a script is"),
        ({"tests": [{"input": "1", "output": "2"}, "assert f(1)"]}, "needs tests"),
        ({"tests": "assert f(1)", "objects": "Vector"}, "objects must be a list of names of classes, not 'Vector'"),
        ({"tests": "assert f(1)", "before": 3}, "before must be code, or a list of its lines, not 3"),
        ({"tests": "assert f(1)", "timeout": 0}, "timeout must be a number of seconds above 0, not 0"),
        ({"tests": "assert f(1)", "memory": 8}, "memory must be a whole number of MiB, and at least 64, not 8"),
    ],
)
def test_what_cannot_be_run_whatever_the_program_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(SuiteError) as caught:
        graders.python_tests(**arguments)
    assert words in str(caught.value)


def test_a_reason_counts_and_shows_what_was_wrong() -> None:
    tests = ["assert f(1)\n", "assert f(2)", "assert f(3)", "assert f(4)", "assert f(5)"]

    def said(*errors: str | None) -> str:
        return reason(ProgramOutcome(errors, "", ()), tests[: len(errors)])

    assert said(None, None) == "2 of 2 tests passed"
    assert (
        said("it did not end within 10 s", "it did not end within 10 s")
        == "0 of 2 tests passed: it did not end within 10 s"
    )
    assert said(None, "No") == "1 of 2 tests passed\ntest 2: assert f(2)\nNo"
    assert said("1", "2", "3", "4", None).splitlines()[-2:] == ["3", "..."]


def test_details_say_what_was_not_limited() -> None:
    found = details(ProgramOutcome((None, "No"), "hello", ("memory", "processor time", "file size")))
    assert found["passed"] == [True, False]
    assert found["not_limited"] == ["processes", "network", "signals", "files outside", "reading files"]
    assert found["output"] == "hello"
    assert "isolated" not in found
    assert details(ProgramOutcome((None,), "", (), "landlock"), isolated=False)["isolated"] is False
    assert details(ProgramOutcome((None,), "", (), "landlock"))["sandbox"] == "landlock"
    assert found["corpus"] == {"kind": "ratio", "counts": [1, 2]}


def test_tests_of_several_columns_are_taken_together_and_setup_is_in_front_of_each() -> None:
    task = check_task([["assert f(1)"], [], ["assert f(2)", "assert f(3)"]], "x = 1", None, ["import math", "y = 2"])
    assert task.tests == ["assert f(1)", "assert f(2)", "assert f(3)"]
    assert (task.before, task.entry_point, task.setup) == ("x = 1", None, "import math\ny = 2")
    asked = task.for_answer("def f(x):\n    return x")
    assert asked.tests == [f"import math\ny = 2\nassert f({number})" for number in (1, 2, 3)]
    assert check_task("assert f(1)", [], None, ["", " "])[1:] == ("", None, "")


def test_setup_may_use_what_the_program_defines() -> None:
    task = check_task("assert size(root) == 1", setup="root = Node(1)")
    text = (
        "```python\nclass Node:\n    pass\n```\nand\n```python\ndef size(node):\n    return 1\n```\n```\nsize(2)\n```"
    )
    assert task.for_answer(text).program == "class Node:\n    pass\n\ndef size(node):\n    return 1\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"tests": [[], []]}, "python_tests needs tests"),
        ({"tests": [["assert f(1)", 3]]}, "python_tests needs tests"),
        ({"tests": "assert f(1)", "setup": 3}, "setup must be code, or a list of its lines, not 3"),
        ({"tests": "assert f(1)", "setup": "x = ("}, "'x = (' is not valid Python"),
        ({"tests": "assert f(1)", "before": ["import math", None]}, "before must be code, or a list of its lines, not ['import math', None]"),
        ({"tests": [{"input": "1", "output": "2"}], "setup": "import math"}, "setup= is code in front of tests"),
    ],
)  # fmt: skip
def test_setup_and_lists_that_cannot_be_run_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(SuiteError) as caught:
        graders.python_tests(**arguments)
    assert words in str(caught.value)
