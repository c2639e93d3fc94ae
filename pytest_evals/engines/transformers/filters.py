"""Which tokens a sampled row may get: temperature, top-k, top-p and min-p of many rows at once.

Nothing here looks at a value on the host, and what a row gets depends on its own logits and parameters only: the same
code serves rows that happen to be together and steps that are captured as a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pytest_evals.generation import GenerationParams

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
class Knobs:
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
    """Return the values of ``Knobs.candidates``: ``size`` is no limit."""
    return [min(each.top_k or size, size) for each in params]


def numbers_of(params: Sequence[GenerationParams]) -> list[list[float]]:
    """Return the values of ``Knobs.temperatures``, ``masses`` and ``shares``."""
    return [
        [max(each.temperature, _LEAST_TEMPERATURE) for each in params],
        [each.top_p for each in params],
        [each.min_p for each in params],
    ]


def knobs_of(params: Sequence[GenerationParams], size: int, device: torch.device) -> Knobs:
    """Return the parameters as tensors on ``device``."""
    candidates = torch.tensor(candidates_of(params, size), device=device)
    return Knobs(candidates, *torch.tensor(numbers_of(params), dtype=torch.float32, device=device))


def restricted(logits: Tensor, knobs: Knobs, filters: Filters) -> Tensor:
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


def looked_up(probabilities: Tensor, numbers: Tensor) -> Tensor:
    """Return the token of each row, ``[rows]``, at which the cumulative distribution passes its uniform number.

    ``numbers``: ``[rows]``, in fp64.
    """
    cumulative = probabilities.double().cumsum(dim=-1)
    places = torch.searchsorted(cumulative, (numbers * cumulative[:, -1]).unsqueeze(1), right=True).squeeze(1)
    # Rounding may lead past the last token that has any probability.
    last = probabilities.shape[-1] - 1 - (probabilities > 0).flip(-1).int().argmax(dim=-1)
    return torch.minimum(places, last)
