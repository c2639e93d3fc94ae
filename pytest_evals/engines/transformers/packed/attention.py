"""Attention over packed tokens: rows of any length side by side in one sequence, without padding.

A forward computes ``N`` tokens as one sequence ``[1, N]``: first one token of each row that decodes, then the spans of
prompts and prefixes that are being filled. Linear layers see no difference; only attention must know who sees whom, and
that is a `ForwardContext`. What a token sees is split in parts that are attended to separately and merged by their log-sum-exp
(as in "cascade" attention): its own row, and each shared prefix, once for all tokens below it.

It plugs into transformers through ``AttentionInterface``: every model that asks it for its attention works.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface

from pytest_evals.engines.transformers.cpu import attention
from pytest_evals.engines.transformers.packed.forward_context import (
    ForwardContext,
    Group,
    LengthBucket,
    Runs,
    Span,
    current,
)
from pytest_evals.engines.transformers.packed.kernels import (
    HIDDEN,
    AttentionPart,
    SlotAttention,
    by_products,
    fused_causal,
    fused_cpu,
    fused_decode,
    merged,
    plain,
)

NAME = "pytest_evals"
FUSED_DEVICES = {"cuda"}
"""Where torch's own attention is faster than the definition, for one token of each row."""

Tensor = torch.Tensor


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it: ``query`` ``[1, heads, tokens, head]``, returns ``[1, tokens, heads, head]``."""
    if attention_mask is not None or kwargs.get("position_bias") is not None:
        # Seen by the self-check at load, after which such a model runs through `generate`.
        raise NotImplementedError("attention with a mask or a position bias of the model's own")
    step = current()
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    layer = Layer(step, int(getattr(module, "layer_idx")), scale, sliding_window, softcap, s_aux)  # noqa: B009 - modules type their attributes as tensors
    output = layer.attend(query[0].transpose(0, 1), key[0].transpose(0, 1), value[0].transpose(0, 1))
    # Models may look at it in another shape without copying.
    return output.contiguous().unsqueeze(0), None


@dataclass(slots=True)
class Layer:
    """Attention of one layer in one step."""

    step: ForwardContext
    index: int
    scale: float
    window: int | None
    softcap: float | None
    sinks: Tensor | None = None
    """``[heads]``: a score that takes its share of the softmax and brings no value."""

    def __post_init__(self) -> None:
        if self.window is not None and self.step.last_position < self.window and self.step.kernel is None:
            self.window = None

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Store keys and values and return the output; all ``[tokens, heads, head]``."""
        step = self.step
        slots = step.slots.layer(self.index, key, value)
        if step.runs is not None and self.softcap is None and attention.takes(query, value):
            output, sums = self._compiled(step.runs, query, key, value, slots)
        else:
            output, sums = self._by_operators(query, key, value, slots)
        if step.kernel is None or not step.kernel.everything:
            for group in step.groups:
                self._merge(output, sums, group, query)
        elif step.merges:
            raise NotImplementedError(
                "a fixed order of additions, where rows attend to prefixes outside of their slots"
            )
        if self.sinks is not None:
            output = output * torch.sigmoid(sums - self.sinks).unsqueeze(-1).to(output.dtype)
        return output

    def _compiled(self, runs: Runs, query: Tensor, key: Tensor, value: Tensor, slots: AttentionPart) -> AttentionPart:
        output, sums = attention.attend(query, key, value, slots, runs, self.window, self.scale)
        for span in runs.others:
            output[span.begin : span.end], sums[span.begin : span.end] = self._span(span, query, key, value, *slots)
        return output, sums

    def _by_operators(self, query: Tensor, key: Tensor, value: Tensor, slots: AttentionPart) -> AttentionPart:
        step, parts = self.step, []
        if step.decoding:
            tokens = slice(0, step.decoding * step.width)
            for held, new in zip(slots, (key, value), strict=True):
                held[step.everyone, :, step.cells] = new[tokens]
            parts.append(self._decode(query[tokens], *slots))
        parts.extend(self._span(span, query, key, value, *slots) for span in step.spans)
        if len(parts) == 1:
            return parts[0]
        output = torch.cat([part[0] for part in parts])
        if not step.groups and self.sinks is None:
            # The sums are not read; what replaces them has their shape.
            return output, output[..., 0]
        return output, torch.cat([part[1] for part in parts])

    def _decode(self, query: Tensor, keys: Tensor, values: Tensor) -> AttentionPart:
        """The tokens of each row against its slot: query heads that share a key head are rows of one product."""
        if self.step.kernel is not None:
            return self.step.kernel.attend(
                query,
                keys,
                values,
                self.step.cells,
                self.step.longest,
                self.step.width,
                self.scale,
                self.window,
                self.softcap,
            )
        rows, width, kv_heads = self.step.decoding, self.step.width, keys.shape[1]
        tokens, heads, size = query.shape
        grouped = query.reshape(rows, width, kv_heads, -1, size).transpose(1, 2).reshape(rows, kv_heads, -1, size)
        cells = slice(0, self.step.longest)
        output, sums = self._decode_grouped(grouped, keys[:rows, :, cells], values[:rows, :, cells])
        apart = (rows, kv_heads, width, heads // kv_heads)
        output = output.reshape(*apart, -1).transpose(1, 2).reshape(tokens, heads, -1)
        return output, sums.reshape(apart).transpose(1, 2).reshape(tokens, heads)

    def _decode_grouped(self, query: Tensor, keys: Tensor, values: Tensor) -> AttentionPart:
        share = query.shape[2] // self.step.width
        as_products = self.softcap is None and query.device.type == "cpu" and query.dtype == torch.float32
        if not as_products and self._fuses_decoding(query, values):
            output = fused_decode(
                query, keys, values, self.step.decode_mask(self.window, share, query.dtype), self.scale
            )
            # The sums of such a step are not read; what replaces them has their shape.
            return output, output[..., 0]
        if as_products:
            query = query * self.scale
        parts = []
        for band in self.step.bands or [LengthBucket(0, len(query), self.step.longest)]:
            rows, cells = slice(band.begin, band.end), slice(0, band.cells)
            arguments = query[rows], keys[rows, :, cells], values[rows, :, cells]
            if as_products:
                mask = self.step.band_mask(self.window, share, keys.shape[1], band)
                wanted = self.step.merges or self.sinks is not None
                parts.append(by_products(*arguments, mask, sums=wanted))
            else:
                mask = self.step.decode_mask(self.window, share)
                parts.append(self._partial(*arguments, mask[rows, ..., cells]))
        return parts[0] if len(parts) == 1 else (torch.cat([o for o, _ in parts]), torch.cat([s for _, s in parts]))

    def _fuses_decoding(self, query: Tensor, values: Tensor) -> bool:
        """Tell whether torch's own attention serves: it keeps its log-sum-exp, and in fp32 it may round more."""
        return (
            query.device.type in FUSED_DEVICES
            and query.dtype != torch.float32
            and not self.step.groups
            and self.sinks is None
            and self.softcap is None
            and query.shape[-1] == values.shape[-1]
        )

    def _span(
        self, span: Span, query: Tensor, key: Tensor, value: Tensor, slot_keys: Tensor, slot_values: Tensor
    ) -> AttentionPart:
        begin, end = span.begin, span.end
        own_key, own_value = key[begin:end], value[begin:end]
        kept_keys = kept_values = None
        if span.store is not None:
            span.store.write(self.index, own_key, own_value, span.cell)
            kept_keys, kept_values = span.store.layers[self.index]
        elif span.slot is not None:
            kept_keys, kept_values = slot_keys[span.slot], slot_values[span.slot]
            kept_keys[:, span.cell : span.cell + end - begin] = own_key.transpose(0, 1)
            kept_values[:, span.cell : span.cell + end - begin] = own_value.transpose(0, 1)
        if self.step.kernel is not None and self.step.kernel.everything:
            kept = [] if kept_keys is None or kept_values is None else [(kept_keys, kept_values)]
            return self._in_order(self.step.kernel, span, query[begin:end], (own_key, own_value), kept)
        part = self._causal(query[begin:end], own_key, own_value)
        if kept_keys is None or kept_values is None or span.cell <= span.first:
            return part
        earlier = slice(span.first, span.cell)
        start = span.position - (span.cell - span.first)
        seen = self._seen(
            query[begin:end], kept_keys[:, earlier], kept_values[:, earlier], start, self.step.positions[begin:end]
        )
        return merged(part, seen)

    def _in_order(
        self, kernel: SlotAttention, span: Span, query: Tensor, new: AttentionPart, kept: Sequence[AttentionPart]
    ) -> AttentionPart:
        """Tokens of a row against all that they see, from its first token on, wherever that is stored: as if in one slot.

        So their sums do not depend on the pieces in which the prompt is computed, nor on what of it is shared.
        """
        parts = [store.layers[self.index] for store in span.prefixes]
        parts += [(keys[:, span.first : span.cell], values[:, span.first : span.cell]) for keys, values in kept]
        parts.append((new[0].transpose(0, 1), new[1].transpose(0, 1)))
        keys, values = (torch.cat(each, dim=1).unsqueeze(0) for each in zip(*parts, strict=True))
        cells, count = self.step.positions[span.begin : span.end], len(query)
        return kernel.attend(query, keys, values, cells, keys.shape[2], count, self.scale, self.window, self.softcap)

    def _causal(self, query: Tensor, key: Tensor, value: Tensor) -> AttentionPart:
        """Consecutive tokens of one row, each seeing itself and those before it."""
        tokens, heads, size = query.shape
        kv_heads = key.shape[1]
        keys, values = key.transpose(0, 1).unsqueeze(0), value.transpose(0, 1).unsqueeze(0)
        windowed = self.window is not None and tokens > self.window
        if self.softcap is None and not windowed and size == value.shape[-1]:
            output, sums = fused_causal(query.transpose(0, 1).unsqueeze(0), keys, values, self.scale)
            return output[0].transpose(0, 1), sums[0].transpose(0, 1)
        index = torch.arange(tokens, device=query.device)
        distance = index.unsqueeze(1) - index
        hidden = distance < 0 if not windowed else (distance < 0) | (distance >= (self.window or 0))
        mask = torch.zeros(hidden.shape, device=query.device).masked_fill_(hidden, HIDDEN)
        return self._by_kv_head(query, keys, values, mask.repeat_interleave(heads // kv_heads, dim=0)[None, None])

    def _merge(self, output: Tensor, sums: Tensor, group: Group, query: Tensor) -> None:
        keys, values = group.store.layers[self.index]
        tokens = group.tokens
        part = self._seen(query[tokens], keys, values, group.position, self.step.positions[tokens])
        output[tokens], sums[tokens] = merged((output[tokens], sums[tokens]), part)

    def _seen(self, query: Tensor, keys: Tensor, values: Tensor, start: int, positions: Tensor) -> AttentionPart:
        """Tokens that see all of ``keys`` (``[kv_heads, cells, head]``). The first key has position ``start``."""
        kv_heads, cells, _ = keys.shape
        mask = None
        if self.window is not None:
            columns = torch.arange(start, start + cells, device=query.device)
            hidden = columns <= (positions - self.window).unsqueeze(1)
            mask = torch.zeros(hidden.shape, device=query.device).masked_fill_(hidden, HIDDEN)
            mask = mask.repeat_interleave(query.shape[1] // kv_heads, dim=0)[None, None]
        return self._by_kv_head(query, keys.unsqueeze(0), values.unsqueeze(0), mask)

    def _by_kv_head(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> AttentionPart:
        """All tokens and all query heads of a key head as the rows of one product; a mask has a row for each."""
        tokens, heads, size = query.shape
        kv_heads = keys.shape[1]
        share = heads // kv_heads
        grouped = (
            query.reshape(tokens, kv_heads, share, size).transpose(0, 1).reshape(1, kv_heads, tokens * share, size)
        )
        output, sums = self._partial(grouped, keys, values, mask)
        output = output.reshape(kv_heads, tokens, share, -1).transpose(0, 1).reshape(tokens, heads, -1)
        return output, sums.reshape(kv_heads, tokens, share).transpose(0, 1).reshape(tokens, heads)

    def _partial(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> AttentionPart:
        """Attention with its log-sum-exp: ``query`` ``[batch, kv_heads, rows, head]``, one key head for all its rows."""
        if self.softcap is None and keys.device.type == "cpu" and query.shape[-1] == values.shape[-1]:
            return fused_cpu(query, keys, values, mask, self.scale)
        return plain(query, keys, values, mask, self.scale, self.softcap)


_function: Callable[..., Any] = packed_attention
AttentionInterface.register(NAME, _function)
