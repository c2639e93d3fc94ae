"""Keys and values of one stretch of tokens, and memory for many."""

from __future__ import annotations

import contextlib
import itertools
import math
import mmap
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import torch

_ALIGNMENT = 64
_LARGE = 1 << 17
"""From so many bytes on, memory is mapped from the system."""
_PRIVATE = {} if sys.platform == "win32" else {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS}

Layers = dict[int, tuple[torch.Tensor, torch.Tensor]]
"""Keys and values by layer."""


class Store:
    """Keys and values of one stretch of tokens, layer by layer, each ``[kv_heads, tokens, head]``."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.layers: Layers = {}

    def write(self, layer: int, keys: torch.Tensor, values: torch.Tensor, at: int = 0) -> None:
        """Keep keys and values of a layer, given as ``[tokens, kv_heads, head]``, from the token ``at`` on."""
        keys, values = keys.transpose(0, 1), values.transpose(0, 1)
        count = keys.shape[1]
        if count == self.length:
            # Copies in any case: of one head only, these are views of what was computed for all rows.
            self.layers[layer] = (
                keys.clone(memory_format=torch.contiguous_format),
                values.clone(memory_format=torch.contiguous_format),
            )
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
        for store, part in zip(parts, (slice(0, length), slice(length, None)), strict=True):
            store.layers = copied(
                {layer: (keys[:, part], values[:, part]) for layer, (keys, values) in self.layers.items()}
            )
        return parts


def copied(layers: Mapping[int, tuple[torch.Tensor, torch.Tensor]]) -> Layers:
    """Return copies of keys and values, all layers in one piece of memory, which is free again when the last of them goes.

    On a CPU it then goes back to the system. Thousands of small pieces that come and go beside the model's own would leave
    gaps that nobody can use.
    """
    tensors = [tensor for pair in layers.values() for tensor in pair]
    if not tensors:
        return {}
    ends = list(itertools.accumulate((-(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT for tensor in tensors), initial=0))
    memory = _memory(ends[-1], tensors[0].device)
    copies = [
        memory[begin : begin + tensor.nbytes].view(tensor.dtype).view(tensor.shape).copy_(tensor)
        for tensor, begin in zip(tensors, ends, strict=False)
    ]
    return dict(zip(layers, zip(copies[::2], copies[1::2], strict=True), strict=True))


def _memory(size: int, device: torch.device) -> torch.Tensor:
    if device.type == "cpu" and size >= _LARGE:
        # A process may have as many mappings as the system allows.
        with contextlib.suppress(OSError):
            return torch.frombuffer(mmap.mmap(-1, size, **_PRIVATE), dtype=torch.uint8)
    return torch.empty(size, dtype=torch.uint8, device=device)


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
