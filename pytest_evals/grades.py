"""A grade: what a grader thinks of one completion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PrivateAttr, model_validator

from pytest_evals.errors import AwaitsAnswer, GradeError, NotApplicable, did_you_mean
from pytest_evals.statistics import LARGEST
from pytest_evals.statistics.intervals import check_bounds, within
from pytest_evals.text import one_line

_set = object.__setattr__

Status = Literal["graded", "not_applicable", "error", "pending"]
LEFT_OUT = "left out where it is empty"
"""Marks a field that a line of the artifact has only where there is something to say; readers ask for it with ``get``."""


_OTHER_WORDS = {
    "name": "grader_key",
    "reason": "reasoning",
    "explanation": "reasoning",
    "score": "value",
    "success": "passed",
    "verdict": "passed",
}
"""What other tools call the fields of a grade."""


class Grade(BaseModel):
    """What a grader finds about one case.

    ``bool(grade)`` is the verdict, or without one whether the value is not 0. A grade compares with numbers. A grade without a value raises
    `NotApplicable` (a pending one its subclass `AwaitsAnswer`) or `GradeError` when a test asks for it.

    Attributes:
        value: A finite number; a bool counts as 1 or 0, with a verdict. `None` unless the grade is ``graded``.
        grader_key: The grader's name in scores, gates and the artifact.
        reasoning: Why.
        passed: The verdict; `None` for a number without one.
        status: ``graded``, ``not_applicable`` (the grader does not concern this case), ``error`` (it failed) or ``pending`` (a person has not
            answered yet).
        metadata: Further data, as plain values.
        bounds: The lowest and highest possible value, if known. The interval of the mean stays within them.

    Raises:
        ValidationError: The value is not finite, is outside the bounds, or does not fit the status.
    """

    # What a later version of the artifact adds is kept; a typo in a call is refused by __init__.
    model_config = ConfigDict(frozen=True, extra="allow")

    value: FiniteFloat | None = None
    grader_key: str = ""
    reasoning: str | None = None
    passed: bool | None = None
    status: Status = "graded"
    metadata: Mapping[str, Any] = Field(default_factory=dict)
    bounds: Annotated[tuple[FiniteFloat, FiniteFloat] | None, LEFT_OUT] = None
    _parts: Mapping[str, Grade] = PrivateAttr(default_factory=dict)

    def __init__(
        self,
        value: float | bool | None = None,
        grader_key: str = "",
        reasoning: str | None = None,
        passed: bool | None = None,
        status: Status = "graded",
        metadata: Mapping[str, Any] | None = None,
        bounds: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(
            value=value,
            grader_key=grader_key,
            reasoning=reasoning,
            passed=passed,
            status=status,
            metadata=metadata or {},
            bounds=bounds,
        )

    @classmethod
    def verdict(cls, passed: bool, grader_key: str, reasoning: str | None) -> Grade:
        """Return ``Grade(passed, grader_key, reasoning)`` for values of these types, without the checks of others: most grades are
        verdicts of ready-made graders.
        """
        grade = cls.__new__(cls)
        given = {
            "value": 1.0 if passed else 0.0,
            "grader_key": grader_key,
            "reasoning": reasoning,
            "passed": passed,
            "status": "graded",
            "metadata": {},
            "bounds": None,
        }
        # What pydantic itself sets of a model whose values need no validation.
        _set(grade, "__dict__", given)
        _set(grade, "__pydantic_fields_set__", set(given))
        _set(grade, "__pydantic_extra__", {})
        _set(grade, "__pydantic_private__", {"_parts": {}})
        return grade

    # Reading a grade from data goes past the signature above, which is for people.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # as pydantic marks its own

    @model_validator(mode="before")
    @classmethod
    def _bool_is_a_verdict(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("value"), bool) and data.get("passed") is None:
            return {**data, "passed": data["value"]}
        return data

    @model_validator(mode="after")
    def _value_fits_status(self) -> Grade:
        if self.status == "graded" and self.value is None:
            raise ValueError("a grade with status 'graded' needs a value")
        if self.value is not None and abs(self.value) > LARGEST:
            raise ValueError(f"a grade's value is at most {LARGEST:g} in size: the squares of larger ones overflow")
        if self.status != "graded" and (self.value is not None or self.passed is not None):
            raise ValueError(f"a grade with status {self.status!r} has neither value nor verdict")
        if self.bounds is not None:
            check_bounds(self.bounds)
            if self.value is not None and not within(self.value, self.bounds):
                raise ValueError(
                    f"a value of {self.value:g} is outside of the bounds {self.bounds[0]:g} to {self.bounds[1]:g}"
                )
        return self

    @property
    def parts(self) -> Mapping[str, Grade]:
        """The other grades, by name, of a grader that gives several, such as a rubric; also ``grade["name"]``."""
        return self._parts

    def with_parts(self, parts: Mapping[str, Grade]) -> Grade:
        """Return a copy of the grade with these other grades."""
        copied = self.model_copy()
        copied._parts = dict(parts)  # noqa: SLF001 - its own class
        return copied

    def __getitem__(self, name: str) -> Grade:
        if name not in self._parts:
            known = f"has {', '.join(self._parts)}" if self._parts else "is a single grade"
            raise KeyError(f"no grade {name!r}: {self.grader_key or 'the grader'} {known}")
        return self._parts[name]

    def _number(self) -> float:
        if self.value is not None:
            return self.value
        label = self.grader_key or "the grade"
        reason = f": {self.reasoning}" if self.reasoning else ""
        if self.status == "not_applicable":
            raise NotApplicable(f"{label} does not apply to this case{reason}")
        if self.status == "pending":
            raise AwaitsAnswer(f"{label} is pending{reason}")
        raise GradeError(f"{label} has no value, its status is {self.status}{reason}")

    if not TYPE_CHECKING:  # a checker of types finds these by itself

        def __getattr__(self, name: str) -> Any:
            __tracebackhide__ = True
            try:
                return super().__getattr__(name)
            except AttributeError:
                meant = _OTHER_WORDS.get(name)
                hint = f"; did you mean {meant!r}?" if meant else did_you_mean(name, Grade.model_fields)
                message = f"a grade has no {name!r}{hint}" if not name.startswith("__") else name
                raise AttributeError(message) from None

        def __call__(self, *_: object, **__: object) -> NoReturn:
            """Refuse to be called: a test gets the grade itself."""
            __tracebackhide__ = True
            key = self.grader_key or "grade"
            raise TypeError(f"{key!r} is the grade of this case already: write 'assert {key}', without calling it")

    def __bool__(self) -> bool:
        return bool(self._number()) if self.passed is None else self.passed

    def __float__(self) -> float:
        return self._number()

    def __hash__(self) -> int:
        return hash(self.value)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Grade):
            return (self.value, self.grader_key, self.passed, self.status) == (
                other.value,
                other.grader_key,
                other.passed,
                other.status,
            )
        return self._number() == other if isinstance(other, (int, float)) else NotImplemented

    def __lt__(self, other: float | Grade) -> bool:
        return self._number() < float(other)

    def __le__(self, other: float | Grade) -> bool:
        return self._number() <= float(other)

    def __gt__(self, other: float | Grade) -> bool:
        return self._number() > float(other)

    def __ge__(self, other: float | Grade) -> bool:
        return self._number() >= float(other)

    def __repr__(self) -> str:
        """Value and reasoning on one line: this is what a failed ``assert grade`` shows."""
        verdict = {True: " passed", False: " missed", None: ""}[self.passed]
        state = f"{self.value:g}{verdict}" if self.value is not None else self.status
        reason = f": {one_line(self.reasoning, 300)}" if self.reasoning else ""
        return f"<{self.grader_key or 'grade'} {state}{reason}>"

    __str__ = __repr__
