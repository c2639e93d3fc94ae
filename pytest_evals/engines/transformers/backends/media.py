"""Rows with images or audio: read when their turn comes, and written by transformers' ``generate``, a batch at a time.

What is read of a medium is large, so it is kept for the rows of a batch alone. Whether rows of different lengths may share a batch
is tried with the first two that do: padding must not change their logits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch

from pytest_evals.completion import Failure
from pytest_evals.engines.transformers.backends.generate import GenerateBackend
from pytest_evals.engines.transformers.backends.protocol import AnySequence, Backend, StepProgress
from pytest_evals.engines.transformers.multimodal import MediaEncoder, MediaPrompt, extended, padded
from pytest_evals.engines.transformers.packed.media_embeddings import MediaBlock, MediaEmbeddings
from pytest_evals.engines.transformers.sampler import score
from pytest_evals.engines.transformers.scheduling.plan import BatchLimits
from pytest_evals.engines.transformers.sequence import ScoringSequence, TokenSequence
from pytest_evals.engines.transformers.usage import UsageMeter
from pytest_evals.engines.transformers.verification import TOLERANCE
from pytest_evals.errors import ModelError, UnsupportedError
from pytest_evals.media.parts import media_of

_MOST_ROWS = 16
"""Rows of a batch: what is read of their media is in memory together."""
_TRIED_TOKENS = 2


@dataclass(slots=True)
class RowMedia:
    """The media of a row. Until they are read, the row's prompt has one token in the place of each medium.

    Args:
        prompt: The conversation with its media; rows of one request share it.
        check: Takes the tokens of the prompt and the tokens to generate; raises `ModelError` if they do not fit together.
        dropped: Tokens at the end of the prompt that belong to the continuation of a row that is only scored.
    """

    prompt: MediaPrompt
    check: Callable[[int, int], None]
    dropped: int = 0
    tail: tuple[int, ...] = ()
    """Tokens between the prompt and the continuation, as those that end the thoughts of a model."""
    block: MediaBlock | None = None
    """What stands for the media where they are tokens of the packed forward."""


def media_of_row(row: AnySequence) -> RowMedia:
    """Return the media of a row that has some."""
    if row.media is None:
        raise RuntimeError(f"request {row.request.id!r} has no images or audio")
    return row.media


def attach_media(
    rows: Sequence[AnySequence], prompt: MediaPrompt, outline: int, check: Callable[[int, int], None]
) -> None:
    """Give rows the media of their prompt. They hold an ``outline`` of it with this many tokens."""
    for row in rows:
        row.media = RowMedia(prompt, check)
        if isinstance(row, ScoringSequence):
            context = row.tokens[: row.shareable + 1]
            row.media.dropped, row.media.tail = max(0, outline - len(context)), tuple(context[outline:])


def read_media(row: AnySequence, encoder: MediaEncoder) -> None:
    """Read the media of a row, so that its prompt has all its tokens. Raises `ModelError`."""
    media = media_of_row(row)
    if not media.prompt.inputs:
        encoder.read(media.prompt)
    place(row, media.prompt.ids)
    new = row.max_new_tokens if isinstance(row, TokenSequence) else len(row.continuation) - 1
    media.check(len(media.prompt.ids) - media.dropped + len(media.tail), new)


def place(row: AnySequence, ids: Sequence[int]) -> None:
    """Have these ids as the prompt of a row."""
    media = media_of_row(row)
    context = [*ids[: len(ids) - media.dropped], *media.tail]
    if isinstance(row, TokenSequence):
        row.prompt = context
        row.restart()
        return
    row.tokens = [*context, *row.continuation][:-1]
    row.shareable, row.cells = len(context) - 1, len(row.tokens)


def scoring_inputs(row: ScoringSequence) -> dict[str, torch.Tensor]:
    """Return what the model reads of a row that is only scored: the prompt, and of the continuation all but its last token."""
    media = media_of_row(row)
    whole, kept = padded([media.prompt]), len(media.prompt.ids) - media.dropped
    shape = whole["input_ids"].shape
    prompt = {name: value[:, :kept] if value.shape == shape else value for name, value in whole.items()}
    return extended(prompt, [[*media.tail, *row.continuation[:-1]]])


class PackedMedia:
    """The packed loop, for rows whose media it takes as tokens. ``rows`` of them are under way at once."""

    def __init__(self, loop: Backend, embeddings: MediaEmbeddings, rows: int) -> None:
        self._loop = loop
        self._embeddings = embeddings
        self._rows = rows
        self._under_way = 0

    @staticmethod
    def takes(row: AnySequence) -> bool:
        """Tell whether a row may be packed: only if nothing reads the token ids of its prompt."""
        return not row.request.alone and not (isinstance(row, TokenSequence) and row.needs_host)

    def has_room(self) -> bool:
        """Tell whether one more may be under way. What is read of its media is in memory as long."""
        return self._under_way < self._rows

    def add(self, row: AnySequence, inputs: dict[str, torch.Tensor]) -> bool:
        """Have a row that was read computed; return whether its media can be tokens. ``inputs`` are those of its prompt."""
        key = tuple(part["sha256"] for part in media_of(row.request.messages))
        media = media_of_row(row)
        held = self._embeddings.hold(key, media.prompt.ids, inputs)
        if held is None:
            return False
        media.block = held.block
        place(row, held.ids)
        media.prompt.inputs = {}
        self._under_way += 1
        self._loop.add([row])
        return True

    def remove(self) -> None:
        """Leave the model as it was."""
        self._embeddings.remove()

    def release(self, media: RowMedia) -> None:
        """Take note that a row has been answered."""
        if media.block is not None:
            self._embeddings.let_go(media.block)
            media.block = None
            self._under_way -= 1


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
        packed: PackedMedia | None = None,
    ) -> None:
        super().__init__(model, BatchLimits(min(budget.rows, _MOST_ROWS), budget.cells), meter, device, pads=True)
        self.encoder = encoder
        self._plainly = plainly
        self._packed = packed
        self._packable: deque[AnySequence] = deque()
        self._padding_tried = False
        self._notes: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._packable) or super().__bool__()

    def remove(self) -> None:
        """Leave the model as it was."""
        if self._packed is not None:
            self._packed.remove()

    def add(self, rows: Sequence[AnySequence]) -> None:
        """See `Backend.add`."""
        packable = [row for row in rows if self._packed is not None and self._packed.takes(row)]
        self._packable.extend(packable)
        chosen = set(map(id, packable))
        super().add([row for row in rows if id(row) not in chosen])

    def feed(self) -> list[tuple[AnySequence, Failure | None]]:
        """Hand rows over to the packed loop, as many as it has room for; return those whose media cannot be read."""
        refused: list[tuple[AnySequence, Failure | None]] = []
        while self._packed is not None and self._packable and self._packed.has_room():
            row = self._packable.popleft()
            failure = self._read(row)
            if failure is not None:
                refused.append((row, failure))
            elif not self._packed.add(row, self.encoder.placed(padded([media_of_row(row).prompt]), self._model)):
                super().add([row])
        return refused

    def release(self, row: AnySequence) -> None:
        """Take note that a row has been answered."""
        if self._packed is not None and row.media is not None:
            self._packed.release(row.media)

    def _read(self, row: AnySequence) -> Failure | None:
        """Read the media of a row; return why that cannot be done."""
        try:
            read_media(row, self.encoder)
        except ModelError as error:
            return Failure("unsupported" if isinstance(error, UnsupportedError) else "model", str(error))
        return None

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
            media_of_row(row).prompt.inputs = {}
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
            failure = self._read(row)
            if failure is not None:
                refused.append((self._waiting.pop(0), failure))
                continue
            longest = max(row.cells, *(each.cells for each in batch)) if batch else row.cells
            if batch and (len(batch) + 1) * longest > self._budget.cells:
                break
            batch.append(self._waiting.pop(0))
        return batch

    @torch.inference_mode()
    def _generate(self, rows: list[TokenSequence]) -> None:
        inputs = self._together(rows) if len({len(row.generated) for row in rows}) == 1 else None
        if inputs is not None:
            self._go_on(rows, inputs)
            return
        for row in rows:
            if not row.ended:
                self._go_on([row], padded([media_of_row(row).prompt]))

    def _go_on(self, rows: list[TokenSequence], inputs: dict[str, torch.Tensor]) -> None:
        """Have rows written whose prompts are ``inputs``, and which may have begun."""
        self._write(rows, self.encoder.placed(extended(inputs, [row.generated for row in rows]), self._model))

    def _together(self, rows: Sequence[TokenSequence]) -> dict[str, torch.Tensor] | None:
        """Return the inputs of a batch, `None` where its rows have to be computed one by one."""
        lengths = [len(row.prompt) for row in rows]
        differ = min(lengths) != max(lengths)
        if differ and not self._pads:
            return None
        prompts = [media_of_row(row).prompt for row in rows]
        inputs = self.encoder.together(prompts)
        if inputs is not None and differ and not self._padding_tried:
            self._padding_tried = True
            self._pads = self._padding_is_harmless(
                [prompts[lengths.index(min(lengths))], prompts[lengths.index(max(lengths))]]
            )
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
            output = self._model.generate(**self.encoder.placed(inputs, self._model), **options, **lengths)
        return torch.stack(output.logits).float()

    @torch.inference_mode()
    def _score(self, rows: list[ScoringSequence]) -> None:
        for row in rows:
            started = self._meter.now()
            output = self._model(**self.encoder.placed(scoring_inputs(row), self._model))
            score(row, output.logits[0, -len(row.continuation) :])
            self._meter.count(started, prompt=len(row.tokens), decode=0, generated=0)
