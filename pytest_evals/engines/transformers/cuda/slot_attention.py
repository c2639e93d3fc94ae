"""Attention of decoding rows by a Triton kernel: chosen on CUDA where it gives the model's logits and is faster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from pytest_evals.engines.transformers.cpu.attention import heads_of
from pytest_evals.engines.transformers.cpu.tuning import least_seconds
from pytest_evals.engines.transformers.errors import is_fatal
from pytest_evals.engines.transformers.packed.forward_context import ForwardContext
from pytest_evals.engines.transformers.packed.kernels import AttentionPart
from pytest_evals.engines.transformers.packed.kv_cache import KVCache
from pytest_evals.engines.transformers.packed.model_runner import ModelRunner
from pytest_evals.engines.transformers.verification import TOLERANCE, largest_difference

_LEAST_GAIN = 1.1
_SAMPLE = (64, 1024)
"""Rows, and cells of each, on which kernel and operators are compared."""
_MOST_PARTIAL = 1 << 33
"""Query heads times cells times numbers of a head that are attended to at once: 128 MB of outputs of parts."""
KERNEL_NOTE = "decodes with a Triton kernel for attention"

Tensor = torch.Tensor


class TritonAttention:
    """See `SlotAttention`. With ``everything`` prompts are computed by it too. Raises `ImportError` without Triton."""

    def __init__(self, *, everything: bool = False) -> None:
        from pytest_evals.engines.transformers.cuda.triton import operators  # Triton need not be there

        del operators
        self.everything = everything

    def attend(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        last_cells: Tensor,
        longest: int,
        width: int,
        scale: float,
        window: int | None,
        softcap: float | None,
    ) -> AttentionPart:
        """See `SlotAttention.attend`."""
        numbers = float(scale), window or 0, float(softcap or 0.0)
        operator = torch.ops.pytest_evals.attend_to_slots
        at_once = max(1, _MOST_PARTIAL // (query.shape[1] * longest * values.shape[-1]))
        if len(query) <= at_once or width < len(query):
            found: AttentionPart = operator(query, keys, values, last_cells, longest, width, *numbers)
            return found
        # A long prompt: each part of the keys has an output of its own, and those of all tokens would not fit.
        parts = [
            operator(some, keys, values, cells, longest, len(some), *numbers)
            for some, cells in zip(torch.split(query, at_once), torch.split(last_cells, at_once), strict=True)
        ]
        return torch.cat([output for output, _ in parts]), torch.cat([sums for _, sums in parts])


def use_kernel(
    runner: ModelRunner, model: Any, device: str, *, timed: bool = True, make: Callable[[], Any] = TritonAttention
) -> list[str]:
    """Let the runner attend with a kernel where the model's logits come out and, if ``timed``, where it is faster.

    Returns what the user should know. Raises only what leaves the device unusable.
    """
    text = model.config.get_text_config(decoder=True)
    try:
        kernel = make()
        runner.kernel = kernel
        found = largest_difference(model, runner, text.vocab_size)
        if found <= TOLERANCE.get(model.dtype, 1e-3):
            if not timed or _is_faster(kernel, text, device, model.dtype):
                return [KERNEL_NOTE]
            reason = "torch's operators are faster"
        else:
            reason = f"its logits would differ by {found:.1%}"
    except Exception as error:  # no Triton, no compiler, a GPU that it does not know: operators compute
        if is_fatal(error):
            raise
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
    runner.kernel = None
    runner.clear()
    return [f"decodes without the Triton kernel for attention: {reason}"]


@torch.inference_mode()
def _is_faster(kernel: Any, config: Any, device: str, dtype: torch.dtype) -> bool:
    """Compare one layer's step of some rows."""
    from pytest_evals.engines.transformers.packed.attention import Layer  # it knows of kernels by their protocol only

    heads, (rows, cells) = heads_of(config), _SAMPLE
    query, key = (
        torch.randn(rows, count, heads.size, device=device, dtype=dtype)
        for count in (heads.keys * heads.share, heads.keys)
    )
    slots = KVCache(rows)
    slots.reserve(rows, cells)
    last = torch.full((rows,), cells - 1, device=device)

    def seconds(chosen: Any) -> float:
        def step() -> None:
            context = ForwardContext(slots, last, rows, last, cells, torch.zeros_like(last), cells - 1)
            context.kernel = chosen
            Layer(context, 0, heads.size**-0.5, None, None).attend(query, key, key)
            if device.startswith("cuda"):
                torch.cuda.synchronize(device)

        return least_seconds(step)

    return seconds(kernel) * _LEAST_GAIN < seconds(None)
