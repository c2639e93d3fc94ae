"""Attention over one set of keys, by the fastest operator that the device has, with the log-sum-exp of its scores.

Outputs over several sets of keys become one by their log-sum-exp: see `merged`.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

HIDDEN = -1e30
"""Added to the score of what a token must not see: finite, so that a part that is not seen at all merges as nothing."""

Tensor = torch.Tensor
AttentionPart = tuple[Tensor, Tensor]
"""An output ``[tokens, heads, head]`` and its log-sum-exp ``[tokens, heads]``."""


class SlotAttention(Protocol):
    """A kernel for tokens that each see the first cells of a slot, up to one of their own."""

    everything: bool
    """Whether tokens of prompts are computed by it too, so that all tokens are computed in the same order of additions."""

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
        """Return the attention of ``query`` ``[tokens, heads, head]``, ``width`` tokens for each of the first slots.

        ``keys`` and ``values``: ``[slots, kv_heads, cells, head]``; ``last_cells``: ``[tokens]``, the last cell that each sees;
        with a ``window``, it sees only that many cells, ending there. ``longest``: the most cells to read.
        """
        ...


def merged(first: AttentionPart, second: AttentionPart) -> AttentionPart:
    """Return attention over two sets of keys from attention over each: weights are the shares of the exponentials."""
    (one, one_sum), (other, other_sum) = first, second
    weight = torch.sigmoid(other_sum - one_sum).unsqueeze(-1).to(one.dtype)
    return torch.lerp(one, other, weight), torch.logaddexp(one_sum, other_sum)


def fused_cpu(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float) -> AttentionPart:
    """Torch's flash kernel for CPUs, which also returns the log-sum-exp."""
    if mask is not None:
        # In fp16 `HIDDEN` would be infinite, and a part that is not seen at all would merge as something.
        mask = mask.clamp(min=torch.finfo(query.dtype).min).to(query.dtype).expand(-1, -1, query.shape[2], -1)
    output, sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(  # noqa: SLF001 - the public function keeps the log-sum-exp to itself
        query,
        keys,
        values,
        0.0,
        False,
        attn_mask=mask,
        scale=scale,
    )
    return output, sums


def by_products(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, *, sums: bool) -> AttentionPart:
    """Attention of few queries to many keys as two products, for CPUs: their flash kernel is made for more queries.

    ``query`` ``[batch, kv_heads, rows, head]`` in fp32, scaled; a mask ``[batch * kv_heads, rows or 1, cells]`` that hides
    no row's last cell. Without ``sums`` something of their shape takes their place.
    """
    shape = query.shape[:-1]
    scores = torch.baddbmm(mask, query.flatten(0, 1), keys.flatten(0, 1).transpose(1, 2))
    total = scores.logsumexp(dim=-1) if sums else scores[..., 0]
    output = torch.bmm(scores.softmax(dim=-1), values.flatten(0, 1))
    return output.view(*shape, -1), total.view(shape)


def fused_decode(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attention without its log-sum-exp, which reads keys and values once and writes no scores.

    ``query`` ``[batch, kv_heads, rows, head]``, a mask ``[batch, 1, 1, cells]`` of the same dtype.
    """
    # Flash attention takes no mask; cuDNN's plans are made anew for every shape.
    with sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]):
        return scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=scale)


def fused_causal(query: Tensor, keys: Tensor, values: Tensor, scale: float) -> AttentionPart:
    """Causal attention of one sequence; ``query`` ``[1, heads, tokens, head]``, fewer key heads are shared."""
    if query.device.type == "cpu":
        output, sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(  # noqa: SLF001 - see `fused_cpu`
            query,
            keys,
            values,
            0.0,
            True,
            scale=scale,
        )
        return output, sums
    share = query.shape[1] // keys.shape[1]
    keys, values = keys.repeat_interleave(share, dim=1), values.repeat_interleave(share, dim=1)
    if query.device.type == "cuda":
        output, sums, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(  # noqa: SLF001 - see `fused_cpu`
            query,
            keys,
            values,
            None,
            True,
            0.0,
            True,
            scale=scale,
        )
        # The kernel pads the number of tokens.
        return output, sums[..., : query.shape[2]]
    tokens = query.shape[2]
    mask = torch.full((tokens, tokens), HIDDEN, device=query.device).triu_(1)
    return plain(query, keys, values, mask, scale, None)


def plain(
    query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float, softcap: float | None
) -> AttentionPart:
    """Attention by its definition, in fp32, on any device."""
    scores = torch.matmul(query, keys.transpose(-1, -2)).float() * scale
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if mask is not None:
        scores = scores + mask
    sums = torch.logsumexp(scores, dim=-1)
    weights = torch.exp(scores - sums.unsqueeze(-1)).to(values.dtype)
    return torch.matmul(weights, values), sums
