"""Values become Python source, laid out as ruff's formatter lays it out."""

from __future__ import annotations

import keyword
import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

WIDTH = 88
"""Ruff's default line length. What is broken has a trailing comma, so that a longer limit changes nothing."""


@dataclass(frozen=True, slots=True)
class Code:
    """Source that is written as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A call with positional and keyword arguments."""

    function: str
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


def text_literal(text: str) -> str:
    """Return a string in the quotes that need fewer escapes; raw where that saves backslashes."""
    quote = "'" if text.count('"') > text.count("'") else '"'
    if "\\" in text and text.isprintable() and '"' not in text and not text.endswith("\\"):
        return f'r"{text}"'
    body = "".join(_escaped(char, quote) for char in text)
    return f"{quote}{body}{quote}"


def _escaped(char: str, quote: str) -> str:
    if char in (quote, "\\"):
        return f"\\{char}"
    return char if char.isprintable() else repr(char)[1:-1]


def block_literal(text: str) -> str:
    """Return a string of several lines between three quotes; with escapes on one line where it holds control characters."""
    if any(not char.isprintable() and char not in "\n\t" for char in text):
        return text_literal(text)
    body = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    if body.endswith('"'):
        body = f'{body[:-1]}\\"'
    return f'"""\\\n{body}"""'


def source(value: Any, *, indent: int = 0, before: int = 0, after: int = 0) -> str:
    """Return the source of ``value``: on one line where it fits, else an element a line.

    ``before`` and ``after`` are the columns that its first and last line need beside it.
    """
    flat = _flat(value)
    if "\n" in flat or before + len(flat) + after <= WIDTH or not _parts(value):
        return flat
    opening, closing = _brackets(value)
    inner = " " * (indent + 4)
    lines = [
        f"{inner}{lead}{source(part, indent=indent + 4, before=indent + 4 + len(lead), after=1)},"
        for lead, part in _parts(value)
    ]
    return "\n".join([opening, *lines, f"{' ' * indent}{closing}"])


def kept(statement: str) -> str:
    """Return a statement as it is, with a mark that keeps formatters from breaking it where a line of it is too long."""
    too_long = any(len(line) > WIDTH for line in statement.split("\n"))
    return f"{statement}  # fmt: skip" if too_long else statement


def assignment(name: str, value: Any) -> str:
    """Return ``name = value``."""
    return f"{name} = {source(value, before=len(name) + 3)}"


def _flat(value: Any) -> str:
    if isinstance(value, Code):
        return value.text
    if isinstance(value, str):
        return text_literal(value)
    if isinstance(value, (Call, list, tuple, Mapping)):
        opening, closing = _brackets(value)
        entries = [f"{lead}{_flat(part)}" for lead, part in _parts(value)]
        lone = isinstance(value, tuple) and len(entries) == 1
        return f"{opening}{', '.join(entries)}{',' if lone else ''}{closing}"
    return repr(value)


def _brackets(value: Any) -> tuple[str, str]:
    if isinstance(value, Call):
        return f"{value.function}(", ")"
    return ("{", "}") if isinstance(value, Mapping) else ("[", "]") if isinstance(value, list) else ("(", ")")


def _parts(value: Any) -> list[tuple[str, Any]]:
    """Return the elements of a call or container, each with what comes before it."""
    if isinstance(value, Call):
        return [("", each) for each in value.arguments] + [(f"{name}=", each) for name, each in value.options.items()]
    if isinstance(value, Mapping):
        return [(f"{_flat(key)}: ", each) for key, each in value.items()]
    return [("", each) for each in value] if isinstance(value, (list, tuple)) else []


def identifier(text: str, taken: Iterable[str] = ()) -> str:
    """Return a name of Python for ``text``, in lower case, and none that is ``taken``."""
    base = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_").lower()[:60].strip("_") or "imported"
    if base[0].isdigit():
        base = f"n{base}"
    if keyword.iskeyword(base):
        base = f"{base}_"
    name, number, used = base, 1, set(taken)
    while name in used:
        number += 1
        name = f"{base}_{number}"
    return name


def comment(text: str, first: str = "# ", rest: str = "# ") -> list[str]:
    """Return ``text`` as lines of a comment, on which no sign can end it."""
    safe = "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))
    return textwrap.wrap(safe, WIDTH, initial_indent=first, subsequent_indent=rest) or [first.rstrip()]
