"""Attention over packed tokens: rows of any length side by side in one sequence, without padding.

A forward computes ``N`` tokens as one sequence ``[1, N]``: first one token of each row that decodes, then the spans of
prompts and prefixes that are being filled. Linear layers see no difference; only attention must know who sees whom, and
that is a `Step`. What a token sees is split in parts that are attended to separately and merged by their log-sum-exp
(as in "cascade" attention): its own row, and each shared prefix, once for all tokens below it.

It plugs into transformers through ``AttentionInterface``: every model that asks it for its attention works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from pytest_evals.engines.transformers.bands import Band
from pytest_evals.engines.transformers.slots import Slots, Store

NAME = "pytest_evals"
FUSED_DEVICES = {"cuda"}
"""Where torch's own attention is faster than the definition, for one token of each row."""
HIDDEN = -1e30
"""Added to the score of what a token must not see: finite, so that a part of which nothing is seen merges as nothing."""

Tensor = torch.Tensor
Part = tuple[Tensor, Tensor]
"""An output ``[tokens, heads, head]`` and its log-sum-exp ``[tokens, heads]``."""


@dataclass(slots=True)
class Span:
    """Tokens ``begin`` to ``end`` of the step are consecutive tokens of one row or prefix, from ``position`` on.

    They see each other causally, and the first ``before`` cells of ``slot`` where the row began in an earlier forward.
    Keys and values go to ``store``, or to ``slot`` from cell ``cell`` on, or nowhere.
    """

    begin: int
    end: int
    position: int
    store: Store | None = None
    slot: int | None = None
    cell: int = 0
    first: int = 0
    """The cell of the slot at which the row's earlier tokens start (before it, copies of prefixes will stand)."""


@dataclass(slots=True)
class Group:
    """Tokens of the step (their indices) that see all of a stored prefix, whose first token has ``position``."""

    tokens: Tensor
    store: Store
    position: int


