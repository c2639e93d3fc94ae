"""Brings everything together: requests in, rows through a loop, results out as they finish."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pytest_evals.completion import Failure
from pytest_evals.engines.protocol import (
    Capabilities,
    EngineInfo,
    Event,
    Inbox,
    Noted,
    Request,
    Result,
    Started,
    Working,
)
from pytest_evals.engines.spec import ModelSpec
from pytest_evals.engines.transformers import parallel
from pytest_evals.engines.transformers.answers import Answer
from pytest_evals.engines.transformers.intake import Intake
from pytest_evals.engines.transformers.loop import AnyRow, Loop
from pytest_evals.engines.transformers.loops import Machinery, make_machinery
from pytest_evals.engines.transformers.meter import Meter
from pytest_evals.engines.transformers.threads import set_threads
from pytest_evals.engines.transformers.weights import Loaded, load_model
from pytest_evals.generation import GenerationParams

VERSION = 3
"""Part of every fingerprint; raise it when the same request may give another text."""
_NEWS_SECONDS = 1.0
_ALL_PARAMS = frozenset(GenerationParams.__slots__)


class TransformersEngine:
    """A language model of transformers, generating in batches."""

    def __init__(self, loaded: Loaded, machinery: Machinery, seconds: float = 0.0) -> None:
        identity = {**loaded.identity, "version": VERSION, "loop": machinery.name}
        self.model, self.tokenizer = loaded.model, loaded.tokenizer
        self.info = EngineInfo(
            loaded.device,
            loaded.dtype,
            getattr(loaded.model.config.get_text_config(decoder=True), "max_position_embeddings", None),
            identity,
            notes=tuple(machinery.notes),
            rows=machinery.budget.rows,
            seconds=seconds,
        )
        self.capabilities = Capabilities(likelihoods=True, params=_ALL_PARAMS)
        self._intake = Intake(loaded, self.info, self.capabilities)
        self._loops: list[Loop] = machinery.loops
        self._meter: Meter = machinery.meter
        self._answers: dict[str, Answer] = {}
        self._ranks = loaded.ranks

    def generate(self, requests: Inbox) -> Iterator[Event]:
        """See `Engine.generate`."""
        told, tokens = time.perf_counter(), 0
        if self._ranks > 1 and not isinstance(requests, parallel.SharedInbox):
            requests = parallel.SharedInbox(requests)
        while True:
            arrived = requests.take(wait=not any(self._loops))
            if not arrived and not any(self._loops):
                return
            yield from self._accept(arrived)
            for loop in self._loops:
                # Requests that want to be alone are computed when nothing else is left to do.
                if loop:
                    progress = loop.step()
                    break
            else:
                continue
            tokens += progress.tokens
            begun = tuple(dict.fromkeys(row.request.id for row in progress.begun))
            if begun:
                yield Started(begun)
            yield from map(Noted, progress.notes)
            yield from self._collect([(row, None) for row in progress.finished])
            yield from self._collect(list(progress.failed))
            now = time.perf_counter()
            if now - told > _NEWS_SECONDS or not any(self._loops):
                yield Working(tokens, self._meter.snapshot())
                told, tokens = now, 0
            if requests.aborted:
                return

    def close(self) -> None:
        """Nothing to do: the end of the process frees the device."""

    def _accept(self, arrived: list[Request]) -> Iterator[Result]:
        """Hand rows of new requests to their loops; those that cannot be answered are answered with why."""
        rows: dict[bool, list[AnyRow]] = {False: [], True: []}
        for request in arrived:
            accepted = self._intake.accept(request)
            if isinstance(accepted, Failure):
                yield Result(request.id, error=accepted)
                continue
            self._answers[request.id] = Answer(request, accepted, time.perf_counter(), self.info.identity)
            rows[request.alone].extend(accepted)
        if rows[False]:
            self._loops[0].add(rows[False])
        if rows[True]:
            self._loops[-1].add(rows[True])

    def _collect(self, rows: list[tuple[AnyRow, Failure | None]]) -> Iterator[Result]:
        """Yield the result of each request whose last row this was."""
        for row, failure in rows:
            answer = self._answers[row.request.id]
            if answer.take(row, failure):
                del self._answers[row.request.id]
                yield answer.result(time.perf_counter())


def load(spec: ModelSpec, options: dict[str, Any], report: Callable[[str], None]) -> TransformersEngine:
    """Load the model that ``spec`` names, check how it can be run and measure what fits. Raises `ModelError`."""
    ranks = int(spec.options.get("tp", 1))
    if ranks > 1:
        report(f"starting {ranks} ranks")
        parallel.start(ranks, {"spec": spec.text, "root": str(Path.cwd()), "options": options})
    return open_rank(spec, options, report)


def open_rank(spec: ModelSpec, options: dict[str, Any], report: Callable[[str], None]) -> TransformersEngine:
    """Load what this process holds of the model: everything, or its part under tensor parallelism."""
    started = time.perf_counter()
    loaded = load_model(spec, options, report)
    if loaded.device == "cpu":
        set_threads(options.get("replicas", 1) * loaded.ranks)
    machinery = make_machinery(loaded, spec, options)
    seconds = time.perf_counter() - started
    report(f"loaded in {seconds:.1f} s")
    return TransformersEngine(loaded, machinery, seconds)
