"""Attention on a CPU through compiled loops, where numba is installed and they are faster than torch's operators.

What attends to slots, and short spans of prompts, is computed in one call a layer: see `compiled_kernels`. Long spans and
shared prefixes are products of many queries, for which torch has good kernels.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from pytest_evals.engines.transformers.kernels import Part, by_products
from pytest_evals.engines.transformers.steps import Runs, Span

_MOST_SCORES = 256 * 256
"""Scores of a span that are computed here: of more, torch's kernel for long prompts is as fast or faster."""
_LEAST_GAIN = 1.1
_ROUNDS = 5
_SAMPLE = (16, 3, 3, 64, 256)
"""Rows, key heads, query heads of each, numbers of a head and cells on which the ways are compared."""

Tensor = torch.Tensor


def threads_of_loops() -> int | None:
    """Make numba ready; return the threads with which loops compute, `None` where torch's operators are to attend."""
    try:
        numba = importlib.import_module("numba")
        # The other layers want a package of their own, or may not be used from two threads.
        numba.config.THREADING_LAYER = "omp"
        threads = min(torch.get_num_threads(), int(numba.config.NUMBA_NUM_THREADS))
        numba.set_num_threads(threads)
        return threads if _is_faster(threads) else None
    except Exception:  # noqa: BLE001 - no numba, one that does not go with this numpy, no such layer: torch attends
        return None


def takes(query: Tensor, value: Tensor) -> bool:
    """Tell whether loops are made for such tensors, ``[tokens, heads, head]``."""
    return query.dtype == torch.float32 and query.shape[-1] == value.shape[-1]


def runs_of(cells: Sequence[int], spans: Sequence[Span], width: int, threads: int) -> Runs:
    """Return what of a step is computed by so many ``threads`` here: ``width`` tokens of each row in the first slots, the
    first of them going to its cell of ``cells``, and the shorter of the ``spans``.
    """
    table = [(row * width, (row + 1) * width, row, cell, 0) for row, cell in enumerate(cells)]
    others = []
    for span in spans:
        tokens, earlier = span.end - span.begin, span.cell - span.first
        if span.store is None and tokens * (earlier + tokens) <= _MOST_SCORES:
            table.append((span.begin, span.end, -1 if span.slot is None else span.slot, span.cell, span.first))
        else:
            others.append(span)
    return Runs(_dealt(np.array(table, np.int64).reshape(-1, 5), threads), others)


def attend(
    query: Tensor, key: Tensor, value: Tensor, slots: Part, runs: Runs, window: int | None, scale: float
) -> Part:
    """Store the new keys and values of ``runs`` in their slots, and return attention with its log-sum-exp.

    New tensors are ``[tokens, heads, head]``, slots ``[slots, kv_heads, cells, head]``. What belongs to no run is left
    undefined.
    """
    from pytest_evals.engines.transformers.compiled_kernels import attention_with  # numba need not be there

    tokens, heads, size = query.shape
    output, sums = torch.empty(query.shape), torch.empty((tokens, heads))
    if len(runs.table):
        tensors = [tensor.numpy() for tensor in (output, sums, query, key, value, *slots)]
        attention_with(heads // key.shape[1], size)(*tensors, runs.table, window or 0, scale)
    return output, sums


def _dealt(table: np.ndarray[Any, Any], threads: int) -> np.ndarray[Any, Any]:
    """Return the runs in an order in which threads, each with as many neighbours, have about as much to do."""
    tokens = table[:, 1] - table[:, 0]
    scores = tokens * (table[:, 3] - table[:, 4] + tokens)
    order = np.argsort(-scores, kind="stable")
    return np.ascontiguousarray(table[np.concatenate([order[thread::threads] for thread in range(threads)])])


@torch.inference_mode()
def _is_faster(threads: int) -> bool:
    rows, kv_heads, share, head, cells = _SAMPLE
    query, key, value = (torch.randn(rows, heads, head) for heads in (kv_heads * share, kv_heads, kv_heads))
    slots = torch.randn(rows, kv_heads, cells, head), torch.randn(rows, kv_heads, cells, head)
    runs, mask = runs_of([cells - 1] * rows, [], 1, threads), torch.zeros(rows * kv_heads, 1, cells)
    everyone, last = torch.arange(rows), torch.full((rows,), cells - 1)

    def by_operators() -> None:
        slots[0][everyone, :, last] = key
        slots[1][everyone, :, last] = value
        by_products(query.view(rows, kv_heads, share, head), *slots, mask, sums=False)

    def by_loops() -> None:
        attend(query, key, value, slots, runs, None, 1.0)

    return _seconds(by_loops) * _LEAST_GAIN < _seconds(by_operators)


def _seconds(compute: Callable[[], None]) -> float:
    times = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        compute()
        times.append(time.perf_counter() - started)
    return min(times)
