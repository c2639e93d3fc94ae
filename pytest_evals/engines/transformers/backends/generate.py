"""The careful way, for models that keep more than keys and values: transformers' own ``generate``, a batch at a time.

Encoder-decoders, state-space models and models whose attention cannot be plugged in. Each row still gets its own
parameters, seed, stop strings and grammar: a logits processor chooses the tokens exactly as the fast way does.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from pytest_evals.engines.transformers.backends.protocol import AnySequence, StepProgress
from pytest_evals.engines.transformers.errors import explain, is_fatal, is_out_of_memory
from pytest_evals.engines.transformers.sampler import Sampler, score
from pytest_evals.engines.transformers.scheduling.plan import BatchLimits
from pytest_evals.engines.transformers.sequence import ScoringSequence, TokenSequence
from pytest_evals.engines.transformers.thresholds import restore_rope, rope_switch
from pytest_evals.engines.transformers.usage import UsageMeter

_NEVER = 1e9
_SPECIAL_TOKENS = ("bos_token_id", "eos_token_id", "decoder_start_token_id", "forced_bos_token_id")
"""What is used of a model's own generation config; see `GenerationParams`. Its least length, say, was not asked for."""
_PLAIN: dict[str, Any] = {
    "do_sample": False,
    "num_beams": 1,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "pad_token_id": 0,
}


