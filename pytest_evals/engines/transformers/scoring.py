"""Likelihoods: which tokens are asked about, and how much of the distribution they get."""

from __future__ import annotations

import torch

from pytest_evals.engines.transformers.row import ScoredRow
from pytest_evals.engines.transformers.sampling import NotANumberError


def score(row: ScoredRow, logits: torch.Tensor) -> None:
    """Give a row the log-probabilities of its continuation, or the next part of it; ``logits`` ``[tokens, vocabulary]``
    predict its tokens.

    Raises `NotANumberError` when they are not numbers.
    """
    known = len(row.logprobs)
    targets = torch.tensor(row.continuation[known : known + len(logits)], device=logits.device).unsqueeze(1)
    values = logits.float()
    logprobs = values.gather(1, targets).squeeze(1) - values.logsumexp(dim=-1)
    if not bool(logprobs.isfinite().all()):
        raise NotANumberError("the model's logits are not finite numbers")
    likeliest = bool((values.argmax(dim=-1) == targets.squeeze(1)).all())
    row.accept(logprobs.tolist(), likeliest=likeliest)
