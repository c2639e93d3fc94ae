"""Keys and values of one stretch of tokens, and memory for many."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

_ALIGNMENT = 64


class Store:
    """Keys and values of one stretch of tokens, layer by layer, each ``[kv_heads, tokens, head]``."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def write(self, layer: int, keys: torch.Tensor, values: torch.Tensor, at: int = 0) -> None:
        """Keep keys and values of a layer, given as ``[tokens, kv_heads, head]``, from the token ``at`` on."""
        keys, values = keys.transpose(0, 1), values.transpose(0, 1)
        count = keys.shape[1]
        if count == self.length:
            self.layers[layer] = (keys.contiguous(), values.contiguous())
            return
        if not at:
            self.layers[layer] = (
                keys.new_empty((keys.shape[0], self.length, keys.shape[2])),
                values.new_empty((values.shape[0], self.length, values.shape[2])),
            )
        kept_keys, kept_values = self.layers[layer]
        kept_keys[:, at : at + count] = keys
        kept_values[:, at : at + count] = values

    def divided(self, length: int) -> tuple[Store, Store]:
        """Return the first ``length`` tokens and the others as stores of their own."""
        parts = Store(length), Store(self.length - length)
        for layer, (keys, values) in self.layers.items():
            for store, part in zip(parts, (slice(0, length), slice(length, None)), strict=True):
                store.layers[layer] = (keys[:, part].clone(), values[:, part].clone())
        return parts


def zeros_like(like: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Return zeros with the dtype and device of ``like``. On a CPU, memory is taken when it is first touched: a slot costs
    what is stored in it, and making it nothing.
    """
    size = math.prod(shape) * like.itemsize
    if like.device.type != "cpu" or not size:
        return like.new_zeros(shape)
    # torch writes its zeros; the system's own need no writing.
    memory = torch.from_numpy(np.zeros(size + _ALIGNMENT, dtype=np.uint8))
    begin = -memory.data_ptr() % _ALIGNMENT
    return memory[begin : begin + size].view(like.dtype).view(*shape)
