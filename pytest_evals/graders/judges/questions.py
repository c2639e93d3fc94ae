"""A question that people may be asked too, put to a judge: whether it can answer it, and what its verdicts say in the
question's own terms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_evals.errors import SuiteError
from pytest_evals.graders.judges.decisions import Ballot, Decision, VerdictLabels
from pytest_evals.graders.judges.options import Options
from pytest_evals.questions.answers import answer_metadata, question_metadata
from pytest_evals.questions.question import Question, QuestionKind
from pytest_evals.questions.scales import Scale

if TYPE_CHECKING:
    from pytest_evals.graders.judges.grader import Scene

PASS_FAIL: VerdictLabels = {"PASS": True, "FAIL": False}
PASS_FAIL_NA: VerdictLabels = {**PASS_FAIL, "NA": None}
MEANINGS = {
    "PASS": "the answer meets the criterion",
    "FAIL": "the answer does not meet it",
    "NA": "the criterion has nothing to say about such an answer",
}
_INSTEAD: Mapping[QuestionKind, str] = {
    "choice": "judge.labels(question), or with one choice that passes and one that does not judge.binary(question), answers it",
    "rating": "judge.scale(question) answers it",
    "number": "make it a rating (kind='rating', scale=...) for judge.scale, or have judge(template, response=...) give a number",
    "text": "no verdict answers it; ask people alone (human), or let judge(template, response=...) write",
    "form": "judge.rubric(question) answers a form of yes-or-no questions; else give each of its questions to a judge",
}


def question_for(kind: str, given: object, fits: QuestionKind, **beside: object) -> Question | None:
    """Return the question that a judge was given, `None` for a text.

    ``beside``: settings that a question brings. Raises `SuiteError` for a kind of question that the judge cannot answer, and
    for settings that were given twice.
    """
    if not isinstance(given, Question):
        return None
    where = f"{kind}: the question of {given.place or 'question(...)'}"
    if given.kind != fits:
        raise SuiteError(f"{where} is of the kind {given.kind!r}: {_INSTEAD[given.kind]}")
    double = [name for name, value in beside.items() if value is not None]
    if double:
        raise SuiteError(f"{where} says already what {double[0]} is; leave {double[0]} out")
    return given


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What a judge may reply to a yes-or-no question: what replies are worth, what they mean, and which choices they are."""

    labels: VerdictLabels
    meanings: Mapping[str, str]
    choices: Mapping[str, str]

    @property
    def scale(self) -> VerdictLabels:
        """What people's labels may say: the replies, or the question's choices."""
        return {**self.labels, **{choice: self.labels[label] for label, choice in self.choices.items()}}


def criterion_verdicts(*, not_applicable: bool = True) -> Verdicts:
    """Return the verdicts on a criterion."""
    labels = PASS_FAIL_NA if not_applicable else PASS_FAIL
    return Verdicts(labels, {label: MEANINGS[label] for label in labels}, {label: label for label in labels})


def question_verdicts(kind: str, question: Question) -> Verdicts:
    """Return the verdicts that stand for a question's choices. Raises `SuiteError` unless one passes and one does not."""
    by_worth: dict[object, list[str]] = {}
    for label, worth in question.choices:
        by_worth.setdefault(worth if worth is None or isinstance(worth, bool) else "number", []).append(label)
    if set(by_worth) - {None} != {True, False} or any(len(labels) > 1 for labels in by_worth.values()):
        said = ", ".join(f"{label!r}: {worth}" for label, worth in question.choices)
        raise SuiteError(
            f"{kind}: the question of {question.place or 'question(...)'} is not a yes-or-no question: it needs one choice that is "
            f"True, one that is False, and at most one that is None, not {said:.120}; judge.labels takes any choices"
        )
    labels = {label: worth for label, worth in PASS_FAIL_NA.items() if worth in by_worth}
    choices = {label: by_worth[worth][0] for label, worth in labels.items()}
    return Verdicts(
        labels, {label: f"the answer to the question is {choice!r}" for label, choice in choices.items()}, choices
    )


@dataclass(frozen=True, slots=True)
class JudgeQuestion:
    """The question behind a judge's grade. ``read``: the answer that a ballot gives to it, ``decided``: the one that a
    decision is; `None` for none.
    """

    question: Question
    read: Callable[[Ballot], Any]
    decided: Callable[[Decision], Any]

    def noted(self, decision: Decision) -> Decision:
        """Return the decision with the question, and the answer of each model, in its metadata. Who abstains gives no answer."""
        if "abstained" in decision.metadata:
            return decision
        read = [(ballot.model, self.read(ballot)) for ballot in decision.ballots]
        said = answer_metadata(
            [(model, answer) for model, answer in read if answer is not None], self.decided(decision)
        )
        return replace(decision, metadata={**decision.metadata, **question_metadata(self.question), **said})


def asked_labels(
    question: Question | None, text: str, labels: VerdictLabels, choices: Mapping[str, str], options: Options
) -> JudgeQuestion | None:
    """Return the question behind a judge that chooses one of ``labels``, which stand for ``choices``.

    `None` where no other model answers it: a text of its own, put to one model.
    """
    if question is None:
        if len(options.models) < 2:
            return None
        question = Question(text, "choice", tuple(labels.items()))

    def decided(decision: Decision) -> str | None:
        if decision.status not in ("graded", "not_applicable"):
            return None
        if decision.metadata.get("by") == "probability":
            return choices.get(str(decision.metadata["verdict"]))
        found = [
            label for label, worth in labels.items() if (None if worth is None else float(worth)) == decision.value
        ]
        return choices[found[0]] if len(found) == 1 else None

    return JudgeQuestion(question, lambda ballot: choices.get(str(ballot.label)), decided)


def asked_steps(question: Question | None, text: str, scale: Scale, options: Options) -> JudgeQuestion | None:
    """Return the question behind a judge that gives a step of ``scale``; an expected score counts as the nearest step."""
    if question is None:
        if len(options.models) < 2:
            return None
        question = Question(text, "rating", low=scale.low, high=scale.high)

    def step(value: float | None) -> int | None:
        if value is None:
            return None
        score = scale.low + value * (scale.high - scale.low) if scale.normalized else value
        return math.ceil(score - 0.5)

    return JudgeQuestion(question, lambda ballot: step(ballot.value), lambda decision: step(decision.value))


def opening_of(question: Question | None) -> tuple[str, str]:
    """Return what comes before a criterion or a yes-or-no question, and what asks for the verdict after the material."""
    if question is None:
        return "Judge one answer by one criterion.\nCriterion: ", "Does the answer meet the criterion"
    return "Answer one question about an answer.\nQuestion: ", "Answer the question about the answer"


def told(scene: Scene, question: Question) -> str:
    """Return the question as a judge is told it, with its guidance."""
    guidance = f"\n{scene.render(question.guidance)}" if question.guidance else ""
    return f"{scene.render(question.text)}{guidance}"


def templates_of(text: str, question: Question | None, name: str) -> dict[str, str]:
    """Return the templates that a judge renders, by the names of their arguments."""
    guidance = question.guidance if question is not None else ""
    return {name: text, **({"guidance": guidance} if guidance else {})}


def answers_of(labels: Sequence[str]) -> dict[str, str]:
    """Return labels as they are read from replies, with the choices that they are."""
    return {label.strip(): label for label in labels}
