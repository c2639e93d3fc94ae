"""Words for messages, and text from models and data without what hides in it.

What a place like a log, a spreadsheet or a page of Markdown takes for more than text is the business of `pytest_evals.sinks`.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, Literal

# Control characters (ANSI escapes start with one) and marks that reorder what follows.
_CONTROL = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
# Characters of no width, those that Unicode lets a program ignore, and fillers that look like nothing.
_INVISIBLE = (
    r"\xad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u2060-\u2065\u206a-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
    r"\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# Halves of pairs, which UTF-8 cannot hold, and what is not a character in any text.
_NO_TEXT = r"\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
_HIDDEN = re.compile(f"[{_CONTROL}{_INVISIBLE}{_NO_TEXT}]")
# Some of them take part in writing, in their places: joiners inside of words and emoji of many scripts, selectors of a form after
# what has several forms, the letters of a flag between its beginning and its end.
_SCRIPT = r"\u0590-\u1fff\u2190-\u2bff\u2e80-\ud7ff\uf900-\ufdcf\U00010000-\U000dffff"
_IN_PLACE = (
    (r"\u200c\u200d", rf"\ufe0f{_SCRIPT}", f"[{_SCRIPT}]"),
    (r"\ufe00-\ufe0f", rf"#*0-9\xa9\xae\u203c\u2049\u20e3\u2122\u2139{_SCRIPT}", ".?"),
    (r"\u180b-\u180d\u180f", r"\u1820-\u18aa", ".?"),
    (r"\U000e0100-\U000e01ef", r"\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff", ".?"),
)
"""Characters, before them, and after them."""
_FLAG = re.compile(r"\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f")
_LONGEST_FLAG = 8
_LINE_BREAKS = re.compile(r"[\t\n]+")
_RETURNS = re.compile(r"\r\n?")


def escape(character: str) -> str:
    """Return a character as its code, as Python writes it in a string: with two, four or eight digits."""
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


@functools.cache
def _places() -> Sequence[tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]]:
    """Compiled when the first of such characters is met: that takes longer than all the rest of this module."""
    return [
        (re.compile(f"[{kind}]"), re.compile(f"[{before}]"), re.compile(after, re.DOTALL))
        for kind, before, after in _IN_PLACE
    ]


def _takes_part(match: re.Match[str]) -> bool:
    """Tell whether a character that could hide is where writing needs it."""
    character, text, start = match[0], match.string, match.start()
    before, after = text[start - 1 : start], text[start + 1 : start + 2]
    for kind, left, right in _places():
        if kind.match(character) and left.match(before) and right.match(after):
            return True
    if "\U000e0020" <= character <= "\U000e007f":
        begin = text.rfind("\U0001f3f4", max(start - _LONGEST_FLAG, 0), start)
        flag = _FLAG.match(text, begin) if begin >= 0 else None
        return flag is not None and flag.end() > start
    return False


def sanitize(text: str, limit: int | None = None, write: Callable[[str], str] = escape) -> str:
    """Return ``text`` with everything that hides in it written as escapes; newlines and tabs stay.

    What hides: control characters, marks that reorder text, characters without a width outside of the scripts and emoji that
    need them, halves of surrogate pairs. ``limit``: longest result in characters before escaping; what is cut is replaced by a
    note of how much it was. ``write``: how a character is escaped.
    """
    cut = 0 if limit is None else len(text) - limit
    if cut <= 0 and text.isascii() and text.isprintable():
        # Most texts have nothing to escape.
        return text
    if limit is not None and cut > 0:
        text = text[:limit]
    safe = _HIDDEN.sub(lambda match: match[0] if _takes_part(match) else write(match[0]), text)
    return f"{safe}... ({cut:,} more characters)" if cut > 0 else safe


def one_line(text: str, limit: int = 160) -> str:
    """Return ``sanitize`` text on a single line of at most about ``limit`` characters."""
    flat = _LINE_BREAKS.sub(" ", sanitize(text[: limit + 1])).strip()
    return f"{flat[: limit - 3]}..." if len(flat) > limit or len(text) > limit + 1 else flat


def last_line(text: str, limit: int = 160) -> str:
    """Return the end of a text as `one_line` returns its beginning: what was asked is mostly at the end of a prompt."""
    flat = _LINE_BREAKS.sub(" ", sanitize(text[-(limit + 1) :])).strip()
    return f"...{flat[3 - limit :]}" if len(flat) > limit or len(text) > limit + 1 else flat


def quoted(text: str, limit: int = 160) -> str:
    """Return ``text`` in quotes on one line, cut to ``limit`` characters, with everything unprintable escaped."""
    return repr(text if len(text) <= limit else f"{text[: limit - 3]}...")


def quotation(text: str, limit: int = 160) -> str:
    """Return ``text`` in quotes on one line as a reader wants it: a space for line breaks, a backslash as it is, and what hides as
    its code; cut to about ``limit`` characters.
    """
    if len(text) <= limit and text.isascii() and text.isprintable():
        flat = text
    else:
        flat = _LINE_BREAKS.sub(" ", sanitize(_RETURNS.sub("\n", text[: 2 * limit]).strip("\n\t")))
    shown = f"{flat[: limit - 3]}..." if len(flat) > limit or len(text) > 2 * limit else flat
    quote = '"' if "'" in shown and '"' not in shown else "'"
    return f"{quote}{shown}{quote}"


# -- Normal forms of Unicode.

_MOST_MARKS = 30
"""Combining characters in a row that are put in order together: no language has more (UAX #15, stream-safe text)."""


def unicode_form(form: Literal["NFC", "NFKC"], text: str) -> str:
    """Return the normal form of a text; rows of more combining characters than any language has are taken apart.

    Putting such a row in order takes time that grows as the square of its length.
    """
    if text.isascii() or not any(map(unicodedata.combining, text)):
        return unicodedata.normalize(form, text)
    parts, start, row = [], 0, 0
    for place, character in enumerate(text):
        row = row + 1 if unicodedata.combining(character) else 0
        if row > _MOST_MARKS:
            parts.append(unicodedata.normalize(form, text[start:place]))
            start, row = place, 1
    return "".join([*parts, unicodedata.normalize(form, text[start:])])


def stacks_marks(text: str) -> bool:
    """Tell whether there are more combining characters in a row than in any language."""
    row = 0
    for character in "" if text.isascii() else text:
        row = row + 1 if unicodedata.combining(character) else 0
        if row > _MOST_MARKS:
            return True
    return False


# -- What UTF-8 can hold.


def encodable(text: str) -> str:
    """Escape lone surrogates, which UTF-8 cannot hold."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def encodable_data(data: Any) -> Any:
    """Return plain data (as JSON knows it, tuples too) with every text in it `encodable`, keys among them."""
    if isinstance(data, str):
        return encodable(data)
    if isinstance(data, dict):
        return {encodable_data(key): encodable_data(value) for key, value in data.items()}
    if type(data) in (list, tuple):
        return type(data)(map(encodable_data, data))
    return data


def described(error: BaseException) -> str:
    """Return ``Type: message`` of an exception; also of one that cannot tell its message."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - what a user's own exception raises in its __str__ may be anything
        return f"{type(error).__name__} (its message cannot be shown)"


# -- Words that depend on a number.


def pluralize(number: int, noun: str) -> str:
    """Return a number of things, thousands separated: ``1 case``, ``2,000 cases``. ``noun`` is its singular."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


# -- Lengths of time, as an option has them.

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII)


def read_duration(written: str) -> float | None:
    """Return the seconds of ``90``, ``90s``, ``30m``, ``2h`` or ``1h30m``; `None` for what is not a length of time."""
    text = "".join(written.lower().split())
    match = _DURATION.fullmatch(f"{text}s" if text[-1:].isdigit() and not set("hm") & set(text) else text)
    if match is None or not any(match.groups()):
        return None
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def shown_duration(seconds: float) -> str:
    """Return a length of time as `read_duration` reads it: ``1h30m``, ``90m`` as ``1h30m``, ``0.5s``."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    parts = (f"{hours}h" if hours else "", f"{minutes}m" if minutes else "", f"{rest:g}s" if rest else "")
    return "".join(parts) or "0s"
