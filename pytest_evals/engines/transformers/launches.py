"""Which steps are captured and when: a capture takes the time of many steps, and pays only for sizes that come again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pytest_evals.engines.transformers.filters import Filters
from pytest_evals.engines.transformers.graphs import Capture, CaptureError, Compute

Choice = Filters | Literal["greedy", "logits"]
"""What a step does with its logits: draw, take the likeliest token, or leave them to the host."""
Key = tuple[Choice, int, int]
"""What is done with logits, the number of slots, and the cells that are read of each."""
STRETCH = 4
"""A step for at most so many times the cells is used in place of one of the right size, until that comes again."""


class Launches:
    """Keeps what was captured, by key."""

    def __init__(self, capture: Capture) -> None:
        self.eager_first = True
        """Whether a size must come twice before it is captured."""
        self.notes: list[str] = []
        """Which steps are called instead of captured, and why; whoever tells it takes it away."""
        self._capture = capture
        self._ready: dict[Key, Compute] = {}
        self._met: set[Key] = set()
        self._refused: set[str] = set()

    def find(self, key: Key, fill: Compute, compute: Callable[[Key], None]) -> Compute:
        """Return what launches the step of ``key``, or a larger one that does the same for the same slots.

        ``compute`` is called to capture a step, ``fill`` before that, so that it computes something sensible.
        """
        if key in self._ready:
            return self._ready[key]
        kind = "sampled" if isinstance(key[0], Filters) else key[0]
        if kind in self._refused:
            return lambda: compute(key)
        if self.eager_first and key not in self._met:
            self._met.add(key)
            return self._stretched(key) or (lambda: compute(key))
        try:
            fill()
            self._ready[key] = self._capture.capture(lambda: compute(key))
        except CaptureError as error:
            self._refused.add(kind)
            self.notes.append(f"decodes {kind} steps without CUDA graphs: a step cannot be captured ({error})")
            return lambda: compute(key)
        return self._ready[key]

    def _stretched(self, key: Key) -> Compute | None:
        """Return the smallest captured step that covers the key's slots and cells and is not much larger."""
        choice, slots, cells = key
        covering = [
            other
            for other in self._ready
            if other[0] == choice
            and other[1] >= slots
            and other[2] >= cells
            and other[1] * other[2] <= STRETCH * slots * cells
        ]
        return self._ready[min(covering, key=lambda other: other[1] * other[2])] if covering else None

    def forget(self) -> None:
        """Drop everything that was captured: what it read and wrote has moved."""
        self._ready.clear()
        self._met.clear()
        self._capture.forget()
