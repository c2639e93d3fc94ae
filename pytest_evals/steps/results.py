"""What the steps of one case gave: results of tasks, grades, failures; as dependents, fixtures and the artifact see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from pytest_evals.completion import Completion
from pytest_evals.errors import NotApplicable
from pytest_evals.frames import to_the_point
from pytest_evals.grading.returned import excluded, given_to_test, grades_of_error, returned_failure, to_grades
from pytest_evals.grading.sheet import Sheet
from pytest_evals.item import EvalItem
from pytest_evals.steps.step import Absent
from pytest_evals.steps.tasks import plain_data
from pytest_evals.steps.workflow import Step
from pytest_evals.templates.locators import with_tasks
from pytest_evals.turn import made_completion


@dataclass(slots=True)
class Outcome:
    """What became of a step: its ``value``, or the ``failure`` that dependents and the case see. The value of a grader that
    failed is a grade all the same.
    """

    value: Any = None
    failure: BaseException | None = None


class StepResults:
    """See the module. ``outcomes`` by the key of their step; ``sheet`` has what a test that runs would have entered itself,
    ``completion`` what a task made in the place of the default turn.
    """

    def __init__(self, found: EvalItem) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.sheet = Sheet()
        self.completion: Completion | None = None
        self._found = found
        self._plain: dict[str, Any] = {}

    # -- in the event loop

    def of_value(self, step: Step, value: Any) -> Outcome:
        """Return the outcome of a step that returned ``value``. Raises what says that a step cannot return this."""
        __tracebackhide__ = True
        if step.declaration.kind == "grader":
            grades = to_grades(value, step.name, step.declaration.threshold, step.declaration.bounds)
            failure = returned_failure(grades)
            if failure is not None:
                self.sheet.failures.setdefault(step.name, failure)
            return self._of_grades(grades, failure)
        if step.name == "completion":
            completion = made_completion(value, self._found)
            if step.key == step.name:
                self.completion = completion
            return Outcome(completion)
        self._plain[step.key] = data = plain_data(value)
        if step.key == step.name:
            self.sheet.recorded[step.name] = data
        return Outcome(value)

    def of_excluded(self, step: Step) -> Outcome:
        """Return the outcome of a step whose ``run_if`` is false for the case."""
        if step.declaration.kind == "grader":
            return self._of_grades(excluded(step.name))
        return Outcome(Absent(f"the task {step.name!r}, which does not apply: run_if is false for this case"))

    def of_error(self, step: Step, error: BaseException) -> Outcome:
        """Return the outcome of a step that raised."""
        if step.declaration.kind == "grader":
            grades, failure = grades_of_error(step.name, error)
            if failure is not None:
                self.sheet.failures.setdefault(step.name, failure)
            return self._of_grades(grades, failure)
        if isinstance(error, (NotApplicable, pytest.skip.Exception)):
            return Outcome(Absent(f"the task {step.name!r}, which does not apply: {error}"))
        return Outcome(failure=to_the_point(error))

    def _of_grades(self, grades: dict[str, Any], failure: BaseException | None = None) -> Outcome:
        self.sheet.grades.update({grade.grader_key: grade for grade in grades.values()})
        return Outcome(given_to_test(grades), failure)

    # -- in any thread

    def scope_of(self, grader: str) -> Mapping[str, Any] | None:
        """Return what the templates of a grader may name, `None` when that is the case alone."""
        aliases = self._found.workflow.aliases.get(grader)
        if not aliases:
            return None
        results = {alias: self._plain[alias] for alias in aliases if alias in self._plain}
        return with_tasks(self._found.prepared.case.scope, results)

    def raised(self, error: BaseException) -> bool:
        """Tell whether a task of the case raised this."""
        steps = self._found.workflow.steps
        return any(
            outcome.failure is error and steps[key].declaration.kind == "task"
            for key, outcome in dict(self.outcomes).items()
        )

    def post(self, sheet: Sheet) -> None:
        """Put results and grades on the sheet of the case."""
        sheet.grades.update(dict(self.sheet.grades))
        sheet.recorded.update(dict(self.sheet.recorded))
        for key, failure in dict(self.sheet.failures).items():
            sheet.failures.setdefault(key, failure)
