"""One question with fixed verdicts, put to one judge or to a panel: how the replies become one decision."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pytest_evals.completion import Message
from pytest_evals.graders.judges.asking import Answered, Read, Reply, ask, together
from pytest_evals.graders.judges.options import Options
from pytest_evals.graders.judges.prompts import listed
from pytest_evals.graders.judges.reading.quotation import NOTHING, Material
from pytest_evals.graders.judges.reading.thoughts import strip_thoughts
from pytest_evals.graders.judges.replies import read_verdict
from pytest_evals.graders.judges.subject import token_for
from pytest_evals.text import one_line

if TYPE_CHECKING:
    from pytest_evals.grades import Grade, Status
    from pytest_evals.runner.model import Model

VerdictLabels = Mapping[str, float | bool | None]
"""Verdicts on offer and what they are worth; `None` says that there is nothing to judge."""
SHORT, LONG = 24, 400
"""Tokens of a reply that is a verdict alone, and of one with its reasons."""
AMBIGUOUS = "The material states a verdict in these words itself, so I cannot tell whether they are yours."
_MARK_LENGTH = 4


@dataclass(frozen=True, slots=True)
class Ballot:
    """What one reply came to. ``label`` is its verdict where there are labels; without a value there was nothing to judge,
    or the reply could not be read (``problem``).
    """

    model: str
    value: float | None
    label: str | None = None
    problem: str | None = None
    replies: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return what a grade keeps of it."""
        said = self.label if self.label is not None else self.value
        return {"model": self.model, "verdict": said, **({"problem": self.problem} if self.problem else {})}


@dataclass(frozen=True, slots=True)
class Decision:
    """What a judge or a panel decided, by which ballots: a grade that has no name yet."""

    status: Status
    value: float | None
    passed: bool | None
    reasoning: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    ballots: tuple[Ballot, ...] = ()

    def grade(self) -> Grade:
        """Return the grade."""
        from pytest_evals.grades import Grade

        return Grade(self.value, "", self.reasoning, self.passed, self.status, self.metadata)


def judges_of(judge: Model, options: Options) -> list[Model]:
    """Return the models that judge: those of the panel, or the judge itself."""
    return [judge.using(spec) for spec in options.models] or [judge]


async def decide(
    judge: Model, options: Options, labels: VerdictLabels, messages: Sequence[Message], material: Material
) -> Decision:
    """Ask for one of ``labels`` and decide by what was said. ``material``: the texts in ``messages`` that are not instructions."""
    asked = [
        _ask_label(model, options, labels, messages, material)
        for model in judges_of(judge, options)
        for _ in range(options.votes)
    ]
    return decide_by_label(await together(asked), labels, options)


async def _ask_label(
    model: Model, options: Options, labels: VerdictLabels, messages: Sequence[Message], material: Material
) -> Ballot:
    """Ask for one reply. Sampled ones are not guided: where the engine cannot, a second call would shift their seeds."""
    offered = list(labels)
    answered = await ask(
        model,
        messages,
        verdict_reader(offered, material),
        guide={"choice": offered},
        generation=options.sampling(LONG if options.reasoning else SHORT),
        remind=reminder(offered, material),
        guided_first=not options.reasoning and options.votes == 1,
    )
    return _label_ballot(model.name, answered, labels)


def verdict_reader(offered: Sequence[str], material: Material) -> Read[str]:
    """Return what reads a verdict from replies to ``material``."""

    def read(reply: Reply) -> tuple[str | None, str | None]:
        found = read_verdict(reply.text, offered, NOTHING if reply.held else material)
        return found.verdict, found.problem

    return read


def mark_for(material: Material) -> str:
    """Return a word that does not appear in the material: a verdict after it is the judge's own."""
    return token_for(*material.judged, *material.beside, length=_MARK_LENGTH)


def reminder(offered: Sequence[str], material: Material) -> Callable[[str], str]:
    """Return what tells a judge that its reply could not be read, and how to reply.

    Where the material states the verdict in the same words, the judge's is one behind a mark that the material does not hold.
    """

    def remind(reply: str) -> str:
        if not read_verdict(reply, offered, material).from_material:
            listing = ", ".join(offered)
            return f"I could not read a verdict in that. Reply with exactly one of these and nothing else: {listing}."
        mark = mark_for(material)
        lines = "\n".join(f"Verdict {mark}: {label}" for label in offered)
        return f"{AMBIGUOUS} Reply with exactly one of these lines and nothing else:\n{lines}"

    return remind


def _label_ballot(model: str, answered: Answered[str], labels: VerdictLabels) -> Ballot:
    if answered.value is None:
        return Ballot(model, None, problem=answered.problem, replies=answered.replies)
    worth = labels[answered.value]
    return Ballot(model, None if worth is None else float(worth), answered.value, replies=answered.replies)


def decide_by_label(ballots: Sequence[Ballot], labels: VerdictLabels, options: Options) -> Decision:
    """Return the decision of ballots that hold labels."""
    decision = broken_decision(ballots) or _by_label(ballots, labels, options)
    return replace(decision, ballots=tuple(ballots))


