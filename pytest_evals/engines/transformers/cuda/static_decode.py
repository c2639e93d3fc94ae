"""Decodes several tokens without any exchange between host and device: always the same tensors, at the same addresses.

A step computes one token for every slot up to a prepared number of them (`buckets`), reading a prepared number of cells
of each, chooses the tokens and moves on to the next cells, all on the device. So it can be captured once and launched
again and again (`graphs`). After a block of steps the tokens are read together; what a row got after its end is
discarded. So are its cells: what is beyond a row's last token is never seen, and is overwritten.

A slot without a row computes as well, on its own first cell, and the result is ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from pytest_evals.engines.transformers.cuda.buckets import block_length, cells_bucket, rows_bucket
from pytest_evals.engines.transformers.cuda.graphs import Capture, GraphCache, StepChoice
from pytest_evals.engines.transformers.packed.forward_context import ForwardContext
from pytest_evals.engines.transformers.packed.kv_cache import KVCache
from pytest_evals.engines.transformers.sampler import (
    UNLIMITED,
    Filters,
    NotANumberError,
    SamplingTensors,
    candidates_of,
    filtered_probabilities,
    filters_of,
    numbers_of,
    sample_by_inverse_cdf,
    uniforms,
)
from pytest_evals.engines.transformers.scheduling.plan import SchedulerOutput
from pytest_evals.engines.transformers.sequence import TokenSequence

MOST_STEPS = 8
"""Steps of a block. Rows that end leave, and others take their place, only after it."""
Forward = Callable[[torch.Tensor, ForwardContext], torch.Tensor]
"""Token ids and who sees whom -> logits, ``[tokens, vocabulary]``."""
CountBlock = Callable[[Sequence[int], int], None]
"""Is told, after a block, how many rows got a token in each step, and how many slots computed one."""


class StaticDecoder:
    """Decodes rows in the slots of a runner.

    Args:
        forward: Computes tokens.
        slots: Where the rows' keys and values are.
        device: Where the model is.
        capture: How steps are made ready.
        steps: Tokens of a block, at most.
    """

    def __init__(
        self,
        forward: Forward,
        slots: KVCache,
        device: str,
        capture: Capture,
        steps: int = MOST_STEPS,
    ) -> None:
        self.tally: CountBlock = lambda _live, _slots: None
        self.launches = GraphCache(capture)
        self._forward = forward
        self._slots = slots
        self._device = device
        self._capture = capture
        self._steps = steps
        self._width = 0
        self._buffers: Buffers | None = None
        self._version = -1

    def takes(self, plan: SchedulerOutput[Any]) -> bool:
        """Tell whether the plan is nothing but decoding, of rows that have all they see in their slots."""
        return (
            bool(plan.decode)
            and not plan.pieces
            and not plan.admitted
            and self._slots.rows >= len(plan.decode)
            and all(row.slot is not None and row.shared == 0 for row in plan.decode)
        )

    def run(self, rows: Sequence[TokenSequence]) -> list[TokenSequence]:
        """Give every row its next tokens; return those that have ended, in the order in which they did.

        Raises `NotANumberError` when the model's logits are not numbers in the first step. In a later step, the block ends.
        """
        left = [row.max_new_tokens - len(row.generated) for row in rows]
        steps = block_length(left, self._steps)
        self._compute(rows, steps, _choice(rows))
        return self._accept(rows, self._read(steps))

    def logits(self, rows: Sequence[TokenSequence]) -> torch.Tensor:
        """Return the logits of each row's next token, ``[rows, vocabulary]``, for the host to choose from."""
        buffers = self._compute(rows, 1, "logits")
        return buffers.logits[torch.tensor([row.slot for row in rows], device=buffers.logits.device)]

    def forget(self) -> None:
        """Give back the memory of everything that was prepared."""
        self.launches.forget()
        self._buffers = None
        self._version = self._slots.version

    # -- on the device

    def _compute(self, rows: Sequence[TokenSequence], steps: int, choice: StepChoice) -> Buffers:
        buffers = self._prepared(rows)
        self._width = width = rows_bucket(max(row.slot or 0 for row in rows) + 1, self._slots.rows)
        last = max(min(row.stored + steps, row.cells) for row in rows)
        cells = cells_bucket(last, self._slots.capacity)

        def fill() -> None:
            buffers.fill(rows, steps, choice if isinstance(choice, Filters) else None)

        launch = self.launches.find((choice, width, cells), fill, lambda key: self._step(buffers, *key))
        fill()
        for _ in range(steps):
            launch()
        return buffers

    def _prepared(self, rows: Sequence[TokenSequence]) -> Buffers:
        """Seat the rows close enough together, and have buffers for the slots as they are now."""
        if max(row.slot or 0 for row in rows) >= rows_bucket(len(rows), self._slots.rows):
            self._slots.assign_slots(rows, [])
        if self._version != self._slots.version:
            self.forget()
        if self._buffers is None:
            self._buffers = Buffers(self._slots.rows, self._steps, self._device, pinned=self._capture.pinned)
        return self._buffers

    def _step(self, buffers: Buffers, choice: StepChoice, width: int, cells: int) -> None:
        """Compute one token of the first ``width`` slots, each reading its first ``cells`` cells; may be captured."""
        places = buffers.places[:width]
        step = ForwardContext(
            slots=self._slots,
            positions=places,
            decoding=width,
            cells=places,
            longest=cells,
            offsets=buffers.zeros[:width],
            last_position=cells - 1,
        )
        logits = self._forward(buffers.tokens[:width], step)
        if choice == "logits":
            buffers.keep_logits(logits)
            return
        best = logits.max(dim=-1)
        tokens = best.indices
        if isinstance(choice, Filters):
            drawn = sample_by_inverse_cdf(
                filtered_probabilities(logits.float(), buffers.knobs(width), choice), buffers.numbers_now(width)
            )
            tokens = torch.where(buffers.greedy[:width] > 0, tokens, drawn)
        buffers.advance(tokens, best.values.isfinite())

    # -- on the host

    def _read(self, steps: int) -> list[list[int]]:
        """Return the tokens of each step by slot: the only time that the host waits for the device."""
        if self._buffers is None:
            return []
        chosen = self._buffers.fetch()
        self._capture.wait()
        return chosen[:steps].tolist()

    def _accept(self, rows: Sequence[TokenSequence], block: Sequence[Sequence[int]]) -> list[TokenSequence]:
        finished: list[TokenSequence] = []
        counts: list[int] = []
        live = [(row, row.slot or 0) for row in rows]
        for turn, tokens in enumerate(block):
            if any(tokens[slot] < 0 for _, slot in live):
                if not turn:
                    raise NotANumberError("the model's logits are not finite numbers")
                # What was computed before is good; the next block finds out again, in its first step.
                break
            counts.append(len(live))
            ended = [row for row, slot in live if self._give(row, tokens[slot])]
            finished.extend(ended)
            leaving = set(map(id, ended))
            live = [pair for pair in live if id(pair[0]) not in leaving]
            if not live:
                break
        self.tally(counts, self._width)
        return finished

    def _give(self, row: TokenSequence, token: int) -> bool:
        """Let a row have its next token; return whether it has ended."""
        row.stored += 1
        if not row.request.params.greedy:
            uniforms(row).use(1)
        ended = row.accept(token, None)
        if ended:
            self._slots.release(row)
        return ended


