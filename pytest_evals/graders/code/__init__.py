"""Runs the program that a model wrote against the tests of its case, in processes of their own.

This package says what is run and grades it. `extract` finds the program in a completion; `runner` starts and stops the processes:
`checker` runs in that of the tests, `harness` in that of the program, and they speak by `peer` and `wire`. `levels` says how a
program is confined, `sandbox` what its process forbids itself.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_evals.errors import SuiteError
from pytest_evals.fixtures.context import CODE_SANDBOX, RUN_CODE, current_scope
from pytest_evals.fixtures.grader import Fixture, grader_fixture
from pytest_evals.graders.code.extract import program_in
from pytest_evals.graders.code.levels import find_sandbox
from pytest_evals.graders.code.names import analyse, checks_nothing, wanted_names
from pytest_evals.graders.code.runner import WANTED, ProgramLimits, ProgramOutcome, ProgramTask, ScriptTest, run_program
from pytest_evals.graders.templating import check_static, depends_on_case, grading_text
from pytest_evals.notes import add_note
from pytest_evals.scores import corpus
from pytest_evals.templates.rendering import render
from pytest_evals.text import one_line

if TYPE_CHECKING:
    import pytest

SHOWN = 3
Tests = list[str] | list[ScriptTest]


def python_tests(
    tests: object,
    *,
    before: str | Sequence[str] = "",
    setup: str | Sequence[str] = "",
    entry_point: str | None = None,
    timeout: float = 10,
    memory: int = 1024,
    packages: bool = False,
    isolated: bool = True,
    objects: Sequence[str] = (),
    of: str | None = None,
    run_if: str | None = None,
) -> Fixture:
    """The share of tests that the completion's program passes; it passes with all of them. Needs ``--evals-run-code``.

    The program is the last fenced block that defines what the tests use, with the blocks that it needs. It runs confined as
    ``evals_code_sandbox`` says. Its tests run in another process, which it cannot see.

    Args:
        tests: Python code, a list of it (each entry is one test), or locators of either. A test passes if it raises nothing. An entry
            ``{"input": ..., "output": ...}`` runs the program as a script and compares what it prints.
        before: Code before the program, a text or a list of lines: imports, or the head of the function that it continues.
        setup: Code before each test, a text or a list of lines.
        entry_point: The name of the function under test. A test that defines ``check`` is called with it, as in HumanEval.
        timeout: Seconds for program and tests together. A test that never ends fails alone.
        memory: MiB for each of the two processes, on Linux.
        packages: Whether they may import installed packages beside the standard library.
        isolated: `False` runs the tests in the program's process, where a program can deceive them.
        objects: Names of the program's classes whose objects may compare and compute with plain data.
        of: A task whose result is graded instead of the completion.
        run_if: An expression over the case. Where it is false, the grader does not apply.

    Raises:
        SuiteError: A setting is wrong; at collection, if running programs is not allowed.
    """
    limits = check_limits(timeout, memory)
    classes = check_objects(objects)
    settings = {"tests": tests, "before": before, "setup": setup, "entry_point": entry_point}
    dynamic = {name: value for name, value in settings.items() if depends_on_case(value)}
    static = {name: value for name, value in settings.items() if name not in dynamic}

    def task(rendered: Mapping[str, Any]) -> CodeTask:
        return check_task(**{**static, **rendered})

    written = [each for value in settings.values() for each in (value if isinstance(value, (list, tuple)) else [value])]
    check_static(written, lambda _written: task(dynamic))

    def grade(answer: str, request: pytest.FixtureRequest) -> Any:
        from pytest_evals.grades import Grade

        if not request.config.stash.get(RUN_CODE, False):
            raise SuiteError("runs programs that a model wrote, which has to be allowed: --evals-run-code")
        asked = task(render(dynamic, current_scope(request)))
        sandbox = find_sandbox(*request.config.stash.get(CODE_SANDBOX, ("auto",)))
        outcome = run_program(asked.for_answer(answer, classes, packages=packages, isolated=isolated), limits, sandbox)
        add_note(request.config, "programs", f"programs of models ran confined by {sandbox.title}")
        if not isolated:
            key = request.fixturename or ""
            add_note(
                request.config,
                f"programs {key}",
                f"{key}: its tests ran in the process of each program, which could deceive them",
            )
        passed = outcome.errors.count(None)
        return Grade(
            passed / len(asked.tests),
            request.fixturename or "",
            reason(outcome, asked.tests),
            passed == len(asked.tests),
            metadata=details(outcome, isolated=isolated),
        )

    program_tests = grading_text(grade, of, "python_tests")
    program_tests.__doc__ = "The share of tests that the completion's program passes."
    return grader_fixture(
        program_tests,
        bounds=(0, 1),
        settings=dynamic,
        check=task,
        run_if=run_if,
        runs_code=True,
        seconds=timeout,
    )


class CodeTask(NamedTuple):
    """What the program of a case has to pass, checked: as it can be run whatever the program."""

    tests: Tests
    before: str
    entry_point: str | None
    setup: str = ""

    def for_answer(
        self, answer: str, objects: tuple[str, ...] = (), *, packages: bool = False, isolated: bool = True
    ) -> ProgramTask:
        """Return the task of the program that a completion holds."""
        tests = [f"{self.setup}\n{test}" if isinstance(test, str) and self.setup else test for test in self.tests]
        program = find_program(answer, tests, self.before, self.entry_point)
        return ProgramTask(program, tests, self.before, self.entry_point, objects, packages=packages, isolated=isolated)


def find_program(answer: str, tests: Sequence[str | ScriptTest], before: str, entry_point: str | None) -> str:
    """Return the program of a completion that these tests are for."""
    codes = [analyse(test, "", entry_point) for test in tests if isinstance(test, str)]
    return program_in(answer, wanted=wanted_names(codes), script=not codes, before=before)


def check_limits(timeout: float, memory: int) -> ProgramLimits:
    """Return the limits. Raises `SuiteError` for what is not a limit."""
    seconds = isinstance(timeout, (int, float)) and not isinstance(timeout, bool) and 0 < timeout < math.inf
    if not seconds:
        raise SuiteError(f"python_tests: timeout must be a number of seconds above 0, not {timeout!r}")
    if isinstance(memory, bool) or not isinstance(memory, int) or memory < 64:
        raise SuiteError(f"python_tests: memory must be a whole number of MiB, and at least 64, not {memory!r}")
    return ProgramLimits(seconds=timeout, memory=memory)


def check_objects(objects: object) -> tuple[str, ...]:
    """Return the names of classes. Raises `SuiteError` for anything else."""
    named = isinstance(objects, (list, tuple)) and all(
        isinstance(name, str) and name.isidentifier() for name in objects
    )
    if not named:
        raise SuiteError(f"python_tests: objects must be a list of names of classes, not {objects!r}")
    return tuple(objects)  # type: ignore[arg-type]  # it is a list or a tuple


def check_task(tests: object, before: object = "", entry_point: object = None, setup: object = "") -> CodeTask:
    """Return the task. Raises `SuiteError` for what cannot be run, whatever the program."""
    head, front = _code(before, "before"), _code(setup, "setup")
    if entry_point is not None and (not isinstance(entry_point, str) or not entry_point.isidentifier()):
        raise SuiteError(f"python_tests: entry_point must be the name of a function, not {entry_point!r}")
    entries = list(_entries(tests))
    scripts = [test for test in entries if isinstance(test, Mapping)]
    if scripts and len(scripts) == len(entries):
        if front:
            raise SuiteError("python_tests: setup= is code in front of tests, and tests with input and output are none")
        return CodeTask([_script_test(test) for test in scripts], head, entry_point)
    listed = [test for test in entries if isinstance(test, str) and test.strip()]
    if not listed or len(listed) < len(entries):
        raise SuiteError(
            f"python_tests needs tests, as code or a list of it, and none may be empty; got {one_line(repr(tests), 60)}"
        )
    if front:
        _parsed(front)
    for test in listed:
        if checks_nothing(_parsed(test), entry_point=entry_point is not None):
            raise SuiteError(
                f"python_tests: {one_line(test, 60)!r} only defines things, so that it could not fail; with entry_point=, a test "
                "that defines check(candidate) has it called"
            )
    return CodeTask(listed, head, entry_point, front)


def _entries(tests: object) -> Iterator[object]:
    """Return the tests one by one: those of lists within the list too, as where two columns have tests."""
    for test in tests if isinstance(tests, (list, tuple)) else [tests]:
        if isinstance(test, (list, tuple)):
            yield from test
        else:
            yield test


def _code(value: object, name: str) -> str:
    lines = value if isinstance(value, (list, tuple)) else [value]
    if not all(isinstance(line, str) for line in lines):
        raise SuiteError(f"python_tests: {name} must be code, or a list of its lines, not {one_line(repr(value), 60)}")
    return "\n".join(str(line) for line in lines) if any(str(line).strip() for line in lines) else ""


def _script_test(test: Mapping[Any, Any]) -> ScriptTest:
    if set(test) != {"input", "output"} or not all(isinstance(text, str) for text in test.values()):
        raise SuiteError(
            "python_tests: a test of a script is {'input': TEXT, 'output': TEXT}, and all tests of a case are such, or none; got "
            f"{one_line(repr(dict(test)), 60)}"
        )
    return ScriptTest(test["input"], test["output"])


def _parsed(test: str) -> ast.Module:
    try:
        return ast.parse(test)
    except (SyntaxError, ValueError) as error:
        where = f"{error.msg} (line {error.lineno})" if isinstance(error, SyntaxError) else error
        raise SuiteError(f"python_tests: {one_line(test, 60)!r} is not valid Python: {where}") from error


def reason(outcome: ProgramOutcome, tests: Sequence[str | ScriptTest]) -> str:
    """Say how many tests passed, and show what was wrong in the first of the others."""
    wrong = [(number, error) for number, error in enumerate(outcome.errors, start=1) if error is not None]
    total = len(tests)
    counted = f"{total - len(wrong)} of {total} tests passed"
    if not wrong:
        return counted
    if len({error for _, error in wrong}) == 1 and len(wrong) == total:
        return f"{counted}: {wrong[0][1]}"
    shown = [f"test {number}: {_title(tests[number - 1])}\n{error}" for number, error in wrong[:SHOWN]]
    return "\n".join([counted, *shown, *(["..."] if len(wrong) > SHOWN else [])])


def _title(test: str | ScriptTest) -> str:
    return one_line(test if isinstance(test, str) else f"input {test.input!r}", 100)


def details(outcome: ProgramOutcome, *, isolated: bool = True) -> dict[str, Any]:
    """Return what a grade keeps: which tests passed, what was printed, and what the program was kept from."""
    passed = [error is None for error in outcome.errors]
    open_ends = [name for name in WANTED if name not in outcome.limits]
    return {
        "passed": passed,
        **({"sandbox": outcome.sandbox} if outcome.sandbox else {}),
        "limits": list(outcome.limits),
        **({"not_limited": open_ends} if open_ends else {}),
        **({} if isolated else {"isolated": False}),
        **({"output": outcome.output} if outcome.output else {}),
        **corpus.part_data("ratio", (sum(passed), len(passed))),
    }
