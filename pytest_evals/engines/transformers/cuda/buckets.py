"""Sizes that decoding on a GPU is prepared for: few enough that most are met again, near enough to waste little.

Pure arithmetic: `static_decode` and `kv_cache` use the sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CELLS = 256
"""The smallest number of cells that is read of each slot."""
ALIGNED = 64
"""Cells of a slot are a multiple of it: kernels read them in blocks."""
_FINE = 16
"""Up to here only powers of two; above, also what lies half way between two of them."""
_PAUSE = 1.0
"""What stopping to read tokens costs, in steps: the host looks at every row while the device waits."""


def rows_bucket(rows: int, most: int) -> int:
    """Return the prepared number of rows for ``rows``: 1, 2, 4, 8, 16, 24, 32, 48, 64, 96..., never above ``most``."""
    return min(_at_least(rows, _FINE), most)


def cells_bucket(cells: int, most: int | None = None) -> int:
    """Return the prepared number of cells for ``cells``: 256 times 1, 2, 3, 4, 6, 8, 12..., never above ``most``."""
    bucket = CELLS * _at_least(-(-cells // CELLS), 2)
    return bucket if most is None else min(bucket, most)


def _at_least(count: int, fine: int) -> int:
    """Return the least power of two, or one and a half times such a power from ``fine`` on, that holds ``count``."""
    power = 1 << (max(count, 1) - 1).bit_length()
    between = power * 3 // 4
    return between if count <= between and between > fine else power


def block_length(left: Sequence[int], most: int) -> int:
    """Return how many steps to take before the tokens are looked at, from 1 to ``most``.

    ``left``: tokens that each row may still come to. A row that reaches its limit within the block is computed for
    nothing from there on, and a short block costs a pause more often: the length with the most tokens for the time.
    """
    return max(range(1, most + 1), key=lambda steps: sum(min(steps, each) for each in left) / (steps + _PAUSE))


@dataclass(frozen=True, slots=True)
class SlotTableSize:
    """The size of a table of slots that is made at once, for all rows that may come to decode together.

    Args:
        rows: Slots that are made, if ``cells`` suffice.
        cells: Cells of all slots together.
    """

    rows: int
    cells: int

    def table(self, rows: int, cells: int) -> tuple[int, int]:
        """Return slots and cells of each for a table that ``rows`` rows of up to ``cells`` cells need now.

        There are more of both where there is room. What is needed is never cut.
        """
        capacity = cells_bucket(cells)
        if rows * capacity > self.cells:
            capacity = -(-cells // ALIGNED) * ALIGNED
        return max(rows, min(self.rows, self.cells // capacity)), capacity

    def smaller(self) -> SlotTableSize:
        """Return half of the room, as after an allocation that failed."""
        return SlotTableSize(max(1, self.rows // 2), self.cells // 2)