def _by_label(ballots: Sequence[Ballot], labels: VerdictLabels, options: Options) -> Decision:
    counts = Counter(str(ballot.label) for ballot in ballots)
    verdicts = all(value is None or isinstance(value, bool) for value in labels.values())
    applying = [ballot for ballot in ballots if ballot.value is not None]
    details = _details(ballots, options, counts)
    if 2 * len(applying) <= len(ballots) and (not applying or options.how == "majority"):
        return Decision("not_applicable", None, None, _said(ballots, counts), details)
    if options.how == "mean":
        value = math.fsum(ballot.value or 0.0 for ballot in applying) / len(applying)
        return Decision("graded", value, _passed(value, options), _said(ballots, counts), details)
    if verdicts:
        passing = sum(ballot.value == 1 for ballot in applying)
        # Without a majority for it an answer does not pass.
        value = float(2 * passing > len(applying))
        return Decision("graded", value, bool(value), _said(ballots, counts), details)
    (label, votes), *others = Counter(str(ballot.label) for ballot in applying).most_common()
    if others and others[0][1] == votes:
        return Decision("error", None, None, f"no majority: {_said(ballots, counts)}", details)
    worth = labels[label]
    value = float(worth) if worth is not None else math.nan
    return Decision("graded", value, _passed(value, options), _said(ballots, counts), {**details, "verdict": label})


def decide_by_value(ballots: Sequence[Ballot], options: Options, unit: str = "") -> Decision:
    """Return the decision of ballots that hold numbers: their mean, or their median under ``majority``."""
    decision = broken_decision(ballots) or _by_value(ballots, options, unit)
    return replace(decision, ballots=tuple(ballots))


def _by_value(ballots: Sequence[Ballot], options: Options, unit: str) -> Decision:
    values = sorted(ballot.value for ballot in ballots if ballot.value is not None)
    if not values:
        return Decision("not_applicable", None, None, "the judge found nothing to judge", _details(ballots, options))
    value = middle(values) if options.how == "majority" else math.fsum(values) / len(values)
    details = dict(_details(ballots, options))
    if len(values) > 1:
        details["spread"] = values[-1] - values[0]
    said = ", ".join(f"{entry:.3g}" for entry in values)
    reasoning = f"{value:.3g}{unit}" + (f" of {said}" if len(values) > 1 else "") + _reasons(ballots)
    return Decision("graded", value, _passed(value, options), reasoning, details)


def middle(values: Sequence[float]) -> float:
    """Return the median."""
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def abstaining(decision: Decision, options: Options) -> Decision:
    """Return the decision of a judge by probability, or that it does not apply where its value is in the band of ``abstain``."""
    if options.abstain is None or decision.value is None:
        return decision
    low, high = options.abstain
    if not low <= decision.value <= high:
        return decision
    said = f"abstains at {decision.value:.3g}, which is from {low:g} to {high:g}; {decision.reasoning}"
    details = {**decision.metadata, "abstained": decision.value}
    return replace(decision, status="not_applicable", value=None, passed=None, reasoning=said, metadata=details)


def broken_decision(ballots: Sequence[Ballot]) -> Decision | None:
    """Return an error when some reply could not be read: a decision of the others would leave one out in silence."""
    broken = [ballot for ballot in ballots if ballot.problem is not None]
    if not broken:
        return None
    first = broken[0]
    count = f"{len(broken)} of {len(ballots)} judges gave" if len(ballots) > 1 else f"the judge {first.model} gave"
    replies = [reply for ballot in broken for reply in ballot.replies]
    details = {
        "replies": replies,
        **({"ballots": [ballot.to_dict() for ballot in ballots]} if len(ballots) > 1 else {}),
    }
    return Decision("error", None, None, f"{count} no verdict, also when asked again: {first.problem}", details)


def _details(ballots: Sequence[Ballot], options: Options, counts: Counter[str] | None = None) -> Mapping[str, Any]:
    """Return what the grade keeps: the verdict, or with several replies each of them and how far they agree."""
    if not options.several:
        ballot = ballots[0]
        return {**({"verdict": ballot.label} if ballot.label is not None else {}), **ballot.details}
    found: dict[str, Any] = {"ballots": [{**ballot.to_dict(), **ballot.details} for ballot in ballots]}
    if counts:
        (label, votes), *_ = counts.most_common()
        found |= {"verdict": label, "agreement": votes / len(ballots)}
    return found


def _passed(value: float, options: Options) -> bool | None:
    return None if options.threshold is None else value >= options.threshold


def _said(ballots: Sequence[Ballot], counts: Counter[str]) -> str:
    if len(ballots) == 1:
        return f"{ballots[0].label}{_reasons(ballots)}"
    return listed([f"{votes} {label}" for label, votes in counts.most_common()]) + _reasons(ballots)


def _reasons(ballots: Sequence[Ballot]) -> str:
    """Return what the first judge gave as its reasons, if it said more than its verdict."""
    text = strip_thoughts(ballots[0].replies[0]) if ballots[0].replies else ""
    said = text.strip(" .*").casefold()
    return f": {one_line(text, 600)}" if len(text.split()) > 2 and said != str(ballots[0].label).casefold() else ""
