"""What metrics have in common: references, thresholds, and the fixture that makes a grade of a measured value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_evals.errors import SuiteError
from pytest_evals.fixtures.context import current_scope
from pytest_evals.fixtures.grader import Fixture, grader_fixture
from pytest_evals.graders.templating import check_static, depends_on_case, grading_text
from pytest_evals.graders.text import check_no_written_list
from pytest_evals.templates.rendering import render
from pytest_evals.text import one_line

if TYPE_CHECKING:
    import pytest


class Measured(NamedTuple):
    """What a metric found. ``details`` go into the grade's metadata: how the value is defined, and what it is made of."""

    value: float
    reason: str
    details: Mapping[str, Any]


MetricFunction = Callable[[str, Sequence[str]], Measured]
"""A completion's text and its references -> what was measured."""


def as_references(value: object, grader: str) -> list[str]:
    """Return one or several references as a list of at least one text. Raises `SuiteError` for a missing or empty one."""
    check_no_written_list(value, grader)
    entries = list(value) if isinstance(value, (list, tuple)) else [value]
    for entry in entries:
        if not isinstance(entry, (str, int, float)) or isinstance(entry, bool):
            raise SuiteError(
                f"{grader}: a reference is text, or a list of texts, and not {type(entry).__name__} ({one_line(repr(value), 60)})"
            )
    texts = [str(entry) for entry in entries]
    if not texts or not all(text.strip() for text in texts):
        raise SuiteError(f"{grader} needs a reference, and none may be empty; got {one_line(repr(value), 60)}")
    return texts


def check_threshold(threshold: float | None, grader: str, lowest: float = 0) -> None:
    """Raise `SuiteError` for a threshold that no value, or every value, would pass."""
    if threshold is None:
        return
    number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool) and math.isfinite(threshold)
    if not number or not lowest <= threshold <= 1:
        raise SuiteError(
            f"{grader}: threshold must be a number from {lowest} to 1, as its values are; not {threshold!r}"
        )


def metric_fixture(
    name: str,
    measure: MetricFunction,
    reference: object,
    threshold: float | None,
    *,
    check: Callable[[Sequence[str]], object] | None = None,
    lowest: float = 0,
    waits: bool = False,
    of: str | None = None,
    run_if: str | None = None,
) -> Fixture:
    """Return the grader's fixture. ``of``, ``run_if``: as for all ready-made graders. ``reference``: a text, a list of them, or a locator or templates of the case.

    ``check`` raises `SuiteError` for references that the metric cannot use, when the suite is collected. ``waits``: measuring
    takes its time.
    """
    check_threshold(threshold, name, lowest)

    def references(value: object) -> list[str]:
        texts = as_references(value, name)
        if check is not None:
            check(texts)
        return texts

    check_static(reference, references)
    settings = {"reference": reference} if depends_on_case(reference) else {}

    def grade(answer: str, request: pytest.FixtureRequest) -> Any:
        from pytest_evals.grades import Grade

        scope = current_scope(request) if settings else {}
        found = measure(answer, as_references(render(reference, scope), name))
        passed = None if threshold is None else found.value >= threshold
        return Grade(found.value, request.fixturename or "", found.reason, passed, metadata=found.details)

    metric = grading_text(grade, of, name)
    metric.__doc__ = f"The metric {name} of the completion."
    return grader_fixture(
        metric,
        bounds=(lowest, 1),
        settings=settings,
        check=lambda found: references(found.get("reference", reference)),
        run_if=run_if,
        waits=waits,
    )
