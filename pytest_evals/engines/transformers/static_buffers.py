"""The tensors that a static step reads and writes, with their counterparts on the host: one place for each slot."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pytest_evals.engines.transformers.filters import UNLIMITED, Filters, Knobs, candidates_of, numbers_of
from pytest_evals.engines.transformers.row import Row
from pytest_evals.engines.transformers.sampling import uniforms

NO_TOKEN = -1
"""Stands for a token that could not be chosen because the logits were no numbers."""
_LEAST_STEPS = 4
"""A capture computes a few steps of its own, also where blocks are shorter."""
_TOKENS, _PLACES, _LIMITS, _CANDIDATES, _GREEDY = range(5)
_TURN = 5
"""The row of whole numbers whose first place counts the steps of a block."""

Tensor = torch.Tensor


class Buffers:
    """Where each slot's row is, how it is sampled, and what it got.

    ``places``: the cell that a slot's row writes next, which is also its token's position; the row never goes beyond
    its limit, so that steps after its end stay within its cells. ``chosen``: the tokens of a block, by step and slot.
    """

    def __init__(self, slots: int, steps: int, device: str, *, pinned: bool) -> None:
        self._slots = slots
        self._device = device
        self._whole = _Pair((6, slots), torch.long, device, pinned=pinned)
        self._knobs = _Pair((3, slots), torch.float32, device, pinned=pinned)
        steps = max(steps, _LEAST_STEPS)
        self._numbers = _Pair((steps, slots), torch.float64, device, pinned=pinned)
        self._chosen = _Pair((steps, slots), torch.long, device, pinned=pinned)
        self._logits: Tensor | None = None
        self.tokens, self.places, self._limits, self._candidates, self.greedy, _ = self._whole.device
        self._turn = self._whole.device[_TURN, :1]
        self.zeros = torch.zeros(slots, dtype=torch.long, device=device)

    # -- from the host

    def fill(self, rows: Sequence[Row], steps: int, filters: Filters | None) -> None:
        """Have the next block begin where the rows are; with ``filters`` some of them are sampled."""
        whole = self._whole.host.zero_()
        slots = torch.tensor([row.slot for row in rows])
        whole[_TOKENS, slots] = torch.tensor([row.generated[-1] for row in rows])
        whole[_PLACES, slots] = torch.tensor([row.stored for row in rows])
        whole[_LIMITS, slots] = torch.tensor([row.cells - 1 for row in rows])
        if filters is not None:
            self._fill_knobs(rows, slots)
            self._fill_numbers(rows, steps)
        self._whole.upload()

    def _fill_knobs(self, rows: Sequence[Row], slots: Tensor) -> None:
        params = [row.request.params for row in rows]
        whole, knobs = self._whole.host, self._knobs.host
        whole[_CANDIDATES] = UNLIMITED
        whole[_CANDIDATES, slots] = torch.tensor(candidates_of(params, UNLIMITED))
        whole[_GREEDY, slots] = torch.tensor([int(each.greedy) for each in params])
        # Greedy rows and slots without a row are drawn for too, and must not divide by nothing.
        knobs.fill_(1.0)
        knobs[:, slots] = torch.tensor(numbers_of(params), dtype=torch.float32)
        self._knobs.upload()

    def _fill_numbers(self, rows: Sequence[Row], steps: int) -> None:
        self._numbers.host.zero_()
        for row in rows:
            if not row.request.params.greedy:
                ahead = torch.tensor(uniforms(row).ahead(steps), dtype=torch.float64)
                self._numbers.host[:steps, row.slot or 0] = ahead
        self._numbers.upload()

    # -- on the device

    def knobs(self, width: int) -> Knobs:
        """Return the parameters of the first slots."""
        return Knobs(self._candidates[:width], *self._knobs.device[:, :width].unbind())

    def numbers_now(self, width: int) -> Tensor:
        """Return this step's uniform numbers of the first slots, ``[width]``."""
        return self._numbers.device[:, :width].index_select(0, self._turn)[0]

    def advance(self, tokens: Tensor, good: Tensor) -> None:
        """Note the tokens (``[width]``; those that are not ``good`` as `NO_TOKEN`) and go to the next cells."""
        width = len(tokens)
        noted = tokens.masked_fill(~good, NO_TOKEN)
        self._chosen.device[:, :width].index_copy_(0, self._turn, noted.unsqueeze(0))
        self.tokens[:width].copy_(noted.clamp(min=0))
        self.places[:width].copy_(torch.minimum(self.places[:width] + 1, self._limits[:width]))
        self._turn.add_(1)

    def keep_logits(self, logits: Tensor) -> None:
        """Keep a step's logits, ``[width, vocabulary]``, for the host."""
        if self._logits is None:
            self._logits = logits.new_zeros((self._slots, logits.shape[-1]))
        self._logits[: len(logits)].copy_(logits)

    @property
    def logits(self) -> Tensor:
        """What `keep_logits` kept, by slot."""
        if self._logits is None:
            raise RuntimeError("no step has kept its logits")
        return self._logits

    # -- to the host

    def fetch(self) -> Tensor:
        """Begin to copy the block's tokens; return where they will be, ``[steps, slots]``, once the device is done."""
        return self._chosen.download()


class _Pair:
    """A tensor on the device and its counterpart on the host, in pinned memory if copies are to be asynchronous."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: str, *, pinned: bool) -> None:
        self.host = torch.zeros(shape, dtype=dtype, pin_memory=pinned)
        self.device = torch.zeros(shape, dtype=dtype, device=device)

    def upload(self) -> None:
        self.device.copy_(self.host, non_blocking=True)

    def download(self) -> Tensor:
        self.host.copy_(self.device, non_blocking=True)
        return self.host
