"""One spelling for texts that are compared: full-width forms, invisible characters, digits and minus signs of all scripts."""

from __future__ import annotations

import functools
import unicodedata

from pytest_evals.text import unicode_form

_LONGEST = 40_000
_LONGEST_SPELLING = 6
"""Characters that one is spelled with; those that stand for whole phrases, as U+FDFA, stay as they are."""
_INVISIBLE = frozenset({"Cf", "Me"})
_VARIATIONS = range(0xFE00, 0xFE10)
# What NFKC leaves alone and people read as the character beside it.
_LIKE = {
    "\u2044": "/",
    "\u2215": "/",
    "\u2236": ":",
    "\ua789": ":",
    "\u2010": "-",
    "\u2011": "-",
    "\u2212": "-",
    "\u2502": "|",
    "\u01c0": "|",
}


def normalized(text: str) -> str:
    """Return ``text`` in the spelling in which verdicts are looked for.

    Full-width and styled letters become plain ones, decimal digits of any script become ASCII, line breaks become newlines, and
    characters without a width vanish. Fractions and superscripts stay what they are: 4\u00bd is not 41/2.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.isascii():
        return text
    text = unicode_form("NFC", text)
    return text.translate({ord(character): _character(character) for character in set(text) if not character.isascii()})


def reply_text(reply: str) -> str:
    """Return a judge's reply normalized; of one that is far too long its beginning and its end."""
    if len(reply) > _LONGEST:
        reply = f"{reply[: _LONGEST // 2]}\n{reply[-_LONGEST // 2 :]}"
    return normalized(reply)


def folded(text: str) -> str:
    """Return ``text`` normalized and without differences of case, as texts are compared."""
    return normalized(text).casefold()


@functools.lru_cache(maxsize=4096)
def _character(character: str) -> str:
    category = unicodedata.category(character)
    if category in _INVISIBLE or ord(character) in _VARIATIONS:
        return ""
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category == "No":
        return character
    if category in {"Zl", "Zp"} or character == "\x85":
        return "\n"
    if category == "Zs":
        return " "
    plain = _LIKE.get(character) or unicodedata.normalize("NFKC", character)
    return plain if len(plain) <= _LONGEST_SPELLING else character