def _choice(rows: Sequence[TokenSequence]) -> StepChoice:
    """Return what a step must do for these rows; like demands give one choice, so that it is prepared once."""
    sampled = [row.request.params for row in rows if not row.request.params.greedy]
    if not sampled:
        return "greedy"
    filters = filters_of(sampled, UNLIMITED)
    candidates = filters.candidates
    return replace(filters, candidates=1 << (candidates - 1).bit_length() if candidates else 0)


# -- The tensors that a static step reads and writes, with their counterparts on the host: one place for each slot.

NO_TOKEN = -1
"""Marks a token that could not be chosen because the logits were not numbers."""
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

    def fill(self, rows: Sequence[TokenSequence], steps: int, filters: Filters | None) -> None:
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

    def _fill_knobs(self, rows: Sequence[TokenSequence], slots: Tensor) -> None:
        params = [row.request.params for row in rows]
        whole, knobs = self._whole.host, self._knobs.host
        whole[_CANDIDATES] = UNLIMITED
        whole[_CANDIDATES, slots] = torch.tensor(candidates_of(params, UNLIMITED))
        whole[_GREEDY, slots] = torch.tensor([int(each.greedy) for each in params])
        # Greedy rows and slots without a row are drawn for too, and must not divide by nothing.
        knobs.fill_(1.0)
        knobs[:, slots] = torch.tensor(numbers_of(params), dtype=torch.float32)
        self._knobs.upload()

    def _fill_numbers(self, rows: Sequence[TokenSequence], steps: int) -> None:
        self._numbers.host.zero_()
        for row in rows:
            if not row.request.params.greedy:
                ahead = torch.tensor(uniforms(row).ahead(steps), dtype=torch.float64)
                self._numbers.host[:steps, row.slot or 0] = ahead
        self._numbers.upload()

    # -- on the device

    def knobs(self, width: int) -> SamplingTensors:
        """Return the parameters of the first slots."""
        return SamplingTensors(self._candidates[:width], *self._knobs.device[:, :width].unbind())

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
