"""Answers requests with the numbers that a classifier gives its labels, in batches sorted by length."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl

import torch

from pytest_evals.completion import Completion, Failure
from pytest_evals.engines.encoder_kind import PROMPT_OPTIONS
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
from pytest_evals.engines.transformers.cpu.tuning import set_threads
from pytest_evals.engines.transformers.encoder.batching import ROWS, TOKENS, LengthSortedQueue
from pytest_evals.engines.transformers.encoder.inputs import EncodedInput
from pytest_evals.engines.transformers.encoder.loading import LoadedClassifier, load_classifier
from pytest_evals.engines.transformers.verification import TOLERANCE
from pytest_evals.errors import ModelError
from pytest_evals.hashing import content_hash

_REGRESSES = "gives a number that is not a probability (its problem_type is regression), so it cannot classify; use graders.reward"


@dataclass(slots=True)
class PendingInput:
    """A request that waits, with what the model reads of it, and when it came."""

    request: Request
    encoded: EncodedInput
    arrived: float


@dataclass(slots=True)
class Usage:
    """Sums over a process's life; see the usage of language models."""

    forwards: int = 0
    prompt_tokens: int = 0
    padding_tokens: int = 0
    most_rows: int = 0
    device_seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass
class EncoderEngine:
    """A loaded classifier. ``tokens`` are those of a batch, ``rows`` the most texts of one."""

    loaded: LoadedClassifier
    tokens: int
    rows: int = ROWS
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    capabilities: Capabilities = field(default_factory=lambda: Capabilities(params=frozenset({"seed"})))
    usage: Usage = field(default_factory=Usage)

    def __post_init__(self) -> None:
        loaded = self.loaded
        self._forms: dict[str, Mapping[str, Any]] = {}
        self._accepts_cache = "use_cache" in inspect.signature(loaded.model.forward).parameters
        padded = loaded.padding is not None and self._padding_is_harmless()
        if not padded:
            self.notes = (
                *self.notes,
                "texts of different lengths are computed apart: padding would change its numbers",
            )
        self._queue: LengthSortedQueue[PendingInput] = LengthSortedQueue(self.tokens, self.rows, padded=padded)
        if loaded.padding is None:
            self._queue = LengthSortedQueue(self.tokens, 1, padded=False)
        self.info = EngineInfo(
            loaded.device,
            loaded.dtype,
            loaded.inputs.limit,
            loaded.identity,
            notes=self.notes,
            rows=self.rows,
            seconds=self.seconds,
        )

    def generate(self, requests: Inbox) -> Iterator[Event]:
        """See `Engine.generate`."""
        while True:
            arrived = requests.take(wait=not self._queue)
            if not arrived and not self._queue:
                return
            for request in arrived:
                refused = self._accept(request)
                if refused is not None:
                    yield Result(request.id, error=refused)
            batch = self._queue.take()
            if batch:
                yield Started(tuple(each.request.id for each in batch))
                yield from self._answers(batch)
                yield Working(0, self.usage.to_dict())
            if requests.aborted:
                return

    def close(self) -> None:
        """Nothing to do: the end of the process frees the device."""

    def _accept(self, request: Request) -> Failure | None:
        """Queue a request; return why it cannot be answered, if it cannot."""
        refused = refusal(request, self.capabilities)
        if refused is not None:
            return refused
        form = self._form(request.model)
        if form.get("values") != "logits" and self.loaded.problem == "regression":
            return Failure("unsupported", f"{request.model} {_REGRESSES}")
        if not request.messages:
            return Failure("unsupported", f"{request.model} classifies texts, and there is none")
        try:
            encoded = self.loaded.inputs.encode(
                request.messages,
                conversation=form.get("input") == "conversation",
                truncate=form.get("truncate") == "true",
            )
        except ModelError as error:
            return Failure("model", str(error))
        except Exception as error:  # noqa: BLE001 - tokenizers and templates are programs: what they do with odd texts is theirs
            return Failure("model", f"the text cannot be encoded: {type(error).__name__}: {error}")
        self._queue.add(encoded.length, PendingInput(request, encoded, time.perf_counter()))
        return None

    def _form(self, model: str) -> Mapping[str, Any]:
        """Return what a specification says of how its requests are read."""
        if model not in self._forms:
            self._forms[model] = _prompt_options(model)
        return self._forms[model]

    def _answers(self, batch: Sequence[PendingInput]) -> Iterator[Result]:
        begun = time.perf_counter()
        try:
            logits = self._logits([each.encoded for each in batch])
        except torch.OutOfMemoryError as error:
            yield from self._smaller(batch, error)
            return
        except Exception as error:  # noqa: BLE001 - a model's own code may do anything with an input; the others go on
            message = f"the model failed: {type(error).__name__}: {error}"
            yield from (Result(each.request.id, error=Failure("model", message)) for each in batch)
            return
        self.usage.device_seconds += time.perf_counter() - begun
        now = time.perf_counter()
        for each, row in zip(batch, logits, strict=True):
            yield self._result(each, row, now - begun, max(0.0, begun - each.arrived))

    def _smaller(self, batch: Sequence[PendingInput], error: Exception) -> Iterator[Result]:
        """Compute a batch that the memory had no room for in two halves, and later ones smaller."""
        torch.cuda.empty_cache()
        if len(batch) == 1:
            message = f"the memory of {self.loaded.device} has no room for one text of {batch[0].encoded.length} tokens: {error}"
            yield Result(batch[0].request.id, error=Failure("model", message))
            return
        self._queue.tokens = max(1, self._queue.tokens // 2)
        half = len(batch) // 2
        for part in (batch[:half], batch[half:]):
            yield from self._answers(part)

    def _result(self, pending: PendingInput, row: torch.Tensor, latency: float, queued: float) -> Result:
        request = pending.request
        values = self._values(row, self._form(request.model))
        if not all(map(math.isfinite, values)):
            return Result(
                request.id, error=Failure("model", f"{request.model} gives {values}, which are not finite numbers")
            )
        told = [self.loaded.identity, pending.encoded.fields, dict(self._form(request.model))]
        return Result(
            request.id,
            Completion(
                finish_reason="length" if pending.encoded.cut else "stop",
                prompt_tokens=pending.encoded.length,
                completion_tokens=0,
                scores=dict(zip(self.loaded.labels, values, strict=True)),
                fingerprint=content_hash(told, length=24),
                latency=latency,
                queued=queued,
            ),
        )

    def _values(self, row: torch.Tensor, form: Mapping[str, Any]) -> list[float]:
        """Return what transformers' pipeline makes of logits. Where one of several labels is right, each gets its share. A single
        label, or labels that are each right or wrong on their own, get a probability each.
        """
        if form.get("values") == "logits":
            found = row
        elif self.loaded.problem == "multi_label_classification" or len(row) == 1:
            found = row.sigmoid()
        else:
            found = row.softmax(-1)
        return [float(value) for value in found.tolist()]

    def _padding_is_harmless(self) -> bool:
        """Tell whether a text beside a longer one gets the numbers that it gets alone."""
        inputs = [self.loaded.inputs.encode(_probe(text), conversation=False, truncate=True) for text in _PROBES]
        together = self._logits(inputs)
        alone = torch.stack([self._logits([each])[0] for each in inputs])
        tolerance = TOLERANCE.get(self.loaded.model.dtype, 1e-3)
        self.usage = Usage()
        return bool((together - alone).abs().max() <= tolerance * max(1.0, float(alone.abs().max())))

    @torch.inference_mode()
    def _logits(self, inputs: Sequence[EncodedInput]) -> torch.Tensor:
        """Return the logits of a batch, in fp32 on the CPU."""
        longest = max(each.length for each in inputs)
        fill = {"input_ids": self.loaded.padding or 0, "token_type_ids": self.loaded.tokenizer.pad_token_type_id or 0}
        device = self.loaded.device
        tensors = {
            name: torch.tensor(
                [[*each.fields[name], *[fill[name]] * (longest - each.length)] for each in inputs], device=device
            )
            for name in inputs[0].fields
        }
        kept = [[1] * each.length + [0] * (longest - each.length) for each in inputs]
        tensors["attention_mask"] = torch.tensor(kept, device=device)
        options = {"use_cache": False} if self._accepts_cache else {}
        logits = self.loaded.model(**tensors, **options).logits
        computed = sum(each.length for each in inputs)
        self.usage.forwards += 1
        self.usage.prompt_tokens += computed
        self.usage.padding_tokens += longest * len(inputs) - computed
        self.usage.most_rows = max(self.usage.most_rows, len(inputs))
        return logits.float().cpu()  # type: ignore[no-any-return]  # models of transformers are not annotated


_PROBES = ("A text.", "A longer text, beside which the other one is padded: it must not notice.")


def _probe(text: str) -> tuple[Any, ...]:
    return ({"role": "user", "content": text},)


def _prompt_options(model: str) -> Mapping[str, Any]:
    told = dict(parse_qsl(model.partition("?")[2]))
    return {name: told[name] for name in PROMPT_OPTIONS if name in told}


def load(spec: ModelSpec, options: dict[str, Any], report: Callable[[str], None]) -> EncoderEngine:
    """Load the classifier that ``spec`` names. Raises `ModelError`."""
    started = time.perf_counter()
    loaded = load_classifier(spec, options, report)
    if loaded.device == "cpu":
        set_threads(options.get("replicas", 1))
    wish = spec.options.get("batch", "auto")
    tokens = TOKENS.get(loaded.device.partition(":")[0], TOKENS["cpu"]) if wish == "auto" else int(wish)
    engine = EncoderEngine(loaded, tokens, 1 if options.get("exact") else ROWS)
    seconds = time.perf_counter() - started
    engine.info = replace(engine.info, seconds=seconds)
    report(f"loaded in {seconds:.1f} s")
    return engine
