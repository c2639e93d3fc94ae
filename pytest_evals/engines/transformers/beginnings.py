"""How many tokens rows have in common at their beginning."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from pytest_evals.engines.transformers.stretches import Sharing


def common_lengths(rows: Sequence[Sharing]) -> list[int]:
    """Return how many tokens each row shares with the next one, in ``rows`` sorted by their tokens."""
    arrays = [np.asarray(row.tokens[: row.shareable], dtype=np.int64) for row in rows]
    return [_common(first, second) for first, second in itertools.pairwise(arrays)]


def _common(
    first: np.ndarray[tuple[int], np.dtype[np.int64]], second: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> int:
    length = min(len(first), len(second))
    different = first[:length] != second[:length]
    return int(different.argmax()) if different.any() else length
