"""What the steps of one case gave: results of tasks, grades, failures; as dependents, fixtures and the artifact see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from pytest_evals.collection.item import EvalItem
from pytest_evals.completion import Completion
from pytest_evals.errors import NotApplicable, trim_traceback
from pytest_evals.fixtures.context import GradeSheet
from pytest_evals.fixtures.conversion import excluded, given_to_test, grades_of_error, returned_failure, to_grades
from pytest_evals.fixtures.declaration import NotApplicableResult
from pytest_evals.fixtures.dependencies import TaskNode
from pytest_evals.fixtures.task import plain_data
from pytest_evals.runner.completions import made_completion
from pytest_evals.templates.locators import with_tasks


@dataclass(slots=True)
class TaskOutcome:
    """What became of a step: its ``value``, or the ``failure`` that dependents and the case see. The value of a grader that
    failed is still a grade.
    """

    value: Any = None
    failure: BaseException | None = None


class TaskResults:
    """See the module. ``outcomes`` by the key of their step; ``sheet`` has what a test that runs would have entered itself,
    ``completion`` what a task made in the place of the default turn.
    """

    def __init__(self, found: EvalItem) -> None:
        self.outcomes: dict[str, TaskOutcome] = {}
        self.sheet = GradeSheet()
        self.completion: Completion | None = None
        self._found = found
        self._plain: dict[str, Any] = {}

    # -- in the event loop

    def of_value(self, step: TaskNode, value: Any) -> TaskOutcome:
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
            return TaskOutcome(completion)
        self._plain[step.key] = data = plain_data(value)
        if step.key == step.name:
            self.sheet.recorded[step.name] = data
        return TaskOutcome(value)

    def of_excluded(self, step: TaskNode) -> TaskOutcome:
        """Return the outcome of a step whose ``run_if`` is false for the case."""
        if step.declaration.kind == "grader":
            return self._of_grades(excluded(step.name))
        return TaskOutcome(
            NotApplicableResult(f"the task {step.name!r}, which does not apply: run_if is false for this case")
        )

    def of_error(self, step: TaskNode, error: BaseException) -> TaskOutcome:
        """Return the outcome of a step that raised."""
        if step.declaration.kind == "grader":
            grades, failure = grades_of_error(step.name, error)
            if failure is not None:
                self.sheet.failures.setdefault(step.name, failure)
            return self._of_grades(grades, failure)
        if isinstance(error, (NotApplicable, pytest.skip.Exception)):
            return TaskOutcome(NotApplicableResult(f"the task {step.name!r}, which does not apply: {error}"))
        return TaskOutcome(failure=trim_traceback(error))

    def _of_grades(self, grades: dict[str, Any], failure: BaseException | None = None) -> TaskOutcome:
        self.sheet.grades.update({grade.grader_key: grade for grade in grades.values()})
        return TaskOutcome(given_to_test(grades), failure)

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

    def post(self, sheet: GradeSheet) -> None:
        """Put results and grades on the sheet of the case."""
        sheet.grades.update(dict(self.sheet.grades))
        sheet.recorded.update(dict(self.sheet.recorded))
        for key, failure in dict(self.sheet.failures).items():
            sheet.failures.setdefault(key, failure)
