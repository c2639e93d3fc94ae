"""Graders made of graders: a weighted mean, and verdicts of all, any or most."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pytest_evals.errors import GradeError, SuiteError, did_you_mean
from pytest_evals.fixtures.conversion import to_grades
from pytest_evals.fixtures.declaration import FixtureSpec, grader_of
from pytest_evals.fixtures.grader import Fixture, call_grader, grader_fixture

if TYPE_CHECKING:
    from pytest_evals.grades import Grade

CombinedVerdict = Callable[[Sequence[bool]], bool]


def weighted(
    parts: Mapping[GraderPart, float],
    *,
    how: Literal["mean", "sum"] = "mean",
    threshold: float | None = None,
    name: str | None = None,
) -> Fixture:
    """The weighted mean or sum of graders: ``{"exact": 3, "short": 1}``.

    Graders that do not apply are left out, and the other weights renormalised. If none applies, this one does not either. An error of a
    part is an error.

    Args:
        parts: Graders, as variables or by name, with their weights.
        how: ``mean`` or ``sum``.
        threshold: The lowest value that passes; `None` for no verdict.
        name: The fixture's name.
    """
    kind = "weighted"
    if not isinstance(parts, Mapping):
        raise SuiteError(f"{kind}: give a mapping of graders to weights, not {parts!r:.80}")
    names = part_names(kind, list(parts), sys._getframe(1))  # noqa: SLF001 - the documented way to the caller
    if how not in ("mean", "sum"):
        raise SuiteError(f"{kind}: how must be 'mean' or 'sum', not {how!r}")
    weights = dict(zip(names, (_weight(part, weight) for part, weight in parts.items()), strict=True))

    def combine(grades: Mapping[str, Grade]) -> Grade:
        return weigh(grades, weights, how, threshold)

    return _combined(kind, names, combine, name)


def all_of(*parts: GraderPart, name: str | None = None) -> Fixture:
    """Passes if every grader that applies passes.

    Args:
        parts: Graders, as variables or by name; ``"quality.is_brief"`` is one grade of several.
        name: The fixture's name.
    """
    names = part_names("all_of", parts, sys._getframe(1))  # noqa: SLF001 - as above
    return _combined("all_of", names, lambda grades: _by_verdicts("all_of", grades, all), name)


def any_of(*parts: GraderPart, name: str | None = None) -> Fixture:
    """Passes if at least one grader passes.

    Args:
        parts: Graders, as for `all_of`.
        name: The fixture's name.
    """
    names = part_names("any_of", parts, sys._getframe(1))  # noqa: SLF001 - as above
    return _combined("any_of", names, lambda grades: _by_verdicts("any_of", grades, any), name)


def majority(*parts: GraderPart, name: str | None = None) -> Fixture:
    """Passes if more than half of the graders that apply pass.

    Args:
        parts: Graders, as for `all_of`.
        name: The fixture's name.
    """
    names = part_names("majority", parts, sys._getframe(1))  # noqa: SLF001 - as above

    def most(verdicts: Sequence[bool]) -> bool:
        return 2 * sum(verdicts) > len(verdicts)

    return _combined("majority", names, lambda grades: _by_verdicts("majority", grades, most), name)


def weigh(
    grades: Mapping[str, Grade], weights: Mapping[str, float], how: str = "mean", threshold: float | None = None
) -> Grade:
    """Return the weighted mean or sum of the grades that apply."""
    from pytest_evals.grades import Grade

    waiting = _pending(grades)
    if waiting is not None:
        return waiting
    applying = {key: grade.value for key, grade in grades.items() if grade.value is not None}
    if not applying:
        return Grade(None, "", "none of its graders applies", status="not_applicable")
    total = math.fsum(weights[key] * value for key, value in applying.items())
    all_weight, weight = math.fsum(weights.values()), math.fsum(weights[key] for key in applying)
    # A sum keeps its scale when a grader leaves: the others stand for it.
    scale = 1 / weight if how == "mean" else all_weight / weight
    value = total * scale
    passed = None if threshold is None else value >= threshold
    return Grade(value, "", _reasons(grades), passed, bounds=_bounds(grades, weights, scale))


def _bounds(grades: Mapping[str, Grade], weights: Mapping[str, float], scale: float) -> tuple[float, float] | None:
    """Return between what the weighted value can be, where that is known of every grade that applies."""
    ends = {key: _ends(grade) for key, grade in grades.items() if grade.value is not None}
    known = {key: end for key, end in ends.items() if end is not None}
    if len(known) < len(ends):
        return None
    low, high = (scale * math.fsum(weights[key] * end[side] for key, end in known.items()) for side in (0, 1))
    return low, high


def _ends(grade: Grade) -> tuple[float, float] | None:
    """Return the bounds of a part; those of a verdict without bounds are wrong and right."""
    return grade.bounds or ((0.0, 1.0) if grade.passed is not None and grade.value in (0, 1) else None)


def _weight(part: GraderPart, weight: object) -> float:
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight) or weight <= 0:
        raise SuiteError(f"weighted: the weight of {part!r:.60} must be a number above 0, not {weight!r}")
    return float(weight)


def _combined(
    kind: str, names: Sequence[str], combine: Callable[[Mapping[str, Grade]], Grade], name: str | None
) -> Fixture:
    def combined(**given: Any) -> Any:
        return combine({key: entry_of(key, given) for key in names})

    ask_for(combined, list(dict.fromkeys(key.partition(".")[0] for key in names)))
    combined.__doc__ = f"{kind} of {', '.join(names)}"
    return grader_fixture(combined, name=name)


def _by_verdicts(kind: str, grades: Mapping[str, Grade], verdict: CombinedVerdict) -> Grade:
    from pytest_evals.grades import Grade

    waiting = _pending(grades)
    if waiting is not None:
        return waiting
    applying = {key: grade for key, grade in grades.items() if grade.status == "graded"}
    if not applying:
        return Grade(None, "", "none of its graders applies", status="not_applicable")
    for key, grade in applying.items():
        if grade.passed is None and grade.value not in (0, 1):
            raise GradeError(f"{kind}: {key} gave {grade.value:g} without a verdict; give that grader a threshold")
    return Grade(verdict([bool(grade) for grade in applying.values()]), "", _reasons(grades))


def _pending(grades: Mapping[str, Grade]) -> Grade | None:
    """Return a pending grade when some part has yet to be given."""
    from pytest_evals.grades import Grade

    pending = [key for key, grade in grades.items() if grade.status == "pending"]
    return Grade(None, "", f"waits for {', '.join(pending)}", status="pending") if pending else None


def _reasons(grades: Mapping[str, Grade]) -> str:
    return "; ".join(f"{key} {_shown(grade)}" for key, grade in grades.items())


def _shown(grade: Grade) -> str:
    if grade.value is None:
        return str(grade.status).replace("_", " ")
    return f"{grade.value:g}" if grade.passed is None else "passed" if grade.passed else "missed"


# -- The first of several graders that can tell: cheap ones are asked before expensive ones.


def first(*parts: GraderPart, until: Literal["passed", "graded"] = "passed", name: str | None = None) -> Fixture:
    """The first grader that decides; the ones after it do not run. If none decides, the last grade counts.

    Args:
        parts: Graders in their order, cheap ones first. A judge or async grader that is given as a variable runs only when needed; what
            was not needed does not apply.
        until: What decides: a grade that ``passed``, or one that applies (``graded``).
        name: The fixture's name.
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
        raise SuiteError(f"{kind}: a grader is listed twice: {', '.join(names)}")
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


