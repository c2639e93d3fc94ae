"""Several tests at once."""

from __future__ import annotations

from collections.abc import Sequence


def holm(probabilities: Sequence[float]) -> list[float]:
    """Return p values adjusted for their number (Holm 1979), in the order given.

    Whoever rejects those of at most alpha errs in any of them with a probability of at most alpha, however they depend
    on each other.
    """
    n, largest = len(probabilities), 0.0
    adjusted = [0.0] * n
    for rank, index in enumerate(sorted(range(n), key=lambda index: probabilities[index])):
        largest = max(largest, min((n - rank) * probabilities[index], 1.0))
        adjusted[index] = largest
    return adjusted
