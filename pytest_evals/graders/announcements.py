r"""Where a completion states its answer: in a box, in a tag, after GSM8K's mark, after "answer is" and the like."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

Kind = Literal["box", "tag", "mark", "sentence", "label", "letter"]


class Announcement(NamedTuple):
    """``start`` is where the announcement begins, ``end`` where what it announces begins, ``until`` where that ends, if a box
    or a tag says so.

    ``kind``: ``mark`` is ``####``, ``sentence`` is "the answer is", ``label`` is "Answer:" or a heading "Answer", ``letter`` is
    "A:".
    """

    kind: Kind
    start: int
    end: int
    until: int | None = None


_MOST = 40
"""The announcements that are looked at, of each kind: the last of a text."""
LONGEST = 2000
"""The characters after an announcement that are read."""

_WORDS = (
    *(
        "answer",
        "ans",
        "antwort",
        "réponse",
        "respuesta",
        "resposta",
        "risposta",
        "antwoord",
        "svar",
        "vastaus",
        "ответ",
    ),
    *("відповідь", "odpowiedź", "odpověď", "cevap", "jawaban", "jibu", "đáp án", "απάντηση", "उत्तर", "উত্তর", "సమాధానం"),
)
_SPACED_WORDS = {word: re.compile(rf"(?<![^\W\d_]){word}") for word in _WORDS}
_ASCII_WORDS = {word: pattern for word, pattern in _SPACED_WORDS.items() if word.isascii()}
# Words of scripts that leave no spaces between words, or write articles before them.
_UNSPACED = re.compile("答案|答え|解答|回答|答|คำตอบ|정답|답|إجابة|جواب")

# What may come between: "the answer to the question is", "the answer (in dollars) is".
_BETWEEN = (
    r"(?:[ ]?\([^()\n]{0,40}\)|,?[ ](?:to|for|in|of|on|rounded|expressed|then|therefore|thus|here|zu|für|auf|à|en|a|para|per"
    r"|finale?|définitive|correct[ae]|corretta)\b[^.:=!?\n]{0,80}?)?"
)
_CLOSING = r"[\"'*_`})\]】」]{0,6}"
_SAID = re.compile(
    rf"""s?(?![^\W\d_]){_CLOSING}{_BETWEEN}{_CLOSING}\s{{0,2}}(?:
        (?P<label>[:\uff1a]|(?<![^\W\d_])(?:is|are|ist|lautet|est|es|é|è)[ ]?[:\uff1a])
      | (?P<sentence>(?<![^\W\d_])(?:is|are|was|were|(?:would|will|should|must)[ ]be|equals|comes[ ]to|s|ist|lautet|beträgt|est|es
          |sería|é|è|är|er|ni|है|হল|হলো)(?![^\W\d_])|=|→|[\u2013\u2014](?=\s)|-(?=\s))
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_SAID_UNSPACED = re.compile(
    rf"{_CLOSING}\s?(?:应该|應該|النهائي[ةه]?\s)?(?:是|为|為|は|が|คือ|은|는|هو|هي|[:=\uff1a\uff1d])[:\uff1a]?|[\]】]"
)
_HEADING_END = re.compile(rf"s?(?:[ ](?:finale?|définitive|correcta))?{_CLOSING}[ \t]*(?=\n|\Z)", re.IGNORECASE)
_HEADING_START = re.compile(r"[ \t#>*_]*(?:(?:the|my|final|correct|short|la|die|a)\s)*[*_]*\Z", re.IGNORECASE)
_TAG = re.compile(r"<(?:final[_-]?)?answer>", re.IGNORECASE)
_LINE_START = re.compile(r"[ \t]*(?:[>#]+[ \t]*)?[*_]{0,3}\Z")
_OTHER_LETTER = re.compile(r"\n[ \t]*(?:[>#]+[ \t]*)?[*_]{0,3}B[*_]{0,3}[:\uff1a]")
# A heading of the fourth level, and no answer after GSM8K's mark.
_HEADING_TEXT = re.compile(r"[ \t]*(?:[0-9]+[.)][ \t]+[^\W\d]|[*_]*[^\W\d_])")
_MARK = re.compile("(?<!#)####(?!#)")
_LETTER = re.compile(r"A[*_]{0,3}[:\uff1a]")
_NOT = re.compile(r"\b(?:not|nicht|pas|no|não)[ $\\(]*$")
_BRACE = re.compile(r"\\?[{}]")
_UNBRACED = re.compile(r"-?(?:[0-9][0-9.,]*|\\[dtc]?frac\s?[0-9]{2})")
_BOX = re.compile(r"(?:\\f?boxed|\\fbox|\x08oxed|(?<![\\a-zA-Z])boxed(?=\{))[ ]?")


def announcements(text: str) -> list[Announcement]:
    """Return where a text states an answer, the last first; of each kind at most the last forty."""
    lowered = text.replace("\u0130", "I").lower()
    found: list[Announcement] = []
    if "box" in lowered or "\x08oxed" in text:
        found += _boxes(text)
    if "answer>" in lowered:
        found += _tags(text)
    if "####" in text:
        found += _marks(text)
    found += [*_letters(text), *_words(text, lowered)]
    return sorted(found, key=lambda each: each.start, reverse=True)


def _boxes(text: str) -> list[Announcement]:
    found = []
    for box in list(_BOX.finditer(text))[-_MOST:]:
        if _NOT.search(text, max(0, box.start() - 12), box.start()):
            continue
        if text.startswith("{", box.end()):
            found.append(Announcement("box", box.start(), box.end() + 1, _closing(text, box.end() + 1)))
        elif content := _UNBRACED.match(text, box.end()):
            found.append(Announcement("box", box.start(), box.end(), content.end()))
    return found


def _closing(text: str, start: int) -> int:
    """Return where the brace closes that was opened before ``start``; without one, the end of the line."""
    most = min(len(text), start + LONGEST)
    depth = 1
    for brace in _BRACE.finditer(text, start, most):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if not depth:
            return brace.start()
    line = text.find("\n", start, most)
    return most if line < 0 else line


def _tags(text: str) -> list[Announcement]:
    found = []
    for tag in list(_TAG.finditer(text))[-_MOST:]:
        most = min(len(text), tag.end() + LONGEST)
        closing = text.find("</", tag.end(), most)
        found.append(Announcement("tag", tag.start(), tag.end(), most if closing < 0 else closing))
    return found


def _marks(text: str) -> Iterator[Announcement]:
    """``####``, unless it makes a heading: words, with numbers on later lines."""
    last_digit = max(text.rfind(digit) for digit in "0123456789")
    for mark in list(_MARK.finditer(text))[-_MOST:]:
        line_end = text.find("\n", mark.end())
        heading = 0 <= line_end < last_digit and _HEADING_TEXT.match(text, mark.end())
        if not (heading and _starts_line(text, mark.start())):
            yield Announcement("mark", mark.start(), mark.end())


def _starts_line(text: str, position: int) -> bool:
    return _LINE_START.match(text, text.rfind("\n", 0, position) + 1, position) is not None


def _letters(text: str) -> Iterator[Announcement]:
    """``A:`` at the start of a line, unless one with ``B:`` comes later: then both are labels."""
    last_other = max((other.start() for other in _OTHER_LETTER.finditer(text)), default=-1)
    for letter in list(_LETTER.finditer(text))[-_MOST:]:
        if letter.start() > last_other and _starts_line(text, letter.start()):
            yield Announcement("letter", letter.start(), letter.end())


def _words(text: str, lowered: str) -> Iterator[Announcement]:
    for word, pattern in (_ASCII_WORDS if text.isascii() else _SPACED_WORDS).items():
        if word in lowered:
            for place in list(pattern.finditer(lowered))[-_MOST:]:
                if said := _SAID.match(text, place.end()):
                    yield Announcement("label" if said["label"] else "sentence", place.start(), said.end())
                elif (heading := _HEADING_END.match(text, place.end())) and _HEADING_START.match(
                    text, text.rfind("\n", 0, place.start()) + 1, place.start()
                ):
                    yield Announcement("label", place.start(), heading.end())
    if not text.isascii():
        for place in list(_UNSPACED.finditer(text))[-_MOST:]:
            if said := _SAID_UNSPACED.match(text, place.end()):
                kind: Kind = "label" if said[0][-1] in ":\uff1a]】" else "sentence"
                yield Announcement(kind, place.start(), said.end())
