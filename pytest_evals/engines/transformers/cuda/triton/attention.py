"""Attention of single tokens over slots, in parts of the keys that are merged in a fixed order ("flash-decoding").

A part has `SPLIT` cells, counted from a slot's first cell. So the parts of a token, the blocks in them and the order in which they are
merged follow from the token's own cell and window. They depend neither on the rows beside it, nor on the longest of them.

Tokens of one slot may share a tile, each with the cells that it sees. A block that one of them does not see changes nothing of it, to
the last bit: it is multiplied by exp(0) and zeros are added.

Dao et al., "Flash-Decoding for long-context inference" (2023); Milakov and Gimelshein, "Online normalizer calculation for softmax"
(2018).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from pytest_evals.engines.transformers.cuda.triton.runtime import WIDENS

SPLIT = 256
"""Cells of a part: fixed, whatever the batch is. Few enough to fill a GPU with few rows, enough to make merging cheap."""
TILE_ROWS = 16
"""Rows of a product, at least: tensor cores take no fewer."""
_LARGE_HEAD = 128
_UNSEEN = -1e30
"""The score of what is not seen: finite, so that a difference of two of them is a number."""
_HIDDEN = tl.constexpr(_UNSEEN)

Tensor = torch.Tensor


@triton.jit
def _attend_to_part(  # type: ignore[no-untyped-def]  # noqa: ANN202 - Triton reads neither types nor keywords
    query, keys, values, last_cells, outputs, peaks, totals,
    tokens, width, parts, scale, softcap, window,
    query_token, query_head, key_slot, key_head, key_cell, value_slot, value_head, value_cell,
    GROUP: tl.constexpr, TOGETHER: tl.constexpr, ROWS: tl.constexpr, HEAD: tl.constexpr, HEAD_BLOCK: tl.constexpr,
    VALUE: tl.constexpr, VALUE_BLOCK: tl.constexpr, CELLS: tl.constexpr, SPLIT_CELLS: tl.constexpr,
    WINDOWED: tl.constexpr, CAPPED: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """One tile of query rows (tokens of one slot times the query heads of one key head) against one part of the slot's cells."""
    first_token, key_head_index, part = tl.program_id(0) * TOGETHER, tl.program_id(1), tl.program_id(2)
    row = tl.arange(0, ROWS)
    token = first_token + row // GROUP
    taken = (row < TOGETHER * GROUP) & (token < tokens)
    cell = tl.load(last_cells + token, mask=taken, other=-1).to(tl.int32)
    end = tl.minimum(tl.max(cell, axis=0) + 1, (part + 1) * SPLIT_CELLS)
    begin = part * SPLIT_CELLS
    if WINDOWED:
        oldest = tl.min(tl.where(taken, cell, 2147483647), axis=0) - window + 1
        begin = tl.maximum(begin, (tl.maximum(oldest, 0) // CELLS) * CELLS)
    if begin < end:
        slot = (first_token // width).to(tl.int64)
        head = key_head_index * GROUP + row % GROUP
        inner, inner_value, ahead = tl.arange(0, HEAD_BLOCK), tl.arange(0, VALUE_BLOCK), tl.arange(0, CELLS)
        asked = tl.load(
            query + token[:, None].to(tl.int64) * query_token + head[:, None] * query_head + inner[None, :],
            mask=taken[:, None] & (inner[None, :] < HEAD), other=0.0,
        )  # fmt: skip
        if WIDEN:
            asked = asked.to(tl.float32)
        keys += slot * key_slot + key_head_index.to(tl.int64) * key_head
        values += slot * value_slot + key_head_index.to(tl.int64) * value_head
        peak = tl.full([ROWS], _HIDDEN, tl.float32)
        total = tl.zeros([ROWS], tl.float32)
        output = tl.zeros([ROWS, VALUE_BLOCK], tl.float32)
        for start in range(begin, end, CELLS):
            column = start + ahead
            known = column < end
            key = tl.load(
                keys + column[None, :].to(tl.int64) * key_cell + inner[:, None],
                mask=known[None, :] & (inner[:, None] < HEAD), other=0.0,
            )  # fmt: skip
            value = tl.load(
                values + column[:, None].to(tl.int64) * value_cell + inner_value[None, :],
                mask=known[:, None] & (inner_value[None, :] < VALUE), other=0.0,
            )  # fmt: skip
            if WIDEN:
                key = key.to(tl.float32)
            score = tl.dot(asked, key, input_precision="ieee") * scale
            if CAPPED:
                # tanh, by the function that the interpreter has too.
                score = softcap * (2.0 * tl.sigmoid(2.0 * score / softcap) - 1.0)
            seen = column[None, :] <= cell[:, None]
            if WINDOWED:
                seen = seen & (column[None, :] > cell[:, None] - window)
            score = tl.where(seen, score, _HIDDEN)
            higher = tl.maximum(peak, tl.max(score, axis=1))
            weight = tl.where(seen, tl.exp(score - higher[:, None]), 0.0)
            share = tl.exp(peak - higher)
            total = total * share + tl.sum(weight, axis=1)
            rounded = weight.to(value.dtype)
            if WIDEN:
                rounded, value = rounded.to(tl.float32), value.to(tl.float32)
            output = output * share[:, None] + tl.dot(rounded, value, input_precision="ieee")
            peak = higher
        place = (token.to(tl.int64) * tl.num_programs(1) * GROUP + head) * parts + part
        tl.store(peaks + place, peak, mask=taken)
        tl.store(totals + place, total, mask=taken)
        tl.store(
            outputs + place[:, None] * VALUE + inner_value[None, :], output,
            mask=taken[:, None] & (inner_value[None, :] < VALUE),
        )  # fmt: skip


@triton.jit
def _merge_parts(  # type: ignore[no-untyped-def]  # noqa: ANN202 - as above
    outputs, peaks, totals, last_cells, merged, sums, parts, window,
    VALUE: tl.constexpr, VALUE_BLOCK: tl.constexpr, SPLIT_CELLS: tl.constexpr, WINDOWED: tl.constexpr,
):  # fmt: skip
    """One token and query head: its parts one after another, from the first that it sees to its own."""
    token, place = tl.program_id(0).to(tl.int64), tl.program_id(0).to(tl.int64) * tl.num_programs(1) + tl.program_id(1)
    cell = tl.load(last_cells + token).to(tl.int32)
    first = cell * 0
    if WINDOWED:
        first = tl.maximum(cell - window + 1, 0) // SPLIT_CELLS
    inner = tl.arange(0, VALUE_BLOCK)
    peak = tl.full([], _HIDDEN, tl.float32)
    total = tl.zeros([], tl.float32)
    output = tl.zeros([VALUE_BLOCK], tl.float32)
    for part in range(first, cell // SPLIT_CELLS + 1):
        other = tl.load(peaks + place * parts + part)
        higher = tl.maximum(peak, other)
        share, more = tl.exp(peak - higher), tl.exp(other - higher)
        total = total * share + tl.load(totals + place * parts + part) * more
        values = tl.load(outputs + (place * parts + part) * VALUE + inner, mask=inner < VALUE, other=0.0)
        output = output * share + values * more
        peak = higher
    tl.store(merged + place * VALUE + inner, (output / total).to(merged.dtype.element_ty), mask=inner < VALUE)
    tl.store(sums + place, peak + tl.log(total))


def attend_to_slots(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    last_cells: Tensor,
    longest: int,
    *,
    width: int,
    scale: float,
    window: int = 0,
    softcap: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Return attention ``[tokens, heads, value]`` and the log-sum-exp of its scores in fp32, ``[tokens, heads]``.

    Args:
        query: ``[tokens, heads, head]``; the tokens of slot 0 first, ``width`` for each slot.
        keys: ``[slots, kv_heads, cells, head]``. Query heads ``h * group`` to ``(h + 1) * group - 1`` share the key head ``h``.
        values: ``[slots, kv_heads, cells, value]``.
        last_cells: ``[tokens]``, whole numbers: the last cell that a token sees. It sees all from there down to cell 0, or the last
            ``window`` of them.
        longest: Cells that are read at most; no token sees more.
        width: Tokens of each slot.
        scale: Factor of the scores, before the ``softcap``.
        window: Cells that a token sees; 0 for all.
        softcap: Scores are ``softcap * tanh(score / softcap)``; 0 for none.
    """
    tokens, heads, head = query.shape
    kv_heads, value = keys.shape[1], values.shape[3]
    group = heads // kv_heads
    query, keys, values = (each if each.stride(-1) == 1 else each.contiguous() for each in (query, keys, values))
    # Consecutive tokens of one slot share tiles only where all are of one: a tile has one slot.
    together = max(1, TILE_ROWS // group) if width >= tokens > 1 else 1
    rows = max(TILE_ROWS, triton.next_power_of_2(together * group))
    parts = -(-longest // SPLIT)
    head_block, value_block = (max(16, triton.next_power_of_2(size)) for size in (head, value))
    outputs = query.new_empty((tokens, heads, parts, value), dtype=torch.float32)
    peaks, totals = (query.new_empty((tokens, heads, parts), dtype=torch.float32) for _ in range(2))
    merged = query.new_empty((tokens, heads, value))
    sums = query.new_empty((tokens, heads), dtype=torch.float32)
    cells = 64 if max(head_block, value_block) <= _LARGE_HEAD else 32
    common = {"VALUE": value, "VALUE_BLOCK": value_block, "SPLIT_CELLS": SPLIT, "WINDOWED": window > 0}
    _attend_to_part[(-(-tokens // together), kv_heads, parts)](
        query, keys, values, last_cells, outputs, peaks, totals,
        tokens, width, parts, scale, softcap, window,
        *query.stride()[:2], *keys.stride()[:3], *values.stride()[:3],
        GROUP=group, TOGETHER=together, ROWS=rows, HEAD=head, HEAD_BLOCK=head_block, CELLS=cells,
        CAPPED=softcap > 0, WIDEN=WIDENS.value, **common, num_warps=4, num_stages=2, enable_fp_fusion=True,
    )  # fmt: skip
    _merge_parts[(tokens, heads)](
        outputs, peaks, totals, last_cells, merged, sums, parts, window,
        **common, num_warps=1, enable_fp_fusion=True,
    )  # fmt: skip
    return merged, sums
