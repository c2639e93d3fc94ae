"""Attention in which each key and value is read once, and nothing is written but the output.

What operators of torch take several passes for (storing the new keys, masks, scores, softmax, the weighted sum) is one
pass here, over exactly the cells that a token sees.
"""

from __future__ import annotations

import math
from functools import cache
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


@cache
def attention_with(share: int, head: int) -> CompiledLoop:
    """Return attention of runs of tokens, for ``share`` query heads a key head and ``head`` numbers a head.

    Integers: tokens, runs, key heads, cells of a slot, slots, window (0: none), and the distances between tokens of queries,
    of new keys and of new values. Float: the scale of scores. Tensors: output ``[tokens, heads, head]``, log-sum-exp ``[tokens,
    heads]``, queries ``[tokens, heads, head]``, new keys and values ``[tokens, kv_heads, head]``, slots of keys and of
    values ``[slots, kv_heads, cells, head]``, and runs ``[runs, 5]``.

    A run is tokens that follow each other in one row: its first token, end, slot (-1: none), the cell of the first token,
    and the first cell that is seen. New keys go to the slot; a token sees the cells up to its own, at most the last
    ``window``.
    """

    def attend(pointers: Any) -> None:
        tokens, count, kv_heads, cells, slots, window, query_step, key_step, value_step = integers_of(pointers)
        scale = float_of(pointers)
        output = carray(pointers[2], (tokens, kv_heads, share, head), np.float32)
        sums = carray(pointers[3], (tokens, kv_heads, share), np.float32)
        queries = carray(pointers[4], (tokens - 1) * query_step + kv_heads * share * head, np.float32)
        new_keys = carray(pointers[5], (tokens - 1) * key_step + kv_heads * head, np.float32)
        new_values = carray(pointers[6], (tokens - 1) * value_step + kv_heads * head, np.float32)
        slot_keys = carray(pointers[7], (slots, kv_heads, cells, head), np.float32)
        slot_values = carray(pointers[8], (slots, kv_heads, cells, head), np.float32)
        runs = carray(pointers[9], (count, 5), np.int64)
        scaled, mixed = np.empty((share, head), np.float32), np.empty((share, head), np.float32)
        first_unit, last_unit = share_of(count * kv_heads)
        for unit in range(first_unit, last_unit):
            at = unit % kv_heads
            begin, end, slot, cell, first = runs[unit // kv_heads]
            if slot >= 0:
                keys, values = slot_keys[slot, at], slot_values[slot, at]
            else:
                keys, values = np.empty((end - begin, head), np.float32), np.empty((end - begin, head), np.float32)
            scores = np.empty((share, cell + end - begin), np.float32)
            for token in range(begin, end):
                source = token * key_step + at * head
                keys[cell + token - begin] = new_keys[source : source + head]
                source = token * value_step + at * head
                values[cell + token - begin] = new_values[source : source + head]
            for token in range(begin, end):
                stop = cell + token - begin + 1
                start = max(first, stop - window) if window else first
                source = token * query_step + at * share * head
                for index in range(share):
                    for place in range(head):
                        scaled[index, place] = queries[source + index * head + place] * scale
                        mixed[index, place] = 0
                _score(scores, scaled, keys[start:stop], share, head)
                _soften(scores, stop - start, sums[token, at])
                _mix(mixed, scores, values[start:stop], share, head)
                output[token, at] = mixed

    return CompiledLoop(attend)


@inlined
def _score(scores: Any, scaled: Any, keys: Any, share: int, head: int) -> None:
    for there in range(len(keys)):
        for index in range(share):
            product = np.float32(0)
            for place in range(head):
                product += scaled[index, place] * keys[there, place]
            scores[index, there] = product


@inlined
def _soften(scores: Any, count: int, sums: Any) -> None:
    for index in range(len(sums)):
        own = scores[index]
        largest = own[0]
        for there in range(count):
            largest = max(largest, own[there])
        total = np.float32(0)
        for there in range(count):
            weight = exp(own[there] - largest)
            own[there] = weight
            total += weight
        sums[index] = largest + math.log(total)
        for there in range(count):
            own[there] /= total


@inlined
def _mix(mixed: Any, scores: Any, values: Any, share: int, head: int) -> None:
    for there in range(len(values)):
        for index in range(share):
            weight = scores[index, there]
            for place in range(head):
                mixed[index, place] += weight * values[there, place]
