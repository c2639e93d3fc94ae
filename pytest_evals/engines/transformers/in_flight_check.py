"""Does a model whose rows come and go between tokens compute what it computes alone? Tried when it is loaded, as in `verification`."""

from __future__ import annotations

from typing import Any

import torch

from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers.backends.stateful import StatefulBackend
from pytest_evals.engines.transformers.multimodal import media_tokens
from pytest_evals.engines.transformers.scheduling.plan import BatchLimits
from pytest_evals.engines.transformers.sequence import TokenSequence
from pytest_evals.engines.transformers.thresholds import lowered
from pytest_evals.engines.transformers.usage import UsageMeter
from pytest_evals.engines.transformers.verification import (
    NullTokenizer,
    Recording,
    difference,
    stepwise_logits,
    without,
)
from pytest_evals.generation import GenerationParams

_SHARED = 18
_LENGTHS = (7, 3, 19, 7, 5)
"""Of prompts; the first three have a common beginning before that."""
_NEW_TOKENS = (2, 6, 4, 3, 5)


def differences_in_flight(model: Any, device: str, *, shares: bool) -> float:
    """Return the largest difference of logits between rows in flight, three at a time, and alone, as a share of the largest logit; also
    beyond windows. ``shares``: common beginnings are read once.

    Raises whatever a model raises that cannot be run this way.
    """
    found = _largest(model, device, shares=shares)
    with lowered(model) as least:
        return found if least is None else max(found, _largest(model, device, shares=shares))


def _largest(model: Any, device: str, *, shares: bool) -> float:
    recording = Recording()
    backend = StatefulBackend(
        model, BatchLimits(3, 1 << 20), UsageMeter(device), device, shares=shares, sampler=recording
    )
    rows = _rows(model)
    backend.add(rows)
    while backend:
        for _, failure in backend.step().failed:
            raise RuntimeError(failure.message)
    return max(difference(torch.stack(recording.logits[id(row)]), stepwise_logits(model, row)) for row in rows)


def _rows(model: Any) -> list[TokenSequence]:
    generator = torch.Generator().manual_seed(0)
    vocabulary, avoided = model.config.get_text_config(decoder=True).vocab_size, media_tokens(model.config)

    def some(count: int) -> list[int]:
        return without(avoided, torch.randint(3, vocabulary, (count,), generator=generator).tolist())

    shared = some(_SHARED)
    prompts = [[*(shared if index < 3 else []), *some(length)] for index, length in enumerate(_LENGTHS)]
    return [
        TokenSequence(
            Request(str(index), "", (), GenerationParams(max_new_tokens=new)), prompt, NullTokenizer(), frozenset()
        )
        for index, (prompt, new) in enumerate(zip(prompts, _NEW_TOKENS, strict=True))
    ]
