"""Operators of torch whose rows depend on the batch, replaced by kernels whose rows do not, for all that this process computes.

A model's own code calls what it likes: products as layers or as ``@``, means in its norms, softmax in its router. So the operators are
replaced where all of these end, in torch's dispatcher. Element by element, comparisons (top-k, sorting) and norms over one row a block
(`layer_norm`) need no replacement: what comes out is checked when a model is loaded.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch

from pytest_evals.engines.transformers.cuda.triton.rows import (
    LOG_SOFTMAX,
    LOG_SUM_EXP,
    SOFTMAX,
    accumulate_rows,
    multiply,
    normalise_rows,
    sum_rows,
)

Tensor = torch.Tensor


def _mm(left: Tensor, right: Tensor) -> Tensor:
    return multiply(left.unsqueeze(0), right.unsqueeze(0))[0]


def _addmm(added: Tensor, left: Tensor, right: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    return multiply(left.unsqueeze(0), right.unsqueeze(0), added, alpha, beta)[0]


def _bmm(left: Tensor, right: Tensor) -> Tensor:
    return multiply(left, right)


def _baddbmm(added: Tensor, left: Tensor, right: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    return multiply(left, right, added, alpha, beta)


def _mean(
    values: Tensor,
    dim: Sequence[int] | None,
    keepdim: bool = False,  # noqa: FBT002 - torch's own signature
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    rows, shape = _rows_of(values, dim, keepdim=keepdim)
    return sum_rows(rows, dtype or values.dtype, 1.0 / rows.shape[1] if rows.shape[1] else float("nan")).view(shape)


def _sum(
    values: Tensor,
    dim: Sequence[int] | None,
    keepdim: bool = False,  # noqa: FBT002 - torch's own signature
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    rows, shape = _rows_of(values, dim, keepdim=keepdim)
    if not values.dtype.is_floating_point:
        # Whole numbers add up to the same in any order.
        return accumulate_rows(rows, dtype or torch.long)[:, -1].reshape(shape)
    return sum_rows(rows, dtype or values.dtype).view(shape)


def _logsumexp(values: Tensor, dim: Sequence[int], keepdim: bool = False) -> Tensor:  # noqa: FBT002 - as above
    rows, shape = _rows_of(values, dim, keepdim=keepdim)
    return normalise_rows(rows, LOG_SUM_EXP, values.dtype).view(shape)


def _softmax(values: Tensor, dim: int, half_to_float: bool) -> Tensor:
    return _along(values, dim, lambda rows: normalise_rows(rows, SOFTMAX, _widened(values, half_to_float)))


def _log_softmax(values: Tensor, dim: int, half_to_float: bool) -> Tensor:
    return _along(values, dim, lambda rows: normalise_rows(rows, LOG_SOFTMAX, _widened(values, half_to_float)))


def _cumsum(values: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Tensor:
    kept = values.dtype if values.dtype.is_floating_point else torch.long
    return _along(values, dim, lambda rows: accumulate_rows(rows, dtype or kept))


def _widened(values: Tensor, wanted: bool) -> torch.dtype:
    return torch.float32 if wanted else values.dtype


def _along(values: Tensor, dim: int, compute: Callable[[Tensor], Tensor]) -> Tensor:
    """Return what ``compute`` makes of the rows along a dimension, in the shape of ``values``."""
    if not values.dim():
        return compute(values.reshape(1, 1)).view(())
    moved = values.movedim(dim, -1)
    return compute(moved.reshape(-1, moved.shape[-1])).view(moved.shape).movedim(-1, dim)


def _rows_of(values: Tensor, dim: Sequence[int] | None, *, keepdim: bool) -> tuple[Tensor, list[int]]:
    """Return ``values`` as ``[rows, size]``, with the dimensions that are summed in the rows, and the shape of the result."""
    dims = sorted({each % max(1, values.dim()) for each in dim}) if dim else list(range(values.dim()))
    left = [each for each in range(values.dim()) if each not in dims]
    shape = [1 if each in dims else size for each, size in enumerate(values.shape) if keepdim or each not in dims]
    size = 1
    for each in dims:
        size *= values.shape[each]
    return values.permute(*left, *dims).reshape(-1, size), shape


_OVERRIDES: dict[str, Callable[..., Any]] = {
    "mm": _mm,
    "addmm": _addmm,
    "bmm": _bmm,
    "baddbmm": _baddbmm,
    "mean.dim": _mean,
    "sum.dim_IntList": _sum,
    "logsumexp": _logsumexp,
    "_softmax": _softmax,
    "_log_softmax": _log_softmax,
    "cumsum": _cumsum,
}
_active: list[torch.library.Library] = []


def override_operators(key: str = "CUDA") -> None:
    """Replace the operators on the devices of a dispatch key, until the process ends or `restore_operators` is called."""
    if _active:
        return
    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        # Torch tells of operators that are replaced: that is what is wanted.
        warnings.simplefilter("ignore", UserWarning)
        for name, function in _OVERRIDES.items():
            library.impl(name, function, key, allow_override=True)
    _active.append(library)


def restore_operators() -> None:
    """Let torch compute as it did."""
    for library in _active:
        library._destroy()  # noqa: SLF001 - what is registered else stays as long as anything refers to it
    _active.clear()
