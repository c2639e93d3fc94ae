"""The graders that a combined grader is made of: which ones are meant, and what each of them gave."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_evals.errors import GradeError, SuiteError, did_you_mean
from pytest_evals.steps.step import Declaration, grader_of

if TYPE_CHECKING:
    from pytest_evals.grades import Grade

Part = Any
"""A grader: its fixture, or the name of one; ``style.tone`` is the entry of one that returns a dict."""


def part_names(kind: str, parts: Sequence[Part], frame: Any) -> list[str]:
    """Return the names of graders: given as such, or of the variables of the caller that hold their fixtures.

    Raises `SuiteError` for none, for one given twice, and for one whose name is not known.
    """
    if not parts:
        raise SuiteError(f"{kind}: give at least one grader")
    names = [name_of(kind, part, frame) for part in parts]
    if len(set(names)) < len(names):
        raise SuiteError(f"{kind}: a grader stands twice: {', '.join(names)}")
    return names


def name_of(kind: str, part: Part, frame: Any) -> str:
    """Return the name of one grader; see `part_names`."""
    if isinstance(part, str):
        if part.strip() and all(piece.isidentifier() for piece in part.split(".")):
            return part
        raise SuiteError(f"{kind}: {part!r} is not the name of a grader")
    if grader_declaration(part) is None:
        raise SuiteError(f"{kind}: {part!r:.80} is no grader; give a grader or the name of one")
    explicit = getattr(getattr(part, "_fixture_function_marker", None), "name", None)
    if explicit:
        return str(explicit)
    for scope in (frame.f_locals, frame.f_globals):
        for name, value in scope.items():
            if value is part:
                return str(name)
    raise SuiteError(
        f"{kind}: a grader that was made in place has no name that its grades could stand under; assign it to a variable first"
    )


def grader_declaration(part: Part) -> Declaration | None:
    """Return what stands behind the fixture of a grader, `None` for what is none."""
    wrapped = getattr(part, "_get_wrapped_function", None)  # the function of what pytest.fixture returned
    return grader_of(wrapped()) if wrapped is not None else None


def ask_for(function: Any, names: Sequence[str]) -> None:
    """Let a function ask for fixtures by name."""
    function.__signature__ = inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names]
    )


def entry_of(key: str, given: Mapping[str, Any]) -> Grade:
    """Return the grade of a part. Raises `GradeError` when there is no such entry, and for an error of a part."""
    fixture, _, entry = key.partition(".")
    value = given[fixture]
    if isinstance(value, Mapping):
        if entry not in value:
            hint = did_you_mean(entry, value) if entry else ""
            raise GradeError(f"{fixture} gives several grades ({', '.join(value)}); name one, as {fixture}.NAME{hint}")
        value = value[entry]
    elif entry:
        parts = getattr(value, "parts", {})
        if entry not in parts:
            raise GradeError(
                f"{fixture} has no entry {entry!r} (it has {', '.join(parts) or 'none'}){did_you_mean(entry, parts)}"
            )
        value = parts[entry]
    if not hasattr(value, "grader_key"):
        raise GradeError(f"{fixture} is no grader: it gave {type(value).__name__}")
    if value.status == "error":
        raise GradeError(f"builds on the grader {value.grader_key!r}, which failed: {value.reasoning}")
    grade: Grade = value
    return grade