@dataclass(slots=True)
class Step:
    """Who sees whom in one forward.

    The first ``decoding`` tokens belong to the rows in the first slots. ``cells``: the cell that each of them writes;
    ``longest``: cells that are read. ``offsets``: the position of each slot's first cell.
    """

    slots: Slots
    positions: Tensor
    decoding: int
    cells: Tensor
    longest: int
    offsets: Tensor
    last_position: int
    spans: list[Span] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    bands: list[Band] = field(default_factory=list)
    """Parts of the first slots that are read to different lengths; none: all of them to ``longest``."""
    masks: dict[tuple[int | None, torch.dtype], Tensor] = field(default_factory=dict)
    everyone: Tensor = field(init=False)
    """The slots of rows that decode: 0, 1, 2..."""

    def __post_init__(self) -> None:
        self.everyone = torch.arange(self.decoding, device=self.cells.device)

    def decode_mask(self, window: int | None, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return what each decoding row must not see of its slot, to be added: ``[rows, 1, 1, longest]``."""
        if (window, dtype) not in self.masks:
            columns = torch.arange(self.longest, device=self.cells.device)
            hidden = columns > self.cells.unsqueeze(1)
            if window is not None:
                seen_from = self.positions[: self.decoding] - window - self.offsets
                hidden |= columns <= seen_from.unsqueeze(1)
            mask = torch.zeros(hidden.shape, device=hidden.device).masked_fill_(hidden, HIDDEN)
            self.masks[window, dtype] = mask[:, None, None, :].to(dtype)
        return self.masks[window, dtype]


_STEP: ContextVar[Step] = ContextVar("step of the packed forward")


@contextmanager
def computing(step: Step) -> Iterator[None]:
    """Let the attention function know who sees whom."""
    token = _STEP.set(step)
    try:
        yield
    finally:
        _STEP.reset(token)


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
        raise NotImplementedError("attention with a mask or a position bias of the model's own")
    step = _STEP.get()
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    layer = Layer(step, int(getattr(module, "layer_idx")), scale, sliding_window, softcap, s_aux)  # noqa: B009 - modules type their attributes as tensors
    return layer.attend(query[0].transpose(0, 1), key[0].transpose(0, 1), value[0].transpose(0, 1)).unsqueeze(0), None


@dataclass(slots=True)
class Layer:
    """Attention of one layer in one step."""

    step: Step
    index: int
    scale: float
    window: int | None
    softcap: float | None
    sinks: Tensor | None = None
    """``[heads]``: a score that takes its share of the softmax and brings no value."""

    def __post_init__(self) -> None:
        if self.window is not None and self.step.last_position < self.window:
            self.window = None

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Store keys and values and return the output; all ``[tokens, heads, head]``."""
        step = self.step
        slot_keys, slot_values = step.slots.layer(self.index, key, value)
        rows = step.decoding
        parts: list[Part] = []
        if rows:
            slot_keys[step.everyone, :, step.cells] = key[:rows]
            slot_values[step.everyone, :, step.cells] = value[:rows]
            parts.append(self._decode(query[:rows], slot_keys, slot_values))
        parts.extend(self._span(span, query, key, value, slot_keys, slot_values) for span in step.spans)
        output = parts[0][0] if len(parts) == 1 else torch.cat([part[0] for part in parts])
        if not step.groups and self.sinks is None:
            return output
        sums = parts[0][1] if len(parts) == 1 else torch.cat([part[1] for part in parts])
        for group in step.groups:
            self._merge(output, sums, group, query)
        if self.sinks is not None:
            output = output * torch.sigmoid(sums - self.sinks).unsqueeze(-1).to(output.dtype)
        return output

    def _decode(self, query: Tensor, keys: Tensor, values: Tensor) -> Part:
        """Each row's one token against its slot: query heads that share a key head are rows of one product."""
        rows, heads, size = query.shape
        kv_heads = keys.shape[1]
        grouped = query.reshape(rows, kv_heads, heads // kv_heads, size)
        cells = slice(0, self.step.longest)
        keys, values = keys[:rows, :, cells], values[:rows, :, cells]
        if self._fuses_decoding(query, values):
            mask = self.step.decode_mask(self.window, query.dtype)
            output = fused_decode(grouped, keys, values, mask, self.scale)
            # Nobody reads the sums of such a step; what stands in for them has their shape.
            return output.reshape(rows, heads, -1), output[..., 0].reshape(rows, heads)
        mask = self.step.decode_mask(self.window)
        parts = [
            self._partial(
                grouped[band.begin : band.end],
                keys[band.begin : band.end, :, : band.cells],
                values[band.begin : band.end, :, : band.cells],
                mask[band.begin : band.end, :, :, : band.cells],
            )
            for band in self.step.bands or [Band(0, rows, self.step.longest)]
        ]
        output, sums = parts[0] if len(parts) == 1 else (torch.cat(each) for each in zip(*parts, strict=True))
        return output.reshape(rows, heads, -1), sums.reshape(rows, heads)

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
    ) -> Part:
        begin, end = span.begin, span.end
        own_key, own_value = key[begin:end], value[begin:end]
        if span.store is not None:
            span.store.write(self.index, own_key, own_value)
        elif span.slot is not None:
            slot_keys[span.slot, :, span.cell : span.cell + end - begin] = own_key.transpose(0, 1)
            slot_values[span.slot, :, span.cell : span.cell + end - begin] = own_value.transpose(0, 1)
        output, sums = self._causal(query[begin:end], own_key, own_value)
        if span.slot is not None and span.cell > span.first:
            earlier = slice(span.first, span.cell)
            part = self._seen(
                query[begin:end],
                slot_keys[span.slot, :, earlier],
                slot_values[span.slot, :, earlier],
                span.position - (span.cell - span.first),
                self.step.positions[begin:end],
            )
            output, sums = merged((output, sums), part)
        return output, sums

    def _causal(self, query: Tensor, key: Tensor, value: Tensor) -> Part:
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

    def _seen(self, query: Tensor, keys: Tensor, values: Tensor, start: int, positions: Tensor) -> Part:
        """Tokens that see all of ``keys`` (``[kv_heads, cells, head]``), the first of which has position ``start``."""
        kv_heads, cells, _ = keys.shape
        mask = None
        if self.window is not None:
            columns = torch.arange(start, start + cells, device=query.device)
            hidden = columns <= (positions - self.window).unsqueeze(1)
            mask = torch.zeros(hidden.shape, device=query.device).masked_fill_(hidden, HIDDEN)
            mask = mask.repeat_interleave(query.shape[1] // kv_heads, dim=0)[None, None]
        return self._by_kv_head(query, keys.unsqueeze(0), values.unsqueeze(0), mask)

    def _by_kv_head(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Part:
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

    def _partial(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Part:
        """Attention with its log-sum-exp: ``query`` ``[batch, kv_heads, rows, head]``, one key head for all its rows."""
        if self.softcap is None and keys.device.type == "cpu" and query.shape[-1] == values.shape[-1]:
            return fused_cpu(query, keys, values, mask, self.scale)
        return plain(query, keys, values, mask, self.scale, self.softcap)


def merged(first: Part, second: Part) -> Part:
    """Return attention over two sets of keys from attention over each: weights are the shares of the exponentials."""
    (one, one_sum), (other, other_sum) = first, second
    weight = torch.sigmoid(other_sum - one_sum).unsqueeze(-1).to(one.dtype)
    return torch.lerp(one, other, weight), torch.logaddexp(one_sum, other_sum)


def fused_cpu(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float) -> Part:
    """Torch's flash kernel for CPUs, which also returns the log-sum-exp."""
    if mask is not None:
        # In fp16 `HIDDEN` would be infinite, and a part of which nothing is seen would merge as something.
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


def fused_decode(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attention without its log-sum-exp, which reads keys and values once and writes no scores.

    ``query`` ``[batch, kv_heads, rows, head]``, a mask ``[batch, 1, 1, cells]`` of the same dtype.
    """
    # Flash attention takes no mask; cuDNN's plans are made anew for every shape.
    with sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]):
        return scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=scale)


def fused_causal(query: Tensor, keys: Tensor, values: Tensor, scale: float) -> Part:
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
) -> Part:
    """Attention by its definition, in fp32, on any device."""
    scores = torch.matmul(query, keys.transpose(-1, -2)).float() * scale
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if mask is not None:
        scores = scores + mask
    sums = torch.logsumexp(scores, dim=-1)
    weights = torch.exp(scores - sums.unsqueeze(-1)).to(values.dtype)
    return torch.matmul(weights, values), sums


_function: Callable[..., Any] = packed_attention
AttentionInterface.register(NAME, _function)
