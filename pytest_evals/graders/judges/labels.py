"""Judges that choose one of several verdicts: PASS, FAIL or NA, or labels of the author's own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_evals.errors import SuiteError
from pytest_evals.fixtures.grader import Fixture
from pytest_evals.graders.judges.decisions import Decision, VerdictLabels, decide
from pytest_evals.graders.judges.grader import Scene, check_text, judge_fixture, messages_of, read_examples
from pytest_evals.graders.judges.options import Options, read_options
from pytest_evals.graders.judges.probability import decide_by_probability
from pytest_evals.graders.judges.prompts import Example, described, listed
from pytest_evals.graders.judges.questions import (
    answers_of,
    asked_labels,
    criterion_verdicts,
    opening_of,
    question_for,
    question_verdicts,
    templates_of,
    told,
)
from pytest_evals.questions.question import Question
from pytest_evals.questions.scales import Scale

_LONGEST = 60


def binary(criterion: str | Question, *, not_applicable: bool | None = None, **common: Any) -> Fixture:
    """See `Judge.binary`."""
    kind = "judge.binary"
    question = question_for(kind, criterion, "choice", not_applicable=not_applicable)
    text = check_text(kind, "criterion", criterion if question is None else question.text)
    options = read_options(kind, common, how="majority")
    if question is None:
        verdicts = criterion_verdicts(not_applicable=not_applicable is not False)
    else:
        verdicts = question_verdicts(kind, question)
    opening, request = opening_of(question)
    labels = verdicts.labels
    examples = read_examples(options, list(labels))
    meanings = described(verdicts.meanings)
    check_band(options, labels)
    asked = asked_labels(question, text, labels, verdicts.choices, options)

    async def run(scene: Scene) -> Any:
        said = scene.render(text) if question is None else told(scene, question)
        decision = await verdict(scene, f"{opening}{said}\n{meanings}", request, labels, examples)
        return (decision if asked is None else asked.noted(decision)).grade()

    return judge_fixture(
        options,
        run,
        templates_of(text, question, "criterion"),
        scale=Scale(verdicts.scale, threshold=options.threshold),
        doc=f"A judge: {text}",
    )


def labels(
    asked: str | Question, /, labels: Mapping[str, float | bool | None] | Sequence[str] | None, **common: Any
) -> Fixture:
    """See `Judge.labels`."""
    kind = "judge.labels"
    question = question_for(kind, asked, "choice", labels=labels)
    text = check_text(kind, "question", asked if question is None else question.text)
    worth = check_labels(kind, labels if question is None else dict(question.choices))
    choices = answers_of(list(worth) if question is None else [label for label, _ in question.choices])
    options = read_options(kind, common, how="majority")
    offered = list(worth)
    examples = read_examples(options, offered)
    check_band(options, worth)
    behind = asked_labels(question, text, worth, choices, options)

    async def run(scene: Scene) -> Any:
        said = scene.render(text) if question is None else told(scene, question)
        head = f"Answer one question about an answer.\nQuestion: {said}\nReplies on offer: {', '.join(offered)}"
        decision = await verdict(scene, head, "Answer the question about the answer", worth, examples)
        return (decision if behind is None else behind.noted(decision)).grade()

    return judge_fixture(
        options,
        run,
        templates_of(text, question, "question"),
        scale=Scale(worth, threshold=options.threshold),
        doc=f"A judge: {text}",
    )


async def verdict(
    scene: Scene, head: str, request: str, labels: VerdictLabels, examples: Sequence[Example] = ()
) -> Decision:
    """Ask for one of ``labels``, in words or for their probabilities. ``head`` is what is asked, ``request`` repeats it in short."""
    options = scene.options
    messages = messages_of(scene, head, closing(request, list(labels), options), examples)
    if options.by == "probability":
        return await decide_by_probability(scene.judge, options, labels, messages)
    return await decide(scene.judge, options, labels, messages, scene.material())


def check_band(options: Options, labels: VerdictLabels) -> None:
    """Raise `SuiteError` for a band of abstention that no value of a grade can be in."""
    worths = [float(worth) for worth in labels.values() if worth is not None]
    if options.abstain is not None and (options.abstain[1] < min(worths) or options.abstain[0] > max(worths)):
        low, high = options.abstain
        raise SuiteError(
            f"{options.kind}: abstain=({low:g}, {high:g}) is outside of what the grade can be, {min(worths):g} to {max(worths):g}"
        )


def closing(request: str, offered: Sequence[str], options: Options) -> str:
    """Return what comes after the material: in which form to reply."""
    if options.reasoning and options.by == "probability":
        return f"{request}? Reason in at most three sentences, without a verdict yet."
    if options.reasoning:
        return (
            f"{request}? Reason in at most three sentences. Then end with a line of its own: 'Verdict: ' and one of "
            f"{listed(offered)}."
        )
    return f"{request}? Reply with {listed(offered)} and nothing else."


def check_labels(kind: str, labels: object) -> VerdictLabels:
    """Return labels with their values: a mapping, or a list whose labels are worth their position, the last one 1.

    Raises `SuiteError` unless there are two or more different ones that can be told apart in a reply.
    """
    if isinstance(labels, (list, tuple)):
        last = max(1, len(labels) - 1)
        labels = {label: index / last for index, label in enumerate(labels)}
    if not isinstance(labels, Mapping) or len(labels) < 2:
        raise SuiteError(f"{kind}: labels must be two or more, as {{'polite': 1, 'rude': 0}}, not {labels!r:.80}")
    for label, value in labels.items():
        if not isinstance(label, str) or not label.strip() or len(label) > _LONGEST or "\n" in label:
            raise SuiteError(f"{kind}: a label is a short text on one line, not {label!r:.80}")
        if value is not None and (not isinstance(value, (int, float)) or not math.isfinite(value)):
            raise SuiteError(
                f"{kind}: the label {label!r} is worth a finite number, True, False or None, not {value!r}"
            )
    folded = [str(label).strip().casefold() for label in labels]
    if len(set(folded)) < len(folded):
        raise SuiteError(f"{kind}: two labels differ in nothing but case or spaces: {', '.join(labels)}")
    if all(value is None for value in labels.values()):
        raise SuiteError(f"{kind}: no label is worth anything; give at least one of them a number, True or False")
    return {label.strip(): value for label, value in labels.items()}
