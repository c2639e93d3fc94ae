"""Parts of layers, each one pass over its numbers: see `fused_layers`, which uses them.

Rows of an input are as far apart as they are in the tensor that they are part of.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray

from pytest_evals.engines.transformers.cpu.numba.runtime import (
    CompiledLoop,
    exp,
    float_of,
    inlined,
    integers_of,
    share_of,
)


def _norm(pointers: Any) -> None:
    """Divide rows by the root of their mean square, and multiply them by a weight.

    Integers: rows, numbers of each. Float: what is added to the mean. Tensors: result, input ``[rows, size]``, weight.
    """
    rows, size = integers_of(pointers)[:2]
    added = float_of(pointers)
    result, values = carray(pointers[2], (rows, size), np.float32), carray(pointers[3], (rows, size), np.float32)
    weight = carray(pointers[4], size, np.float32)
    first, last = share_of(rows)
    for row in range(first, last):
        own, total = values[row], np.float32(0)
        for place in range(size):
            total += own[place] * own[place]
        share = np.float32(1) / np.sqrt(total / np.float32(size) + added)
        for place in range(size):
            result[row, place] = own[place] * share * weight[place]


def _gate(pointers: Any) -> None:
    """Multiply values by the SiLU of gates.

    Integers: rows, numbers of each, the distance between rows. Tensors: result ``[rows, size]``, gates, values.
    """
    rows, size, step = integers_of(pointers)[:3]
    result = carray(pointers[2], (rows, size), np.float32)
    reach = (rows - 1) * step + size
    gates, values = carray(pointers[3], reach, np.float32), carray(pointers[4], reach, np.float32)
    first, last = share_of(rows)
    for row in range(first, last):
        gating, own = gates[row * step : row * step + size], values[row * step : row * step + size]
        for place in range(size):
            number = gating[place]
            # By the exponential of a negative number: the other would be infinite.
            small = exp(-abs(number))
            share = (np.float32(1) if number >= 0 else small) / (np.float32(1) + small)
            result[row, place] = number * share * own[place]


def _rotate(pointers: Any) -> None:
    """Turn each pair of numbers of a head, one of either half, by its angle.

    Integers: tokens, heads, numbers of each, the distance between tokens. Tensors: result ``[tokens, heads, head]``, input,
    cosines and sines ``[tokens, head]``.
    """
    tokens, heads, head, step = integers_of(pointers)[:4]
    half = head // 2
    result = carray(pointers[2], (tokens, heads, head), np.float32)
    values = carray(pointers[3], (tokens - 1) * step + heads * head, np.float32)
    cosines = carray(pointers[4], (tokens, head), np.float32)
    sines = carray(pointers[5], (tokens, head), np.float32)
    first, last = share_of(tokens)
    for token in range(first, last):
        cos, sin = cosines[token], sines[token]
        for index in range(heads):
            begin = token * step + index * head
            lower, upper = values[begin : begin + half], values[begin + half : begin + head]
            for place in range(half):
                result[token, index, place] = lower[place] * cos[place] - upper[place] * sin[place]
            for place in range(half):
                result[token, index, half + place] = upper[place] * cos[half + place] + lower[place] * sin[half + place]


norm = CompiledLoop(_norm)
gate = CompiledLoop(_gate)
rotate = CompiledLoop(_rotate)


# -- The end of an `int8_head`: of products in 8 bits and how far off they may be, the token with the largest logit.

_BLOCK = 64
_SLACK = np.float32(1.001)
"""The bounds are of exact numbers, and these are rounded."""


def _likeliest(pointers: Any) -> None:
    """Find the token with the largest logit for each row, the first of equals.

    Integers: rows, tokens of the vocabulary, numbers of a hidden state. Tensors: the largest logit ``[rows]``, NaN where
    none is larger than all others; its token ``[rows]``; products ``[rows, vocabulary]``, which are overwritten; ``[3,
    rows]``: the unit of products, the lengths of the hidden state as it was rounded and of what was lost; ``[3,
    vocabulary]``: the lengths of what was lost of the weight and of what is left, and the bias; hidden states ``[rows,
    hidden]``; the weight ``[vocabulary, hidden]``.
    """
    rows, size, width = integers_of(pointers)[:3]
    values, tokens = carray(pointers[2], rows, np.float32), carray(pointers[3], rows, np.int64)
    products = carray(pointers[4], (rows, size), np.float32)
    of_rows, of_tokens = carray(pointers[5], (3, rows), np.float32), carray(pointers[6], (3, size), np.float32)
    hidden = carray(pointers[7], (rows, width), np.float32)
    weight = carray(pointers[8], (size, width), np.float32)
    highest = np.empty((size + _BLOCK - 1) // _BLOCK, np.float32)
    first, last = share_of(rows)
    for row in range(first, last):
        upper = products[row]
        least = _bound(upper, of_rows[:, row], of_tokens)
        _survey(highest, upper)
        best, found = np.float32(-np.inf), 0
        # The block with the most promising token first: what is found there rules most others out.
        start = np.argmax(highest)
        for turn in range(-1, len(highest)):
            block = start if turn < 0 else turn
            if highest[block] < least:
                continue
            for token in range(block * _BLOCK, min((block + 1) * _BLOCK, size)):
                if upper[token] >= least:
                    logit = of_tokens[2, token] + _product(hidden[row], weight[token])
                    if logit > best or (logit == best and token < found):
                        best, found = logit, token
                        least = max(least, best)
        tokens[row] = found
        values[row] = best if best > -np.inf else np.float32(np.nan)


@inlined
def _bound(upper: Any, of_row: Any, of_tokens: Any) -> Any:
    """Make the most of products that each logit may be, and return the least that the largest one is."""
    step, length, lost = of_row[0], of_row[1] * _SLACK, of_row[2] * _SLACK
    errors, norms, biases = of_tokens[0], of_tokens[1], of_tokens[2]
    least = np.float32(-np.inf)
    for token in range(len(upper)):
        middle = upper[token] * step + biases[token]
        off = length * errors[token] + lost * norms[token]
        upper[token] = middle + off
        least = max(least, middle - off)
    return least


@inlined
def _survey(highest: Any, upper: Any) -> None:
    """Put the largest number of each block into ``highest``."""
    for block in range(len(highest)):
        part = upper[block * _BLOCK : (block + 1) * _BLOCK]
        top = part[0]
        for place in range(len(part)):
            top = max(top, part[place])
        highest[block] = top


@inlined
def _product(one: Any, other: Any) -> Any:
    total = np.float32(0)
    for place in range(len(one)):
        total += one[place] * other[place]
    return total


likeliest = CompiledLoop(_likeliest)
