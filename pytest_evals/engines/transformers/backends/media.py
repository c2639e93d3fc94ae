"""Rows with images or audio: read when their turn comes, and written by transformers' ``generate``, a batch at a time.

What is read of a medium is large, so it is kept for the rows of a batch alone. Whether rows of different lengths may share a batch
is tried with the first two that do: padding must not change their logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch

from pytest_evals.completion import Failure
from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers.backends.generate import GenerateBackend
from pytest_evals.engines.transformers.backends.protocol import AnySequence, StepProgress
from pytest_evals.engines.transformers.multimodal import MediaEncoder, MediaPrompt, extended, padded
from pytest_evals.engines.transformers.sampler import score
from pytest_evals.engines.transformers.scheduling.plan import BatchLimits
from pytest_evals.engines.transformers.sequence import ScoringSequence, TokenSequence
from pytest_evals.engines.transformers.usage import UsageMeter
from pytest_evals.engines.transformers.verification import TOLERANCE
from pytest_evals.errors import ModelError, UnsupportedError

_MOST_ROWS = 16
"""Rows of a batch: what is read of their media is in memory together."""
_TRIED_TOKENS = 2
CheckRoom = Callable[[int, int], None]
"""Raises `ModelError` for a prompt of so many tokens, to which so many more are to come, that is too long."""


class MediaSequence(TokenSequence):
    """A completion of a prompt with media. Until it is read, ``prompt`` has one token in the place of each medium."""

    def __init__(
        self, request: Request, prompt: Sequence[int], *rest: Any, media: MediaPrompt, check: CheckRoom, **named: Any
    ) -> None:
        super().__init__(request, prompt, *rest, **named)
        self.media = media
        self._check = check

    def read(self, encoder: MediaEncoder) -> None:
        """Read the media, so that the prompt has all its tokens. Raises `ModelError`."""
        if not self.media.inputs:
            encoder.read(self.media)
        self._check(len(self.media.ids), self.max_new_tokens)
        self.prompt = list(self.media.ids)
        self.restart()


class MediaScoring(ScoringSequence):
    """A text whose likelihood after a prompt with media is asked; see `MediaSequence`."""

    def __init__(
        self,
        request: Request,
        context: Sequence[int],
        continuation: Sequence[int],
        choice: int,
        *,
        media: MediaPrompt,
        check: CheckRoom,
        dropped: int,
    ) -> None:
        super().__init__(request, context, continuation, choice)
        self.media = media
        self._check = check
        # So many tokens at the end of the prompt belong to the continuation.
        self._dropped = dropped

    def read(self, encoder: MediaEncoder) -> None:
        """See `MediaSequence.read`."""
        if not self.media.inputs:
            encoder.read(self.media)
        context = self.media.ids[: len(self.media.ids) - self._dropped]
        self._check(len(context) + len(self.continuation) - 1, 0)
        self.tokens = [*context, *self.continuation][:-1]
        self.shareable, self.cells = len(context) - 1, len(self.tokens)

    def inputs(self) -> dict[str, torch.Tensor]:
        """Return what the model reads: the prompt, and of the continuation all but its last token."""
        whole, kept = padded([self.media]), self.shareable + 1
        shape = whole["input_ids"].shape
        prompt = {name: value[:, :kept] if value.shape == shape else value for name, value in whole.items()}
        return extended(prompt, [self.continuation[:-1]])


MediaRow = MediaSequence | MediaScoring


class MediaBackend(GenerateBackend):
    """See `Backend`. ``plainly`` is entered for each batch: in it, the model computes as transformers made it."""

    def __init__(
        self,
        model: Any,
        budget: BatchLimits,
        meter: UsageMeter,
        device: str,
        *,
        encoder: MediaEncoder,
        plainly: Callable[[], AbstractContextManager[None]],
    ) -> None:
        super().__init__(model, BatchLimits(min(budget.rows, _MOST_ROWS), budget.cells), meter, device, pads=True)
        self.encoder = encoder
        self._plainly = plainly
        self._padding_tried = False
        self._notes: list[str] = []

    def step(self) -> StepProgress:
        """Compute one batch to its end."""
        refused: list[tuple[AnySequence, Failure]] = []
        if not self._retries:
            batch = self._read_batch(refused)
            if not batch:
                return StepProgress(failed=refused)
            self._retries.append(batch)
        with self._plainly():
            progress = super().step()
        for row in progress.finished:
            row.media.inputs = {}  # type: ignore[union-attr]  # only such rows come here
        progress.failed += refused
        progress.notes, self._notes = self._notes, []
        return progress

    def _read_batch(self, refused: list[tuple[AnySequence, Failure]]) -> list[AnySequence]:
        """Return the next rows that may be computed together, with their media; those whose media cannot be read are ``refused``."""
        batch: list[AnySequence] = []
        while self._waiting and len(batch) < self._budget.rows:
            row = self._waiting[0]
            alone = row.request.alone or (batch and batch[0].request.alone)
            if batch and (alone or row.generates != batch[0].generates):
                break
            try:
                row.read(self.encoder)  # type: ignore[union-attr]  # only such rows come here
            except ModelError as error:
                kind = "unsupported" if isinstance(error, UnsupportedError) else "model"
                refused.append((self._waiting.pop(0), Failure(kind, str(error))))
                continue
            longest = max(row.cells, *(each.cells for each in batch)) if batch else row.cells
            if batch and (len(batch) + 1) * longest > self._budget.cells:
                break
            batch.append(self._waiting.pop(0))
        return batch

    @torch.inference_mode()
    def _generate(self, rows: list[TokenSequence]) -> None:
        mine = [row for row in rows if isinstance(row, MediaSequence)]
        inputs = self._together(mine) if len({len(row.generated) for row in mine}) == 1 else None
        if inputs is None:
            for row in mine:
                if not row.ended:
                    self._write([row], self._placed(extended(padded([row.media]), [row.generated])))
            return
        self._write(list(mine), self._placed(extended(inputs, [row.generated for row in mine])))

    def _together(self, rows: Sequence[MediaSequence]) -> dict[str, torch.Tensor] | None:
        """Return the inputs of a batch, `None` where its rows have to be computed one by one."""
        lengths = [len(row.prompt) for row in rows]
        differ = min(lengths) != max(lengths)
        if differ and not self._pads:
            return None
        inputs = self.encoder.together([row.media for row in rows])
        if inputs is not None and differ and not self._padding_tried:
            self._padding_tried = True
            ends = (lengths.index(min(lengths)), lengths.index(max(lengths)))
            self._pads = self._padding_is_harmless([rows[index].media for index in ends])
            if not self._pads:
                self._notes.append(
                    "prompts with images or audio are computed one by one: padding would change their logits"
                )
                return None
        return inputs

    def _padding_is_harmless(self, prompts: Sequence[MediaPrompt]) -> bool:
        beside = self.encoder.together(prompts)
        if beside is None:
            return False
        together = self._logits(beside)
        for index, prompt in enumerate(prompts):
            alone = self._logits(padded([prompt]))[:, 0]
            difference = (alone - together[:, index]).abs().max() / alone.abs().max().clamp(min=1e-6)
            if not difference <= TOLERANCE.get(self._model.dtype, 1e-3):
                return False
        return True

    def _logits(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the logits of the first new tokens, ``[tokens, rows, vocabulary]``."""
        options = {"do_sample": False, "pad_token_id": 0, "output_logits": True, "return_dict_in_generate": True}
        lengths = {"max_new_tokens": _TRIED_TOKENS, "min_new_tokens": _TRIED_TOKENS}
        with self._own_defaults():
            output = self._model.generate(**self._placed(inputs), **options, **lengths)
        return torch.stack(output.logits).float()

    def _placed(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return inputs on the model's device; what is no whole number in its precision."""
        return {
            name: value.to(self._device, self._model.dtype if value.is_floating_point() else value.dtype)
            for name, value in inputs.items()
        }

    @torch.inference_mode()
    def _score(self, rows: list[ScoringSequence]) -> None:
        for row in rows:
            if not isinstance(row, MediaScoring):
                continue
            started = self._meter.now()
            output = self._model(**self._placed(row.inputs()))
            score(row, output.logits[0, -len(row.continuation) :])
            self._meter.count(started, prompt=len(row.tokens), decode=0, generated=0)
