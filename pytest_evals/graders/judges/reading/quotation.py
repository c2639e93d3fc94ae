"""Finds the words of what is judged in a judge's reply: they are quotations there, and never the judge's verdict."""

from __future__ import annotations

import bisect
import itertools
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from pytest_evals.graders.judges.reading.spelling import folded, normalized

MASK = "\ufffc"
"""Takes the place of a quotation in a text (the object replacement character)."""
_KEPT = "\n`~"
_LONGEST_SEGMENT = 12
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# Words; a character each in scripts that do not put spaces. An escape such as \n within JSON is not a letter of the next word.
_TOKEN = re.compile(rf"\\[nrt](?![a-z])|[{_CJK}]|[^\W_{_CJK}]+")
_SEGMENT_END = re.compile(r"[\n!?;:|\"\u201c\u201d\u201e\u00ab\u00bb()\[\]{}<>\u3001\u3002]+|[.=](?!\d)")


@dataclass(frozen=True, slots=True)
class Material:
    """The texts that a judge was shown. ``judged``: what its verdict is about, and whatever else a stranger may have written;
    ``beside``: the question and the reference, where a word alone is not an attempt to speak for the judge.
    """

    judged: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    def mentions(self, text: str) -> bool:
        """Tell whether ``text`` appears in one of the texts, in any case."""
        return any(text.casefold() in folded(entry) for entry in (*self.judged, *self.beside))


NOTHING = Material()


class Quotations:
    """Which words of a ``reply`` (normalized) quote the material.

    Three words in a row that appear in the material, in any case and with anything but words between them, are a quotation.
    So is a whole line of it that is shorter. The work is linear in the texts' lengths.
    """

    def __init__(self, reply: str, material: Material) -> None:
        self._reply = reply
        found = [match for match in _TOKEN.finditer(reply) if not match.group().startswith("\\")]
        self._starts = [match.start() for match in found]
        self._ends = [match.end() for match in found]
        self._words = [match.group().casefold() for match in found]
        self._known = frozenset(self._words)
        self._pairs = set(itertools.pairwise(self._words))
        self._shown_pairs: set[tuple[str, str]] = set()
        self._segments: set[tuple[str, ...]] = set()
        self._quoted = bytearray(len(self._words))
        self._find(material)

    def _find(self, material: Material) -> None:
        triples = set(zip(self._words, self._words[1:], self._words[2:], strict=False))
        if not self._words:
            return
        shown: set[tuple[str, ...]] = set()
        last = tuple(self._words[-3:])
        for text in (*material.judged, *material.beside):
            for words in _threes(text):
                if words in triples:
                    shown.add(words)
                elif words[:2] == last[:2] and len(last) == 3 and words[2].startswith(last[2]):
                    shown.add(last)  # a quotation that was cut within a word
                if words[:2] in self._pairs:
                    self._shown_pairs.add(words[:2])
        for text in material.judged:
            self._segments.update(self._short_segments(text))
        self._note(shown, 3)
        self._note(self._segments, 2)

    def _note(self, shown: Collection[tuple[str, ...]], length: int) -> None:
        """Note as quoted every row of ``length`` words that was ``shown``."""
        rows = zip(*(self._words[index:] for index in range(length)), strict=False)
        for index, words in enumerate(rows):
            if words in shown:
                self._quoted[index : index + length] = b"\1" * length

    def _short_segments(self, text: str) -> Iterator[tuple[str, ...]]:
        """Yield lines and parts of sentences whose words all appear in the reply."""
        for line in normalized(text).splitlines():
            for part in (line, *_SEGMENT_END.split(line)):
                words = tuple(_words(part, _LONGEST_SEGMENT + 1))
                if words and len(words) <= _LONGEST_SEGMENT and self._known.issuperset(words):
                    yield words

    def words(self, start: int, end: int) -> tuple[int, int]:
        """Return which words lie between two places of the reply: the first, and the one after the last."""
        return bisect.bisect_left(self._starts, start), bisect.bisect_left(self._starts, end)

    def covers(self, start: int, end: int) -> bool:
        """Tell whether a word between two places of the reply is quoted."""
        first, last = self.words(start, end)
        return first < last and any(self._quoted[first:last])

    def quotes(self, verdict: tuple[int, int], statement: tuple[int, int], *, labelled: bool) -> bool:
        """Tell whether the ``statement`` with this ``verdict`` is one of the material's (places in the reply).

        That is so where more than the verdict is quoted, or where the material states the same by itself. A statement with a
        label of its own (``labelled``) is the judge's unless label and verdict are together in the material.
        """
        first, last = self.words(*verdict)
        if first >= last:
            return False
        if all(self._quoted[first:last]) and self._run(first, last) > last - first:
            return True
        opening, closing = self.words(*statement)
        opening, closing = min(opening, first), max(closing, last)
        if labelled:
            return opening < first and all(
                pair in self._shown_pairs
                for pair in zip(self._words[opening : last - 1], self._words[opening + 1 : last], strict=True)
            )
        return tuple(self._words[first:last]) in self._segments or tuple(self._words[opening:closing]) in self._segments

    def together(self, *texts: str) -> bool:
        """Tell whether these words are in a row in the material. They must do so in the reply."""
        words = [word for text in texts for word in _words(text)]
        if len(words) < 2:
            return tuple(words) in self._segments
        return all(pair in self._shown_pairs for pair in itertools.pairwise(words))

    def _run(self, first: int, last: int) -> int:
        while first > 0 and self._quoted[first - 1]:
            first -= 1
        while last < len(self._quoted) and self._quoted[last]:
            last += 1
        return last - first

    def masked(self) -> str:
        """Return the reply with `MASK` for each quotation, as long as it was. Lines and fences stay."""
        parts = list(self._reply)
        index = 0
        while index < len(self._words):
            if not self._quoted[index]:
                index += 1
                continue
            last = index
            while last + 1 < len(self._words) and self._quoted[last + 1]:
                last += 1
            start, end = self._starts[index], self._ends[last]
            parts[start:end] = [character if character in _KEPT else MASK for character in parts[start:end]]
            index = last + 1
        return "".join(parts)


def _words(text: str, most: int | None = None) -> list[str]:
    found: list[str] = []
    for match in _TOKEN.finditer(normalized(text)):
        if not match.group().startswith("\\"):
            found.append(match.group().casefold())
            if len(found) == most:
                break
    return found


def _threes(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield every three words in a row, the last two with nothing after them as well."""
    before: Sequence[str] = ()
    for match in _TOKEN.finditer(normalized(text)):
        if match.group().startswith("\\"):
            continue
        before = (*before[-2:], match.group().casefold())
        if len(before) == 3:
            yield before[0], before[1], before[2]
    if len(before) >= 2:
        yield before[-2], before[-1], ""
