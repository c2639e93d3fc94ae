"""Text from models and data, made harmless for a terminal, a report or an XML file."""

from __future__ import annotations

import re

# Control characters (ANSI escapes start with one), lone surrogates, and marks that reorder or hide what follows.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
# What a runner of GitHub Actions takes for a command: "::name::" where a line starts, "##[name]" anywhere.
_COMMAND = re.compile(r"^([^\S\n]*):(?=:)|#(?=#\[)", re.MULTILINE)
_LINE_BREAKS = re.compile(r"[\t\n]+")


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def plain(text: str, limit: int | None = None) -> str:
    """Return ``text`` with unsafe characters written as escapes; newlines and tabs stay.

    ``limit``: longest result in characters; what is cut is replaced by a note of how much it was.
    """
    cut = 0 if limit is None else len(text) - limit
    if limit is not None and cut > 0:
        text = text[:limit]
    safe = _UNSAFE.sub(_escape, text)
    return f"{safe}... ({cut:,} more characters)" if cut > 0 else safe


def without_commands(text: str) -> str:
    """Return ``text`` with what would be a command in the log of GitHub Actions written as escapes."""
    return _COMMAND.sub(lambda match: r"\x23" if match[1] is None else rf"{match[1]}\x3a", text)


def one_line(text: str, limit: int = 160) -> str:
    """Return ``plain`` text on a single line of at most about ``limit`` characters."""
    flat = _LINE_BREAKS.sub(" ", plain(text[: limit + 1])).strip()
    return f"{flat[: limit - 3]}..." if len(flat) > limit or len(text) > limit + 1 else flat


def quoted(text: str, limit: int = 160) -> str:
    """Return ``text`` in quotes on one line, cut to ``limit`` characters, with everything unprintable escaped."""
    return repr(text if len(text) <= limit else f"{text[: limit - 3]}...")


def encodable(text: str) -> str:
    """Escape lone surrogates, which UTF-8 cannot hold."""
    return text.encode("utf-8", "backslashreplace").decode()


def described(error: BaseException) -> str:
    """Return ``Type: message`` of an exception; also of one that cannot tell its message."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - what a user's own exception raises in its __str__ may be anything
        return f"{type(error).__name__} (its message cannot be shown)"


# -- Words that depend on a number.


def counted(number: int, noun: str) -> str:
    """Return a number of things, thousands separated: ``1 case``, ``2,000 cases``. ``noun`` is its singular."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
