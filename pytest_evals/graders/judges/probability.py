"""Judges by probability: how likely the judge finds each verdict right after the prompt. Nothing is written.

What is judged comes before the question, so that all questions about a case share the longest prefix, which is computed
once. The order is that of transformers' decision pipeline, and on the same prompt its numbers are the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_evals.completion import Likelihood, Message
from pytest_evals.errors import ModelCallError
from pytest_evals.graders.judges.asking import together
from pytest_evals.graders.judges.decisions import (
    LONG,
    Ballot,
    Decision,
    VerdictLabels,
    abstaining,
    judges_of,
    middle,
)
from pytest_evals.graders.judges.options import Options
from pytest_evals.graders.judges.prompts import follow_up, listed
from pytest_evals.graders.judges.reading.thoughts import strip_thoughts
from pytest_evals.text import one_line

if TYPE_CHECKING:
    from pytest_evals.runner.model import Model

PASSING = 0.5
"""From this probability on a verdict passes, where no threshold says otherwise."""
_DIGITS = 6


async def decide_by_probability(
    judge: Model, options: Options, labels: VerdictLabels, messages: Sequence[Message]
) -> Decision:
    """Weigh ``labels`` as the reply to ``messages``, and decide by their probabilities among themselves.

    The value is the expected worth of the verdicts that apply: of True and False the probability of True. Where those
    that do not apply (worth `None`) have half of the probability or more, the grade does not apply. A panel's value is the
    mean of its models', or with ``how="majority"`` their median.
    """
    asked = [
        _ballot(model, options, labels, messages) for model in judges_of(judge, options) for _ in range(options.votes)
    ]
    return decision_of(await together(asked), labels, options)


async def weigh(
    model: Model, options: Options, offered: Sequence[str], messages: Sequence[Message], request: str
) -> tuple[dict[str, float], float, tuple[str, ...]]:
    """Return the probability of each verdict on offer among all of them, the share of all replies that begin with one, and what
    the judge wrote before: its reasons, where it is to reason, after which ``request`` asks for the verdict.

    Raises `ModelCallError` for a judge that cannot tell how likely a text is.
    """
    replies: tuple[str, ...] = ()
    if options.reasoning:
        reasons = (await model.generate(messages, **options.sampling(LONG))).text
        replies = (reasons,)
        messages = follow_up(messages, strip_thoughts(reasons), request)
    try:
        chosen = await model.choose(list(offered), messages)
    except ModelCallError as error:
        if error.kind != "unsupported":
            raise
        message = f"{options.kind}: by='probability' needs a judge that tells how likely its replies are: {error}"
        raise ModelCallError(message, error.kind) from error
    shares, mass = exclusive(chosen.likelihoods)
    return dict(zip(offered, shares, strict=True)), mass, replies


def exclusive(likelihoods: Sequence[Likelihood]) -> tuple[list[float], float]:
    """Return the probability of each text among all of them, and how likely it is that a reply begins with one of them.

    Where a tokenizer writes 10 as 1 and 0, the probability of "1" holds that of "10": what continues is taken off.
    """
    best = max(entry.logprob for entry in likelihoods)
    shares = [math.exp(entry.logprob - best) for entry in likelihoods]
    for index, short in enumerate(likelihoods):
        longer = [
            share
            for entry, share in zip(likelihoods, shares, strict=True)
            if entry.tokens > short.tokens and entry.text.startswith(short.text)
        ]
        shares[index] = max(0.0, shares[index] - math.fsum(longer))
    total = math.fsum(shares)
    return [share / total for share in shares], min(1.0, total * math.exp(min(best, 0.0)))


async def _ballot(model: Model, options: Options, labels: VerdictLabels, messages: Sequence[Message]) -> Ballot:
    request = f"Now the verdict: {listed(list(labels))} and nothing else."
    probabilities, mass, replies = await weigh(model, options, list(labels), messages, request)
    value, label = _worth(probabilities, labels)
    details = {"probabilities": rounded(probabilities), "mass": round(mass, _DIGITS)}
    return Ballot(model.name, value, label, replies=replies, details=details)


def _worth(probabilities: Mapping[str, float], labels: VerdictLabels) -> tuple[float | None, str]:
    """Return the expected worth and the likeliest verdict, both of those that apply; no worth where most do not."""
    applying = {label: share for label, share in probabilities.items() if labels[label] is not None}
    weight = math.fsum(applying.values())
    if weight <= 0.5:
        others = {label: share for label, share in probabilities.items() if labels[label] is None}
        return None, max(others or applying, key=probabilities.__getitem__)
    value = math.fsum(float(labels[label] or 0.0) * share for label, share in applying.items()) / weight
    worths = [float(labels[label] or 0.0) for label in applying]
    # Rounding must not lead outside of what the verdicts are worth.
    return min(max(value, min(worths)), max(worths)), max(applying, key=applying.__getitem__)


def rounded(probabilities: Mapping[str, float]) -> dict[str, float]:
    """Return probabilities as a grade keeps them."""
    return {label: round(share, _DIGITS) for label, share in probabilities.items()}


def decision_of(ballots: Sequence[Ballot], labels: VerdictLabels, options: Options) -> Decision:
    """Return the decision of ballots that hold probabilities."""
    values = [ballot.value for ballot in ballots if ballot.value is not None]
    means = {
        label: math.fsum(ballot.details["probabilities"][label] for ballot in ballots) / len(ballots)
        for label in labels
    }
    details: dict[str, Any] = {"by": "probability", "probabilities": rounded(means)}
    if len(ballots) == 1:
        details |= {"mass": ballots[0].details["mass"]}
    else:
        details |= {"ballots": [{**ballot.to_dict(), "value": ballot.value, **ballot.details} for ballot in ballots]}
    said = ", ".join(f"{label} {share:.1%}" for label, share in means.items()) + _reasons(ballots)
    if not values or (options.how == "majority" and 2 * len(values) <= len(ballots)):
        nothing = max((label for label in labels if labels[label] is None), key=means.__getitem__, default=None)
        return Decision("not_applicable", None, None, said, {**details, "verdict": nothing}, tuple(ballots))
    value = middle(values) if options.how == "majority" else math.fsum(values) / len(values)
    verdicts = all(worth is None or isinstance(worth, bool) for worth in labels.values())
    threshold = PASSING if options.threshold is None and verdicts else options.threshold
    passed = None if threshold is None else value >= threshold
    applying = [label for label in labels if labels[label] is not None]
    if verdicts:
        applying = [label for label in applying if labels[label] is passed] or applying
    details["verdict"] = max(applying, key=means.__getitem__)
    return abstaining(Decision("graded", value, passed, said, details, tuple(ballots)), options)


def _reasons(ballots: Sequence[Ballot]) -> str:
    """Return what the first judge wrote before its verdict."""
    return f": {one_line(strip_thoughts(ballots[0].replies[0]), 600)}" if ballots[0].replies else ""
