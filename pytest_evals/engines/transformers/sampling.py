"""Logits -> the next token of each row. A sampled token depends on the row's own logits and seed, and on nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pytest_evals.engines.transformers.row import Row
from pytest_evals.generation import GenerationParams


def choose(logits: torch.Tensor, rows: Sequence[Row]) -> list[tuple[int, float | None]]:
    """Return each row's next token and, where asked for, its log-probability.

    ``logits``: ``[rows, vocabulary]``. Log-probabilities are those of the model, before temperature and filters.
    """
    tokens: list[int] = logits.argmax(dim=-1).tolist()
    for index, row in enumerate(rows):
        if not row.request.params.greedy:
            tokens[index] = _sample(logits[index].float().cpu(), row)
    asked = [index for index, row in enumerate(rows) if row.request.params.logprobs]
    logprobs: dict[int, float] = {}
    if asked:
        chosen = torch.tensor([tokens[index] for index in asked], device=logits.device).unsqueeze(1)
        values = torch.log_softmax(logits[asked].float(), dim=-1).gather(1, chosen).squeeze(1).tolist()
        logprobs = dict(zip(asked, values, strict=True))
    return [(token, logprobs.get(index)) for index, token in enumerate(tokens)]


def _sample(logits: torch.Tensor, row: Row) -> int:
    if row.generator is None:
        row.generator = torch.Generator().manual_seed(row.request.params.seed or 0)
    probabilities, tokens = candidates(logits, row.request.params)
    # One uniform number a token, turned over by the cumulative distribution: nothing that other rows draw can shift it.
    drawn = torch.rand((), generator=row.generator, dtype=torch.float64)
    position = int(
        torch.searchsorted(probabilities.double().cumsum(0), drawn * probabilities.double().sum(), right=True)
    )
    return int(tokens[min(position, len(tokens) - 1)])


def candidates(logits: torch.Tensor, params: GenerationParams) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the tokens that may be drawn, likeliest first, with their probabilities (before renormalising).

    ``logits``: ``[vocabulary]``, fp32. Temperature first, then top-k, then top-p, as transformers orders them; top-p
    keeps the token with which the sum reaches ``top_p``.
    """
    scaled = logits / params.temperature
    if params.top_k:
        scaled, tokens = scaled.topk(min(params.top_k, len(scaled)))
    else:
        scaled, tokens = scaled.sort(descending=True)
    probabilities = scaled.softmax(dim=-1)
    if params.top_p < 1:
        before = probabilities.cumsum(0) - probabilities
        kept = before < params.top_p
        probabilities, tokens = probabilities[kept], tokens[kept]
    return probabilities, tokens
