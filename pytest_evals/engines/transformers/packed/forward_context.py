"""Who sees whom in one forward: a `ForwardContext`, which says for every token where its keys go and what it attends to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch

from pytest_evals.engines.transformers.packed.kernels import HIDDEN, SlotAttention
from pytest_evals.engines.transformers.packed.kv_cache import KVCache, PrefixKV

Tensor = torch.Tensor


@dataclass(slots=True)
class Span:
    """Tokens ``begin`` to ``end`` of the step are consecutive tokens of one row or prefix, from ``position`` on.

    They see each other causally, and what of the row or prefix was computed in earlier forwards. Keys and values go to
    ``store`` or to ``slot``, from cell ``cell`` on, or nowhere.
    """

    begin: int
    end: int
    position: int
    store: PrefixKV | None = None
    slot: int | None = None
    cell: int = 0
    first: int = 0
    """The cell at which the earlier tokens start (in a slot, copies of prefixes will come before it)."""
    prefixes: list[PrefixKV] = field(default_factory=list)
    """What comes before the row's or prefix's own tokens, the first one first."""


@dataclass(slots=True)
class Group:
    """Tokens of the step (what picks them) that see all of a stored prefix, whose first token has ``position``."""

    tokens: Tensor | slice
    store: PrefixKV
    position: int


@dataclass(frozen=True, slots=True)
class Runs:
    """What compiled loops attend to in a step, in this many ``threads``: a row of ``table`` for each run of tokens, as in
    `numba.attention`. The step's ``others`` are the spans that are left.
    """

    table: Tensor
    threads: int
    others: list[Span]


@dataclass(slots=True)
class ForwardContext:
    """Who sees whom in one forward.

    The first tokens belong to the ``decoding`` rows in the first slots, ``width`` tokens of each, one after another.
    ``cells``: the cell that each of these tokens writes; ``longest``: cells that are read. ``offsets``: the position of
    each slot's first cell.
    """

    slots: KVCache
    positions: Tensor
    decoding: int
    cells: Tensor
    longest: int
    offsets: Tensor
    last_position: int
    spans: list[Span] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    bands: list[LengthBucket] = field(default_factory=list)
    """Parts of the first slots that are read to different lengths; none: all of them to ``longest``."""
    runs: Runs | None = None
    """Where loops attend instead of operators."""
    width: int = 1
    merges: bool = False
    """Whether rows that decode see prefixes in `groups`: what they see in their slots is merged with that."""
    kernel: SlotAttention | None = None
    """What attends to slots in the place of operators."""
    everyone: Tensor = field(init=False)
    """The slot of each token of rows that decode: 0, 1, 2..."""
    _masks: dict[tuple[Any, ...], Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.everyone = torch.arange(self.decoding, device=self.cells.device)
        if self.width > 1:
            self.everyone = self.everyone.repeat_interleave(self.width)

    def decode_mask(self, window: int | None, share: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return what tokens of decoding rows must not see of their slots, to be added: ``[rows, 1, 1, longest]``.

        Where a row has several tokens, each sees those before it: ``[rows, 1, width * share, longest]``, with ``share``
        query heads that see the same.
        """
        key = (window, share if self.width > 1 else 1, dtype)
        if key not in self._masks:
            columns = torch.arange(self.longest, device=self.cells.device)
            hidden = columns > self.cells.unsqueeze(1)
            if window is not None:
                seen_from = self.positions[: len(self.cells)] - window - self.offsets[self.everyone]
                hidden |= columns <= seen_from.unsqueeze(1)
            mask = torch.zeros(hidden.shape, device=hidden.device).masked_fill_(hidden, HIDDEN)
            mask = mask.view(self.decoding, 1, self.width, self.longest)
            self._masks[key] = (mask if self.width == 1 else mask.repeat_interleave(share, dim=2)).to(dtype)
        return self._masks[key]

    def band_mask(self, window: int | None, share: int, heads: int, band: LengthBucket) -> Tensor:
        """Return the part of a band for each of its rows and their key heads: ``[rows * heads, 1 or more, cells]``."""
        key = (window, share, heads, band)
        if key not in self._masks:
            mask = self.decode_mask(window, share)[band.begin : band.end, ..., : band.cells]
            self._masks[key] = mask.expand(-1, heads, -1, -1).flatten(0, 1)
        return self._masks[key]


_STEP: ContextVar[ForwardContext] = ContextVar("step of the packed forward")


@contextmanager
def forward_context(step: ForwardContext) -> Iterator[None]:
    """Let the attention function know who sees whom."""
    token = _STEP.set(step)
    try:
        yield
    finally:
        _STEP.reset(token)


def current() -> ForwardContext:
    """Return the step that is being computed."""
    return _STEP.get()


# -- Slots side by side whose rows are about as long: what is read of them need not reach to the longest row of all.

LEAST_ROWS = 8
"""Attending to fewer rows at a time costs more in calls than it saves in cells."""
ALIKE = 0.9
"""Bands whose longest rows are this close are read as one."""


@dataclass(frozen=True, slots=True)
class LengthBucket:
    """The slots from ``begin`` to ``end``, whose first ``cells`` cells are read."""

    begin: int
    end: int
    cells: int


def bands_of(lengths: Sequence[int]) -> list[LengthBucket]:
    """Return bands that cover the slots, given the cells that each of them uses; none for no slots."""
    bands: list[LengthBucket] = []
    for begin in range(0, len(lengths), LEAST_ROWS):
        end = min(begin + LEAST_ROWS, len(lengths))
        cells = max(lengths[begin:end])
        last = bands[-1] if bands else None
        if last and (min(last.cells, cells) >= ALIKE * max(last.cells, cells) or end - begin < LEAST_ROWS):
            bands[-1] = LengthBucket(last.begin, end, max(last.cells, cells))
        else:
            bands.append(LengthBucket(begin, end, cells))
    return bands
