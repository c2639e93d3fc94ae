"""The tensors: prefill of a batch, then one token a step for the rows that are left."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from pytest_evals.engines.transformers.row import Row
from pytest_evals.engines.transformers.sampling import choose

COMPACT_AT = 8
"""Finished rows leave the cache as soon as they are one in so many; copying it for each of them would cost more than it
saves.
"""
_MEMORY_MESSAGES = ("out of memory", "can't allocate memory", "not enough memory", "failed to allocate")


class Runner:
    """Runs batches on one model."""

    def __init__(self, model: Any, device: str) -> None:
        self._model = model
        self._device = device
        accepted = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in accepted
        # Only the last position's logits are needed; a vocabulary of 150,000 times every prompt token is gigabytes.
        self._options = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}

    @torch.inference_mode()
    def run(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Generate for all rows at once. After each step yields the rows that finished in it (often none)."""
        tokens, mask = self._padded(rows)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        logits, cache = self._forward(tokens, mask, positions, None)
        live: list[Row] = list(rows)
        while True:
            chosen = choose(logits, live)
            finished = [
                row
                for row, (token, logprob) in zip(live, chosen, strict=True)
                if row.finish_reason is None and row.accept(token, logprob)
            ]
            yield finished
            if all(row.finish_reason is not None for row in live):
                return
            keep = self._kept(live)
            if len(keep) < len(live):
                selected = torch.tensor(keep, device=self._device)
                cache.batch_select_indices(selected)
                mask, positions = mask[selected], positions[selected]
                live, chosen = [live[index] for index in keep], [chosen[index] for index in keep]
            tokens = torch.tensor([[token] for token, _ in chosen], device=self._device)
            mask = torch.cat([mask, mask.new_ones((len(live), 1))], dim=1)
            positions = positions[:, -1:] + 1
            logits, cache = self._forward(tokens, mask, positions, cache)

    def _kept(self, live: Sequence[Row]) -> list[int]:
        unfinished = [index for index, row in enumerate(live) if row.finish_reason is None]
        leaving = len(live) - len(unfinished)
        return unfinished if leaving * COMPACT_AT >= len(live) else list(range(len(live)))

    def _padded(self, rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids and mask, ``[rows, longest]``, padded on the left so that every row's next token stands in one
        column.
        """
        longest = max(row.prompt_tokens for row in rows)
        ids = torch.zeros((len(rows), longest), dtype=torch.long)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        for index, row in enumerate(rows):
            ids[index, longest - row.prompt_tokens :] = torch.tensor(row.prompt)
            mask[index, longest - row.prompt_tokens :] = 1
        return ids.to(self._device), mask.to(self._device)

    def _forward(
        self, tokens: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any
    ) -> tuple[torch.Tensor, Any]:
        extra = {"position_ids": positions} if self._takes_positions else {}
        output = self._model(
            input_ids=tokens, attention_mask=mask, past_key_values=cache, use_cache=True, **extra, **self._options
        )
        return output.logits[:, -1], output.past_key_values

    def free(self) -> None:
        """Give back what a failed batch held."""
        gc.collect()
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether the error says that the batch was too large for the device's memory."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _MEMORY_MESSAGES)


def is_fatal(error: BaseException) -> bool:
    """Tell whether the device is unusable after the error, so that only a new process helps."""
    return "CUDA error" in str(error) or "device-side assert" in str(error)
