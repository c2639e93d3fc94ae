"""Which of the marks between digits groups them, and which one begins the decimals: the rule that docs/graders.md writes down."""

from __future__ import annotations

import re
from typing import Literal

DecimalMark = Literal[",", ".", "auto"]

_BY_THREE = re.compile(r"[1-9][0-9]{0,2}(?:[.,'][0-9]{3})+")
_INDIAN = re.compile(r"[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}")

# A number that can only have a decimal comma: 1.234,56, 1.234.567, and an amount as 4,50 €.
_COMMA_AMOUNT = re.compile(
    r"(?<![0-9.,])[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]|(?<![0-9.,])[1-9][0-9]{0,2}(?:\.[0-9]{3}){2,9}(?![0-9.,])"
    r"|(?<![0-9,])[0-9]{1,9},[0-9]{1,2}\s?(?:€|[Ee]uros?\b|EUR\b|zł|Kč|₽)|(?:€|R\$)\s?[0-9]{1,9},[0-9]{2}\b"
)
_POINT_DECIMALS = re.compile(
    r"(?<![0-9.,])[0-9]{1,9}\.(?:[0-9]{1,2}|[0-9]{4,9})(?![0-9.,]*[0-9])|[0-9],[0-9]{3}\.[0-9]"
)
_COMMA_LANGUAGES = re.compile(
    r"\b(?:antwort|ergebnis|insgesamt|beträgt|réponse|résultat|resposta|risposta|antwoord|svar|vastaus|odpověď|đáp án|jawaban|ответ|итого|odpowiedź|cevap)\b",
    re.IGNORECASE,
)


class TextMarks:
    """What a text tells about its own decimal mark. Computed when a number is ambiguous, since few are."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._comma: bool | None = None
        self._points_group: bool | None = None

    @property
    def comma(self) -> bool:
        """It has a number that can only have a decimal comma, and none that can only have a decimal point."""
        if self._comma is None:
            self._comma = bool(_COMMA_AMOUNT.search(self._text)) and not _POINT_DECIMALS.search(self._text)
        return self._comma

    @property
    def points_group(self) -> bool:
        """Its points group digits: as above, or its words are of a language that writes a decimal comma."""
        if self._points_group is None:
            words = bool(_COMMA_LANGUAGES.search(self._text)) and not _POINT_DECIMALS.search(self._text)
            self._points_group = words or self.comma
        return self._points_group


def digits_of(  # noqa: PLR0911 - the rule, case by case
    written: str, mark: DecimalMark, marks: TextMarks, *, listed: bool = False
) -> list[str]:
    """Return what is written as Python writes numbers: one, several where the commas are those of a list, none for what is
    not a number (a date, a version). ``listed``: it is alone in brackets, as ``(3,4)``.
    """
    if written.isdecimal():
        return [written]
    written = written.replace("_", "").replace("\u066c", "").replace(" ", "'").replace("\u202f", "'")
    if "\u066b" in written:
        return [written.replace("\u066b", ".")] if written.count("\u066b") == 1 else []
    if "'" in written:
        return _apostrophes(written, mark, marks)
    points, commas = written.count("."), written.count(",")
    if points and commas:
        return _both(written, mark, marks)
    if commas:
        return _commas(written, mark, marks, listed=listed)
    if points > 1:
        return [written.replace(".", "")] if _BY_THREE.fullmatch(written) else []
    groups = points and (mark == "," or (mark == "auto" and _BY_THREE.fullmatch(written) and marks.points_group))
    return [written.replace(".", "") if groups and _BY_THREE.fullmatch(written) else written]


def _apostrophes(written: str, mark: DecimalMark, marks: TextMarks) -> list[str]:
    before, _, decimals = re.sub("[.,](?=[0-9]+$)", " ", written).partition(" ")
    if _BY_THREE.fullmatch(before) and "," not in before and "." not in before:
        return [f"{before.replace(chr(39), '')}.{decimals or 0}" if decimals else before.replace("'", "")]
    return [each for part in written.split("'") if part for each in digits_of(part, mark, marks)]


def _both(written: str, mark: DecimalMark, marks: TextMarks) -> list[str]:
    """The last mark begins the decimals, if the other one groups by three, or as in India."""
    last, other = (",", ".") if written.rfind(",") > written.rfind(".") else (".", ",")
    before, _, decimals = written.rpartition(last)
    if last not in before and (_BY_THREE.fullmatch(before) or _INDIAN.fullmatch(before)):
        return [f"{before.replace(other, '')}.{decimals}"]
    return [each for part in written.split(",") if part for each in digits_of(part, mark, marks)]


def _commas(written: str, mark: DecimalMark, marks: TextMarks, *, listed: bool) -> list[str]:
    grouped = _BY_THREE.fullmatch(written) or _INDIAN.fullmatch(written)
    if written.count(",") == 1:
        decimals = not listed if mark == "auto" and not grouped else mark == "," or (mark == "auto" and marks.comma)
        if decimals:
            return [written.replace(",", ".")]
    return [written.replace(",", "")] if grouped else [part for part in written.split(",") if part]
