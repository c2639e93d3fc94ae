"""The kernels as operators of torch, so that tensors without values (fake ones) pass through them too."""

from __future__ import annotations

from typing import Any

import torch

from pytest_evals.engines.transformers.cuda.triton.attention import attend_to_slots
from pytest_evals.engines.transformers.cuda.triton.runtime import DEVICE_KEYS

Tensor = torch.Tensor

_LIBRARY = torch.library.Library("pytest_evals", "FRAGMENT")
_LIBRARY.define(
    "attend_to_slots(Tensor query, Tensor keys, Tensor values, Tensor last_cells, int longest, int width, float scale, int window, "
    "float softcap) -> (Tensor, Tensor)"
)


def _attend(query: Tensor, keys: Tensor, values: Tensor, last_cells: Tensor, *numbers: Any) -> tuple[Tensor, Tensor]:
    longest, width, scale, window, softcap = numbers
    return attend_to_slots(
        query, keys, values, last_cells, longest, width=width, scale=scale, window=window, softcap=softcap
    )


def _attend_without_values(
    query: Tensor, keys: Tensor, values: Tensor, last_cells: Tensor, *numbers: Any
) -> tuple[Tensor, Tensor]:
    del keys, last_cells, numbers
    tokens, heads, _ = query.shape
    return query.new_empty((tokens, heads, values.shape[3])), query.new_empty((tokens, heads), dtype=torch.float32)


for _key in DEVICE_KEYS:
    _LIBRARY.impl("attend_to_slots", _attend, _key)
torch.library.register_fake("pytest_evals::attend_to_slots", _attend_without_values, lib=_LIBRARY)
