"""Runs the program that a model wrote against the tests of its case, in a process of its own.

This package says what is run and grades it; `runner` starts and stops the process, `harness` is what runs in it, and `sandbox`
what it may not do.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_evals.errors import SuiteError
from pytest_evals.fixtures.context import RUN_CODE, current_scope
from pytest_evals.fixtures.grader import Fixture, grader_fixture
from pytest_evals.graders.code.runner import WANTED, ProgramLimits, ProgramOutcome, program_in, run_program
from pytest_evals.graders.templating import check_static, depends_on_case, grading_text
from pytest_evals.scores import corpus
from pytest_evals.templates.rendering import render
from pytest_evals.text import one_line

if TYPE_CHECKING:
    import pytest

SHOWN = 3


def python_tests(
    tests: object,
    *,
    before: str = "",
    entry_point: str | None = None,
    timeout: float = 10,
    memory: int = 1024,
    packages: bool = False,
    of: str | None = None,
    run_if: str | None = None,
) -> Fixture:
    """The share of tests that the completion's program passes; passed when it passes all of them.

    Needs ``--evals-run-code``. The program is the last fenced block of the completion, or all of it.

    Args:
        tests: Python code, a list of it (each is one test), or a locator of either. A test passes that raises nothing.
        before: Code in front of the program: imports, or the head of the function that it goes on with.
        entry_point: Name of a function of the program, which ``check`` of each test is called with (as in HumanEval).
        timeout: Seconds that program and tests may take together.
        memory: MiB that they may use, on Linux.
        packages: Whether they may import what is installed here, beside the standard library.
        of: Name of a task whose result is taken in the place of the completion.
        run_if: An expression over the case, where the grader applies.
    """
    limits = check_limits(timeout, memory)
    settings = {"tests": tests, "before": before, "entry_point": entry_point}
    dynamic = {name: value for name, value in settings.items() if depends_on_case(value)}
    static = {name: value for name, value in settings.items() if name not in dynamic}

    def task(rendered: Mapping[str, Any]) -> tuple[list[str], str, str | None]:
        return check_task(**{**static, **rendered})

    written = list(tests) if isinstance(tests, (list, tuple)) else [tests]
    check_static([*written, before, entry_point], lambda _written: task(dynamic))

    def grade(answer: str, request: pytest.FixtureRequest) -> Any:
        from pytest_evals.grades import Grade

        if not request.config.stash.get(RUN_CODE, False):
            raise SuiteError("runs programs that a model wrote, which has to be allowed: --evals-run-code")
        checks, head, name = task(render(dynamic, current_scope(request)))
        program = f"{head}\n{program_in(answer)}" if head else program_in(answer)
        outcome = run_program(program, checks, entry_point=name, limits=limits, packages=packages)
        passed = outcome.errors.count(None)
        return Grade(
            passed / len(checks),
            request.fixturename or "",
            reason(outcome, checks),
            passed == len(checks),
            metadata=details(outcome),
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


def check_limits(timeout: float, memory: int) -> ProgramLimits:
    """Return the limits. Raises `SuiteError` for what is no limit."""
    seconds = isinstance(timeout, (int, float)) and not isinstance(timeout, bool) and 0 < timeout < math.inf
    if not seconds:
        raise SuiteError(f"python_tests: timeout must be a number of seconds above 0, not {timeout!r}")
    if isinstance(memory, bool) or not isinstance(memory, int) or memory < 64:
        raise SuiteError(f"python_tests: memory must be a whole number of MiB, and at least 64, not {memory!r}")
    return ProgramLimits(seconds=timeout, memory=memory)


def check_task(tests: object, before: object, entry_point: object) -> tuple[list[str], str, str | None]:
    """Return tests, head and entry point. Raises `SuiteError` for what cannot be run, whatever the program."""
    entries = list(tests) if isinstance(tests, (list, tuple)) else [tests]
    listed = [test for test in entries if isinstance(test, str) and test.strip()]
    if not listed or len(listed) < len(entries):
        raise SuiteError(
            f"python_tests needs tests, as code or a list of it, and none may be empty; got {one_line(repr(tests), 60)}"
        )
    trees = [_parsed(test) for test in listed]
    if not isinstance(before, str):
        raise SuiteError(f"python_tests: before must be code, not {type(before).__name__}")
    if entry_point is None:
        return listed, before, None
    if not isinstance(entry_point, str) or not entry_point.isidentifier():
        raise SuiteError(f"python_tests: entry_point must be the name of a function, not {entry_point!r}")
    for test, tree in zip(listed, trees, strict=True):
        if not any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in tree.body):
            raise SuiteError(
                f"python_tests: with entry_point, a test defines check(candidate); this one does not: {one_line(test, 60)}"
            )
    return listed, before, entry_point


def _parsed(test: str) -> ast.Module:
    try:
        return ast.parse(test)
    except (SyntaxError, ValueError) as error:
        where = f"{error.msg} (line {error.lineno})" if isinstance(error, SyntaxError) else error
        raise SuiteError(f"python_tests: {one_line(test, 60)!r} is no Python: {where}") from error


def reason(outcome: ProgramOutcome, tests: Sequence[str]) -> str:
    """Say how many tests passed, and show what was wrong in the first of the others."""
    wrong = [(number, error) for number, error in enumerate(outcome.errors, start=1) if error is not None]
    total = len(tests)
    counted = f"{total - len(wrong)} of {total} tests passed"
    if not wrong:
        return counted
    if len({error for _, error in wrong}) == 1 and len(wrong) == total:
        return f"{counted}: {wrong[0][1]}"
    shown = [f"test {number}: {one_line(tests[number - 1], 100)}\n{error}" for number, error in wrong[:SHOWN]]
    return "\n".join([counted, *shown, *(["..."] if len(wrong) > SHOWN else [])])


def details(outcome: ProgramOutcome) -> dict[str, Any]:
    """Return what a grade keeps: which tests passed, what was printed, and what the program was kept from."""
    passed = [error is None for error in outcome.errors]
    open_ends = [name for name in WANTED if name not in outcome.limits]
    return {
        "passed": passed,
        "limits": list(outcome.limits),
        **({"not_limited": open_ends} if open_ends else {}),
        **({"output": outcome.output} if outcome.output else {}),
        **corpus.part_data("ratio", (sum(passed), len(passed))),
    }
