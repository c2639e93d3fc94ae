"""In-flight batching for models that keep a state: finished rows leave after every token, waiting ones take their place.

Models with linear attention, convolutions or a state space cannot be packed: their layers read tokens in order. But once a prompt is
read, a row is a state, and keys and values of the layers that have some. So prompts are read in groups of one length, and what
they leave joins the batch that decodes; see `packed.row_cache`. Prompts with a common beginning are read from its end on.
"""

from __future__ import annotations

import gc
import heapq
import inspect
import itertools
from collections.abc import Sequence
from typing import Any

import torch

from pytest_evals.completion import Failure
from pytest_evals.engines.transformers.backends.generate import GenerateBackend
from pytest_evals.engines.transformers.backends.protocol import AnySequence, StepProgress
from pytest_evals.engines.transformers.errors import explain, is_fatal, is_out_of_memory
from pytest_evals.engines.transformers.packed.row_cache import (
    has_keys,
    join_rows,
    new_cache,
    repeated,
    select_rows,
    width_of,
)
from pytest_evals.engines.transformers.sampler import Sampler
from pytest_evals.engines.transformers.scheduling.plan import BatchLimits
from pytest_evals.engines.transformers.scheduling.scheduler import Retries, half
from pytest_evals.engines.transformers.sequence import ScoringSequence, TokenSequence
from pytest_evals.engines.transformers.usage import UsageMeter

_LEAST_PREFIX = 16
"""A shorter beginning costs more to copy than to read."""
_REFILL_SHARE = 4
"""New rows begin when one in this many places is free: a forward for each would keep the others waiting."""


