"""Short texts written in a fast way and judged by the model as transformers runs it, before that way is relied on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers.loop import AnyRow
from pytest_evals.engines.transformers.packed import Chooser, PackedRunner
from pytest_evals.engines.transformers.plans import Budget
from pytest_evals.engines.transformers.row import Row
from pytest_evals.engines.transformers.sampling import Uniforms, filtered
from pytest_evals.engines.transformers.scheduler import Scheduler
from pytest_evals.engines.transformers.selfcheck import Mute
from pytest_evals.generation import GenerationParams

LENGTHS = (5, 19, 11, 3, 26)
NEW_TOKENS = 12


GREEDY = GenerationParams(max_new_tokens=NEW_TOKENS)
SAMPLED = replace(GREEDY, temperature=0.8, top_k=20, top_p=0.95, min_p=0.02, seed=1)
"""Every filter is used."""


def rehearsed_rows(vocabulary: int, params: GenerationParams = GREEDY) -> list[Row]:
    """Return rows with prompts of several lengths, always the same, two of them with a common beginning."""
    generator = torch.Generator().manual_seed(1)
    shared, *prompts = (
        torch.randint(0, vocabulary, (length,), generator=generator).tolist() for length in (9, *LENGTHS)
    )
    prompts[:2] = ([*shared, *prompt] for prompt in prompts[:2])
    return [
        Row(Request(str(index), "", (), params), prompt, Mute(), frozenset()) for index, prompt in enumerate(prompts)
    ]


def played(runner: PackedRunner, model: Any, sampler: Chooser, params: GenerationParams = GREEDY) -> list[Row]:
    """Return `rehearsed_rows` that were written with the runner."""
    rows = rehearsed_rows(model.config.get_text_config(decoder=True).vocab_size, params)
    scheduler: Scheduler[AnyRow] = Scheduler(Budget(len(rows), 1 << 20, cascade=None))
    scheduler.add(rows)
    try:
        with runner.sampling_with(sampler):
            while plan := scheduler.plan():
                scheduler.done(plan, runner.run(plan))
    finally:
        runner.clear()
    return rows


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


def misdrawn(model: Any, rows: Sequence[Row]) -> float:
    """Return how far a row's uniform number lies from the range of the distribution in which it leads to the token that
    the row got; for sampled rows.
    """
    worst = 0.0
    for row in rows:
        params, count = row.request.params, len(row.generated)
        probabilities = filtered(judged(model, row), [params] * count).double()
        tokens = torch.tensor(row.generated, device=probabilities.device).unsqueeze(1)
        ends = (probabilities.cumsum(dim=-1) / probabilities.sum(dim=-1, keepdim=True)).gather(1, tokens)
        begins = ends - (probabilities / probabilities.sum(dim=-1, keepdim=True)).gather(1, tokens)
        numbers = torch.tensor(Uniforms(params.sample_seed(row.sample)).ahead(count), device=ends.device).unsqueeze(1)
        worst = max(worst, difference_of(torch.maximum(begins - numbers, numbers - ends)))
    return worst


def difference_of(distances: torch.Tensor) -> float:
    """Return the largest distance, at least 0; infinite for what is no number."""
    value = distances.max().item()
    return max(value, 0.0) if value == value else float("inf")  # noqa: PLR0124 - as above