def _lazy_part(part: GraderPart, number: int, frame: Any) -> tuple[str, FixtureSpec | None]:
    """Return the key of a part, and for an async grader that was given itself what to call when it is needed."""
    declaration = None if isinstance(part, str) else grader_declaration(part)
    if declaration is None or not declaration.is_async:
        return part_names("first", [part], frame)[0], None
    try:
        key = name_of("first", part, frame)
    except SuiteError:
        key = f"step{number}"  # made in place: its grade is one of this grader's
    return key, declaration


def _arguments(key: str, lazy: FixtureSpec | None) -> list[str]:
    return [key.partition(".")[0]] if lazy is None else lazy.parameters


async def _call_lazily(lazy: FixtureSpec, given: Mapping[str, Any]) -> Grade:
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


# -- The graders that a combined grader is made of: which ones are meant, and what each of them gave.

GraderPart = Any
"""A grader: its fixture, or the name of one; ``style.tone`` is the entry of one that returns a dict."""


def part_names(kind: str, parts: Sequence[GraderPart], frame: Any) -> list[str]:
    """Return the names of graders: given as such, or of the variables of the caller that hold their fixtures.

    Raises `SuiteError` for none, for one given twice, and for one whose name is not known.
    """
    if not parts:
        raise SuiteError(f"{kind}: give at least one grader")
    names = [name_of(kind, part, frame) for part in parts]
    if len(set(names)) < len(names):
        raise SuiteError(f"{kind}: a grader is listed twice: {', '.join(names)}")
    return names


def name_of(kind: str, part: GraderPart, frame: Any) -> str:
    """Return the name of one grader; see `part_names`."""
    if isinstance(part, str):
        if part.strip() and all(piece.isidentifier() for piece in part.split(".")):
            return part
        raise SuiteError(f"{kind}: {part!r} is not the name of a grader")
    if grader_declaration(part) is None:
        raise SuiteError(f"{kind}: {part!r:.80} is not a grader; give a grader or the name of one")
    explicit = getattr(getattr(part, "_fixture_function_marker", None), "name", None)
    if explicit:
        return str(explicit)
    for scope in (frame.f_locals, frame.f_globals):
        for name, value in scope.items():
            if value is part:
                return str(name)
    raise SuiteError(
        f"{kind}: a grader that was made in place has no name for its grades; assign it to a variable first"
    )


def grader_declaration(part: GraderPart) -> FixtureSpec | None:
    """Return the declaration behind the fixture of a grader, `None` for what is not one."""
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
        raise GradeError(f"{fixture} is not a grader: it gave {type(value).__name__}")
    if value.status == "error":
        raise GradeError(f"builds on the grader {value.grader_key!r}, which failed: {value.reasoning}")
    grade: Grade = value
    return grade
