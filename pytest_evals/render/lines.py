"""A line for a terminal, with how it may be marked."""

from __future__ import annotations

from dataclasses import dataclass, field

from pytest_evals.plain import one_line

# Texts of a score card come from users, models and data; this is far more than any of them should need.
_LONGEST = 2000


@dataclass(frozen=True, slots=True)
class Line:
    """One line, and how the terminal may mark it; the text says everything without the mark."""

    text: str
    markup: dict[str, bool] = field(default_factory=dict)


def wrapped(text: str, width: int, markup: dict[str, bool] | None = None) -> list[Line]:
    """Break at spaces; what follows is indented, so that a reader sees that it belongs to the line above."""
    lines: list[str] = []
    for word in one_line(text, _LONGEST).split(" "):
        if lines and len(lines[-1]) + 1 + len(word) <= max(width, 20):
            lines[-1] = f"{lines[-1]} {word}"
        else:
            lines.append(word if not lines else f"    {word}")
    return [Line(line.rstrip(), markup or {}) for line in lines]
