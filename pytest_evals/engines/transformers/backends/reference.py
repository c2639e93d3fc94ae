"""The plain way: one row at a time, attention and layers as transformers made them.

It answers requests that want to be alone (an audit), and it decides near-ties where exactness is asked for: two logits
that differ by less than rounding may make depend on which rows were computed together.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from pytest_evals.engines.transformers.backends.generate import GenerateBackend
from pytest_evals.engines.transformers.backends.protocol import AnySequence, StepProgress
from pytest_evals.engines.transformers.cpu.linear import PackedWeights
from pytest_evals.engines.transformers.packed.model_runner import ModelRunner
from pytest_evals.engines.transformers.scheduling.plan import BatchLimits
from pytest_evals.engines.transformers.sequence import TokenSequence
from pytest_evals.engines.transformers.usage import UsageMeter


class ReferenceBackend:
    """See `Loop`."""

    def __init__(self, model: Any, runner: ModelRunner, layout: PackedWeights, meter: UsageMeter, device: str) -> None:
        self._model = model
        self._runner = runner
        self.layout = layout
        self._device = device
        self._inner = GenerateBackend(model, BatchLimits(1, 1), meter, device, pads=False)
        takes = inspect.signature(model.forward).parameters
        self._options = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}

    def add(self, rows: Sequence[AnySequence]) -> None:
        """See `Loop.add`."""
        self._inner.add(rows)

    def __bool__(self) -> bool:
        return bool(self._inner)

    def step(self) -> StepProgress:
        """See `Loop.step`."""
        with self.plainly():
            return self._inner.step()

    @contextmanager
    def plainly(self) -> Iterator[None]:
        """Have the model compute as transformers made it."""
        with self._runner.detached(), self.layout.off():
            yield

    @torch.inference_mode()
    def next_logits(self, row: TokenSequence) -> torch.Tensor:
        """Return the logits of the row's next token, ``[vocabulary]``, computed as ``generate`` computes one prompt:
        the prompt at once, then token after token.
        """
        with self.plainly():
            output = self._forward(row.prompt, 0, None)
            for index, token in enumerate(row.generated):
                output = self._forward([token], len(row.prompt) + index, output.past_key_values)
        logits: torch.Tensor = output.logits[0, -1]
        return logits

    def _forward(self, tokens: Sequence[int], before: int, cache: Any) -> Any:
        ids = torch.tensor([list(tokens)], device=self._device)
        mask = ids.new_ones((1, before + len(tokens)))
        return self._model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **self._options)
