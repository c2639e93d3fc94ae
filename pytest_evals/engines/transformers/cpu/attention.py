"""Attention on a CPU through compiled loops, where numba is installed and they are faster than torch's operators.

What attends to slots, and short spans of prompts, is computed in one call a layer: see `numba.attention`. Long spans
and shared prefixes are products of many queries, for which torch has good kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pytest_evals.engines.transformers.cpu.tuning import least_seconds
from pytest_evals.engines.transformers.packed.forward_context import Runs, Span
from pytest_evals.engines.transformers.packed.kernels import AttentionPart, by_products

_MOST_SCORES = 256 * 256
"""Scores of a span that are computed here: of more, torch's kernel for long prompts is as fast or faster."""
_LEAST_GAIN = 1.1
_SAMPLE = (16, 256)
"""Rows, and cells of each, on which the ways are compared."""

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Heads:
    """Key heads, query heads of each, and numbers of a head."""

    keys: int
    share: int
    size: int


def heads_of(config: Any) -> Heads:
    """Return the heads that a transformers text config describes."""
    heads: int = config.num_attention_heads
    keys: int = getattr(config, "num_key_value_heads", None) or heads
    return Heads(keys, heads // keys, getattr(config, "head_dim", None) or config.hidden_size // heads)


def compiled_threads(config: Any, recall: Callable[[Callable[[], bool]], bool] = lambda find: find()) -> int | None:
    """Return the threads with which compiled loops compute; `None` where there are none, or operators are faster for
    attention with the heads of ``config``. ``recall`` is called with what finds out whether loops are faster, and may know it.
    """
    try:
        threads = torch.get_num_threads()
        return threads if recall(lambda: _is_faster(threads, heads_of(config))) else None
    except Exception:  # noqa: BLE001 - no numba, one that does not go with this numpy, another OpenMP: torch computes
        return None


def takes(query: Tensor, value: Tensor) -> bool:
    """Tell whether loops are made for such tensors, ``[tokens, heads, head]``."""
    return query.dtype == torch.float32 and query.shape[-1] == value.shape[-1]


def runs_of(cells: Sequence[int], spans: Sequence[Span], width: int, threads: int) -> Runs:
    """Return the part of a step that this many ``threads`` compute here: ``width`` tokens of each row in the first slots, the
    first going to its cell of ``cells``, and the shorter of the ``spans``.
    """
    table = [(row * width, (row + 1) * width, row, cell, 0) for row, cell in enumerate(cells)]
    others = []
    for span in spans:
        tokens, earlier = span.end - span.begin, span.cell - span.first
        if span.store is None and tokens * (earlier + tokens) <= _MOST_SCORES:
            table.append((span.begin, span.end, -1 if span.slot is None else span.slot, span.cell, span.first))
        else:
            others.append(span)
    return Runs(_dealt(torch.tensor(table, dtype=torch.long).view(-1, 5), threads), threads, others)


def attend(
    query: Tensor, key: Tensor, value: Tensor, slots: AttentionPart, runs: Runs, window: int | None, scale: float
) -> AttentionPart:
    """Store the new keys and values of ``runs`` in their slots, and return attention with its log-sum-exp.

    New tensors are ``[tokens, heads, head]``, slots ``[slots, kv_heads, cells, head]``. What belongs to no run is left
    undefined.
    """
    from pytest_evals.engines.transformers.cpu.numba.attention import attention_with  # numba need not be there

    tokens, heads, head = query.shape
    kv_heads = key.shape[1]
    output, sums = torch.empty(query.shape), torch.empty((tokens, heads))
    if len(runs.table):
        query, key, value = _packed(query), _packed(key), _packed(value)
        count, cells = slots[0].shape[0], slots[0].shape[2]
        steps = query.stride(0), key.stride(0), value.stride(0)
        integers = tokens, len(runs.table), kv_heads, cells, count, window or 0, *steps
        tensors = output, sums, query, key, value, *slots, runs.table
        attention_with(heads // kv_heads, head)(runs.threads, integers, tensors, scale)
    return output, sums


def _packed(tensor: Tensor) -> Tensor:
    """Return the tensor with the heads of each token one after another."""
    return tensor if tensor.stride()[1:] == (tensor.shape[2], 1) else tensor.contiguous()


def _dealt(table: Tensor, threads: int) -> Tensor:
    """Return the runs in an order in which threads, each with as many neighbours, have about as much to do."""
    tokens = table[:, 1] - table[:, 0]
    order = (tokens * (table[:, 3] - table[:, 4] + tokens)).argsort(descending=True)
    return table[torch.cat([order[thread::threads] for thread in range(threads)])]


@torch.inference_mode()
def _is_faster(threads: int, heads: Heads) -> bool:
    rows, cells = _SAMPLE
    query, key, value = (
        torch.randn(rows, each, heads.size) for each in (heads.keys * heads.share, heads.keys, heads.keys)
    )
    slots = torch.randn(rows, heads.keys, cells, heads.size), torch.randn(rows, heads.keys, cells, heads.size)
    runs, mask = runs_of([cells - 1] * rows, [], 1, threads), torch.zeros(rows * heads.keys, 1, cells)
    everyone, last = torch.arange(rows), torch.full((rows,), cells - 1)

    def by_operators() -> None:
        slots[0][everyone, :, last] = key
        slots[1][everyone, :, last] = value
        by_products(query.view(rows, heads.keys, heads.share, heads.size), *slots, mask, sums=False)

    def by_loops() -> None:
        attend(query, key, value, slots, runs, None, 1.0)

    return least_seconds(by_loops) * _LEAST_GAIN < least_seconds(by_operators)
