"""What states a verdict in a reply, and how plainly."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from pytest_evals.graders.judges.reading.headings import Heading
from pytest_evals.graders.judges.reading.offer import Match, Offer, Problem


class Rank(enum.IntEnum):
    """How plainly a verdict is stated. The plainest statements decide."""

    ASIDE = 1
    """In a code fence, a block quotation, quotation marks or a numbered list: perhaps another person's words."""
    OPENING = 2
    """At the beginning of a line, before its reasons."""
    STATED = 3
    """By a heading, a box, brackets, a tag or JSON, or by a line that is nothing else."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A verdict that a reply states from ``start`` to ``end``, or the ``problem`` with one.

    ``verdict``: where the verdict itself is. ``labelled``: a heading says whose verdict it is. ``words``: the words that make
    up the statement, where there are others between them.
    """

    label: str | None
    rank: Rank
    start: int
    end: int
    verdict: tuple[int, int]
    problem: Problem | None = None
    labelled: bool = False
    words: tuple[str, ...] = ()


def stated(match: Match, start: int, end: int, *, rank: Rank = Rank.STATED, labelled: bool = False) -> Statement:
    """Return the statement, from ``start`` to ``end``, of what was read in it."""
    return Statement(match.label, rank, start, end, (match.start, match.end), match.problem, labelled)


def behind_heading(heading: Heading, text: str, start: int, end: int, offer: Offer) -> Match | None:
    """Return the verdict that follows a heading, from ``start`` to ``end``; `None` where that is about something else."""
    if heading.plain:
        match = offer.whole(text, start, end)
        return match if match is not None and match.problem != "unknown" else None
    match = offer.value(text, start, end)
    if match is None or match.problem != "unknown":
        return match
    fits = heading.numeric if offer.numeric else heading.verbal
    return match if fits and same_kind(text[start:end], offer) else None


def same_kind(value: str, offer: Offer) -> bool:
    """Tell whether a value that is not on offer is of the kind that is: a number where numbers are, else words."""
    return any(character.isdigit() for character in value) == offer.numeric