class StatefulBackend:
    """See `Backend`. Rows that are only scored are computed by ``scoring``. With ``shares``, common beginnings are read once."""

    def __init__(
        self,
        model: Any,
        budget: BatchLimits,
        meter: UsageMeter,
        device: str,
        *,
        scoring: GenerateBackend | None = None,
        shares: bool = True,
        sampler: Any = None,
    ) -> None:
        self.budget = budget
        self.shares = shares
        self._model = model
        self._meter = meter
        self._device = device
        self._scoring = scoring or GenerateBackend(model, BatchLimits(1, 1), meter, device, pads=False)
        self._sampler = sampler or Sampler()
        takes = inspect.signature(model.forward).parameters
        self._cache_name = "past_key_values" if "past_key_values" in takes else "cache_params"
        self._takes_positions = "position_ids" in takes
        self._options = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        self._waiting: list[tuple[tuple[int, ...], TokenSequence]] = []
        self._arrivals = itertools.count()
        self._retries: Retries[TokenSequence] = Retries()
        self._live: list[TokenSequence] = []
        self._cache: Any = None
        self._prefix: tuple[int, ...] = ()
        self._prefix_cache: Any = None

    def add(self, rows: Sequence[AnySequence]) -> None:
        """See `Backend.add`."""
        self._scoring.add([row for row in rows if isinstance(row, ScoringSequence)])
        for row in rows:
            if isinstance(row, TokenSequence):
                # Those that write most first, so that none is left alone at the end; then those of one length together.
                key = (-row.max_new_tokens.bit_length(), -len(row.tokens), next(self._arrivals))
                heapq.heappush(self._waiting, (key, row))

    def __bool__(self) -> bool:
        return bool(self._waiting or self._live or self._retries or self._scoring)

    def step(self) -> StepProgress:
        """Read the prompts of some rows, or give all rows that were read their next token."""
        if not (self._waiting or self._live or self._retries):
            return self._scoring.step()
        group = self._next_group()
        progress = StepProgress(begun=[row for row in group if row.started is None])
        for row in progress.begun:
            row.started = self._meter.now()
        try:
            if group:
                progress.finished = self._read(group)
            elif self._live:
                progress.finished = self._decode()
        except Exception as error:  # a model's code may raise anything
            # One forward's failure is not the run's: it is narrowed down to the row that caused it.
            if is_fatal(error):
                raise
            failure, shrink = explain(error, self._device), is_out_of_memory(error)
        else:
            progress.tokens = len(self._live)
            self._retries.done(idle=not self._live)
            return progress
        # Outside of the except block: the traceback holds the tensors that are to be freed.
        self._take_back([*self._live, *group], failure, progress, shrink=shrink)
        return progress

    def _take_back(
        self, rows: Sequence[TokenSequence], failure: Failure, progress: StepProgress, *, shrink: bool
    ) -> None:
        """Have the rows of a forward that failed tried again as two groups, or reported; what had ended in it is finished."""
        progress.finished = [row for row in rows if row.ended]
        left = [row for row in rows if not row.ended]
        self._forget(collect=shrink)
        alone = len(left) == 1
        for row in left:
            row.restart()
        self._retries.add(left, alone=alone)
        if alone:
            progress.failed = [(row, failure) for row in left]
        if shrink:
            self.budget = self._retries.shrunk(self.budget, half(left), alone=alone)
        self._retries.settle()

    def _forget(self, *, collect: bool) -> None:
        self._live, self._cache, self._prefix, self._prefix_cache = [], None, (), None
        if collect:
            gc.collect()

    # -- who is read next

    def _next_group(self) -> list[TokenSequence]:
        """Return rows of one length that begin now; none where there is too little room, or no row waits."""
        if self._retries:
            row = self._retries.next(idle=not self._live)
            return [row] if row is not None else []
        free = self.budget.rows - len(self._live)
        if not self._waiting or (self._live and free < min(len(self._waiting), -(-self.budget.rows // _REFILL_SHARE))):
            return []
        group: list[TokenSequence] = []
        while self._waiting and len(group) < free and self._joins(self._waiting[0][1], group):
            group.append(heapq.heappop(self._waiting)[1])
        return group

    def _joins(self, row: TokenSequence, group: Sequence[TokenSequence]) -> bool:
        rows = [*self._live, *group, row]
        if len(rows) == 1:
            return True
        longest = max(each.cells for each in rows)
        if len(rows) * longest > self.budget.cells:
            return False
        return not group or (
            len(row.tokens) == len(group[0].tokens) and (len(group) + 1) * len(row.tokens) <= self.budget.tokens
        )

    # -- forwards

    @torch.inference_mode()
    def _read(self, group: list[TokenSequence]) -> list[AnySequence]:
        """Read the prompts of rows, give them their first token, and have them join the others; return those that have ended."""
        started = self._meter.now()
        prefix = self._share(group) if self.shares else 0
        config = self._model.config
        cache = repeated(self._prefix_cache, config, len(group)) if prefix else new_cache(config)
        ids = torch.tensor([row.tokens[prefix:] for row in group], device=self._device)
        logits = self._forward(ids, prefix, [prefix] * len(group), cache)
        ended = self._choose(group, logits)
        self._meter.count(started, prompt=ids.numel(), decode=0, generated=len(group), shared=prefix * len(group))
        staying = [index for index, row in enumerate(group) if not row.ended]
        if not staying:
            return ended
        if len(staying) < len(group):
            select_rows(cache, staying, width_of(cache))
        if self._cache is None:
            self._cache = cache
        else:
            join_rows(self._cache, cache)
        self._live += [group[index] for index in staying]
        return ended

    @torch.inference_mode()
    def _decode(self) -> list[AnySequence]:
        """Give every row its next token; return those that have ended."""
        started, rows = self._meter.now(), self._live
        ids = torch.tensor([[row.generated[-1]] for row in rows], device=self._device)
        lengths = [_stored(row) for row in rows]
        logits = self._forward(ids, max(width_of(self._cache), *lengths), lengths, self._cache)
        ended = self._choose(rows, logits)
        self._meter.count(started, prompt=0, decode=len(rows), generated=len(rows))
        staying = [index for index, row in enumerate(rows) if not row.ended]
        self._live = [rows[index] for index in staying]
        if not staying:
            self._cache = None
        elif ended:
            keyed = width_of(self._cache)
            select_rows(self._cache, staying, min(keyed, max(map(_stored, self._live))) if keyed else 0)
        return ended

    def _forward(self, ids: torch.Tensor, width: int, lengths: Sequence[int], cache: Any) -> torch.Tensor:
        """Return the logits after the last of ``ids`` (``[rows, tokens]``). The ids follow ``lengths`` tokens of each row, ``width``
        with padding.
        """
        count = ids.shape[1]
        before = torch.tensor(lengths, device=self._device).unsqueeze(1)
        inputs: dict[str, Any] = {self._cache_name: cache}
        if has_keys(cache):
            columns = torch.arange(width + count, device=self._device)
            inputs["attention_mask"] = (columns >= width - before).long()
        if self._takes_positions:
            inputs["position_ids"] = before + torch.arange(count, device=self._device)
        output = self._model(input_ids=ids, use_cache=True, **inputs, **self._options)
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _choose(self, rows: Sequence[TokenSequence], logits: torch.Tensor) -> list[AnySequence]:
        chosen = self._sampler.choose(logits, rows)
        return [row for row, (token, logprob) in zip(rows, chosen, strict=True) if row.accept(token, logprob)]

    # -- common beginnings

    def _share(self, group: Sequence[TokenSequence]) -> int:
        """Return how many tokens of all rows of a group are the prefix that is kept; another may be read for them first."""
        first = group[0].tokens
        if not self._begins(group):
            others = [row for _, row in self._waiting if row.tokens[:_LEAST_PREFIX] == first[:_LEAST_PREFIX]]
            common = _common([row.tokens[: row.shareable] for row in [*group, *others]])
            if len(common) < _LEAST_PREFIX or len(group) + len(others) < 2:
                return 0
            started, cache = self._meter.now(), new_cache(self._model.config)
            self._forward(torch.tensor([common], device=self._device), 0, [0], cache)
            self._meter.count(started, prompt=len(common), decode=0, generated=0)
            self._prefix, self._prefix_cache = tuple(common), cache
        return len(self._prefix)

    def _begins(self, group: Sequence[TokenSequence]) -> bool:
        size = len(self._prefix)
        return bool(size) and all(len(row.tokens) > size and tuple(row.tokens[:size]) == self._prefix for row in group)


def _stored(row: TokenSequence) -> int:
    """Return how many tokens of a row the model has read: all but the last one."""
    return len(row.prompt) + len(row.generated) - 1


def _common(texts: Sequence[list[int]]) -> list[int]:
    """Return the beginning that all texts have."""
    least, most = min(texts), max(texts)
    size = next((index for index, pair in enumerate(zip(least, most, strict=False)) if pair[0] != pair[1]), len(least))
    return list(least[:size])
