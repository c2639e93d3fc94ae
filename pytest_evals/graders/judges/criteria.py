"""The lines of a rubric: what an author writes -> criteria with their names, weights and verdicts."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pytest_evals.errors import SuiteError
from pytest_evals.graders.judges.asked import (
    Asked,
    Verdicts,
    asked_labels,
    criterion_verdicts,
    question_for,
    question_verdicts,
    templates_of,
    told,
)
from pytest_evals.graders.judges.fixture import Scene, check_text
from pytest_evals.graders.judges.options import Options
from pytest_evals.review.questions import Question

_KIND = "judge.rubric"


@dataclass(frozen=True, slots=True)
class Criterion:
    """One line of a rubric; of a ``question`` its text is the criterion."""

    name: str
    text: str
    weight: float
    question: Question | None = None

    @property
    def verdicts(self) -> Verdicts:
        """The replies on offer."""
        return criterion_verdicts() if self.question is None else question_verdicts(_KIND, self.question)

    def asked(self, options: Options) -> Asked | None:
        """Return the question that the verdict answers, where others may answer it too."""
        return asked_labels(self.question, self.text, self.verdicts.labels, self.verdicts.choices, options)

    def told(self, scene: Scene) -> str:
        """Return the criterion as the judge is told it."""
        return scene.render(self.text) if self.question is None else told(scene, self.question)

    def listed(self, scene: Scene) -> str:
        """Return it as a line of a list; of a question with what PASS and FAIL mean."""
        line = f"{self.name}: {self.told(scene)}"
        if self.question is None:
            return line
        return f"{line} ({', '.join(f'{label}: {choice}' for label, choice in self.verdicts.choices.items())})"

    def templates(self) -> dict[str, str]:
        """Return the templates to render, by names for messages."""
        found = templates_of(self.text, self.question, "criterion")
        return {f"{name} {self.name}": template for name, template in found.items()}


def check_criteria(criteria: object) -> tuple[Criterion, ...]:
    """Return the criteria, from texts (or yes-or-no questions) to weights, from names to (text, weight), a list of texts of
    equal weight, or a form of such questions.

    Raises `SuiteError` for weights that are not above 0, and for names that are not different.
    """
    if isinstance(criteria, Question):
        form = question_for(_KIND, criteria, "form")
        criteria = {name: (field, 1) for name, field in form.fields} if form is not None else {}
    if isinstance(criteria, (list, tuple)):
        criteria = dict.fromkeys(criteria, 1)
    if not isinstance(criteria, Mapping) or not criteria:
        raise SuiteError(f"{_KIND}: criteria is a mapping of criteria to weights, not {criteria!r:.80}")
    rows = tuple(_criterion(key, value) for key, value in criteria.items())
    names = [row.name for row in rows]
    if len(set(names)) < len(names):
        raise SuiteError(
            f"{_KIND}: two criteria come to the same name ({', '.join(names)}); name them: {{'name': ('criterion', weight)}}"
        )
    return rows


def _criterion(key: object, value: object) -> Criterion:
    given, weight, name = key, value, None
    if isinstance(value, (list, tuple)) and len(value) == 2:
        name, (given, weight) = key, value
    question = question_for(_KIND, given, "choice")
    text = check_text(_KIND, "a criterion", given if question is None else question.text)
    if question is not None:
        question_verdicts(_KIND, question)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight) or weight <= 0:
        raise SuiteError(f"{_KIND}: the weight of {text!r:.60} must be a number above 0, not {weight!r}")
    return Criterion(_name_of(str(name) if name is not None else text), text, float(weight), question)


def _name_of(text: str) -> str:
    words = re.findall(r"\w+", text.lower())
    return "_".join(words[:5])[:40] or "criterion"
