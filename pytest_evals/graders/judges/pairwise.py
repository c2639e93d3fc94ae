"""A judge that compares two answers, in both orders, so that a liking for the first one shows instead of deciding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pytest_evals.fixtures.grader import Fixture
from pytest_evals.graders.judges.asking import together
from pytest_evals.graders.judges.decisions import Decision, VerdictLabels, decide
from pytest_evals.graders.judges.grader import Scene, check_text, judge_fixture, messages_of
from pytest_evals.graders.judges.labels import closing
from pytest_evals.graders.judges.options import read_options
from pytest_evals.graders.judges.subject import delimited, insert, join_documents

FIRST_WINS: VerdictLabels = {"A": 1.0, "B": 0.0, "TIE": 0.5}
"""What a verdict is worth to the answer that is shown first."""
_OFFERED = list(FIRST_WINS)


def pairwise(criterion: str, *, against: str, **common: Any) -> Fixture:
    """See `Judge.pairwise`."""
    kind = "judge.pairwise"
    check_text(kind, "criterion", criterion)
    check_text(kind, "against", against)
    # With numbers of their own, replies of a panel are not counted but averaged: a split panel is half a win.
    options = read_options(kind, {"how": "mean", **common}, how="mean", refused=("examples", "by", "abstain"))
    ending = closing("Which answer meets the criterion better", _OFFERED, options)

    async def run(scene: Scene) -> Any:
        other = insert(against, scene.scope)
        ours = scene.subject.answer
        if ours.strip() == other.strip():
            return compared(None, None, options.threshold)
        head = (
            "Compare two answers by one criterion.\n"
            f"Criterion: {scene.render(criterion)}\n"
            "A: answer A meets it better\nB: answer B meets it better\nTIE: both meet it alike"
        )
        orders = ((ours, other), (other, ours))
        asked = [
            decide(
                scene.judge,
                options,
                FIRST_WINS,
                messages_of(scene, head, ending, blocks=_blocks(scene, *order)),
                scene.material(*order),
            )
            for order in orders
        ]
        first, second = await together(asked)
        return compared(first, second, options.threshold)

    templates = {"criterion": criterion, "against": against}
    return judge_fixture(options, run, templates, bounds=(0, 1), doc=f"A comparison: {criterion}")


def _blocks(scene: Scene, first: str, second: str) -> Sequence[str]:
    subject, parts = scene.subject, []
    if subject.question is not None:
        parts.append(f"Question:\n{delimited('QUESTION', subject.question)}")
    if subject.documents:
        parts.append(f"Context:\n{delimited('CONTEXT', join_documents(subject.documents))}")
    return [*parts, f"Answer A:\n{delimited('ANSWER A', first)}", f"Answer B:\n{delimited('ANSWER B', second)}"]


def compared(ours_first: Decision | None, ours_second: Decision | None, threshold: float | None) -> dict[str, Any]:
    """Return the grades of a comparison from what was decided in either order; `None` for texts that are the same.

    Under ``""``: 1 for a win of the case's answer, 0 for a loss, 0.5 for a tie, the mean over both orders. ``consistent``: the
    orders agree. ``first_wins``: how often the answer shown first won, 0.5 without a liking for either place.
    """
    from pytest_evals.grades import Grade

    if ours_first is None or ours_second is None:
        same = Grade(0.5, "", "both answers are the same", None if threshold is None else threshold <= 0.5)
        skipped = Grade(None, "", "both answers are the same", status="not_applicable")
        return {"": same, "consistent": skipped, "first_wins": skipped}
    for decision in (ours_first, ours_second):
        if decision.status != "graded" or decision.value is None:
            lost = decision.grade()
            return {"": lost, "consistent": lost, "first_wins": lost}
    first, second = ours_first.value or 0.0, ours_second.value or 0.0
    value = math.fsum((first, 1 - second)) / 2
    consistent = math.isclose(first, 1 - second)
    reasoning = f"shown first {_outcome(first)}, shown second {_outcome(1 - second)}"
    details = {"shown_first": dict(ours_first.metadata), "shown_second": dict(ours_second.metadata)}
    return {
        "": Grade(value, "", reasoning, None if threshold is None else value >= threshold, metadata=details),
        "consistent": Grade(consistent, "", reasoning),
        "first_wins": Grade((first + second) / 2, "", reasoning),
    }


def _outcome(value: float) -> str:
    return {1.0: "it wins", 0.0: "it loses", 0.5: "a tie"}.get(value, f"it wins {value:.0%}")
