"""How a number looks, in one place."""

from __future__ import annotations

from collections.abc import Sequence

ABSENT = "-"


def value(number: float | None) -> str:
    """A score: three decimals, as many digits as it takes for large ones."""
    if number is None:
        return ABSENT
    return f"{number:.3f}" if abs(number) < 1000 else f"{number:,.1f}"


def percent(share: float | None) -> str:
    """A share of one. 100% and 0% are exact: what only rounds to them keeps a decimal."""
    if share is None:
        return ABSENT
    text = f"{share:.0%}"
    return f"{min(max(share, 0.001), 0.999):.1%}" if text in ("100%", "0%") and share not in (0, 1) else text


def signed(number: float | None) -> str:
    """A difference, always with its sign."""
    return ABSENT if number is None else f"{number:+.3f}" if abs(number) < 1000 else f"{number:+,.1f}"


def interval(ends: Sequence[float] | None) -> str:
    """An interval: its ends as `value` shows them."""
    return ABSENT if ends is None else f"{value(ends[0])} .. {value(ends[1])}"


def p_value(p: float | None) -> str:
    """A p value: tiny ones are only said to be tiny."""
    return ABSENT if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def count(number: int) -> str:
    """A whole number with thousands separated."""
    return f"{number:,}"


def duration(seconds: float) -> str:
    """Seconds, or minutes and seconds."""
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {int(seconds % 60)} s"


def size(number_of_bytes: float) -> str:
    """Bytes, in the unit that fits."""
    for unit in ("B", "kB", "MB", "GB"):
        if number_of_bytes < 1000 or unit == "GB":
            break
        number_of_bytes /= 1000
    return f"{number_of_bytes:.0f} {unit}" if unit in ("B", "kB", "MB") else f"{number_of_bytes:.1f} {unit}"
