"""Decoding without a word between host and device for several tokens: always the same tensors, at the same addresses.

A step computes one token for every slot up to a prepared number of them (`buckets`), reading a prepared number of cells
of each, chooses the tokens and moves on to the next cells, all on the device. So it can be captured once and launched
again and again (`graphs`). After a block of steps the tokens are read together; what a row got after its end is
discarded. Its cells too: what stands beyond a row's last token is never seen, and written again.

A slot without a row computes as well, on its own first cell, and nobody looks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from pytest_evals.engines.transformers.buckets import block_length, cells_bucket, rows_bucket
from pytest_evals.engines.transformers.filters import UNLIMITED, Filters, filters_of, looked_up, restricted
from pytest_evals.engines.transformers.graphs import Capture
from pytest_evals.engines.transformers.launches import Choice, Launches
from pytest_evals.engines.transformers.plans import Plan
from pytest_evals.engines.transformers.row import Row
from pytest_evals.engines.transformers.sampling import NotANumberError, uniforms
from pytest_evals.engines.transformers.slots import Slots
from pytest_evals.engines.transformers.static_buffers import Buffers
from pytest_evals.engines.transformers.steps import Step

MOST_STEPS = 8
"""Steps of a block. Rows that end leave, and others take their place, only after it."""

Forward = Callable[[torch.Tensor, Step], torch.Tensor]
"""Token ids and who sees whom -> logits, ``[tokens, vocabulary]``."""
Tally = Callable[[Sequence[int], int], None]
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
        slots: Slots,
        device: str,
        capture: Capture,
        steps: int = MOST_STEPS,
    ) -> None:
        self.tally: Tally = lambda _live, _slots: None
        self.launches = Launches(capture)
        self._forward = forward
        self._slots = slots
        self._device = device
        self._capture = capture
        self._steps = steps
        self._width = 0
        self._buffers: Buffers | None = None
        self._version = -1

    def takes(self, plan: Plan[Any]) -> bool:
        """Tell whether the plan is nothing but decoding, of rows that have all they see in their slots."""
        return (
            bool(plan.decode)
            and not plan.pieces
            and not plan.admitted
            and self._slots.rows >= len(plan.decode)
            and all(row.slot is not None and row.shared == 0 for row in plan.decode)
        )

    def run(self, rows: Sequence[Row]) -> list[Row]:
        """Give every row its next tokens; return those that have ended, in the order in which they did.

        Raises `NotANumberError` when the model's logits are no numbers in the first step; in a later one the block ends.
        """
        left = [row.max_new_tokens - len(row.generated) for row in rows]
        steps = block_length(left, self._steps)
        self._compute(rows, steps, _choice(rows))
        return self._accept(rows, self._read(steps))

    def logits(self, rows: Sequence[Row]) -> torch.Tensor:
        """Return the logits of each row's next token, ``[rows, vocabulary]``, for the host to choose from."""
        buffers = self._compute(rows, 1, "logits")
        return buffers.logits[torch.tensor([row.slot for row in rows], device=buffers.logits.device)]

    def forget(self) -> None:
        """Give back the memory of everything that was prepared."""
        self.launches.forget()
        self._buffers = None
        self._version = self._slots.version

    # -- on the device

    def _compute(self, rows: Sequence[Row], steps: int, choice: Choice) -> Buffers:
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

    def _prepared(self, rows: Sequence[Row]) -> Buffers:
        """Seat the rows close enough together, and have buffers for the slots as they are now."""
        if max(row.slot or 0 for row in rows) >= rows_bucket(len(rows), self._slots.rows):
            self._slots.seat(rows, [])
        if self._version != self._slots.version:
            self.forget()
        if self._buffers is None:
            self._buffers = Buffers(self._slots.rows, self._steps, self._device, pinned=self._capture.pinned)
        return self._buffers

    def _step(self, buffers: Buffers, choice: Choice, width: int, cells: int) -> None:
        """Compute one token of the first ``width`` slots, each reading its first ``cells`` cells; may be captured."""
        places = buffers.places[:width]
        step = Step(
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
            drawn = looked_up(restricted(logits.float(), buffers.knobs(width), choice), buffers.numbers_now(width))
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

    def _accept(self, rows: Sequence[Row], block: Sequence[Sequence[int]]) -> list[Row]:
        finished: list[Row] = []
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

    def _give(self, row: Row, token: int) -> bool:
        """Let a row have its next token; return whether it has ended."""
        row.stored += 1
        if not row.request.params.greedy:
            uniforms(row).use(1)
        ended = row.accept(token, None)
        if ended:
            self._slots.release(row)
        return ended


def _choice(rows: Sequence[Row]) -> Choice:
    """Return what a step must do for these rows; like demands come to one choice, so that it is prepared once."""
    sampled = [row.request.params for row in rows if not row.request.params.greedy]
    if not sampled:
        return "greedy"
    filters = filters_of(sampled, UNLIMITED)
    candidates = filters.candidates
    return replace(filters, candidates=1 << (candidates - 1).bit_length() if candidates else 0)
