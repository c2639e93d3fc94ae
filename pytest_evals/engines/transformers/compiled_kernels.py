"""Loops that numba compiles for the processor at hand: attention in which each key and value is read once and nothing but
the output is written, and the end of a `shortlist`.

What operators of torch take several passes for (storing the new keys, masks, scores, softmax, the weighted sum) is one
pass here, over exactly the cells that a token sees. This module is imported where numba is known to be there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import float32, int64, njit, prange, void

Array = Any
"""An array of numba, typed by the signature below."""

_STRIDED = float32[:, :, :]
_SLOTS = float32[:, :, :, ::1]
_SIGNATURE = void(
    float32[:, :, ::1], float32[:, ::1], _STRIDED, _STRIDED, _STRIDED, _SLOTS, _SLOTS, int64[:, ::1], int64, float32
)
_MATRIX = float32[:, ::1]
_BLOCK = 64
_SLACK = np.float32(1.001)
"""The bounds are of exact numbers, and these are rounded."""
_FAST = {"contract", "reassoc", "nsz", "arcp"}
"""Sums may be taken in another order, which is what lets them be vectors; NaN and infinity keep their meaning."""
_LEAST = np.float32(-87.0)
"""Below it the exponential is no normal number."""


@njit(fastmath={"contract"})
def exp(value: Any) -> Any:
    """Return the exponential of a number up to 0, within 2 units in the last place.

    By powers of two and a polynomial, as in Cephes (Moshier, ``expf.c``): without calls, so that loops of it are vectors.
    """
    value = max(value, _LEAST)
    power = np.floor(value * np.float32(1.44269504088896341) + np.float32(0.5))
    rest = value - power * np.float32(0.693359375) + power * np.float32(2.12194440e-4)
    sum_ = np.float32(1.9875691500e-4)
    sum_ = sum_ * rest + np.float32(1.3981999507e-3)
    sum_ = sum_ * rest + np.float32(8.3334519073e-3)
    sum_ = sum_ * rest + np.float32(4.1665795894e-2)
    sum_ = sum_ * rest + np.float32(1.6666665459e-1)
    sum_ = sum_ * rest + np.float32(5.0000001201e-1)
    bits = np.int32((np.int32(power) + np.int32(127)) << np.int32(23))
    return (sum_ * rest * rest + rest + np.float32(1)) * bits.view(np.float32)


@cache
def attention_with(share: int, head: int) -> Callable[..., None]:
    """Return attention of runs of tokens, for ``share`` query heads a key head and ``head`` numbers a head.

    ``output`` and ``query`` are ``[tokens, heads, head]``, ``sums`` (the log-sum-exp) ``[tokens, heads]``, new keys and
    values ``[tokens, kv_heads, head]``, ``keys`` and ``values`` of slots ``[slots, kv_heads, cells, head]``.

    A run is tokens that follow each other in one row: its first token, end, slot (-1: none), the cell of the first token,
    and the first cell that is seen. New keys go to the slot; a token sees the cells up to its own, the last ``window`` of
    them if that is not 0.
    """

    @njit(_SIGNATURE, parallel=True, fastmath=_FAST, error_model="numpy", cache=True)
    def attend(
        output: Array,
        sums: Array,
        query: Array,
        new_keys: Array,
        new_values: Array,
        slot_keys: Array,
        slot_values: Array,
        runs: Array,
        window: int,
        scale: float,
    ) -> None:
        kv_heads = new_keys.shape[1]
        for unit in prange(len(runs) * kv_heads):
            at = unit % kv_heads
            begin, end, slot, cell, first = runs[unit // kv_heads]
            if slot >= 0:
                keys, values = slot_keys[slot, at], slot_values[slot, at]
            else:
                keys, values = np.empty((end - begin, head), np.float32), np.empty((end - begin, head), np.float32)
            scaled = np.empty((share, head), np.float32)
            mixed = np.empty((share, head), np.float32)
            scores = np.empty((share, cell + end - begin), np.float32)
            own = keys[cell : cell + end - begin], values[cell : cell + end - begin]
            for step in range(end - begin):
                for place in range(head):
                    own[0][step, place] = new_keys[begin + step, at, place]
                    own[1][step, place] = new_values[begin + step, at, place]
            heads = at * share
            for step in range(end - begin):
                stop = cell + step + 1
                start = max(first, stop - window) if window else first
                # Loops over views count from 0, of which numba knows that it is no index from the end.
                count, seen, mixing = stop - start, keys[start:stop], values[start:stop]
                asking = query[begin + step, heads : heads + share]
                for index in range(share):
                    for place in range(head):
                        scaled[index, place] = asking[index, place] * scale
                        mixed[index, place] = 0
                for there in range(count):
                    for index in range(share):
                        product = np.float32(0)
                        for place in range(head):
                            product += scaled[index, place] * seen[there, place]
                        scores[index, there] = product
                for index in range(share):
                    largest = scores[index, 0]
                    for there in range(count):
                        largest = max(largest, scores[index, there])
                    total = np.float32(0)
                    for there in range(count):
                        weight = exp(scores[index, there] - largest)
                        scores[index, there] = weight
                        total += weight
                    sums[begin + step, heads + index] = largest + math.log(total)
                    part = np.float32(1) / total
                    for there in range(count):
                        scores[index, there] *= part
                for there in range(count):
                    for index in range(share):
                        weight = scores[index, there]
                        for place in range(head):
                            mixed[index, place] += weight * mixing[there, place]
                output[begin + step, heads : heads + share] = mixed

    result: Callable[..., None] = attend
    return result


@njit(
    void(float32[::1], int64[::1], _MATRIX, _MATRIX, _MATRIX, _MATRIX, _MATRIX),
    parallel=True,
    fastmath=_FAST,
    error_model="numpy",
    cache=True,
)
def likeliest(
    values: Array, tokens: Array, rough: Array, of_rows: Array, of_tokens: Array, hidden: Array, weight: Array
) -> None:
    """Put the largest logit and its token into ``values`` and ``tokens``; NaN where no token has the largest.

    ``rough`` ``[rows, vocabulary]`` are products in 8 bits, and are overwritten; ``of_rows`` ``[3, rows]``: their steps,
    the lengths of ``hidden`` ``[rows, hidden]`` as it was rounded, and of what was lost; ``of_tokens`` ``[3, vocabulary]``:
    the lengths of what was lost of ``weight`` ``[vocabulary, hidden]``, of what is left, and a bias.
    """
    size, inputs = weight.shape
    blocks = (size + _BLOCK - 1) // _BLOCK
    for row in prange(len(values)):
        step, length, lost = of_rows[0, row], of_rows[1, row] * _SLACK, of_rows[2, row] * _SLACK
        upper = rough[row]
        least = np.float32(-np.inf)
        for token in range(size):
            middle = upper[token] * step + of_tokens[2, token]
            off = length * of_tokens[0, token] + lost * of_tokens[1, token]
            upper[token] = middle + off
            least = max(least, middle - off)
        highest = np.empty(blocks, np.float32)
        for block in range(blocks):
            some = upper[block * _BLOCK : (block + 1) * _BLOCK]
            top = some[0]
            for place in range(len(some)):
                top = max(top, some[place])
            highest[block] = top
        best, found = np.float32(-np.inf), 0
        # The block with the most promising token first: what is found there rules most others out.
        first = np.argmax(highest)
        for turn in range(-1, blocks):
            block = first if turn < 0 else turn
            if highest[block] < least:
                continue
            begin = block * _BLOCK
            for token in range(begin, min(begin + _BLOCK, size)):
                if upper[token] >= least:
                    product = of_tokens[2, token]
                    for index in range(inputs):
                        product += hidden[row, index] * weight[token, index]
                    if product > best or (product == best and token < found):
                        best, found = product, token
                        least = max(least, best)
        tokens[row] = found
        values[row] = best if best > -np.inf else np.float32(np.nan)
