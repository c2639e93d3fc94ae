"""Carries out plans: token ids and tables of a plan -> one forward of the model -> the next token of each row.

`scheduler` says what is computed, `batch_builder` makes tensors of it, `kv_cache` holds keys and values, `attention` reads them;
here the model is called.
"""

from __future__ import annotations

import gc
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from transformers import Cache, PreTrainedModel

from pytest_evals.engines.transformers.backends.protocol import AnySequence
from pytest_evals.engines.transformers.cpu.int8_head import HeadTokens, Int8ArgmaxHead
from pytest_evals.engines.transformers.cuda.graphs import Capture
from pytest_evals.engines.transformers.cuda.static_decode import MOST_STEPS, StaticDecoder
from pytest_evals.engines.transformers.errors import is_out_of_memory
from pytest_evals.engines.transformers.packed import attention
from pytest_evals.engines.transformers.packed.batch_builder import BatchLayout, build_batch
from pytest_evals.engines.transformers.packed.forward_context import ForwardContext, forward_context
from pytest_evals.engines.transformers.packed.kernels import SlotAttention
from pytest_evals.engines.transformers.packed.kv_cache import KVCache
from pytest_evals.engines.transformers.packed.speculation import PromptLookup
from pytest_evals.engines.transformers.sampler import Sampler, check_finite, score
from pytest_evals.engines.transformers.scheduling.plan import PrefillChunk, SchedulerOutput
from pytest_evals.engines.transformers.sequence import TokenSequence


class TokenSampler(Protocol):
    """Chooses the next token of each row; see `Sampler.choose`."""

    def choose(self, logits: torch.Tensor, rows: Sequence[TokenSequence]) -> list[tuple[int, float | None]]:
        """Return token and log-probability for each row."""
        ...