class GenerateBackend:
    """See `Loop`. With ``pads`` a batch may hold prompts of different lengths; without, they are all of one. With a ``limit``, rows that
    may come to more tokens are computed one at a time, and padding adds to the length of the others.
    """

    def __init__(
        self, model: Any, budget: BatchLimits, meter: UsageMeter, device: str, *, pads: bool, limit: int | None = None
    ) -> None:
        self._model = model
        self._budget = budget
        self._meter = meter
        self._device = device
        self._pads = pads
        self._limit = limit
        self._rope_switches = rope_switch(model) is not None
        usual = model.generation_config
        self._defaults = GenerationConfig(**{name: getattr(usual, name, None) for name in _SPECIAL_TOKENS})  # type: ignore[no-untyped-call]  # transformers annotates it not
        self._reads_and_writes = bool(model.config.is_encoder_decoder)
        self._full: BatchLimits | None = None
        self._waiting: list[AnySequence] = []
        self._retries: deque[list[AnySequence]] = deque()

    def add(self, rows: Sequence[AnySequence]) -> None:
        """See `Loop.add`."""
        self._waiting.extend(rows)
        self._waiting.sort(key=lambda row: (row.generates, len(row.tokens), row.cells), reverse=True)

    def __bool__(self) -> bool:
        return bool(self._waiting or self._retries)

    def step(self) -> StepProgress:
        """Compute one batch to its end."""
        batch = self._retries.popleft() if self._retries else self._next_batch()
        progress = StepProgress(begun=[row for row in batch if row.started is None])
        for row in progress.begun:
            row.started = self._meter.now()
        try:
            with self._fresh_rope():
                self._compute(batch)
        except Exception as error:  # a model's code may raise anything
            # One batch's failure is not the run's: it is narrowed down to the row that caused it.
            if is_fatal(error):
                raise
            failure, shrink = explain(error, self._device), is_out_of_memory(error)
        else:
            progress.finished = batch
            self._forget_failures()
            return progress
        if shrink:
            gc.collect()
        progress.finished = [row for row in batch if row.ended]
        left = [row for row in batch if not row.ended]
        if len(batch) == 1:
            progress.failed = [(row, failure) for row in left]
            # Even alone it failed: that says nothing of batches without it.
            self._budget = self._full or self._budget
            self._forget_failures()
            return progress
        for row in left:
            row.restart()
        middle = (len(left) + 1) // 2
        self._retries.extend(half for half in (left[:middle], left[middle:]) if half)
        if shrink:
            self._full = self._full or self._budget
            self._budget = BatchLimits(max(1, min(self._budget.rows, middle)), self._budget.cells)
        return progress

    def _compute(self, batch: Sequence[AnySequence]) -> None:
        if isinstance(batch[0], TokenSequence):
            self._generate([row for row in batch if isinstance(row, TokenSequence)])
        else:
            self._score([row for row in batch if isinstance(row, ScoringSequence)])

    @contextmanager
    def _fresh_rope(self) -> Iterator[None]:
        """Have rotary positions as if nothing had been computed, for this batch and for what uses the model next."""
        if not self._rope_switches:
            yield
            return
        restore_rope(self._model)
        try:
            yield
        finally:
            restore_rope(self._model)

    def _forget_failures(self) -> None:
        """When all that failed together is done, the budget stays as it is now."""
        if not self._retries:
            self._full = None

    def _next_batch(self) -> list[AnySequence]:
        batch = [self._waiting.pop(0)]
        while self._waiting and self._joins(self._waiting[0], batch):
            batch.append(self._waiting.pop(0))
        return batch

    def _joins(self, row: AnySequence, batch: Sequence[AnySequence]) -> bool:
        first = batch[0]
        if self._limit is not None and max(row.cells, first.cells) > self._limit:
            return False
        alike = row.generates == first.generates and (
            len(row.tokens) == len(first.tokens) or self._may_be_padded([*batch, row])
        )
        longest = max(row.cells, *(each.cells for each in batch))
        size = len(batch) + 1
        return alike and size <= self._budget.rows and size * longest <= self._budget.cells

    def _may_be_padded(self, batch: Sequence[AnySequence]) -> bool:
        """Tell whether rows of different lengths may be one batch: padding counts as tokens where a length decides."""
        together = max(len(row.tokens) for row in batch) + max(row.cells - len(row.tokens) for row in batch)
        return self._pads and (self._limit is None or together <= self._limit)

    @torch.inference_mode()
    def _generate(self, rows: list[TokenSequence]) -> None:
        ids, mask = self._padded([row.prompt if self._reads_and_writes else row.tokens for row in rows])
        inputs = {"input_ids": ids, "attention_mask": mask}
        if self._reads_and_writes:
            inputs["decoder_input_ids"] = self._written(rows)
        self._write(rows, inputs)

    def _write(self, rows: list[TokenSequence], inputs: dict[str, torch.Tensor]) -> None:
        """Have the model go on from its ``inputs`` until all rows have ended."""
        prompt, padding = sum(len(row.tokens) for row in rows), int((inputs["attention_mask"] == 0).sum())
        follower = Follower(rows, Steps(self._meter, prompt, padding))
        # Rows that are tried again go on with what they had; the longest rest is the batch's limit.
        limit = max(row.max_new_tokens - len(row.generated) for row in rows)
        with self._own_defaults():
            self._model.generate(
                **inputs,
                generation_config=GenerationConfig(**_PLAIN, max_new_tokens=limit),  # type: ignore[no-untyped-call]  # transformers annotates it not
                logits_processor=LogitsProcessorList([follower]),
                stopping_criteria=StoppingCriteriaList([Ended(rows)]),
            )

    @contextmanager
    def _own_defaults(self) -> Iterator[None]:
        """Let the model forget how it generates by default."""
        usual, self._model.generation_config = self._model.generation_config, self._defaults
        try:
            yield
        finally:
            self._model.generation_config = usual

    def _written(self, rows: Sequence[TokenSequence]) -> torch.Tensor:
        """Return what an encoder-decoder goes on from. Rows of a batch that is tried again have written as much."""
        return torch.tensor([[self._start, *row.generated] for row in rows], device=self._device)

    @property
    def _start(self) -> int:
        """The token with which an encoder-decoder begins to write."""
        start = self._defaults.decoder_start_token_id
        token: int = self._defaults.bos_token_id if start is None else start
        return token

    def _padded(self, prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids and mask, ``[prompts, longest]``, padded on the left."""
        longest = max(map(len, prompts))
        ids = torch.zeros((len(prompts), longest), dtype=torch.long)
        mask = torch.zeros((len(prompts), longest), dtype=torch.long)
        for index, prompt in enumerate(prompts):
            ids[index, longest - len(prompt) :] = torch.tensor(prompt)
            mask[index, longest - len(prompt) :] = 1
        return ids.to(self._device), mask.to(self._device)

    @torch.inference_mode()
    def _score(self, rows: list[ScoringSequence]) -> None:
        for row in rows:
            started = self._meter.now()
            ids = torch.tensor([row.tokens], device=self._device)
            context, continuation = ids[:, : row.shareable + 1], ids[:, row.shareable + 1 :]
            if self._reads_and_writes:
                start = context.new_full((1, 1), self._start)
                output = self._model(input_ids=context, decoder_input_ids=torch.cat([start, continuation], dim=1))
            else:
                output = self._model(input_ids=ids)
            score(row, output.logits[0, -len(row.continuation) :])
            self._meter.count(started, prompt=len(row.tokens), decode=0, generated=0)


class Steps:
    """Counts the forwards of one call of ``generate``: the first computes prompts, the others decode."""

    def __init__(self, meter: UsageMeter, prompt: int, padding: int) -> None:
        self._meter = meter
        self._prompt = prompt
        self._padding = padding
        self._first = True
        self._started = meter.now()

    def count(self, live: int, rows: int) -> None:
        """Count a forward that brought ``live`` of its ``rows`` a token; the others were computed for nothing."""
        first, self._first = self._first, False
        self._meter.count(
            self._started,
            prompt=self._prompt if first else 0,
            decode=0 if first else live,
            generated=live,
            padding=self._padding if first else rows - live,
        )
        self._started = self._meter.now()


class Follower(LogitsProcessor):
    """Chooses each row's token, tells the row, and makes it the only one that ``generate`` can take."""

    def __init__(self, rows: Sequence[TokenSequence], steps: Steps) -> None:
        self._rows = rows
        self._steps = steps
        self._sampler = Sampler()

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """See `LogitsProcessor`: ``scores`` ``[rows, vocabulary]``."""
        del input_ids
        live = [index for index, row in enumerate(self._rows) if row.finish_reason is None]
        chosen = self._sampler.choose(scores[live], [self._rows[index] for index in live])
        forced = torch.full_like(scores, -_NEVER)
        for index, (token, logprob) in zip(live, chosen, strict=True):
            self._rows[index].accept(token, logprob)
            forced[index, token] = 0
        self._steps.count(len(live), len(self._rows))
        return forced


class Ended(StoppingCriteria):
    """Says which rows have finished."""

    def __init__(self, rows: Sequence[TokenSequence]) -> None:
        self._rows = rows

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """See `StoppingCriteria`."""
        del scores, kwargs
        return torch.tensor([row.finish_reason is not None for row in self._rows], device=input_ids.device)
