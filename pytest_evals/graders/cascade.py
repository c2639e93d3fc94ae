"""The first of several graders that can tell: cheap ones are asked before expensive ones."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pytest_evals.errors import GradeError, SuiteError
from pytest_evals.graders.parts import Part, ask_for, entry_of, grader_declaration, name_of, part_names
from pytest_evals.grading.calling import call_grader
from pytest_evals.grading.fixture import Fixture, grader_fixture
from pytest_evals.grading.returned import to_grades
from pytest_evals.steps.step import Declaration

if TYPE_CHECKING:
    from pytest_evals.grades import Grade


def first(*parts: Part, until: Literal["passed", "graded"] = "passed", name: str | None = None) -> Fixture:
    """The first grader that can tell, cheap ones first: with ``until="passed"`` one that passes, with ``"graded"`` one that
    applies.

    A ready-made judge, or any async grader, is given itself (``first("exact", graders.judge.binary(...))``) and runs only when
    those before it did not tell. What was not needed does not apply. When none can tell, the last one's grade counts.
    """
    kind = "first"
    if until not in ("passed", "graded"):
        raise SuiteError(f"{kind}: until must be 'passed' or 'graded', not {until!r}")
    if len(parts) < 2:
        raise SuiteError(f"{kind}: give two graders or more")
    frame = sys._getframe(1)  # noqa: SLF001 - the documented way to the caller
    steps = [_lazy_part(part, number, frame) for number, part in enumerate(parts, start=1)]
    names = [key for key, _ in steps]
    if len(set(names)) < len(names):
        raise SuiteError(f"{kind}: a grader stands twice: {', '.join(names)}")
    wanted = list(dict.fromkeys(argument for key, lazy in steps for argument in _arguments(key, lazy)))

    async def first_to_tell(**given: Any) -> Any:
        found: dict[str, Any] = {}
        decided: Grade | None = None
        for key, lazy in steps:
            if decided is not None:
                if lazy is not None:
                    found[key] = _not_needed(key)
                continue
            grade = entry_of(key, given) if lazy is None else await _call_lazily(lazy, given)
            if lazy is not None:
                found[key] = grade
            if grade.status == "error" or _tells(grade, until) or key == names[-1]:
                decided = grade
        assert decided is not None  # noqa: S101 - the last one always decides
        return {"": _as_own(decided, names), **found}

    ask_for(first_to_tell, wanted)
    first_to_tell.__doc__ = f"The first of {', '.join(names)} that can tell."
    return grader_fixture(first_to_tell, name=name)


def _lazy_part(part: Part, number: int, frame: Any) -> tuple[str, Declaration | None]:
    """Return the key of a part, and for an async grader that was given itself what to call when it is needed."""
    declaration = None if isinstance(part, str) else grader_declaration(part)
    if declaration is None or not declaration.is_async:
        return part_names("first", [part], frame)[0], None
    try:
        key = name_of("first", part, frame)
    except SuiteError:
        key = f"step{number}"  # made in place: its grade is one of this grader's
    return key, declaration


def _arguments(key: str, lazy: Declaration | None) -> list[str]:
    return [key.partition(".")[0]] if lazy is None else lazy.parameters


async def _call_lazily(lazy: Declaration, given: Mapping[str, Any]) -> Grade:
    arguments = {name: given[name] for name in lazy.parameters}
    grades = to_grades(await call_grader(lazy.function, (), arguments), "", lazy.threshold, lazy.bounds)
    if "" not in grades:
        raise GradeError(f"first: a part gave several grades ({', '.join(grades)}); give one that gives one")
    grade: Grade = grades[""]
    return grade


def _tells(grade: Grade, until: str) -> bool:
    if grade.status != "graded":
        return False
    return until == "graded" or bool(grade)


def _not_needed(key: str) -> Grade:
    from pytest_evals.grades import Grade

    return Grade(None, key, "not needed: a grader before it could tell", status="not_applicable")


def _as_own(grade: Grade, names: Sequence[str]) -> Grade:
    told = grade.grader_key or names[-1]
    reasoning = f"{told}: {grade.reasoning}" if grade.reasoning else f"told by {told}"
    return grade.model_copy(update={"grader_key": "", "reasoning": reasoning})