class ModelRunner:
    """Runs forwards of one model whose attention can be plugged in."""

    def __init__(self, model: Any, device: str, rows: int, *, capture: Capture | None = None) -> None:
        self.slots = KVCache(rows)
        self._model = model
        self._device = device
        self._cache = PackedCache()
        self._sampler: TokenSampler = Sampler()
        self._keeps_logits = "logits_to_keep" in inspect.signature(model.forward).parameters
        self._own_attention = attention_of(model)
        model.set_attn_implementation(attention.NAME)
        self._packed_attention = attention_of(model)
        self.decoder: StaticDecoder | None = None
        """Takes over where nothing but decoding is to be done."""
        self.guesser: PromptLookup | None = None
        """Guesses tokens where few rows decode."""
        self.threads: int | None = None
        """This many attend by compiled loops, where these are to be used."""
        self.kernel: SlotAttention | None = None
        """Attends to slots, where there is something better than torch's operators."""
        self.shortlist: Int8ArgmaxHead | None = None
        """Finds the likeliest tokens, where there is a faster way than all logits."""
        self.decode_with(capture)

    def decode_with(self, capture: Capture | None, steps: int = MOST_STEPS) -> None:
        """Decode with static tensors, up to ``steps`` tokens at a time, from now on; with `None` as everything else."""
        self.decoder = StaticDecoder(self._logits, self.slots, self._device, capture, steps) if capture else None

    def attach(self) -> None:
        """Plug the packed attention into the model."""
        use_attention(self._packed_attention)

    @contextmanager
    def detached(self) -> Iterator[None]:
        """Let the model compute as transformers made it."""
        use_attention(self._own_attention)
        try:
            yield
        finally:
            self.attach()

    def use(self, sampler: TokenSampler) -> None:
        """Choose tokens in another way from now on."""
        self._sampler = sampler

    @contextmanager
    def sampling_with(self, sampler: TokenSampler) -> Iterator[None]:
        """Choose tokens in another way for a while."""
        usual, self._sampler = self._sampler, sampler
        try:
            yield
        finally:
            self._sampler = usual

    @torch.inference_mode()
    def run(self, plan: SchedulerOutput[AnySequence]) -> list[AnySequence]:
        """Compute the plan; return the rows that finished with it.

        A plan that only decodes may bring its rows several tokens, where there is a ``decoder``.
        """
        try:
            if self.decoder is not None and self.decoder.takes(plan):
                return self._decode(self.decoder, [row for row in plan.decode if isinstance(row, TokenSequence)])
            return self._run(plan)
        except (
            Exception
        ) as error:  # looked at and raised again: devices have exceptions of their own for a lack of memory
            if is_out_of_memory(error):
                self.slots.room = self.slots.room and self.slots.room.smaller()
            raise

    def _decode(self, decoder: StaticDecoder, rows: list[TokenSequence]) -> list[AnySequence]:
        plain = isinstance(self._sampler, Sampler) and not self._sampler.looks_at_ties
        if plain and not any(row.needs_host for row in rows):
            return list(decoder.run(rows))
        logits = decoder.logits(rows)
        self._settle(rows, [])
        return self._finished(BatchLayout(rows=rows), logits, self._sampler)

    def _run(self, plan: SchedulerOutput[AnySequence]) -> list[AnySequence]:
        admitted = [row for row in plan.admitted if isinstance(row, TokenSequence)]
        filling = [piece.target for piece in plan.pieces if isinstance(piece.target, TokenSequence)]
        decoding = [row for row in plan.decode if isinstance(row, TokenSequence)]
        everyone = {id(row): row for row in [*decoding, *filling, *admitted]}
        longest = max((row.cells - row.shared for row in everyone.values()), default=0)
        self.slots.reserve(len(everyone), longest, plan.limit, plan.ahead)
        decoding = self.slots.assign_slots(decoding, [row for row in everyone.values() if row not in decoding])
        guesses = self.guesser.guess(decoding) if self.guesser and not plan.pieces else []
        layout, step = build_batch(decoding, plan.pieces, self.slots, self._device, guesses, self.threads)
        shortlist = self.shortlist if self._is_plain(layout) else None
        logits = self._forward(layout, step) if shortlist is None else self._found(layout, step, shortlist)
        chooser = self._sampler if shortlist is None else HeadTokens()
        self._settle(decoding, plan.pieces)
        if step.width > 1:
            return self._finished_ahead(decoding, guesses, logits.view(step.decoding, step.width, -1), chooser)
        return self._finished(layout, logits, chooser)

    def _is_plain(self, layout: BatchLayout) -> bool:
        """Tell whether every row wants the likeliest token of its own logits, and nothing else of them."""
        usual = isinstance(self._sampler, Sampler) and not self._sampler.looks_at_ties
        return (
            usual
            and self._keeps_logits
            and bool(layout.rows)
            and not layout.scored
            and all(row.request.params.greedy and not row.needs_host for row in layout.rows)
        )

    # -- the forward and what comes of it

    def _forward(self, layout: BatchLayout, step: ForwardContext) -> torch.Tensor:
        """Return the wanted logits, ``[wanted, vocabulary]``."""
        ids = torch.tensor(layout.tokens, device=self._device)
        # Not every kernel can multiply nothing: where no logits are wanted, those of one token are computed anyway.
        wanted = torch.tensor(layout.wanted or [0], dtype=torch.long, device=self._device)
        if self._keeps_logits:
            return self._logits(ids, step, logits_to_keep=wanted)
        return self._logits(ids, step)[wanted]

    def _found(self, layout: BatchLayout, step: ForwardContext, shortlist: Int8ArgmaxHead) -> torch.Tensor:
        """Return the likeliest tokens in the place of logits, ``[wanted, 1]``."""
        ids, wanted = (torch.tensor(each, device=self._device) for each in (layout.tokens, layout.wanted))
        with shortlist.on():
            values = self._logits(ids, step, logits_to_keep=wanted)
        check_finite(values)
        return shortlist.tokens.unsqueeze(1)

    def _logits(self, ids: torch.Tensor, step: ForwardContext, **extra: torch.Tensor) -> torch.Tensor:
        """Return logits of the tokens ``ids``, ``[tokens, vocabulary]``."""
        step.kernel = self.kernel
        with forward_context(step):
            output = self._model(
                input_ids=ids.unsqueeze(0),
                position_ids=step.positions.unsqueeze(0),
                past_key_values=self._cache,
                use_cache=True,
                **extra,
            )
        logits: torch.Tensor = output.logits[0]
        return logits

    def _settle(self, decoding: Sequence[TokenSequence], pieces: Sequence[PrefillChunk[AnySequence]]) -> None:
        """Keep account of what is stored now."""
        for row in decoding:
            row.stored += 1
        for piece in pieces:
            if isinstance(piece.target, TokenSequence):
                piece.target.stored = piece.end
                if piece.last:
                    self.slots.copy_prefixes(piece.target)

    def _finished(self, layout: BatchLayout, logits: torch.Tensor, chooser: TokenSampler) -> list[AnySequence]:
        finished: list[AnySequence] = []
        for scored, first, end in layout.scored:
            if first < end:
                score(scored, logits[first:end])
            if scored.ended:
                self.slots.drop_aside(scored)
                finished.append(scored)
        if layout.rows:
            if layout.scored:
                ranges = {index for _, first, end in layout.scored for index in range(first, end)}
                logits = logits[[index for index in range(len(layout.wanted)) if index not in ranges]]
            chosen = chooser.choose(logits, layout.rows)
            finished.extend(row for row, choice in zip(layout.rows, chosen, strict=True) if self._give(row, *choice))
        return finished

    def _finished_ahead(
        self,
        rows: Sequence[TokenSequence],
        guesses: Sequence[Sequence[int]],
        logits: torch.Tensor,
        chooser: TokenSampler,
    ) -> list[AnySequence]:
        """Give rows their next tokens as long as these were guessed; ``logits`` ``[rows, 1 + guesses, vocabulary]``."""
        finished: list[AnySequence] = []
        going, right = list(range(len(rows))), [0] * len(rows)
        for place in range(logits.shape[1]):
            chosen = chooser.choose(logits[going, place], [rows[index] for index in going])
            ended = {index for index, choice in zip(going, chosen, strict=True) if self._give(rows[index], *choice)}
            finished.extend(rows[index] for index in going if index in ended)
            going = [
                index
                for index in going
                if index not in ended and guesses[index][place:][:1] == rows[index].generated[-1:]
            ]
            for index in going:
                rows[index].stored += 1
                right[index] += 1
            if not going:
                break
        for row, guessed, count in zip(rows, guesses, right, strict=True):
            if self.guesser is not None:
                self.guesser.update(row, len(guessed), count)
        return finished

    def _give(self, row: TokenSequence, token: int, logprob: float | None) -> bool:
        """Let a row have its next token; return whether it has ended."""
        if not row.accept(token, logprob):
            return False
        self.slots.release(row)
        return True

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


