"""Reads the verdict out of a judge's reply. Strict: what is not clearly one of the verdicts on offer is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_evals.graders.judges.reading.lines import in_lines
from pytest_evals.graders.judges.reading.marks import in_objects, in_tags
from pytest_evals.graders.judges.reading.markup import blanked, without_emphasis, without_tags
from pytest_evals.graders.judges.reading.objects import objects
from pytest_evals.graders.judges.reading.offer import Match, Offer, Problem, offer_of
from pytest_evals.graders.judges.reading.prose import in_prose
from pytest_evals.graders.judges.reading.quotation import NOTHING, Material, Quotations
from pytest_evals.graders.judges.reading.spelling import reply_text
from pytest_evals.graders.judges.reading.statement import Rank, Statement
from pytest_evals.graders.judges.reading.thoughts import answer_start
from pytest_evals.text import quoted


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reply says: a ``verdict`` on offer, or why there is none (``problem``). ``from_material``: what looks like one is a
    quotation of what was judged.
    """

    verdict: str | None
    problem: str | None = None
    from_material: bool = False


def read_verdict(reply: str, offered: Sequence[str], material: Material = NOTHING) -> Reading:
    """Return the verdict that ``reply`` gives.

    What states one decides, and of several statements of the same rank the last: a line with a heading (``Verdict: PASS``), a line
    that is nothing else, a box, double brackets, a tag, JSON; after these a line that begins with it (``PASS: names the city``).
    Only a reply without a statement is read as prose: what the judge says it decides, or the one verdict in capitals that its
    last line names. Words of the ``material`` are never a verdict.
    """
    offer = offer_of(tuple(offered))
    text = reply_text(reply)
    quotations = Quotations(text, material)
    start = answer_start(text, material, quotations)
    if start is None or not text[start:].strip():
        return Reading(None, "the reply is empty" if not text.strip() else "the reply holds nothing but thoughts")
    return _Reader(text, start, offer, quotations).read()


class _Reader:
    """Reads one reply, from ``start`` on."""

    def __init__(self, text: str, start: int, offer: Offer, quotations: Quotations) -> None:
        self._text = text
        self._start = start
        self._offer = offer
        self._quotations = quotations
        self._objects = list(objects(text, start))

    def read(self) -> Reading:
        """Return the verdict, or what is wrong with the reply."""
        found = self._statements()
        own = [entry for entry in found if not self._quoted(entry)]
        for rank in (Rank.STATED, Rank.OPENING):
            reading = self._decided([entry for entry in own if entry.rank is rank])
            if reading is not None:
                return reading
        return self._decided([entry for entry in own if entry.rank is Rank.ASIDE]) or self._prose(
            quoting=len(own) < len(found)
        )

    def _statements(self) -> list[Statement]:
        text = self._bare(self._text)
        clean = without_emphasis(text)
        found = [
            *in_objects(self._objects, self._offer),
            *in_tags(clean, self._offer),
            *in_lines(without_tags(clean, self._offer), self._offer),
        ]
        return sorted(found, key=lambda entry: (entry.end, entry.start))

    def _bare(self, text: str) -> str:
        """Return the reply without thoughts and JSON; every character keeps its place."""
        for entry in self._objects:
            text = blanked(text, entry.start, entry.end)
        return blanked(text, 0, self._start)

    def _quoted(self, entry: Statement) -> bool:
        if entry.problem is not None and self._quotations.covers(entry.start, entry.end):
            return True
        if entry.words:
            return self._quotations.together(*entry.words)
        return self._quotations.quotes(entry.verdict, (entry.start, entry.end), labelled=entry.labelled)

    def _decided(self, found: Sequence[Statement]) -> Reading | None:
        if not found:
            return None
        last = found[-1]
        if last.rank is not Rank.STATED and len({(entry.label, entry.problem) for entry in found}) > 1:
            return self._problem("several", found[0].start, last.end)
        if last.problem is not None:
            return self._problem(last.problem, *(last.verdict if last.problem == "unknown" else (last.start, last.end)))
        return Reading(last.label)

    def _prose(self, *, quoting: bool) -> Reading:
        found = self._said(self._quotations.masked())
        own = [
            entry
            for entry in found
            if not self._quotations.quotes((entry.start, entry.end), (entry.start, entry.end), labelled=False)
        ]
        given = {entry.label for entry in own if entry.label is not None}
        if any(entry.problem == "several" for entry in own) or len(given) > 1:
            return self._problem("several", own[0].start, own[-1].end)
        if given:
            return Reading(given.pop())
        if own:
            return self._problem("negated", own[0].start, own[-1].end)
        if quoting or len(own) < len(found) or any(entry.label for entry in self._said(self._text)):
            return Reading(None, "what the reply holds of a verdict is a quotation of what was judged", True)
        bare = self._text[self._start :].strip()
        if "\n" not in bare and len(bare.split()) <= 3:
            return Reading(None, f"the verdict {quoted(bare, 60)} was not on offer")
        return Reading(None, "the reply holds no verdict")

    def _said(self, text: str) -> list[Match]:
        """Return what the reply, or a masked copy of it, says in prose."""
        return list(in_prose(without_tags(without_emphasis(self._bare(text)), self._offer), self._offer))

    def _problem(self, problem: Problem, start: int, end: int) -> Reading:
        said = quoted(" ".join(self._text[start:end].split()), 80)
        return Reading(
            None,
            {
                "several": f"the reply holds several verdicts: {said}",
                "negated": f"the reply only says what the verdict is not: {said}",
                "unknown": f"the verdict {said} was not on offer",
            }[problem],
        )
