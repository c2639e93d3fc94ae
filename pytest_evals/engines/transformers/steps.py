"""Who sees whom in one forward: a `Step`, which says for every token where its keys go and what it attends to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch

from pytest_evals.engines.transformers.bands import Band
from pytest_evals.engines.transformers.kernels import HIDDEN
from pytest_evals.engines.transformers.slots import Slots, Store

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
    store: Store | None = None
    slot: int | None = None
    cell: int = 0
    first: int = 0
    """The cell at which the earlier tokens start (before it, copies of prefixes will stand in a slot)."""


@dataclass(slots=True)
class Group:
    """Tokens of the step (their indices) that see all of a stored prefix, whose first token has ``position``."""

    tokens: Tensor
    store: Store
    position: int


@dataclass(slots=True)
class Step:
    """Who sees whom in one forward.

    The first ``decoding`` tokens belong to the rows in the first slots. ``cells``: the cell that each of them writes;
    ``longest``: cells that are read. ``offsets``: the position of each slot's first cell.
    """

    slots: Slots
    positions: Tensor
    decoding: int
    cells: Tensor
    longest: int
    offsets: Tensor
    last_position: int
    spans: list[Span] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    bands: list[Band] = field(default_factory=list)
    """Parts of the first slots that are read to different lengths; none: all of them to ``longest``."""
    masks: dict[tuple[int | None, torch.dtype], Tensor] = field(default_factory=dict)
    everyone: Tensor = field(init=False)
    """The slots of rows that decode: 0, 1, 2..."""

    def __post_init__(self) -> None:
        self.everyone = torch.arange(self.decoding, device=self.cells.device)

    def decode_mask(self, window: int | None, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return what each decoding row must not see of its slot, to be added: ``[rows, 1, 1, longest]``."""
        if (window, dtype) not in self.masks:
            columns = torch.arange(self.longest, device=self.cells.device)
            hidden = columns > self.cells.unsqueeze(1)
            if window is not None:
                seen_from = self.positions[: self.decoding] - window - self.offsets
                hidden |= columns <= seen_from.unsqueeze(1)
            mask = torch.zeros(hidden.shape, device=hidden.device).masked_fill_(hidden, HIDDEN)
            self.masks[window, dtype] = mask[:, None, None, :].to(dtype)
        return self.masks[window, dtype]


_STEP: ContextVar[Step] = ContextVar("step of the packed forward")


@contextmanager
def computing(step: Step) -> Iterator[None]:
    """Let the attention function know who sees whom."""
    token = _STEP.set(step)
    try:
        yield
    finally:
        _STEP.reset(token)


def current() -> Step:
    """Return the step that is being computed."""
    return _STEP.get()
