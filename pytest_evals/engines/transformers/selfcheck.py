"""Does the fast way compute what the model computes? Asked of every model when it is loaded, with a few tokens.

Whether a model's attention can be plugged in is written nowhere reliably; what comes out tells. The same tokens go
through the packed runner (two rows below a shared prefix, one without, a prompt in pieces, some decoding) and through
the model as transformers runs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers.loop import AnyRow
from pytest_evals.engines.transformers.packed import PackedRunner
from pytest_evals.engines.transformers.plans import Budget
from pytest_evals.engines.transformers.row import Row
from pytest_evals.engines.transformers.scheduler import Scheduler
from pytest_evals.generation import GenerationParams

_NEW_TOKENS = 2
_LENGTHS = (5, 11, 3)
_SHARED = 33
_PIECE = 16
TOLERANCE = {torch.float32: 1e-3, torch.float16: 3e-2, torch.bfloat16: 2e-1}
"""Largest difference of two logits, as a share of the largest logit; rounding alone stays far below."""


class Mute:
    """Stands in for a tokenizer: nobody reads these texts."""

    def decode(self, ids: Sequence[int], **_options: Any) -> str:
        """Return no text."""
        del ids
        return ""


class Recording:
    """A sampler that takes the likeliest token and keeps the logits."""

    def __init__(self) -> None:
        self.logits: dict[int, list[torch.Tensor]] = {}

    def choose(self, logits: torch.Tensor, rows: Sequence[Row]) -> list[tuple[int, float | None]]:
        """See `Sampler.choose`."""
        for row, values in zip(rows, logits, strict=True):
            self.logits.setdefault(id(row), []).append(values.float())
        return [(int(values.argmax()), None) for values in logits]


@torch.inference_mode()
def largest_difference(model: Any, runner: PackedRunner, vocabulary: int) -> float:
    """Return the largest difference of logits between runner and model, as a share of the largest logit.

    Raises whatever a model raises that cannot be run this way.
    """
    prompts = _prompts(vocabulary)
    params = GenerationParams(max_new_tokens=_NEW_TOKENS)
    rows = [
        Row(Request(str(index), "", (), params), prompt, Mute(), frozenset()) for index, prompt in enumerate(prompts)
    ]
    recording = Recording()
    scheduler: Scheduler[AnyRow] = Scheduler(Budget(len(rows), 1 << 20, _PIECE, cascade=1))
    scheduler.add(rows)
    with runner.sampling_with(recording):
        while plan := scheduler.plan():
            scheduler.done(plan, runner.run(plan))
    runner.clear()
    differences = []
    with runner.detached():
        for row in rows:
            ids = torch.tensor([[*row.prompt, *row.generated[:-1]]], device=model.device)
            expected = model(input_ids=ids).logits[0, len(row.prompt) - 1 :].float()
            found = torch.stack(recording.logits[id(row)])
            differences.append(((found - expected).abs().max() / expected.abs().max().clamp(min=1e-6)).item())
    # max() of a NaN and a number depends on their order; a sum does not.
    return max(differences) if sum(differences) == sum(differences) else float("inf")


@torch.inference_mode()
def padding_is_harmless(model: Any) -> bool:
    """Tell whether a prompt beside a longer one, padded on the left, gets the logits that it gets alone."""
    config = model.config.get_text_config(decoder=True)
    generator = torch.Generator().manual_seed(0)
    short, long = (torch.randint(3, config.vocab_size, (1, count), generator=generator) for count in _LENGTHS[:2])
    padded = torch.zeros((2, long.shape[1]), dtype=torch.long)
    mask = torch.zeros_like(padded)
    for index, prompt in enumerate((short, long)):
        padded[index, -prompt.shape[1] :] = prompt
        mask[index, -prompt.shape[1] :] = 1
    options = {"do_sample": False, "pad_token_id": 0, "output_logits": True, "return_dict_in_generate": True}

    def logits(ids: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        ids, attended = ids.to(model.device), attended.to(model.device)
        output = model.generate(
            ids, attention_mask=attended, max_new_tokens=_NEW_TOKENS, min_new_tokens=_NEW_TOKENS, **options
        )
        return torch.stack(output.logits).float()

    try:
        alone, beside = logits(short, torch.ones_like(short))[:, 0], logits(padded, mask)[:, 0]
    except Exception:  # noqa: BLE001 - a model's own code may refuse padding in any way
        return False
    difference = (alone - beside).abs().max() / alone.abs().max().clamp(min=1e-6)
    return bool(difference <= TOLERANCE.get(model.dtype, 1e-3))


def _prompts(vocabulary: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)

    def some(count: int) -> list[int]:
        return torch.randint(0, vocabulary, (count,), generator=generator).tolist()

    shared = some(_SHARED)
    return [*([*shared, *some(length)] for length in _LENGTHS[:2]), some(_PIECE + _LENGTHS[2])]