# -- Which attention a model uses: its parts may each have their own, and transformers cannot set all of them back.

AttentionChoice = list[tuple[Any, Any]]
"""Configurations of a model's parts, with the name of the attention that each uses."""


def attention_of(model: Any) -> AttentionChoice:
    """Return the attention that each part of a model uses."""
    configs: dict[int, Any] = {}
    waiting = [module.config for module in model.modules() if isinstance(module, PreTrainedModel)]
    while waiting:
        config = waiting.pop()
        if id(config) not in configs:
            configs[id(config)] = config
            waiting += [sub for name in config.sub_configs if (sub := getattr(config, name, None)) is not None]
    return [(config, config._attn_implementation) for config in configs.values()]  # noqa: SLF001 - transformers has a setter only


def use_attention(choice: AttentionChoice) -> None:
    """Have each part of a model use this attention."""
    for config, name in choice:
        config._attn_implementation_internal = name  # noqa: SLF001 - the setter would pass it on to other parts


# -- What a model that contains the packed attention sees as its cache.


class PackedCache(Cache):
    """What a model sees as its cache: it keeps nothing, because the attention function writes to the slots itself."""

    def __init__(self) -> None:
        super().__init__(layers=[])

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the new keys and values as they are."""
        del layer_idx, args, kwargs
        return key_states, value_states

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Nothing: positions are always given."""
        del layer_idx
        return 0
