"""Does the fast way compute what the model computes? Asked of every model when it is loaded, with a few tokens.

Whether a model's attention can be plugged in is written nowhere reliably; what comes out tells. The same tokens go
through the packed runner (two rows below a shared prefix, one without, a prompt in pieces, some decoding) and through
the model as transformers runs it.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers.backends.protocol import AnySequence
from pytest_evals.engines.transformers.multimodal import media_tokens
from pytest_evals.engines.transformers.packed.model_runner import ModelRunner, TokenSampler
from pytest_evals.engines.transformers.sampler import Uniforms, filtered
from pytest_evals.engines.transformers.scheduling.plan import BatchLimits
from pytest_evals.engines.transformers.scheduling.scheduler import Scheduler
from pytest_evals.engines.transformers.sequence import TokenSequence
from pytest_evals.engines.transformers.thresholds import lowered
from pytest_evals.generation import GenerationParams

_NEW_TOKENS = 2
_LENGTHS = (5, 11, 3)
_SHARED = 33
_PIECE = 16
TOLERANCE = {torch.float32: 1e-3, torch.float16: 3e-2, torch.bfloat16: 2e-1}
"""Largest difference of two logits, as a share of the largest logit; rounding alone stays far below."""


class NullTokenizer:
    """Replaces a tokenizer: these texts are not read."""

    def decode(self, ids: Sequence[int], **_options: Any) -> str:
        """Return no text."""
        del ids
        return ""


class Recording:
    """A sampler that takes the likeliest token and keeps the logits."""

    def __init__(self) -> None:
        self.logits: dict[int, list[torch.Tensor]] = {}

    def choose(self, logits: torch.Tensor, rows: Sequence[TokenSequence]) -> list[tuple[int, float | None]]:
        """See `Sampler.choose`."""
        for row, values in zip(rows, logits, strict=True):
            self.logits.setdefault(id(row), []).append(values.float())
        return [(int(values.argmax()), None) for values in logits]


@torch.inference_mode()
def largest_difference(model: Any, runner: ModelRunner, vocabulary: int) -> float:
    """Return the largest difference of logits between runner and model, as a share of the largest logit.

    Raises whatever a model raises that cannot be run this way.
    """
    avoided = media_tokens(model.config)
    prompts = [without(avoided, prompt) for prompt in _prompts(vocabulary)]
    params = GenerationParams(max_new_tokens=_NEW_TOKENS)
    rows = [
        TokenSequence(Request(str(index), "", (), params), prompt, NullTokenizer(), frozenset())
        for index, prompt in enumerate(prompts)
    ]
    recording = Recording()
    # A kernel for everything reads prefixes in the rows' slots.
    cascade = None if runner.kernel is not None and runner.kernel.everything else 1
    scheduler: Scheduler[AnySequence] = Scheduler(BatchLimits(len(rows), 1 << 20, _PIECE, cascade=cascade))
    scheduler.add(rows)
    with runner.sampling_with(recording):
        while plan := scheduler.plan():
            scheduler.done(plan, runner.run(plan))
    runner.clear()
    with runner.detached():
        return max(difference(torch.stack(recording.logits[id(row)]), stepwise_logits(model, row)) for row in rows)


def difference_beyond(model: Any, runner: ModelRunner, vocabulary: int) -> float:
    """Return `largest_difference`, also of what the model computes beyond its windows; see `thresholds`."""
    found = largest_difference(model, runner, vocabulary)
    with lowered(model) as least:
        return found if least is None else max(found, largest_difference(model, runner, vocabulary))


@torch.inference_mode()
def padding_is_harmless(model: Any) -> bool:
    """Tell whether a prompt beside a longer one, padded on the left, gets the logits that it gets alone."""
    short, long = _tried_prompts(model, _LENGTHS[:2])
    padded = torch.zeros((2, long.shape[1]), dtype=torch.long)
    mask = torch.zeros_like(padded)
    for index, prompt in enumerate((short, long)):
        padded[index, -prompt.shape[1] :] = prompt
        mask[index, -prompt.shape[1] :] = 1
    return _same_logits(model, short, padded, mask)


@torch.inference_mode()
def company_is_harmless(model: Any) -> bool:
    """Tell whether a prompt beside others of its length gets the logits that it gets alone."""
    prompts = torch.cat(_tried_prompts(model, [_LENGTHS[1]] * 4))
    return _same_logits(model, prompts[-1:], prompts.flip(0), torch.ones_like(prompts))


def _tried_prompts(model: Any, lengths: Sequence[int]) -> list[torch.Tensor]:
    config = model.config.get_text_config(decoder=True)
    generator = torch.Generator().manual_seed(0)
    avoided = media_tokens(model.config)
    return [
        torch.tensor([without(avoided, torch.randint(3, config.vocab_size, (count,), generator=generator).tolist())])
        for count in lengths
    ]


def _same_logits(model: Any, alone: torch.Tensor, batch: torch.Tensor, mask: torch.Tensor) -> bool:
    """Tell whether a prompt has the logits in the first row of a ``batch`` that it has ``alone``."""
    options = {"do_sample": False, "pad_token_id": 0, "output_logits": True, "return_dict_in_generate": True}

    def logits(ids: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        ids, attended = ids.to(model.device), attended.to(model.device)
        output = model.generate(
            ids, attention_mask=attended, max_new_tokens=_NEW_TOKENS, min_new_tokens=_NEW_TOKENS, **options
        )
        return torch.stack(output.logits)[:, 0].float()

    try:
        expected, found = logits(alone, torch.ones_like(alone)), logits(batch, mask)
    except Exception:  # noqa: BLE001 - a model's own code may refuse padding in any way
        return False
    return difference(found, expected) <= TOLERANCE.get(model.dtype, 1e-3)


def without(avoided: frozenset[int], prompt: Sequence[int]) -> list[int]:
    """Return a prompt in which the next token stands for one that is avoided: alone it may mean nothing to the model."""
    changed = []
    for token in prompt:
        while token in avoided:
            token = token - 1 if token else max(avoided) + 1  # noqa: PLW2901 - it is looked for
        changed.append(token)
    return changed


def _prompts(vocabulary: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)

    def some(count: int) -> list[int]:
        return torch.randint(0, vocabulary, (count,), generator=generator).tolist()

    shared = some(_SHARED)
    return [*([*shared, *some(length)] for length in _LENGTHS[:2]), some(_PIECE + _LENGTHS[2])]


# -- Short texts written in a fast way and judged by the model as transformers runs it, before that way is relied on.

LENGTHS = (5, 19, 11, 3, 26)
NEW_TOKENS = 12
GREEDY = GenerationParams(max_new_tokens=NEW_TOKENS)
SAMPLED = replace(GREEDY, temperature=0.8, top_k=20, top_p=0.95, min_p=0.02, seed=1)
"""Every filter is used."""


def rehearsed_rows(
    vocabulary: int, params: GenerationParams = GREEDY, avoided: frozenset[int] = frozenset()
) -> list[TokenSequence]:
    """Return rows with prompts of several lengths, always the same, two of them with a common beginning."""
    generator = torch.Generator().manual_seed(1)
    shared, *prompts = (
        torch.randint(0, vocabulary, (length,), generator=generator).tolist() for length in (9, *LENGTHS)
    )
    prompts[:2] = ([*shared, *prompt] for prompt in prompts[:2])
    return [
        TokenSequence(Request(str(index), "", (), params), without(avoided, prompt), NullTokenizer(), frozenset())
        for index, prompt in enumerate(prompts)
    ]


def generate_sample(
    runner: ModelRunner, model: Any, sampler: TokenSampler, params: GenerationParams = GREEDY
) -> list[TokenSequence]:
    """Return `rehearsed_rows` that were written with the runner."""
    rows = rehearsed_rows(model.config.get_text_config(decoder=True).vocab_size, params, media_tokens(model.config))
    scheduler: Scheduler[AnySequence] = Scheduler(BatchLimits(len(rows), 1 << 20, cascade=None))
    scheduler.add(rows)
    try:
        with runner.sampling_with(sampler):
            while plan := scheduler.plan():
                scheduler.done(plan, runner.run(plan))
    finally:
        runner.clear()
    return rows


@torch.inference_mode()
def reference_logits(model: Any, row: TokenSequence) -> torch.Tensor:
    """Return the logits from which the row's tokens should have been chosen, ``[tokens, vocabulary]``.

    The model must compute with its own attention.
    """
    ids = torch.tensor([[*row.prompt, *row.generated[:-1]]], device=model.device)
    logits: torch.Tensor = model(input_ids=ids).logits[0, len(row.prompt) - 1 :]
    return logits.float()


@torch.inference_mode()
def stepwise_logits(model: Any, row: TokenSequence) -> torch.Tensor:
    """Return the same logits as ``generate`` comes to them: the prompt at once, then token after token. Some models have their window in
    the cache alone, and without one they do not show it.
    """
    name = "past_key_values" if "past_key_values" in inspect.signature(model.forward).parameters else "cache_params"
    ids = torch.tensor([row.prompt], device=model.device)
    output = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=True)
    logits = [output.logits[0, -1]]
    for count, token in enumerate(row.generated[:-1], 1):
        cache = getattr(output, name, None)
        if cache is None:
            return reference_logits(model, row)
        inputs = {name: cache}
        if name == "past_key_values":
            # A state needs no mask.
            inputs["attention_mask"] = ids.new_ones((1, len(row.prompt) + count))
        output = model(input_ids=ids.new_tensor([[token]]), use_cache=True, **inputs)
        logits.append(output.logits[0, -1])
    return torch.stack(logits).float()


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference of two logits as a share of the largest logit; infinite for what is not a number."""
    value = ((found - expected).abs().max() / expected.abs().max().clamp(min=1e-6)).item()
    return value if value == value else float("inf")  # noqa: PLR0124 - what differs from itself is not a number


