"""Keys and values of everything that is under way: a slot for each row, a store for each shared prefix, and for each row
that is only scored, and too long for one forward.

Slots are preallocated and written in place. Rows that decode have the first slots, without gaps, so that what attention
reads of a layer is one view. A slot holds its row's keys from its first cell on; rows of different lengths are masked.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pytest_evals.engines.transformers.buckets import Room
from pytest_evals.engines.transformers.row import Row, ScoredRow
from pytest_evals.engines.transformers.stores import Store, copied, zeros_like
from pytest_evals.engines.transformers.stretches import Prefix

GROW_BY = 1.5
ROUND_TO = 64


class Slots:
    """The slots of all rows, and the stores of prefixes."""

    def __init__(self, rows: int) -> None:
        self.stores: dict[int, Store] = {}
        self.room: Room | None = None
        """Where slots are to be made for all rows at once, instead of as rows come."""
        self.version = 0
        """Changes whenever slots are moved to other memory."""
        self._rows = rows
        self._occupants: list[Row | None] = []
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

    def seat(self, decoding: Sequence[Row], others: Sequence[Row]) -> list[Row]:
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

    def _move(self, row: Row, index: int) -> None:
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

    def release(self, row: Row) -> None:
        """Free the slot of a row. What it holds stays there until somebody else takes the slot: see `keep`."""
        if row.slot is not None and self._occupants[row.slot] is row:
            self._occupants[row.slot] = None

    def clear(self) -> None:
        """Free everything, the memory too; what is reserved next may be smaller."""
        self._occupants, self._layers, self._capacity, self._rows = [], {}, 0, 0
        self.stores.clear()
        self.version += 1

    # -- tensors

    def reserve(self, rows: int, cells: int, limit: int | None = None, ahead: int = 0) -> None:
        """Have room for so many rows of so many cells, before anything is computed.

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

    def _table_ahead(self, rows: int, cells: int, limit: int | None, room: Room) -> tuple[int, int]:
        """Return the same for all rows that may come; there may be fewer slots than before."""
        return (room if limit is None else Room(room.rows, min(room.cells, limit))).table(rows, cells)

    def _make(self, rows: int, cells: int) -> None:
        """Have a table of so many slots and cells, to which everybody brings what they have."""
        self._rows, self._capacity = rows, cells
        self._tidy()
        for row in [row for row in self._occupants[rows:] if row is not None]:
            self._move(row, self._occupants.index(None))
        del self._occupants[rows:]
        if not any(self._occupants):
            # Nothing is to be kept, so that the old table need not stand beside the new one.
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

    def store_of(self, prefix: Prefix) -> Store:
        """Return the store of a prefix, made when it is first asked for."""
        return self.stores.setdefault(id(prefix), Store(len(prefix.tokens)))

    def store_aside(self, row: ScoredRow, tokens: int) -> Store:
        """Return the store of so many tokens of a row that has no slot, made when it is first asked for."""
        return self.stores.setdefault(id(row), Store(tokens))

    def drop_aside(self, row: ScoredRow) -> None:
        """Free the store of a row, if it has one."""
        self.stores.pop(id(row), None)

    def drop(self, prefix: Prefix) -> None:
        """Free the store of a prefix."""
        self.stores.pop(id(prefix), None)

    def split(self, upper: Prefix, lower: Prefix) -> None:
        """Divide the store of ``lower``, of which the first tokens have become those of ``upper``."""
        whole = self.stores.pop(id(lower), None)
        if whole is None or not whole.layers:
            return
        self.stores[id(upper)], self.stores[id(lower)] = whole.divided(len(upper.tokens))

    def keep(self, row: Row | ScoredRow, prefix: Prefix) -> None:
        """Copy the tokens of ``prefix`` from the slot of a row, which may have been released just now."""
        if isinstance(row, ScoredRow):
            # It had none.
            return
        cells = slice(prefix.start - row.shared, prefix.end - row.shared)
        self.store_of(prefix).layers = copied(
            {
                layer: (keys[row.slot, :, cells], values[row.slot, :, cells])
                for layer, (keys, values) in self._layers.items()
            }
        )

    def copy_prefixes(self, row: Row) -> None:
        """Copy what the row's prefixes hold beyond ``row.shared`` into the first cells of its slot."""
        for prefix in row.prefix.path if row.prefix else ():
            if prefix.start >= row.shared:
                begin, end = prefix.start - row.shared, prefix.end - row.shared
                for layer, (keys, values) in self.store_of(prefix).layers.items():
                    slot_keys, slot_values = self._layers[layer]
                    slot_keys[row.slot, :, begin:end] = keys
                    slot_values[row.slot, :, begin:end] = values
