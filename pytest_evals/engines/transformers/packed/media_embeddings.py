"""What a model sees of images and audio, as tokens of the packed forward.

A model that reads media puts what its towers make of them in the place of the embeddings of placeholders. Here this is done once for
each distinct medium: every placeholder gets a token id of its own, beyond the vocabulary, and the embedding of such an id is
what the tower made. To scheduler, prefix cache and attention these are tokens like others: prompts with the same image share
what was computed of it, and prompts with different ones do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch

from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers.backends.protocol import AnySequence
from pytest_evals.engines.transformers.multimodal import MediaEncoder, extended, media_tokens, padded
from pytest_evals.engines.transformers.packed.model_runner import ModelRunner
from pytest_evals.engines.transformers.scheduling.plan import BatchLimits
from pytest_evals.engines.transformers.scheduling.scheduler import Scheduler
from pytest_evals.engines.transformers.sequence import TokenSequence
from pytest_evals.engines.transformers.verification import NullTokenizer, Recording, difference
from pytest_evals.generation import GenerationParams
from pytest_evals.media.parts import checked_content
from pytest_evals.media.sources import NOWHERE

MediaKey = tuple[str, ...]
"""Hashes of the media of a prompt, in their order."""


class _SeenError(Exception):
    """Ends a forward before the language model begins; carries what it was to read."""

    def __init__(self, embeddings: torch.Tensor) -> None:
        super().__init__()
        self.embeddings = embeddings


@dataclass(slots=True)
class MediaBlock:
    """What towers made of the media of a prompt, ``[placeholders, width]``. Their ids begin at ``start``; ``readers`` rows read it."""

    start: int
    count: int
    values: torch.Tensor | None = None
    readers: int = 0


@dataclass(frozen=True, slots=True)
class HeldPrompt:
    """The ids of a prompt, those of its media beyond the vocabulary, and what these stand for."""

    ids: list[int]
    block: MediaBlock


class MediaEmbeddings:
    """The embeddings of media that rows read now, and the ids that stand for them.

    The ids of a medium stay its own for as long as the model is loaded: keys and values that are kept for later rows are found by
    them. ``plainly`` is entered to have the model compute as transformers made it.
    """

    def __init__(self, model: Any, plainly: Callable[[], AbstractContextManager[None]]) -> None:
        self._model = model
        self._plainly = plainly
        self._placeholders = media_tokens(model.config)
        self._table = model.get_input_embeddings()
        self._first = self._next = max(int(self._table.weight.shape[0]), *self._placeholders, 0) + 1
        self._blocks: dict[tuple[MediaKey, int], MediaBlock] = {}
        self._live: dict[int, MediaBlock] = {}
        self._beyond: torch.Tensor | None = None
        self._hooks = [
            self._table.register_forward_pre_hook(self._hide),
            self._table.register_forward_hook(self._fill),
        ]

    def remove(self) -> None:
        """Leave the model as it was."""
        for hook in self._hooks:
            hook.remove()

    def hold(self, key: MediaKey, ids: Sequence[int], inputs: Mapping[str, torch.Tensor]) -> HeldPrompt | None:
        """Return a prompt with ids for its media; these have their embeddings until `let_go`.

        ``inputs`` are what the model is given for the prompt, on its device. `None` for a model that does more with media than put
        them in the place of placeholders: one that is told which tokens are media attends to them in another way, or counts
        positions otherwise.
        """
        shape = inputs["input_ids"].shape
        told = [
            value
            for name, value in inputs.items()
            if value.shape == shape and name not in ("input_ids", "attention_mask")
        ]
        if any(bool(value.any()) for value in told):
            return None
        places = [place for place, token in enumerate(ids) if token in self._placeholders]
        block = self._blocks.get((key, len(places)))
        if block is None or block.values is None:
            values = self._values(inputs, places)
            if values is None:
                return None
            if block is None:
                block = self._blocks[key, len(places)] = MediaBlock(self._next, len(places))
                self._next += len(places)
            block.values = values
            self._live[block.start] = block
        block.readers += 1
        found = list(ids)
        for number, place in enumerate(places):
            found[place] = block.start + number
        return HeldPrompt(found, block)

    def let_go(self, block: MediaBlock) -> None:
        """Take note that a row reads the media no longer."""
        block.readers -= 1
        if not block.readers:
            block.values = None
            self._live.pop(block.start, None)

    @torch.inference_mode()
    def _values(self, inputs: Mapping[str, torch.Tensor], places: Sequence[int]) -> torch.Tensor | None:
        """Return what the model's towers make of the media of a prompt, ``[placeholders, width]``."""
        merged = self._merged(inputs)
        rest = torch.ones(merged.shape[0], dtype=torch.bool, device=merged.device)
        rest[list(places)] = False
        plain = self._table(inputs["input_ids"].clamp(max=self._table.weight.shape[0] - 1))[0]
        return merged[list(places)].clone() if torch.equal(merged[rest], plain[rest]) else None

    def _merged(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return what the language model is given for a prompt, ``[tokens, width]``."""

        def stop(module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            del module
            found = named.get("inputs_embeds")
            raise _SeenError(found if found is not None else arguments[0])

        hook = self._model.get_decoder().register_forward_pre_hook(stop, with_kwargs=True)
        try:
            with self._plainly():
                self._model(**inputs)
        except _SeenError as seen:
            return seen.embeddings[0]
        finally:
            hook.remove()
        raise RuntimeError("the model did not call its decoder")

    # -- The table of embeddings, beyond its end.

    def _hide(self, module: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Give the table no id that is beyond it."""
        del module
        ids = arguments[0]
        beyond = ids >= self._first
        if not bool(beyond.any()):
            return None
        self._beyond = ids
        return (ids.masked_fill(beyond, 0), *arguments[1:])

    def _fill(self, module: Any, arguments: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor | None:
        """Put the embeddings of such ids in their places."""
        del module, arguments
        ids, self._beyond = self._beyond, None
        if ids is None:
            return None
        filled = output.clone()
        for block in self._live.values():
            mine = (ids >= block.start) & (ids < block.start + block.count)
            if block.values is not None and bool(mine.any()):
                filled[mine] = block.values[ids[mine] - block.start].to(filled.dtype)
        return filled


# -- Tried when the model is loaded, with a drawn picture or a made sound: does the packed forward give the model's own logits?

_NEW_TOKENS = 2
_TEXTS = ("What is this?", "Say in a few words what this is, and what it is not.")


@torch.inference_mode()
def media_difference(
    model: Any, runner: ModelRunner, encoder: MediaEncoder, embeddings: MediaEmbeddings, tokenizer: Any
) -> float:
    """Return the largest difference of logits between runner and model for prompts with media, as a share of the largest logit.

    Infinite where media cannot be tokens. Raises whatever a model or its processor raises.
    """
    params = GenerationParams(max_new_tokens=_NEW_TOKENS)
    recording, rows, inputs = Recording(), [], []
    for number, text in enumerate(_TEXTS):
        part = _made_image(number) if "image" in encoder.kinds else _made_sound(number)
        messages: list[Any] = [{"role": "user", "content": checked_content([part, text], NOWHERE, 1)}]
        prompt = encoder.prompt(tokenizer, messages, {})
        encoder.read(prompt)
        placed = encoder.placed(padded([prompt]), model)
        held = embeddings.hold((str(number),), prompt.ids, placed)
        if held is None:
            return float("inf")
        inputs.append((placed, held.block))
        rows.append(TokenSequence(Request(str(number), "", (), params), held.ids, NullTokenizer(), frozenset()))
    scheduler: Scheduler[AnySequence] = Scheduler(BatchLimits(len(rows), 1 << 20, cascade=1))
    scheduler.add(rows)
    with runner.sampling_with(recording):
        while plan := scheduler.plan():
            scheduler.done(plan, runner.run(plan))
    runner.clear()
    worst = 0.0
    with runner.detached():
        for row, (placed, block) in zip(rows, inputs, strict=True):
            embeddings.let_go(block)
            whole = extended(placed, [row.generated[:-1]])
            expected = model(**whole).logits[0, len(row.prompt) - 1 :].float()
            worst = max(worst, difference(torch.stack(recording.logits[id(row)]), expected))
    return worst


def _made_image(number: int) -> dict[str, Any]:
    import PIL.Image

    size = (96, 64) if number else (64, 64)
    return {"type": "image", "image": PIL.Image.linear_gradient("L").resize(size).convert("RGB")}


def _made_sound(number: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(number)
    samples = torch.rand(8000 * (number + 1), generator=generator) - 0.5
    return {"type": "audio", "audio": {"array": samples.numpy(), "sampling_rate": 16_000}}
