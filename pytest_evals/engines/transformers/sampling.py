"""Logits -> the next token of each row. A sampled token depends on the row's own logits and seed, and on nothing else.

Rows are sampled together, each with its own parameters and one uniform number a token from its own generator. The
number is looked up in the cumulative distribution in the order of token ids: unlike an order by probability, a
difference in the last bits of two logits cannot exchange their places.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Protocol

import torch

from pytest_evals.engines.transformers.filters import filters_of, knobs_of, looked_up, restricted
from pytest_evals.engines.transformers.row import Row
from pytest_evals.generation import GenerationParams


class NotANumberError(RuntimeError):
    """The model's logits of a row are not numbers."""


class Arbiter(Protocol):
    """Knows the logits of a row as they are when it is computed alone."""

    def next_logits(self, row: Row) -> torch.Tensor:
        """Return them, ``[vocabulary]``."""
        ...


NEAR_TIE = 1e-3
"""Two logits this close may change places by rounding, with the rows that happen to be computed together."""
_DRAWN_TOGETHER = 16
_BLOCK = 128


class Sampler:
    """Chooses tokens as each row's parameters say. An ``arbiter`` decides near-ties of greedy rows."""

    def __init__(self, arbiter: Arbiter | None = None) -> None:
        self._arbiter = arbiter

    @property
    def looks_at_ties(self) -> bool:
        """Tell whether the host must see logits to choose greedily."""
        return self._arbiter is not None

    def choose(self, logits: torch.Tensor, rows: Sequence[Row]) -> list[tuple[int, float | None]]:
        """Return each row's next token and, where asked for, its log-probability.

        ``logits``: ``[rows, vocabulary]``. Log-probabilities are those of the model, before temperature, penalties,
        filters and grammars.
        """
        adjusted = adjust(logits, rows)
        if self._arbiter is not None:
            adjusted = self._without_ties(adjusted, rows, self._arbiter)
        values, tokens = likeliest(adjusted)
        check_finite(values)
        sampled = [index for index, row in enumerate(rows) if not row.request.params.greedy]
        if sampled:
            chosen = draw(adjusted[sampled].float(), [rows[index] for index in sampled])
            tokens[torch.tensor(sampled, device=tokens.device)] = chosen
        logprobs = _logprobs(logits, tokens, rows)
        return [(token, logprobs.get(index)) for index, token in enumerate(tokens.tolist())]

    @staticmethod
    def _without_ties(logits: torch.Tensor, rows: Sequence[Row], arbiter: Arbiter) -> torch.Tensor:
        best, second = logits.topk(2, dim=-1).values.unbind(dim=-1)
        ties = [
            index
            for index in (best - second < NEAR_TIE).nonzero().flatten().tolist()
            if rows[index].request.params.greedy
        ]
        if not ties:
            return logits
        decided = logits.clone()
        for index in ties:
            alone = arbiter.next_logits(rows[index]).unsqueeze(0)
            decided[index] = adjust(alone, [rows[index]])[0]
        return decided


def check_finite(logits: torch.Tensor) -> None:
    """Raise `NotANumberError` if one of the largest logits of rows is no finite number."""
    if not bool(logits.isfinite().all()):
        raise NotANumberError("the model's logits are not finite numbers")


