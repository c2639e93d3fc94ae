"""Brings scheduler and runner together: requests in, batches through the model, results out as rows finish."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import torch

from pytest_evals.completion import Failure
from pytest_evals.engines.protocol import (
    Capabilities,
    EngineInfo,
    Event,
    Inbox,
    Request,
    Result,
    Started,
    Working,
    refusal,
)
from pytest_evals.engines.spec import ModelSpec
from pytest_evals.engines.transformers.device import cell_bytes, choose_budget
from pytest_evals.engines.transformers.prompts import encode
from pytest_evals.engines.transformers.row import Row
from pytest_evals.engines.transformers.runner import Runner, is_fatal, is_out_of_memory
from pytest_evals.engines.transformers.scheduler import Budget, Scheduler
from pytest_evals.engines.transformers.weights import Loaded, load_model
from pytest_evals.errors import ModelError
from pytest_evals.ids import content_hash

VERSION = 1
"""Part of every fingerprint; raise it when the same request may give another text."""
_NEWS_SECONDS = 1.0
_PADDABLE = {"full_attention", "sliding_attention", "chunked_attention"}


class TransformersEngine:
    """A causal language model of transformers, generating in batches."""

    def __init__(self, loaded: Loaded, budget: Budget) -> None:
        config = loaded.model.config.get_text_config(decoder=True)
        self.model, self.tokenizer = loaded.model, loaded.tokenizer
        self._runner = Runner(loaded.model, loaded.device)
        self._scheduler: Scheduler[Row] = Scheduler(budget)
        self._context = getattr(config, "max_position_embeddings", None)
        self._ends = end_tokens(loaded.model, loaded.tokenizer)
        self._identity = {**loaded.identity, "version": VERSION}
        self.info = EngineInfo(loaded.device, loaded.dtype, self._context, self._identity)
        self.capabilities = Capabilities(Capabilities().params | {"logprobs", "template"})

    def generate(self, requests: Inbox) -> Iterator[Event]:
        """See `Engine.generate`."""
        while True:
            arrived = requests.take(wait=not self._scheduler)
            if not arrived and not self._scheduler:
                return
            for request in arrived:
                accepted = self._accept(request)
                if isinstance(accepted, Row):
                    self._scheduler.add([accepted])
                else:
                    yield Result(request.id, error=accepted)
            batch = self._scheduler.next_batch()
            if batch:
                yield Started(tuple(row.request.id for row in batch))
                yield from self._run(batch, requests)
            if requests.aborted:
                return

    def close(self) -> None:
        """Nothing to do: the end of the process frees the device."""

    def _accept(self, request: Request) -> Row | Failure:
        """Return the request as a row, or why it cannot be answered."""
        refused = refusal(request, self.capabilities)
        if refused:
            return refused
        try:
            prompt = encode(self.tokenizer, request.messages, request.params.template)
        except ModelError as error:
            return Failure("model", str(error))
        except Exception as error:  # noqa: BLE001 - templates are programs: what they do with odd content is theirs
            return Failure("model", f"the prompt cannot be encoded: {type(error).__name__}: {error}")
        wanted = len(prompt) + request.params.max_new_tokens
        if self._context is not None and wanted > self._context:
            room = self._context - len(prompt)
            advice = f"max_new_tokens of at most {room}" if room > 0 else "a shorter prompt"
            counts = f"{len(prompt)} tokens and max_new_tokens {request.params.max_new_tokens}"
            return Failure(
                "model", f"the prompt has {counts}, more than the model's context of {self._context}; use {advice}"
            )
        return Row(request, prompt, self.tokenizer, self._ends)

    def _run(self, batch: list[Row], requests: Inbox) -> Iterator[Event]:
        try:
            yield from self._generate(batch, requests)
            return
        except Exception as error:
            # One batch's failure is not the run's: it is narrowed down to the row that caused it.
            if is_fatal(error):
                raise
            failure = self._explain(error)
            shrink = is_out_of_memory(error)
        # Outside of the except block: the traceback holds the tensors that are to be freed.
        self._runner.free()
        unfinished = [row for row in batch if row.finish_reason is None]
        if len(batch) == 1:
            yield from (Result(row.request.id, error=failure) for row in unfinished)
            return
        for row in unfinished:
            row.reset()
        self._scheduler.halve(unfinished, shrink=shrink)

    def _explain(self, error: Exception) -> Failure:
        if is_out_of_memory(error):
            return Failure("engine", f"not enough memory on {self.info.device} for this request alone: {error}")
        return Failure("engine", f"generation failed: {type(error).__name__}: {error}")

    def _generate(self, batch: list[Row], requests: Inbox) -> Iterator[Event]:
        started = told = time.perf_counter()
        tokens = 0
        for finished in self._runner.run(batch):
            now = time.perf_counter()
            yield from (self._result(row, now - started) for row in finished)
            tokens += sum(row.finish_reason is None for row in batch)
            if now - told > _NEWS_SECONDS:
                yield Working(tokens)
                told, tokens = now, 0
            if requests.aborted:
                return

    def _result(self, row: Row, seconds: float) -> Result:
        return Result(
            row.request.id,
            text=row.text,
            finish_reason=row.finish_reason or "stop",
            prompt_tokens=row.prompt_tokens,
            completion_tokens=len(row.generated),
            logprobs=tuple(row.logprobs) if row.request.params.logprobs else None,
            latency=seconds,
            fingerprint=content_hash([self._identity, row.prompt, row.request.params.to_dict()], length=24),
        )


def end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Return the ids that end a completion: those of the model's generation config, or the tokenizer's end-of-text
    token.
    """
    configured = model.generation_config.eos_token_id
    if configured is None:
        configured = tokenizer.eos_token_id
    if configured is None:
        return frozenset()
    return frozenset(configured if isinstance(configured, (list, tuple)) else [configured])


def free_memory(device: str) -> int:
    """Return the bytes that are free on the device now."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def load(spec: ModelSpec, options: dict[str, Any], report: Callable[[str], None]) -> TransformersEngine:
    """Load the model that ``spec`` names and measure what fits. Raises `ModelError`."""
    loaded = load_model(spec, options, report)
    config = loaded.model.config.get_text_config(decoder=True)
    budget = choose_budget(
        spec.options.get("batch", options["batch"]),
        loaded.device,
        free=free_memory(loaded.device),
        cell=cell_bytes(config, loaded.model.dtype.itemsize),
        logits=config.vocab_size * 4,
        one_by_one=not set(getattr(config, "layer_types", None) or ()) <= _PADDABLE,
    )
    return TransformersEngine(loaded, budget)
