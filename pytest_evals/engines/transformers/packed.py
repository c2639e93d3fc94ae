"""Carries out plans: token ids and tables of a plan -> one forward of the model -> the next token of each row.

`scheduler` says what is computed, `slots` hold keys and values, `attention` reads them; this module is where tensors
are made of it all.
"""

from __future__ import annotations

import gc
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from pytest_evals.engines.transformers import attention
from pytest_evals.engines.transformers.bands import bands_of
from pytest_evals.engines.transformers.faults import is_out_of_memory
from pytest_evals.engines.transformers.graphs import Capture
from pytest_evals.engines.transformers.prefixes import Prefix
from pytest_evals.engines.transformers.row import Row, ScoredRow
from pytest_evals.engines.transformers.sampling import Sampler, needs_the_host
from pytest_evals.engines.transformers.scheduler import Piece, Plan
from pytest_evals.engines.transformers.scoring import score
from pytest_evals.engines.transformers.slots import PackedCache, Slots
from pytest_evals.engines.transformers.static_decode import MOST_STEPS, StaticDecoder
from pytest_evals.engines.transformers.steps import Group, Span, Step, computing

AnyRow = Row | ScoredRow


@dataclass(slots=True)
class Layout:
    """Where the tokens of a plan stand in the forward, and whose logits are wanted."""

    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    below: dict[Prefix, list[int]] = field(default_factory=dict)
    """Tokens that see all of a prefix."""
    wanted: list[int] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    """Rows that get a new token, in the order of ``wanted``."""
    scored: list[tuple[ScoredRow, int, int]] = field(default_factory=list)
    """Rows with the range of ``wanted`` that predicts their continuation."""


class Chooser(Protocol):
    """Chooses the next token of each row; see `Sampler.choose`."""

    def choose(self, logits: torch.Tensor, rows: Sequence[Row]) -> list[tuple[int, float | None]]:
        """Return token and log-probability for each row."""
        ...


