"""Logits -> the next token of each row. A sampled token depends on the row's own logits and seed, and on nothing else.

Rows are sampled together, each with its own parameters and one uniform number a token from its own generator. The
number is looked up in the cumulative distribution in the order of token ids: unlike an order by probability, a
difference in the last bits of two logits cannot exchange their places.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import torch

from pytest_evals.engines.transformers.sequence import ScoringSequence, TokenSequence
from pytest_evals.generation import GenerationParams


class NotANumberError(RuntimeError):
    """The model's logits of a row are not numbers."""


class Arbiter(Protocol):
    """Knows the logits of a row as they are when it is computed alone."""

    def next_logits(self, row: TokenSequence) -> torch.Tensor:
        """Return them, ``[vocabulary]``."""
        ...


NEAR_TIE = 1e-3
"""Two logits this close may change places by rounding, with the rows that happen to be computed together."""
_NOT_FINITE = "the model's logits are not finite numbers"
_NO_TOKEN = -1
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

    def choose(self, logits: torch.Tensor, rows: Sequence[TokenSequence]) -> list[tuple[int, float | None]]:
        """Return each row's next token and, where asked for, its log-probability.

        ``logits``: ``[rows, vocabulary]``. Log-probabilities are those of the model, before temperature, penalties,
        filters and grammars.
        """
        adjusted = adjust(logits, rows)
        if self._arbiter is not None:
            adjusted = self._without_ties(adjusted, rows, self._arbiter)
        values, tokens = likeliest(adjusted)
        sampled = [index for index, row in enumerate(rows) if not row.request.params.greedy]
        if sampled:
            chosen = draw(adjusted[sampled].float(), [rows[index] for index in sampled])
            tokens[torch.tensor(sampled, device=tokens.device)] = chosen
        # The host waits for the device once: what is no number comes with the tokens.
        chosen_tokens = tokens.masked_fill(~values.isfinite(), _NO_TOKEN).tolist()
        if _NO_TOKEN in chosen_tokens:
            raise NotANumberError(_NOT_FINITE)
        logprobs = _logprobs(logits, tokens, rows)
        return [(token, logprobs.get(index)) for index, token in enumerate(chosen_tokens)]

    @staticmethod
    def _without_ties(logits: torch.Tensor, rows: Sequence[TokenSequence], arbiter: Arbiter) -> torch.Tensor:
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
    """Raise `NotANumberError` if one of the largest logits of rows is not a finite number."""
    if not bool(logits.isfinite().all()):
        raise NotANumberError(_NOT_FINITE)


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


def _logprobs(logits: torch.Tensor, tokens: torch.Tensor, rows: Sequence[TokenSequence]) -> dict[int, float]:
    asked = [index for index, row in enumerate(rows) if row.request.params.logprobs]
    if not asked:
        return {}
    if len(asked) < len(rows):
        logits, tokens = logits[asked], tokens[asked]
    values = logits.float()
    chosen = values.gather(1, tokens.unsqueeze(1)).squeeze(1) - values.logsumexp(dim=-1)
    return dict(zip(asked, chosen.tolist(), strict=True))


def adjust(logits: torch.Tensor, rows: Sequence[TokenSequence]) -> torch.Tensor:
    """Return the logits after repetition penalties, grammars and budgets of thoughts; the argument is not changed."""
    penalised = [index for index, row in enumerate(rows) if row.request.params.repetition_penalty != 1]
    constrained = [index for index, row in enumerate(rows) if row.constrained]
    if not penalised and not constrained:
        return logits
    logits = logits.float().clone()
    for index in penalised:
        penalise(logits[index], rows[index])
    for index in constrained:
        rows[index].constrain(logits[index])
    return logits


def penalise(logits: torch.Tensor, row: TokenSequence) -> None:
    """Make what the row has already less likely, in place.

    As transformers' ``RepetitionPenaltyLogitsProcessor`` (Keskar et al., 2019, arXiv:1909.05858): tokens of the prompt
    and of the completion; a positive logit is divided by the penalty, a negative one multiplied.
    """
    seen = torch.tensor(sorted({*row.prompt, *row.generated}), device=logits.device)
    penalty = row.request.params.repetition_penalty
    values = logits[seen]
    logits[seen] = torch.where(values < 0, values * penalty, values / penalty)


def draw(logits: torch.Tensor, rows: Sequence[TokenSequence]) -> torch.Tensor:
    """Return one token for each row, ``[rows]``."""
    probabilities = filtered(logits, [row.request.params for row in rows])
    numbers = torch.tensor([_uniform(row) for row in rows], dtype=torch.float64, device=logits.device)
    return sample_by_inverse_cdf(probabilities, numbers)


def _uniform(row: TokenSequence) -> float:
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


def uniforms(row: TokenSequence) -> Uniforms:
    """Return the numbers of a sampled row, from that of its next token on."""
    if row.generator is None:
        row.generator = Uniforms(row.request.params.sample_seed(row.sample), used=len(row.generated))
    numbers: Uniforms = row.generator
    return numbers


def filtered(logits: torch.Tensor, params: Sequence[GenerationParams]) -> torch.Tensor:
    """Return the probabilities of the tokens that may be drawn, as `filtered_probabilities` does; ``[rows, vocabulary]``."""
    size = logits.shape[-1]
    return filtered_probabilities(logits, knobs_of(params, size, logits.device), filters_of(params, size))


# -- Which tokens a sampled row may get: temperature, top-k, top-p and min-p of many rows at once.
#
# Nothing here looks at a value on the host, and what a row gets depends on its own logits and parameters only: the same
# code serves rows that happen to be together and steps that are captured as a CUDA graph.

