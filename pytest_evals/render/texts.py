"""Sentences and longer texts in lines of a given width."""

from __future__ import annotations

import textwrap

from pytest_evals.plain import one_line, plain

_LONGEST = 2000
_LABEL = 11


def wrapped(text: str, width: int) -> list[str]:
    """Return a sentence in as many lines as it takes."""
    return textwrap.wrap(one_line(text, _LONGEST), max(width, 20), subsequent_indent="    ", break_on_hyphens=False)


def labelled(label: str, text: str, width: int) -> list[str]:
    """Return a labelled text, wrapped and indented; its own line breaks stay."""
    lines = [
        part
        for line in plain(text, _LONGEST).splitlines() or [""]
        for part in textwrap.wrap(line, max(width - _LABEL, 20)) or [""]
    ]
    return [f"{label + ':':<{_LABEL}}{lines[0]}".rstrip(), *(f"{'':<{_LABEL}}{line}".rstrip() for line in lines[1:])]
