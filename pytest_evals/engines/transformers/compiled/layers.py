"""Parts of layers, each one pass over its numbers: see `lean`, which uses them.

Rows of an input are as far apart as they are in the tensor of which they are a part.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray

from pytest_evals.engines.transformers.compiled.kernel import Kernel, exp, float_of, integers_of, share_of


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


norm = Kernel(_norm)
gate = Kernel(_gate)
rotate = Kernel(_rotate)
