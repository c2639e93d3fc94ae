"""Keys and values of everything that is under way: a slot for each row, a store for each shared prefix, and for each row
that is only scored, and too long for one forward.

Slots are preallocated and written in place. Rows that decode have the first slots, without gaps, so that what attention
reads of a layer is one view. A slot holds its row's keys from its first cell on; rows of different lengths are masked.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import mmap
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from pytest_evals.engines.transformers.cuda.buckets import SlotTableSize
from pytest_evals.engines.transformers.scheduling.prefix_tree import PrefixNode
from pytest_evals.engines.transformers.sequence import ScoringSequence, TokenSequence

GROW_BY = 1.5
ROUND_TO = 64


class KVCache:
    """The slots of all rows, and the stores of prefixes."""

    def __init__(self, rows: int) -> None:
        self.stores: dict[int, PrefixKV] = {}
        self.room: SlotTableSize | None = None
        """Where slots are to be made for all rows at once, instead of as rows come."""
        self.version = 0
        """Changes whenever slots are moved to other memory."""
        self._rows = rows
        self._occupants: list[TokenSequence | None] = []
        self._layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._capacity = 0

    @property
    def rows(self) -> int:
        """Slots, used and free; 0 before any keys were stored."""
        return min((keys.shape[0] for keys, _ in self._layers.values()), default=0)

    @property
    def capacity(self) -> int:
        """Cells of a slot."""
        return self._capacity

    @property
    def size(self) -> int:
        """Cells of all slots."""
        return self.rows * self._capacity

    @property
    def nbytes(self) -> int:
        """Bytes of all slots and stores."""
        tensors = [
            pair for held in (self._layers, *(store.layers for store in self.stores.values())) for pair in held.values()
        ]
        return sum(keys.nbytes + values.nbytes for keys, values in tensors)

    # -- who sits where

    def assign_slots(self, decoding: Sequence[TokenSequence], others: Sequence[TokenSequence]) -> list[TokenSequence]:
        """Give every row a slot, those that decode the first ones; return these in the order of their slots."""
        self._tidy()
        wanted = len(decoding) + len(others)
        self._occupants.extend([None] * (wanted - len(self._occupants)))
        staying = {id(row) for row in decoding}
        late = [row for row in decoding if row.slot is not None and row.slot >= len(decoding)]
        for index in range(len(decoding)):
            occupant = self._occupants[index]
            if occupant is None or id(occupant) not in staying:
                self._move(late.pop(), index)
        free = iter([index for index, occupant in enumerate(self._occupants) if occupant is None])
        for row in others:
            if row.slot is None:
                row.slot = next(free)
                self._occupants[row.slot] = row
        return [row for row in self._occupants[: len(decoding)] if row is not None]

    def _tidy(self) -> None:
        """Forget rows that were started again."""
        self._occupants = [
            row if row is not None and row.slot == index else None for index, row in enumerate(self._occupants)
        ]

    def _move(self, row: TokenSequence, index: int) -> None:
        """Bring a row to another slot; who was there takes its place."""
        other, origin = self._occupants[index], int(row.slot or 0)
        for keys, values in self._layers.values():
            for tensor in (keys, values):
                if other is not None:
                    kept = tensor[index].clone()
                length = row.stored - row.shared
                tensor[index, :, :length] = tensor[origin, :, :length]
                if other is not None:
                    tensor[origin] = kept
        self._occupants[index], self._occupants[origin] = row, other
        row.slot = index
        if other is not None:
            other.slot = origin

    def release(self, row: TokenSequence) -> None:
        """Free the slot of a row. What it holds stays there until another row takes the slot: see `keep`."""
        if row.slot is not None and self._occupants[row.slot] is row:
            self._occupants[row.slot] = None

    def clear(self) -> None:
        """Free everything, the memory too; what is reserved next may be smaller."""
        self._occupants, self._layers, self._capacity, self._rows = [], {}, 0, 0
        self.stores.clear()
        self.version += 1

    # -- tensors

    def reserve(self, rows: int, cells: int, limit: int | None = None, ahead: int = 0) -> None:
        """Make room for ``rows`` rows of ``cells`` cells, before anything is computed.

        All slots together take no more than ``limit`` cells, unless these rows do. When there are not enough of them, as
        many are made as ``ahead`` says, if that is more.
        """
        fits = rows <= self._rows and cells <= self._capacity
        if fits and (limit is None or self._rows * self._capacity <= limit):
            return
        if self.room is not None:
            size = self._table_ahead(rows, cells, limit, self.room)
        else:
            size = self._table(rows, cells, limit, ahead)
        if size != (self._rows, self._capacity):
            self._make(*size)

    def _table(self, rows: int, cells: int, limit: int | None, ahead: int) -> tuple[int, int]:
        """Return slots and cells of each for these rows, those before them and those to come, as far as the limit allows."""
        most, capacity = max(self._rows, rows, ahead), self._capacity
        if cells > capacity:
            wanted = max(cells, int(capacity * GROW_BY))
            capacity = -(-wanted // ROUND_TO) * ROUND_TO
        if limit is not None and most * capacity > limit:
            # Longer slots than now are needed go first, then more of them.
            capacity = max(cells, 1, min(capacity, limit // max(most, 1)))
            most = max(rows, min(most, limit // capacity))
        return most, capacity

    def _table_ahead(self, rows: int, cells: int, limit: int | None, room: SlotTableSize) -> tuple[int, int]:
        """Return the same for all rows that may come; there may be fewer slots than before."""
        return (room if limit is None else SlotTableSize(room.rows, min(room.cells, limit))).table(rows, cells)

    def _make(self, rows: int, cells: int) -> None:
        """Make a table of this many slots and cells, to which all rows bring what they have."""
        self._rows, self._capacity = rows, cells
        self._tidy()
        for row in [row for row in self._occupants[rows:] if row is not None]:
            self._move(row, self._occupants.index(None))
        del self._occupants[rows:]
        if not any(self._occupants):
            # Nothing is to be kept, so the old table need not exist beside the new one.
            self._layers.clear()
            self.version += 1
        for layer, (keys, values) in self._layers.items():
            self._layers[layer] = (self._resized(keys), self._resized(values))

    def _resized(self, old: torch.Tensor) -> torch.Tensor:
        new = self._empty(old)
        rows, cells = min(old.shape[0], new.shape[0]), min(old.shape[2], new.shape[2])
        new[:rows, :, :cells] = old[:rows, :, :cells]
        return new

    def _empty(self, like: torch.Tensor) -> torch.Tensor:
        """Zeros: what is masked out must still be finite."""
        self.version += 1
        return zeros_like(like, (self._rows, like.shape[1], self._capacity, like.shape[3]))

    def layer(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a layer's slots, each ``[rows, kv_heads, cells, head]``; ``keys`` and ``values`` show heads and dtype."""
        if layer not in self._layers:
            # [tokens, kv_heads, head] -> [1, kv_heads, tokens, head]: what `_empty` reads the shape from.
            self._layers[layer] = (
                self._empty(keys.transpose(0, 1).unsqueeze(0)),
                self._empty(values.transpose(0, 1).unsqueeze(0)),
            )
        return self._layers[layer]

    def store_of(self, prefix: PrefixNode) -> PrefixKV:
        """Return the store of a prefix, made when it is first asked for."""
        return self.stores.setdefault(id(prefix), PrefixKV(len(prefix.tokens)))

    def store_aside(self, row: ScoringSequence, tokens: int) -> PrefixKV:
        """Return the store of this many tokens of a row without a slot, made when it is first asked for."""
        return self.stores.setdefault(id(row), PrefixKV(tokens))

    def drop_aside(self, row: ScoringSequence) -> None:
        """Free the store of a row, if it has one."""
        self.stores.pop(id(row), None)

    def drop(self, prefix: PrefixNode) -> None:
        """Free the store of a prefix."""
        self.stores.pop(id(prefix), None)

    def split(self, upper: PrefixNode, lower: PrefixNode) -> None:
        """Divide the store of ``lower``, whose first tokens have become those of ``upper``."""
        whole = self.stores.pop(id(lower), None)
        if whole is None or not whole.layers:
            return
        self.stores[id(upper)], self.stores[id(lower)] = whole.divided(len(upper.tokens))

    def keep(self, row: TokenSequence | ScoringSequence, prefix: PrefixNode) -> None:
        """Copy the tokens of ``prefix`` from the slot of a row, which may have been released just now."""
        if isinstance(row, ScoringSequence):
            # It had none.
            return
        cells = slice(prefix.start - row.shared, prefix.end - row.shared)
        self.store_of(prefix).layers = copied(
            {
                layer: (keys[row.slot, :, cells], values[row.slot, :, cells])
                for layer, (keys, values) in self._layers.items()
            }
        )

    def copy_prefixes(self, row: TokenSequence) -> None:
        """Copy what the row's prefixes hold beyond ``row.shared`` into the first cells of its slot."""
        for prefix in row.prefix.path if row.prefix else ():
            if prefix.start >= row.shared:
                begin, end = prefix.start - row.shared, prefix.end - row.shared
                for layer, (keys, values) in self.store_of(prefix).layers.items():
                    slot_keys, slot_values = self._layers[layer]
                    slot_keys[row.slot, :, begin:end] = keys
                    slot_values[row.slot, :, begin:end] = values


# -- Keys and values of one stretch of tokens, and memory for many.

_ALIGNMENT = 64
_LARGE = 1 << 17
"""From this many bytes on, memory is mapped from the system."""
_PRIVATE = {} if sys.platform == "win32" else {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS}
Layers = dict[int, tuple[torch.Tensor, torch.Tensor]]
"""Keys and values by layer."""


class PrefixKV:
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

    def divided(self, length: int) -> tuple[PrefixKV, PrefixKV]:
        """Return the first ``length`` tokens and the others as stores of their own."""
        parts = PrefixKV(length), PrefixKV(self.length - length)
        for store, part in zip(parts, (slice(0, length), slice(length, None)), strict=True):
            store.layers = copied(
                {layer: (keys[:, part], values[:, part]) for layer, (keys, values) in self.layers.items()}
            )
        return parts


def copied(layers: Mapping[int, tuple[torch.Tensor, torch.Tensor]]) -> Layers:
    """Return copies of keys and values, all layers in one piece of memory, which is free again when the last of them goes.

    On a CPU it then goes back to the system. Thousands of small pieces that come and go beside the model's own would leave
    gaps that cannot be used.
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