_LEAST_TEMPERATURE = 1e-30
"""A temperature next to 0 must not make infinite numbers of logits."""
UNLIMITED = 1 << 31
"""More candidates than any vocabulary has."""
Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters that some row of a batch uses. More of them than that change no row's result.

    ``candidates``: the most that a row's top-k keeps, 0 where no row has one. ``mass``: top-p is used; ``share``: min-p.
    """

    candidates: int = 0
    mass: bool = False
    share: bool = False


@dataclass(frozen=True, slots=True)
class SamplingTensors:
    """The parameters of rows, each ``[rows]``: whole numbers of candidates, and the others in fp32."""

    candidates: Tensor
    temperatures: Tensor
    masses: Tensor
    shares: Tensor


def filters_of(params: Sequence[GenerationParams], size: int) -> Filters:
    """Return what rows with these parameters and a vocabulary of ``size`` use."""
    return Filters(
        max((each.top_k for each in params if each.top_k < size), default=0),
        any(each.top_p < 1 for each in params),
        any(each.min_p for each in params),
    )


def candidates_of(params: Sequence[GenerationParams], size: int) -> list[int]:
    """Return the values of ``SamplingTensors.candidates``: ``size`` means no limit."""
    return [min(each.top_k or size, size) for each in params]


def numbers_of(params: Sequence[GenerationParams]) -> list[list[float]]:
    """Return the values of ``SamplingTensors.temperatures``, ``masses`` and ``shares``."""
    return [
        [max(each.temperature, _LEAST_TEMPERATURE) for each in params],
        [each.top_p for each in params],
        [each.min_p for each in params],
    ]


def knobs_of(params: Sequence[GenerationParams], size: int, device: torch.device) -> SamplingTensors:
    """Return the parameters as tensors on ``device``."""
    candidates = torch.tensor(candidates_of(params, size), device=device)
    return SamplingTensors(candidates, *torch.tensor(numbers_of(params), dtype=torch.float32, device=device))


def filtered_probabilities(logits: Tensor, knobs: SamplingTensors, filters: Filters) -> Tensor:
    """Return the probabilities of the tokens that may be drawn, 0 elsewhere (not renormalised); ``[rows, vocabulary]``.

    Temperature first, then top-k, top-p and min-p, in the order and with the meaning that transformers gives them:
    top-p keeps the token with which the sum reaches it, min-p compares with the likeliest of those that are left.
    """
    scaled = logits / knobs.temperatures.unsqueeze(1)
    if filters.candidates:
        scaled = _top_k(scaled, knobs.candidates, filters.candidates)
    if filters.mass:
        scaled = _top_p(scaled, knobs.masses.unsqueeze(1))
    probabilities = scaled.softmax(dim=-1)
    if filters.share:
        least = knobs.shares.unsqueeze(1) * probabilities.max(dim=-1, keepdim=True).values
        probabilities = probabilities.masked_fill(probabilities < least, 0.0)
    return probabilities


def _top_k(scaled: Tensor, candidates: Tensor, most: int) -> Tensor:
    """Hide what is less likely than the last candidate; equally likely tokens are candidates together."""
    counts = candidates.unsqueeze(1)
    best = scaled.topk(min(most, scaled.shape[-1]), dim=-1).values
    edges = best.gather(1, counts.clamp(max=best.shape[-1]) - 1).masked_fill(counts > best.shape[-1], -torch.inf)
    return scaled.masked_fill(scaled < edges, -torch.inf)


def _top_p(scaled: Tensor, masses: Tensor) -> Tensor:
    values, order = scaled.sort(dim=-1, descending=True, stable=True)
    probabilities = values.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    dropped = torch.zeros_like(before, dtype=torch.bool).scatter(1, order, (before >= masses) & (masses < 1))
    return scaled.masked_fill(dropped, -torch.inf)


def sample_by_inverse_cdf(probabilities: Tensor, numbers: Tensor) -> Tensor:
    """Return the token of each row, ``[rows]``, at which the cumulative distribution passes its uniform number.

    ``numbers``: ``[rows]``, in fp64.
    """
    cumulative = probabilities.double().cumsum(dim=-1)
    places = torch.searchsorted(cumulative, (numbers * cumulative[:, -1]).unsqueeze(1), right=True).squeeze(1)
    # Rounding may lead past the last token that has any probability.
    last = probabilities.shape[-1] - 1 - (probabilities > 0).flip(-1).int().argmax(dim=-1)
    return torch.minimum(places, last)


# -- Likelihoods: which tokens are asked about, and how much of the distribution they get.


def score(row: ScoringSequence, logits: torch.Tensor) -> None:
    """Give a row the log-probabilities of its continuation, or the next part of it; ``logits`` ``[tokens, vocabulary]``
    predict its tokens.

    Raises `NotANumberError` when they are not numbers.
    """
    known = len(row.logprobs)
    targets = torch.tensor(row.continuation[known : known + len(logits)], device=logits.device).unsqueeze(1)
    values = logits.float()
    logprobs = values.gather(1, targets).squeeze(1) - values.logsumexp(dim=-1)
    greedy = (values.argmax(dim=-1) == targets.squeeze(1)).all()
    # Read together: the host waits for the device once.
    *told, likeliest = torch.cat([logprobs, greedy.to(logprobs.dtype).unsqueeze(0)]).tolist()
    if not all(map(math.isfinite, told)):
        raise NotANumberError(_NOT_FINITE)
    row.accept(told, likeliest=bool(likeliest))