def likeliest(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each row's largest logit and its place, the first one of equals; NaN is larger than any number.

    A search for places reads number by number on a CPU, one for values many at a time. So the place is looked for where
    the value is.
    """
    size = logits.shape[-1]
    if logits.device.type != "cpu" or size < 2 * _BLOCK:
        found = logits.max(dim=-1)
        return found.values, found.indices
    blocks = size // _BLOCK
    largest = logits[:, : blocks * _BLOCK].reshape(-1, blocks, _BLOCK).amax(dim=-1)
    if blocks * _BLOCK < size:
        largest = torch.cat([largest, logits[:, blocks * _BLOCK :].amax(dim=-1, keepdim=True)], dim=-1)
    values, places = largest.max(dim=-1, keepdim=True)
    # The last block may reach into the one before, where all are smaller: else it would have been found first.
    columns = (places * _BLOCK).clamp(max=size - _BLOCK) + torch.arange(_BLOCK)
    return values[:, 0], columns.gather(1, logits.gather(1, columns).argmax(dim=-1, keepdim=True))[:, 0]


def _logprobs(logits: torch.Tensor, tokens: torch.Tensor, rows: Sequence[Row]) -> dict[int, float]:
    asked = [index for index, row in enumerate(rows) if row.request.params.logprobs]
    if not asked:
        return {}
    values = logits[asked].float()
    chosen = values.gather(1, tokens[asked].unsqueeze(1)).squeeze(1) - values.logsumexp(dim=-1)
    return dict(zip(asked, chosen.tolist(), strict=True))


def adjust(logits: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
    """Return the logits after repetition penalties and grammars; the argument is not changed."""
    penalised = [index for index, row in enumerate(rows) if row.request.params.repetition_penalty != 1]
    guided = [index for index, row in enumerate(rows) if row.guide is not None]
    if not penalised and not guided:
        return logits
    logits = logits.float().clone()
    for index in penalised:
        penalise(logits[index], rows[index])
    for index in guided:
        guide = rows[index].guide
        if guide is not None:
            guide.hide(logits[index])
    return logits


def penalise(logits: torch.Tensor, row: Row) -> None:
    """Make what the row has already less likely, in place.

    As transformers' ``RepetitionPenaltyLogitsProcessor`` (Keskar et al., 2019, arXiv:1909.05858): tokens of the prompt
    and of the completion; a positive logit is divided by the penalty, a negative one multiplied.
    """
    seen = torch.tensor(sorted({*row.prompt, *row.generated}), device=logits.device)
    penalty = row.request.params.repetition_penalty
    values = logits[seen]
    logits[seen] = torch.where(values < 0, values * penalty, values / penalty)


def draw(logits: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
    """Return one token for each row, ``[rows]``."""
    probabilities = filtered(logits, [row.request.params for row in rows])
    numbers = torch.tensor([_uniform(row) for row in rows], dtype=torch.float64, device=logits.device)
    return looked_up(probabilities, numbers)


def _uniform(row: Row) -> float:
    number = uniforms(row).ahead(1)[0]
    uniforms(row).use(1)
    return number


class Uniforms:
    """The uniform numbers of a row, one for each token, in an order that follows from the seed alone.

    They may be looked at ahead of their use: a row that ends early has used as many as it has tokens.
    """

    def __init__(self, seed: int, used: int = 0) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._drawn: deque[float] = deque()
        self.use(used)

    def ahead(self, count: int) -> list[float]:
        """Return the next numbers, which stay the next ones."""
        missing = count - len(self._drawn)
        if missing > 0:
            # Drawing together or one at a time gives the same numbers.
            drawn = torch.rand(max(missing, _DRAWN_TOGETHER), generator=self._generator, dtype=torch.float64)
            self._drawn.extend(drawn.tolist())
        return list(islice(self._drawn, count))

    def use(self, count: int) -> None:
        """Have the next numbers done with."""
        for _ in self.ahead(count):
            self._drawn.popleft()


def uniforms(row: Row) -> Uniforms:
    """Return the numbers of a sampled row, from that of its next token on."""
    if row.generator is None:
        row.generator = Uniforms(row.request.params.sample_seed(row.sample), used=len(row.generated))
    numbers: Uniforms = row.generator
    return numbers


def filtered(logits: torch.Tensor, params: Sequence[GenerationParams]) -> torch.Tensor:
    """Return the probabilities of the tokens that may be drawn, as `restricted` does; ``[rows, vocabulary]``."""
    size = logits.shape[-1]
    return restricted(logits, knobs_of(params, size, logits.device), filters_of(params, size))


def needs_the_host(row: Row) -> bool:
    """Tell whether the row's next token depends on more than its logits, its parameters and its numbers."""
    params = row.request.params
    return row.guide is not None or params.repetition_penalty != 1 or params.logprobs
