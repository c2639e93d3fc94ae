"""Products, sums, softmax and running sums whose rows do not depend on each other, to the last bit.

What libraries compute depends on the number of rows: it decides into how many parts the sums of a row are cut, and which kernel is
taken. Here tiles have sizes that follow from the weights alone, and each number is summed up in the order of its row's places.

He et al., "Defeating Nondeterminism in LLM Inference" (Thinking Machines, 2025), has the idea.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from pytest_evals.engines.transformers.cuda.triton.runtime import WIDENS

_TILE_ROWS, _TILE_INNER = 64, 64
_NARROW, _WIDE = 32, 128
"""Columns of a tile: a product of few columns has few tiles, and each of them must be small to keep a GPU busy."""
_FEW_COLUMNS = 8192
_BLOCK = 1024
"""Numbers of a row that are summed at a time."""

Tensor = torch.Tensor


@triton.jit
def _multiply(  # type: ignore[no-untyped-def]  # noqa: ANN202 - Triton reads neither types nor keywords
    left, right, added, output, rows, columns, inner, alpha, beta,
    left_batch, left_row, left_inner, right_batch, right_inner, right_column, added_batch, added_row, added_column,
    TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr, TILE_INNER: tl.constexpr, ADDS: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """One tile of a product: all of the inner dimension, from its beginning to its end."""
    row = tl.program_id(0) * TILE_ROWS + tl.arange(0, TILE_ROWS)
    column = tl.program_id(1) * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)
    batch = tl.program_id(2).to(tl.int64)
    known_row, known_column = row < rows, column < columns
    left += batch * left_batch + row[:, None].to(tl.int64) * left_row
    right += batch * right_batch + column[None, :].to(tl.int64) * right_column
    total = tl.zeros([TILE_ROWS, TILE_COLUMNS], tl.float32)
    for start in range(0, inner, TILE_INNER):
        place = start + tl.arange(0, TILE_INNER)
        known = place < inner
        one = tl.load(left + place[None, :] * left_inner, mask=known_row[:, None] & known[None, :], other=0.0)
        other = tl.load(
            right + place[:, None].to(tl.int64) * right_inner, mask=known[:, None] & known_column[None, :], other=0.0
        )
        if WIDEN:
            one, other = one.to(tl.float32), other.to(tl.float32)
        total = tl.dot(one, other, total, input_precision="ieee")
    mask = known_row[:, None] & known_column[None, :]
    if ADDS:
        more = tl.load(
            added + batch * added_batch + row[:, None].to(tl.int64) * added_row + column[None, :] * added_column,
            mask=mask, other=0.0,
        )  # fmt: skip
        total = total * alpha + more.to(tl.float32) * beta
    tl.store(
        output + (batch * rows + row[:, None]) * columns + column[None, :], total.to(output.dtype.element_ty), mask=mask
    )


def multiply(left: Tensor, right: Tensor, added: Tensor | None = None, alpha: float = 1.0, beta: float = 1.0) -> Tensor:
    """Return ``alpha * left @ right + beta * added``, for ``[batch, rows, inner]`` and ``[batch, inner, columns]``."""
    batch, rows, inner = left.shape
    columns = right.shape[2]
    output = left.new_empty((batch, rows, columns))
    if not output.numel():
        return output
    tile = _NARROW if columns <= _FEW_COLUMNS else _WIDE
    more = output if added is None else added.expand(batch, rows, columns)
    _multiply[(-(-rows // _TILE_ROWS), -(-columns // tile), batch)](
        left, right, more, output, rows, columns, inner, float(alpha), float(beta),
        *left.stride(), *right.stride(), *more.stride(),
        TILE_ROWS=_TILE_ROWS, TILE_COLUMNS=tile, TILE_INNER=_TILE_INNER if left.itemsize < 4 else 32,
        ADDS=added is not None, WIDEN=WIDENS.value, num_warps=4, num_stages=3, enable_fp_fusion=True,
    )  # fmt: skip
    return output


@triton.jit
def _sum_rows(values, output, size, scale, BLOCK: tl.constexpr, WIDE: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: ANN202 - as above
    """The sum of one row, block after block."""
    row = tl.program_id(0).to(tl.int64)
    total = tl.zeros([BLOCK], WIDE)
    for start in range(0, size, BLOCK):
        place = start + tl.arange(0, BLOCK)
        total += tl.load(values + row * size + place, mask=place < size, other=0).to(WIDE)
    tl.store(output + row, (tl.sum(total, axis=0) * scale).to(output.dtype.element_ty))


def sum_rows(values: Tensor, dtype: torch.dtype, scale: float = 1.0) -> Tensor:
    """Return the sum of each row of ``[rows, size]`` times ``scale``, in fp32 (fp64 of fp64) and then in ``dtype``."""
    output = values.new_empty((values.shape[0],), dtype=dtype)
    wide = tl.float64 if values.dtype == torch.float64 else tl.float32
    if len(values):
        _sum_rows[(len(values),)](
            values.contiguous(), output, values.shape[1], scale, BLOCK=_BLOCK, WIDE=wide, enable_fp_fusion=True
        )
    return output


@triton.jit
def _normalise_rows(  # type: ignore[no-untyped-def]  # noqa: ANN202 - as above
    values, output, size, BLOCK: tl.constexpr, MODE: tl.constexpr
):
    """Softmax (0), its logarithm (1) or the log-sum-exp (2) of one row."""
    row = tl.program_id(0).to(tl.int64)
    values += row * size
    peaks = tl.full([BLOCK], float("-inf"), tl.float32)
    for start in range(0, size, BLOCK):
        place = start + tl.arange(0, BLOCK)
        peaks = tl.maximum(peaks, tl.load(values + place, mask=place < size, other=float("-inf")).to(tl.float32))
    peak = tl.max(peaks, axis=0)
    # Of a row that is -inf throughout, or has an infinite number, torch makes NaN as well; its log-sum-exp is that number.
    base = tl.where(tl.abs(peak) == float("inf"), 0.0, peak) if MODE == 2 else peak
    totals = tl.zeros([BLOCK], tl.float32)
    for start in range(0, size, BLOCK):
        place = start + tl.arange(0, BLOCK)
        known = place < size
        number = tl.load(values + place, mask=known, other=0.0).to(tl.float32)
        totals += tl.where(known, tl.exp(number - base), 0.0)
    total = tl.sum(totals, axis=0)
    if MODE == 2:
        tl.store(output + row, (base + tl.log(total)).to(output.dtype.element_ty))
    else:
        for start in range(0, size, BLOCK):
            place = start + tl.arange(0, BLOCK)
            known = place < size
            number = tl.load(values + place, mask=known, other=0.0).to(tl.float32) - base
            found = number - tl.log(total) if MODE == 1 else tl.exp(number) / total
            tl.store(output + row * size + place, found.to(output.dtype.element_ty), mask=known)


SOFTMAX, LOG_SOFTMAX, LOG_SUM_EXP = range(3)


def normalise_rows(values: Tensor, mode: int, dtype: torch.dtype) -> Tensor:
    """Return `SOFTMAX` or `LOG_SOFTMAX` ``[rows, size]``, or `LOG_SUM_EXP` ``[rows]``, of the rows of ``[rows, size]``."""
    shape = values.shape[:1] if mode == LOG_SUM_EXP else values.shape
    output = values.new_empty(shape, dtype=dtype)
    if len(values):
        _normalise_rows[(len(values),)](
            values.contiguous(), output, values.shape[1], BLOCK=_BLOCK, MODE=mode, enable_fp_fusion=True
        )
    return output


@triton.jit
def _accumulate_rows(values, output, size, BLOCK: tl.constexpr, WIDE: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: ANN202 - as above
    """The running sums of one row: within a block, added to what came before it."""
    row = tl.program_id(0).to(tl.int64) * size
    before = tl.zeros([1], WIDE)
    for start in range(0, size, BLOCK):
        place = start + tl.arange(0, BLOCK)
        number = tl.load(values + row + place, mask=place < size, other=0).to(WIDE)
        tl.store(
            output + row + place, (tl.cumsum(number, axis=0) + before).to(output.dtype.element_ty), mask=place < size
        )
        before += tl.sum(number, axis=0)


def accumulate_rows(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the running sums of each row of ``[rows, size]``, in fp32, fp64 or whole numbers and then in ``dtype``."""
    output = values.new_empty(values.shape, dtype=dtype)
    floating = values.dtype.is_floating_point
    wide = tl.float64 if torch.float64 in (values.dtype, dtype) else tl.float32 if floating else tl.int64
    if len(values):
        _accumulate_rows[(len(values),)](
            values.contiguous(), output, values.shape[1], BLOCK=_BLOCK, WIDE=wide, enable_fp_fusion=True
        )
    return output
