"""Judges that choose one of several verdicts: PASS, FAIL or NA, or labels of the author's own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_evals.errors import SuiteError
from pytest_evals.graders.judges.decisions import Labels, decide
from pytest_evals.graders.judges.fixture import Scene, check_text, judge_fixture, messages_of, read_examples
from pytest_evals.graders.judges.options import Options, read_options
from pytest_evals.graders.judges.prompts import described, listed
from pytest_evals.grading.fixture import Fixture
from pytest_evals.trust.scales import Scale

PASS_FAIL: Labels = {"PASS": True, "FAIL": False}
PASS_FAIL_NA: Labels = {**PASS_FAIL, "NA": None}
MEANINGS = {
    "PASS": "the answer meets the criterion",
    "FAIL": "the answer does not meet it",
    "NA": "the criterion has nothing to say about such an answer",
}
_LONGEST = 60


def binary(criterion: str, *, not_applicable: bool = True, **common: Any) -> Fixture:
    """See `Judge.binary`."""
    kind = "judge.binary"
    check_text(kind, "criterion", criterion)
    options = read_options(kind, common, how="majority")
    labels = PASS_FAIL_NA if not_applicable else PASS_FAIL
    examples = read_examples(options, list(labels))
    meanings = described({label: MEANINGS[label] for label in labels})
    ending = closing("Does the answer meet the criterion", list(labels), options)

    async def run(scene: Scene) -> Any:
        asked = scene.render(criterion)
        head = f"Judge one answer by one criterion.\nCriterion: {asked}\n{meanings}"
        messages = messages_of(scene, head, ending, examples)
        return (await decide(scene.judge, options, labels, messages)).grade()

    return judge_fixture(
        options,
        run,
        {"criterion": criterion},
        scale=Scale(labels, threshold=options.threshold),
        doc=f"A judge: {criterion}",
    )


def labels(question: str, /, labels: Mapping[str, float | bool | None] | Sequence[str], **common: Any) -> Fixture:
    """See `Judge.labels`."""
    kind = "judge.labels"
    check_text(kind, "question", question)
    worth = check_labels(kind, labels)
    options = read_options(kind, common, how="majority")
    offered = list(worth)
    examples = read_examples(options, offered)
    ending = closing("Answer the question about the answer", offered, options)

    async def run(scene: Scene) -> Any:
        asked = scene.render(question)
        head = f"Answer one question about an answer.\nQuestion: {asked}\nReplies on offer: {', '.join(offered)}"
        messages = messages_of(scene, head, ending, examples)
        return (await decide(scene.judge, options, worth, messages)).grade()

    return judge_fixture(
        options,
        run,
        {"question": question},
        scale=Scale(worth, threshold=options.threshold),
        doc=f"A judge: {question}",
    )


def closing(request: str, offered: Sequence[str], options: Options) -> str:
    """Return what stands after the material: in which form to reply."""
    if options.reasoning:
        return (
            f"{request}? Reason in at most three sentences. Then end with a line of its own: 'Verdict: ' and one of "
            f"{listed(offered)}."
        )
    return f"{request}? Reply with {listed(offered)} and nothing else."


def check_labels(kind: str, labels: object) -> Labels:
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
