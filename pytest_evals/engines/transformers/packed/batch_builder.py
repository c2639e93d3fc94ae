"""From the plan of a forward to its tensors: where each token is, where its keys go and what it sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from pytest_evals.engines.transformers.backends.protocol import AnySequence
from pytest_evals.engines.transformers.cpu.attention import runs_of
from pytest_evals.engines.transformers.packed.forward_context import ForwardContext, Group, Span, bands_of
from pytest_evals.engines.transformers.packed.kv_cache import KVCache
from pytest_evals.engines.transformers.scheduling.plan import PrefillChunk
from pytest_evals.engines.transformers.scheduling.prefix_tree import PrefixNode
from pytest_evals.engines.transformers.sequence import ScoringSequence, TokenSequence


@dataclass(slots=True)
class BatchLayout:
    """Where the tokens of a plan are in the forward, and whose logits are wanted."""

    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    below: dict[PrefixNode, list[int]] = field(default_factory=dict)
    """Tokens that see all of a prefix."""
    wanted: list[int] = field(default_factory=list)
    rows: list[TokenSequence] = field(default_factory=list)
    """Rows that get a new token, in the order of ``wanted``."""
    scored: list[tuple[ScoringSequence, int, int]] = field(default_factory=list)
    """Rows with the range of ``wanted`` that predicts their continuation, or a part of it."""


def build_batch(
    decoding: Sequence[TokenSequence],
    pieces: Sequence[PrefillChunk[AnySequence]],
    slots: KVCache,
    device: str,
    guesses: Sequence[Sequence[int]] = (),
    threads: int | None = None,
) -> tuple[BatchLayout, ForwardContext]:
    """Lay out the last token of each row that decodes, in the order of their slots, and after them the pieces.

    With ``guesses`` for rows, as many more tokens follow the last one of each as the longest guess has. Where a row has
    none, its last token is used. With ``threads``, this many attend by compiled loops.
    """
    layout, width = BatchLayout(), 1 + max(map(len, guesses), default=0)
    for row, guessed in zip(decoding, guesses or [()] * len(decoding), strict=True):
        first, last = len(layout.tokens), row.generated[-1]
        places = range(first, first + width)
        layout.wanted.extend(places)
        layout.rows.append(row)
        _see(layout, row, places, everything=False)
        layout.tokens.extend([last, *guessed, *[last] * (width - 1 - len(guessed))])
        layout.positions.extend(range(row.stored, row.stored + width))
    for piece in pieces:
        _place(layout, piece, slots)
    cells = [row.stored - row.shared + ahead for row in decoding for ahead in range(width)]
    step = ForwardContext(
        slots=slots,
        positions=torch.tensor(layout.positions, device=device),
        decoding=len(decoding),
        cells=torch.tensor(cells, dtype=torch.long, device=device),
        longest=max(cells, default=-1) + 1,
        bands=bands_of([cell + 1 for cell in cells[width - 1 :: width]]) if device == "cpu" else [],
        offsets=torch.tensor([row.shared for row in decoding], dtype=torch.long, device=device),
        last_position=max(layout.positions),
        spans=layout.spans,
        width=width,
        runs=runs_of(cells[::width], layout.spans, width, threads) if threads else None,
    )
    for prefix, tokens in sorted(layout.below.items(), key=lambda entry: entry[0].start):
        step.groups.append(Group(_picked(tokens, device), slots.store_of(prefix), prefix.start))
        step.merges = step.merges or tokens[0] < len(cells)
    return layout, step


def _picked(tokens: Sequence[int], device: str) -> torch.Tensor | slice:
    """Return what picks ``tokens``, which are in order: neighbours are a view, others are copied."""
    if tokens[-1] - tokens[0] == len(tokens) - 1:
        return slice(tokens[0], tokens[-1] + 1)
    return torch.tensor(tokens, device=device)


def _see(layout: BatchLayout, row: AnySequence | PrefixNode, tokens: Sequence[int], *, everything: bool) -> None:
    """Let tokens of a row see its prefixes: all of them while they are filled, later those that stay shared."""
    last = row.parent if isinstance(row, PrefixNode) else row.prefix
    for prefix in last.path if last else ():
        if everything or (isinstance(row, TokenSequence) and prefix.end <= row.shared):
            layout.below.setdefault(prefix, []).extend(tokens)


def _place(layout: BatchLayout, piece: PrefillChunk[AnySequence], slots: KVCache) -> None:
    """Add a piece's tokens, and say where its keys go and whose logits are wanted."""
    target, begin = piece.target, len(layout.tokens)
    first = target.start if isinstance(target, PrefixNode) else 0
    tokens = target.tokens[piece.begin - first : piece.end - first]
    above = target.parent if isinstance(target, PrefixNode) else target.prefix
    stores = [slots.store_of(prefix) for prefix in above.path] if above else []
    span = Span(begin, begin + len(tokens), piece.begin, prefixes=stores)
    layout.tokens.extend(tokens)
    layout.positions.extend(range(piece.begin, piece.end))
    layout.spans.append(span)
    _see(layout, target, range(begin, span.end), everything=True)
    if isinstance(target, PrefixNode):
        span.store, span.cell = slots.store_of(target), piece.begin - target.start
    elif isinstance(target, ScoringSequence):
        _place_scored(layout, piece, target, span, slots)
    else:
        own = target.prefix.end if target.prefix else 0
        span.slot, span.cell, span.first = target.slot, piece.begin - target.shared, own - target.shared
        if piece.last:
            layout.wanted.append(span.end - 1)
            layout.rows.append(target)


def _place_scored(
    layout: BatchLayout, piece: PrefillChunk[AnySequence], row: ScoringSequence, span: Span, slots: KVCache
) -> None:
    own = row.prefix.end if row.prefix else 0
    if piece.begin > own or not piece.last:
        # In pieces: the later ones see the earlier.
        span.store, span.cell = slots.store_aside(row, len(row.tokens) - own), piece.begin - own
    first = len(layout.wanted)
    asked = max(piece.begin, len(row.tokens) - len(row.continuation))
    layout.wanted.extend(range(span.begin + asked - piece.begin, span.end))
    layout.scored.append((row, first, len(layout.wanted)))
