"""A score card as a message for a chat: a few lines, the most important first, in a given number of characters.

Slack, Teams and Discord have markups of their own. So there are no tables, headings, fences or links in text here: only lines, bullets and
one piece of code. Lines are left out whole, from the least important on, and the last lines say how many and where the rest is.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pytest_evals.gates import GateResult
from pytest_evals.reports import formatting
from pytest_evals.reports.grid import grids, single_model_scores
from pytest_evals.reports.markdown import Excerpt, verdict
from pytest_evals.reports.ranking import ranking_sentences
from pytest_evals.scorecard import Ledger, ScoreCard
from pytest_evals.scores.score import Score
from pytest_evals.sinks import for_chat
from pytest_evals.text import one_line, pluralize

_LONGEST_LINE = 400
_LEAST_LINE = 60
_SMALL = 250
"""Characters without room for an address beside the verdict, a reason and a command."""
_LEAST_BULLET = 3
"""Characters of the shortest line."""
_OUTCOMES = ("errored", "failed", "missed")
_COMMAND_CHARACTERS = re.compile(r"[`<>&]")
_JOINERS = "\u200d\ufe0e\ufe0f\u20e3"


@dataclass(frozen=True, slots=True)
class _Part:
    """Lines of one kind; ``name`` is what they are called when some are left out."""

    lines: Sequence[str]
    name: str = "other line"


def chat_summary(card: ScoreCard, excerpts: Sequence[Excerpt], size: int, link: str | None = None) -> str:
    """Return the message in at most ``size`` characters, which must be `LEAST_SUMMARY` or more.

    The verdict comes first, then why: what broke off the run, gates that are not met, which model is better, counts, the cases that did
    not pass (those that broke before those that missed), and scores. ``link`` is where the run can be looked at.
    """
    longest = max(min(_LONGEST_LINE, size // 3), _LEAST_LINE)
    fails = [gate for gate in card.gates if gate.fails]
    undecided = [gate for gate in card.gates if not gate.fails and gate.verdict != "passed"]
    bad = fails or card.interruption or card.ledger.errored or card.ledger.failed
    ending = _ending(card, link, size)
    parts = [
        _Part([f"interrupted: {card.interruption}"] if card.interruption else []),
        _Part([f"❌ {_gate(gate, card)}" for gate in fails], "gate"),
        _Part(ranking_sentences(card)),
        _Part([_counts(card.ledger)]),
        _Part([_case(each, card) for each in _worst(excerpts)], "case"),
        _Part([f"⚪ {_gate(gate, card)}" for gate in undecided], "gate"),
        _Part(list(_scores(card))),
        _Part(card.notes),
    ]
    mark = "❌" if bad else "⚪" if undecided else "✅"
    head = f"{mark} {_shortened(f'Evals: {verdict(card)}', longest)}"
    # What is left out is counted in a line whose length is known only at the end.
    room = size - len(head) - 1 - sum(len(line) + 1 for line in ending) - _note_size(parts)
    made = [[f"• {_shortened(line, longest)}" for line in part.lines[: size // _LEAST_BULLET + 1]] for part in parts]
    kept = _kept([[len(line) + 1 for line in lines] for lines in made], room)
    shown = [line for lines, number in zip(made, kept, strict=True) for line in lines[:number]]
    note = _left_out((part.name, len(part.lines) - number) for part, number in zip(parts, kept, strict=True))
    return "\n".join([head, *shown, *([note] if note else []), *ending]) + "\n"


def _kept(sizes: Sequence[Sequence[int]], room: int) -> list[int]:
    """Return how many lines of each part fit: first each part may take half of what is left, so that many lines of one kind do not keep
    out all others, and then what is left goes to the first ones.
    """
    kept = [0] * len(sizes)
    for share in (0.5, 1.0):
        for index, lines in enumerate(sizes):
            allowed = room * share
            while kept[index] < len(lines):
                need = lines[kept[index]]
                # The first line of a part may take all: it is worth more than what comes later.
                if need > (allowed if kept[index] else room):
                    break
                kept[index] += 1
                room -= need
                allowed -= need
    return kept


def run_link(environment: Mapping[str, str]) -> str | None:
    """Return the address of the CI job that this runs in, `None` where there is none that is known."""
    if environment.get("GITHUB_RUN_ID") and environment.get("GITHUB_REPOSITORY"):
        server = environment.get("GITHUB_SERVER_URL", "https://github.com")
        return f"{server}/{environment['GITHUB_REPOSITORY']}/actions/runs/{environment['GITHUB_RUN_ID']}"
    names = ("CI_JOB_URL", "BUILDKITE_BUILD_URL", "CIRCLE_BUILD_URL", "BUILD_URL")
    found = next((environment[name] for name in names if environment.get(name)), None)
    return found if found and found.startswith(("https://", "http://")) and not re.search(r"[\s<>|]", found) else None


def _ending(card: ScoreCard, link: str | None, size: int) -> list[str]:
    """Return where the rest is: the job, and a command for who has the artifact. Each in one piece, or not at all."""
    command = f"pytest-evals show {one_line(card.artifact, 10_000)}" if card.artifact else ""
    if len(command) > size // 4 or _COMMAND_CHARACTERS.search(command):
        command = "pytest-evals show"
    lines = [f"more: `{command}`"] if card.artifact else []
    return [*([link] if link and len(link) <= size // 4 and size > _SMALL else []), *lines]


def _gate(gate: GateResult, card: ScoreCard) -> str:
    several = len({score.model for score in card.scores}) > 1
    model = f" ({card.shorts.get(gate.model, gate.model)})" if several and gate.model else ""
    suite = "" if gate.gate.startswith(f"{gate.suite}.") else f"{gate.suite}: "
    return f"{suite}{gate.gate}{model}: {gate.reason}"


def _counts(ledger: Ledger) -> str:
    parts = [
        f"{formatting.count(number)} {name.replace('_', ' ')}"
        for name, number in ledger.to_dict().items()
        if number and name != "collected"
    ]
    return f"{pluralize(ledger.collected, 'case')}: {', '.join(parts) or 'none ran'}"


def _scores(card: ScoreCard) -> Iterable[str]:
    several = len({score.suite for score in card.scores}) > 1
    for grid in grids(card.scores):
        for row in grid.rows:
            shown = [
                f"{card.shorts.get(model, model)} {formatting.value(score.corpus if row.corpus else score.mean)}"
                for model, score in row.scores.items()
            ]
            if shown:
                suite = f"{next(iter(row.scores.values())).suite}." if several else ""
                yield f"{suite}{row.label}: {', '.join(shown)} (n {row.n})"
    for score in single_model_scores(card.scores):
        suite = f"{score.suite}." if several else ""
        yield f"{suite}{score.grader}: {formatting.value(score.mean)}{_interval(score)} (n {score.n})"


def _interval(score: Score) -> str:
    return f", 95% interval {formatting.interval(score.interval)}" if score.interval else ""


def _worst(excerpts: Sequence[Excerpt]) -> list[Excerpt]:
    return sorted(excerpts, key=lambda each: _OUTCOMES.index(each.outcome) if each.outcome in _OUTCOMES else 3)


def _case(excerpt: Excerpt, card: ScoreCard) -> str:
    several = len({score.model for score in card.scores}) > 1
    model = f" ({card.shorts.get(excerpt.model, excerpt.model)})" if several and excerpt.model else ""
    answered = f"; answered: {excerpt.text}" if excerpt.text else ""
    return f"{excerpt.outcome} {excerpt.suite}[{excerpt.case_id}]{model}: {excerpt.reason}{answered}"


def _note_size(parts: Sequence[_Part]) -> int:
    """Return the most that the note on what is left out may take."""
    return len(_left_out((part.name, len(part.lines)) for part in parts)) + 1


def _left_out(left: Iterable[tuple[str, int]]) -> str:
    numbers: Counter[str] = Counter()
    for name, number in left:
        numbers[name] += number
    # Gates and cases before what is only counted.
    said = [pluralize(numbers[name], name) for name in ("gate", "case", "other line") if numbers[name]]
    return f"not shown: {', '.join(said)}" if said else ""


def _shortened(text: str, room: int) -> str:
    """Return ``text`` as text for a chat, in at most ``room`` characters; it ends between words or at least between characters."""
    flat = one_line(text, 10_000)
    shown = for_chat(flat, len(flat) + 1)
    cut = len(flat)
    while len(shown) > room:
        # What was escaped is longer than it was.
        cut = _boundary(flat, min(cut - 1, cut - (len(shown) - room)))
        shown = f"{for_chat(flat[:cut].rstrip(), cut + 1)}…"
    return shown


def _boundary(text: str, end: int) -> int:
    """Return the last place up to ``end`` where a text can be cut: at a space that is near, else not inside of a character."""
    end = max(end, 0)
    space = text.rfind(" ", max(end - 16, 0), end)
    if space > 0:
        return space
    while 0 < end < len(text) and (_continues(text[end]) or text[end - 1] == "\u200d"):
        end -= 1
    return end


def _continues(character: str) -> bool:
    """Tell whether a character is a part of the one before it."""
    return (
        unicodedata.category(character).startswith("M")
        or character in _JOINERS
        or "\U0001f3fb" <= character <= "\U0001f3ff"
    )