def logit_gap(model: Any, rows: Sequence[TokenSequence]) -> float:
    """Return how far below the likeliest token a chosen one lies, as a share of the largest logit; for greedy rows."""
    worst = 0.0
    for row in rows:
        expected = reference_logits(model, row)
        chosen = expected.gather(1, torch.tensor(row.generated, device=expected.device).unsqueeze(1))
        worst = max(worst, difference(chosen, expected.max(dim=-1, keepdim=True).values))
    return worst


def sampling_mismatch(model: Any, rows: Sequence[TokenSequence]) -> float:
    """Return how far a row's uniform number lies from the range of the distribution in which it leads to the token that
    the row got; for sampled rows.
    """
    worst = 0.0
    for row in rows:
        params, count = row.request.params, len(row.generated)
        probabilities = filtered(reference_logits(model, row), [params] * count).double()
        tokens = torch.tensor(row.generated, device=probabilities.device).unsqueeze(1)
        ends = (probabilities.cumsum(dim=-1) / probabilities.sum(dim=-1, keepdim=True)).gather(1, tokens)
        begins = ends - (probabilities / probabilities.sum(dim=-1, keepdim=True)).gather(1, tokens)
        numbers = torch.tensor(Uniforms(params.sample_seed(row.sample)).ahead(count), device=ends.device).unsqueeze(1)
        worst = max(worst, difference_of(torch.maximum(begins - numbers, numbers - ends)))
    return worst


def difference_of(distances: torch.Tensor) -> float:
    """Return the largest distance, at least 0; infinite for what is not a number."""
    value = distances.max().item()
    return max(value, 0.0) if value == value else float("inf")  # noqa: PLR0124 - as above
