"""The parts of `lean` as compiled loops: tensors in, tensors out."""

from __future__ import annotations

import torch

from pytest_evals.engines.transformers.compiled import layers
from pytest_evals.engines.transformers.lean import Apply, Ways

Tensor = torch.Tensor


def compiled_ways(threads: int) -> Ways:
    """Return the ways that compute in so many threads."""

    def make_norm(weight: Tensor, eps: float) -> Apply:
        size = len(weight)
        weight = weight.contiguous()

        def apply(values: Tensor) -> Tensor:
            values = values.contiguous()
            result = torch.empty(values.shape)
            layers.norm(threads, (values.numel() // size, size), (result, values, weight), eps)
            return result

        return apply

    def gate(activate: Apply, gates: Tensor, values: Tensor) -> Tensor:
        # Taken to be SiLU: with another activation the block is found to compute something else.
        del activate
        result, size = torch.empty(gates.shape), gates.shape[-1]
        gates, values = gates.reshape(-1, size), values.reshape(-1, size)
        if gates.stride() != values.stride() or gates.stride(1) != 1:
            gates, values = gates.contiguous(), values.contiguous()
        layers.gate(threads, (len(gates), size, gates.stride(0)), (result, gates, values))
        return result

    def rotate(values: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        tokens = values[0].transpose(0, 1)
        count, heads, head = tokens.shape
        if tokens.stride()[1:] != (head, 1):
            tokens = tokens.contiguous()
        result = torch.empty(tokens.shape)
        tensors = result, tokens, cos.contiguous(), sin.contiguous()
        layers.rotate(threads, (count, heads, head, tokens.stride(0)), tensors)
        return result.transpose(0, 1).unsqueeze(0)

    return Ways(make_norm, gate, rotate)
