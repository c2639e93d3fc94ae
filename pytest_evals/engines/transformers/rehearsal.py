"""Short texts written in a fast way and judged by the model as transformers runs it, before that way is relied on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers.row import Row
from pytest_evals.engines.transformers.selfcheck import Mute
from pytest_evals.generation import GenerationParams

LENGTHS = (5, 19, 11, 3, 26)
NEW_TOKENS = 12


def rehearsed_rows(vocabulary: int) -> list[Row]:
    """Return rows with prompts of several lengths, always the same, two of them with a common beginning."""
    generator = torch.Generator().manual_seed(1)
    shared, *prompts = (
        torch.randint(0, vocabulary, (length,), generator=generator).tolist() for length in (9, *LENGTHS)
    )
    prompts[:2] = ([*shared, *prompt] for prompt in prompts[:2])
    params = GenerationParams(max_new_tokens=NEW_TOKENS)
    return [
        Row(Request(str(index), "", (), params), prompt, Mute(), frozenset()) for index, prompt in enumerate(prompts)
    ]


@torch.inference_mode()
def judged(model: Any, row: Row) -> torch.Tensor:
    """Return the logits from which the row's tokens should have been chosen, ``[tokens, vocabulary]``.

    The model must compute with its own attention.
    """
    ids = torch.tensor([[*row.prompt, *row.generated[:-1]]], device=model.device)
    logits: torch.Tensor = model(input_ids=ids).logits[0, len(row.prompt) - 1 :]
    return logits.float()


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference of two logits as a share of the largest logit; infinite for what is no number."""
    value = ((found - expected).abs().max() / expected.abs().max().clamp(min=1e-6)).item()
    return value if value == value else float("inf")  # noqa: PLR0124 - what differs from itself is no number


def shortfall(model: Any, rows: Sequence[Row]) -> float:
    """Return how far below the likeliest token a chosen one lies, as a share of the largest logit; for greedy rows."""
    worst = 0.0
    for row in rows:
        expected = judged(model, row)
        chosen = expected.gather(1, torch.tensor(row.generated, device=expected.device).unsqueeze(1))
        worst = max(worst, difference(chosen, expected.max(dim=-1, keepdim=True).values))
    return worst
