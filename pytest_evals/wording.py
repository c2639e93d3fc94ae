"""Words that depend on a number."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return a number of things, thousands separated: ``1 case``, ``2,000 cases``. ``noun`` is its singular."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