class PackedRunner:
    """Runs forwards of one model whose attention can be plugged in."""

    def __init__(self, model: Any, device: str, rows: int, *, capture: Capture | None = None) -> None:
        self.slots = Slots(rows)
        self._model = model
        self._device = device
        self._cache = PackedCache()
        self._sampler: Chooser = Sampler()
        self._keeps_logits = "logits_to_keep" in inspect.signature(model.forward).parameters
        self._own_attention = model.config._attn_implementation  # noqa: SLF001 - transformers has a setter only
        self.decoder: StaticDecoder | None = None
        """Takes over where nothing but decoding is to be done."""
        self.attach()
        self.decode_with(capture)

    def decode_with(self, capture: Capture | None, steps: int = MOST_STEPS) -> None:
        """Decode with static tensors, up to ``steps`` tokens at a time, from now on; with `None` as everything else."""
        self.decoder = StaticDecoder(self._logits, self.slots, self._device, capture, steps) if capture else None

    def attach(self) -> None:
        """Plug the packed attention into the model."""
        self._model.set_attn_implementation(attention.NAME)

    @contextmanager
    def detached(self) -> Iterator[None]:
        """Let the model compute as transformers made it."""
        self._model.set_attn_implementation(self._own_attention)
        try:
            yield
        finally:
            self.attach()

    def use(self, sampler: Chooser) -> None:
        """Choose tokens in another way from now on."""
        self._sampler = sampler

    @contextmanager
    def sampling_with(self, sampler: Chooser) -> Iterator[None]:
        """Choose tokens in another way for a while."""
        usual, self._sampler = self._sampler, sampler
        try:
            yield
        finally:
            self._sampler = usual

    @torch.inference_mode()
    def run(self, plan: Plan[AnyRow]) -> list[AnyRow]:
        """Compute the plan; return the rows that finished with it.

        A plan that only decodes may bring its rows several tokens, where there is a ``decoder``.
        """
        try:
            if self.decoder is not None and self.decoder.takes(plan):
                return self._decode(self.decoder, [row for row in plan.decode if isinstance(row, Row)])
            return self._run(plan)
        except Exception as error:
            if is_out_of_memory(error):
                self.slots.room = self.slots.room and self.slots.room.smaller()
            raise

    def _decode(self, decoder: StaticDecoder, rows: list[Row]) -> list[AnyRow]:
        plain = isinstance(self._sampler, Sampler) and not self._sampler.looks_at_ties
        if plain and not any(map(needs_the_host, rows)):
            return list(decoder.run(rows))
        logits = decoder.logits(rows)
        self._settle(rows, [])
        return self._finished(Layout(rows=rows), logits)

    def _run(self, plan: Plan[AnyRow]) -> list[AnyRow]:
        admitted = [row for row in plan.admitted if isinstance(row, Row)]
        filling = [piece.target for piece in plan.pieces if isinstance(piece.target, Row)]
        decoding = [row for row in plan.decode if isinstance(row, Row)]
        everyone = {id(row): row for row in [*decoding, *filling, *admitted]}
        longest = max((row.cells - row.shared for row in everyone.values()), default=0)
        self.slots.reserve(len(everyone), longest, plan.limit, plan.ahead)
        decoding = self.slots.seat(decoding, [row for row in everyone.values() if row not in decoding])
        layout, step = self._arrange(decoding, plan.pieces)
        logits = self._forward(layout, step)
        self._settle(decoding, plan.pieces)
        return self._finished(layout, logits)

    # -- from the plan to tensors

    def _arrange(self, decoding: Sequence[Row], pieces: Sequence[Piece[AnyRow]]) -> tuple[Layout, Step]:
        layout = Layout()
        for row in decoding:
            layout.wanted.append(len(layout.tokens))
            layout.rows.append(row)
            self._see(layout, row, [len(layout.tokens)], everything=False)
            layout.tokens.append(row.generated[-1])
            layout.positions.append(row.stored)
        for piece in pieces:
            self._place(layout, piece)
        positions = torch.tensor(layout.positions, device=self._device)
        cells = [row.stored - row.shared for row in decoding]
        step = Step(
            slots=self.slots,
            positions=positions,
            decoding=len(decoding),
            cells=torch.tensor(cells, dtype=torch.long, device=self._device),
            longest=max(cells, default=-1) + 1,
            bands=bands_of([cell + 1 for cell in cells]) if self._device == "cpu" else [],
            offsets=torch.tensor([row.shared for row in decoding], dtype=torch.long, device=self._device),
            last_position=max(layout.positions),
            spans=layout.spans,
        )
        for prefix, tokens in sorted(layout.below.items(), key=lambda entry: entry[0].start):
            index = torch.tensor(tokens, device=self._device)
            step.groups.append(Group(index, self.slots.store_of(prefix), prefix.start))
        return layout, step

    def _see(self, layout: Layout, row: AnyRow | Prefix, tokens: Sequence[int], *, everything: bool) -> None:
        """Let tokens of a row see its prefixes: all of them while they are filled, later those that stay shared."""
        last = row.parent if isinstance(row, Prefix) else row.prefix
        for prefix in last.path if last else ():
            if everything or (isinstance(row, Row) and prefix.end <= row.shared):
                layout.below.setdefault(prefix, []).extend(tokens)

    def _place(self, layout: Layout, piece: Piece[AnyRow]) -> None:
        """Add a piece's tokens, and say where its keys go and whose logits are wanted."""
        target, begin = piece.target, len(layout.tokens)
        if isinstance(target, Prefix):
            cell = piece.begin - target.start
            tokens: Sequence[int] = target.tokens[cell : piece.end - target.start]
            span = Span(begin, begin + len(tokens), piece.begin, store=self.slots.store_of(target), cell=cell)
        else:
            tokens = target.tokens[piece.begin : piece.end]
            span = Span(begin, begin + len(tokens), piece.begin)
        layout.tokens.extend(tokens)
        layout.positions.extend(range(piece.begin, piece.end))
        layout.spans.append(span)
        self._see(layout, target, range(begin, span.end), everything=True)
        if isinstance(target, Row):
            span.slot, span.cell = target.slot, piece.begin - target.shared
            span.first = (target.prefix.end if target.prefix else 0) - target.shared
            if piece.last:
                layout.wanted.append(span.end - 1)
                layout.rows.append(target)
        elif isinstance(target, ScoredRow):
            first = len(layout.wanted)
            layout.wanted.extend(range(span.end - len(target.continuation), span.end))
            layout.scored.append((target, first, len(layout.wanted)))

    # -- the forward and what comes of it

    def _forward(self, layout: Layout, step: Step) -> torch.Tensor:
        """Return the wanted logits, ``[wanted, vocabulary]``."""
        ids = torch.tensor(layout.tokens, device=self._device)
        # Not every kernel can multiply nothing: where no logits are wanted, those of one token are computed all the same.
        wanted = torch.tensor(layout.wanted or [0], dtype=torch.long, device=self._device)
        if self._keeps_logits:
            return self._logits(ids, step, logits_to_keep=wanted)
        return self._logits(ids, step)[wanted]

    def _logits(self, ids: torch.Tensor, step: Step, **extra: torch.Tensor) -> torch.Tensor:
        """Return logits of the tokens ``ids``, ``[tokens, vocabulary]``."""
        with computing(step):
            output = self._model(
                input_ids=ids.unsqueeze(0),
                position_ids=step.positions.unsqueeze(0),
                past_key_values=self._cache,
                use_cache=True,
                **extra,
            )
        logits: torch.Tensor = output.logits[0]
        return logits

    def _settle(self, decoding: Sequence[Row], pieces: Sequence[Piece[AnyRow]]) -> None:
        """Keep account of what is stored now."""
        for row in decoding:
            row.stored += 1
        for piece in pieces:
            if isinstance(piece.target, Row):
                piece.target.stored = piece.end
                if piece.last:
                    self.slots.copy_prefixes(piece.target)

    def _finished(self, layout: Layout, logits: torch.Tensor) -> list[AnyRow]:
        finished: list[AnyRow] = []
        for scored, first, end in layout.scored:
            score(scored, logits[first:end])
            finished.append(scored)
        if layout.rows:
            if layout.scored:
                ranges = {index for _, first, end in layout.scored for index in range(first, end)}
                logits = logits[[index for index in range(len(layout.wanted)) if index not in ranges]]
            chosen = self._sampler.choose(logits, layout.rows)
            for row, (token, logprob) in zip(layout.rows, chosen, strict=True):
                if row.accept(token, logprob):
                    self.slots.release(row)
                    finished.append(row)
        return finished

    def take_notes(self) -> list[str]:
        """Return what the user should know of how steps are computed, once."""
        if self.decoder is None:
            return []
        notes, self.decoder.launches.notes = self.decoder.launches.notes, []
        return notes

    def clear(self, *, collect: bool = True) -> None:
        """Forget all keys and values, as after a forward that failed; with ``collect`` give back all memory."""
        self.slots.clear()
        if self.decoder is not None:
            self.decoder.forget()
        if collect:
            gc.collect()
            if self._device.startswith("cuda"):
                torch.cuda.empty_cache()
