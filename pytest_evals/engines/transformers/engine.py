"""Brings everything together: requests in, rows through a loop, results out as they finish."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pytest_evals.completion import Completion, Failure, Likelihood
from pytest_evals.engines.kind import tell_progress
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
from pytest_evals.engines.transformers import tensor_parallel
from pytest_evals.engines.transformers.adapters import AdapterTurns
from pytest_evals.engines.transformers.backends.protocol import AnySequence, Backend
from pytest_evals.engines.transformers.chat_templates import ends_note
from pytest_evals.engines.transformers.cpu.tuning import set_threads
from pytest_evals.engines.transformers.encoding import RequestEncoder
from pytest_evals.engines.transformers.kept_checks import KeptChecks, kept_checks
from pytest_evals.engines.transformers.loading import LoadedModel, end_tokens, load_model
from pytest_evals.engines.transformers.model_sampling import own_sampling
from pytest_evals.engines.transformers.replies import GeneratedReply
from pytest_evals.engines.transformers.selection import Backends
from pytest_evals.engines.transformers.sequence import ScoringSequence, TokenSequence
from pytest_evals.engines.transformers.usage import UsageMeter
from pytest_evals.errors import ModelError
from pytest_evals.generation import params_by_use
from pytest_evals.hashing import content_hash
from pytest_evals.media.parts import media_of

VERSION = 5
"""Part of every fingerprint; raise it when the same request may give another text."""
_NEWS_SECONDS = 1.0
_PARAMS = params_by_use("no", "device", "host")
"""Those that say how they use logits; any other is refused."""


class TransformersEngine:
    """A language model of transformers, generating in batches."""

    def __init__(
        self,
        loaded: LoadedModel,
        backends: Backends,
        seconds: float = 0.0,
        turns: AdapterTurns | None = None,
        adapter: str | None = None,
    ) -> None:
        self.model, self.tokenizer = loaded.model, loaded.tokenizer
        self.info = EngineInfo(
            loaded.device,
            loaded.dtype,
            _context_of(loaded.model.config.get_text_config(decoder=True)),
            _identity(loaded, backends),
            notes=(*backends.notes, *_code_notes(loaded), *_ends_notes(loaded)),
            rows=backends.budget.rows,
            seconds=seconds,
        )
        self.capabilities = Capabilities(True, _PARAMS, loaded.processor.kinds, loaded.processor.problem)
        self._answers: dict[str, PendingRequest] = {}
        self._ranks = loaded.ranks
        self._turns = turns
        self._adapter = adapter
        self.tell: Callable[[str], None] | None = None
        """Told of what takes long beside answers."""
        self._waiting: dict[str | None, list[Request]] = {}
        """Requests to other adapters than the one that is in."""
        self._use(loaded if turns is None else turns.loaded, backends)

    def _use(self, loaded: LoadedModel, backends: Backends) -> None:
        """Answer with these weights from now on."""
        self._identity = _identity(loaded, backends)
        self._intake = RequestEncoder(
            loaded, self.info, self.capabilities, None if backends.media is None else backends.media.encoder
        )
        self._loops: list[Backend] = backends.loops
        self._media = backends.media
        # Requests that want to be alone are computed when nothing else is left to do.
        self._order = [self._loops[0], *([backends.media] if backends.media is not None else []), *self._loops[1:]]
        self._meter: UsageMeter = backends.meter
        self._tuning = backends.tuning

    def generate(self, requests: Inbox) -> Iterator[Event]:
        """See `Engine.generate`."""
        told, tokens = time.perf_counter(), 0
        if self._ranks > 1 and not isinstance(requests, tensor_parallel.SharedInbox):
            requests = tensor_parallel.SharedInbox(requests)
        while True:
            arrived = requests.take(wait=not self._busy)
            if not arrived and not self._busy:
                return
            yield from self._accept(arrived)
            self._prepare(requests)
            yield from self._turn()
            if self._media is not None:
                yield from self._collect(self._media.feed())
            for loop in self._order:
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
            if now - told > _NEWS_SECONDS or not any(self._order):
                yield Working(tokens, self._meter.snapshot())
                told, tokens = now, 0
            if requests.aborted:
                return

    def close(self) -> None:
        """Nothing to do: the end of the process frees the device."""

    @property
    def _busy(self) -> bool:
        return bool(self._waiting) or any(self._order)

    def _turn(self) -> Iterator[Event]:
        """Where nothing else is left to do, put in the adapter that has waited longest, and take its requests."""
        if not self._waiting or any(self._order):
            return
        adapter = next(iter(self._waiting))
        requests = self._waiting.pop(adapter)
        if self._turns is None:
            why = "this engine has no adapters"
            yield from (Result(request.id, error=Failure("engine", why)) for request in requests)
            return
        known = set(self.info.notes)
        try:
            backends = self._turns.turn_to(adapter)
        except ModelError as error:
            adapter, backends = None, self._turns.current
            failure = Failure("engine", str(error), unloadable=True)
            yield from (Result(request.id, error=failure) for request in requests)
            requests = []
        self._adapter = adapter
        self._use(self._turns.loaded, backends)
        yield from (Noted(note) for note in backends.notes if note not in known)
        yield from self._accept(requests)

    def _accept(self, arrived: Sequence[Request]) -> Iterator[Result]:
        """Hand rows of new requests to their loops; those that cannot be answered are answered with why."""
        rows: dict[bool, list[AnySequence]] = {False: [], True: []}
        for request in arrived:
            if request.adapter != self._adapter:
                self._waiting.setdefault(request.adapter, []).append(request)
                continue
            accepted = self._intake.accept(request)
            if isinstance(accepted, Failure):
                yield Result(request.id, error=accepted)
                continue
            self._answers[request.id] = PendingRequest(request, accepted, time.perf_counter(), self._identity)
            if self._media is not None and media_of(request.messages):
                self._media.add(accepted)
            else:
                rows[request.alone].extend(accepted)
        if rows[False]:
            self._loops[0].add(rows[False])
        if rows[True]:
            self._loops[-1].add(rows[True])

    def tune(self) -> None:
        """Set up now what makes later answers faster: nothing is waited for."""
        if self._tuning is not None:
            self._tuning.run()

    def _prepare(self, requests: Inbox) -> None:
        """Let the rows of requests end soon that no one waits for, and set up what is worth it for those that are left."""
        for key in requests.take_cancelled():
            if key in self._answers:
                self._answers[key].cancel()
        if self._tuning is not None:
            self._tuning.tell = self.tell
            self._tuning.run_if_due(sum(answer.rows_left for answer in self._answers.values()))

    def _collect(self, rows: list[tuple[AnySequence, Failure | None]]) -> Iterator[Result]:
        """Yield the result of each request whose last row this was."""
        for row, failure in rows:
            if self._media is not None:
                self._media.release(row)
            answer = self._answers[row.request.id]
            if answer.take(row, failure):
                del self._answers[row.request.id]
                yield answer.result(time.perf_counter())


def load(
    spec: ModelSpec, options: dict[str, Any], report: Callable[[str], None], *, quick: bool = False
) -> TransformersEngine:
    """Load the model that ``spec`` names, check how it can be run and measure what fits. Raises `ModelError`.

    ``quick``: take what was found out when it was loaded before, and put off what takes a while to set up until there is enough to
    compute.
    """
    ranks = spec.options.get("tp", 1)
    if ranks > 1:
        report(f"starting {ranks} ranks")
        tensor_parallel.start(ranks, {"spec": spec.text, "root": str(Path.cwd()), "options": options})
    return open_rank(spec, options, report, quick=quick)


def open_rank(
    spec: ModelSpec, options: dict[str, Any], report: Callable[[str], None], *, quick: bool = False
) -> TransformersEngine:
    """Load what this process holds of the model: everything, or its part under tensor parallelism."""
    started = time.perf_counter()
    loaded = load_model(spec, options, report)
    # Ranks must find the same out, each for itself.
    checks = kept_checks(spec, options, loaded.identity["weights"]) if quick and loaded.ranks == 1 else KeptChecks()
    if loaded.device == "cpu":
        set_threads(options.get("replicas", 1) * loaded.ranks, partial(checks.recall, "threads", int, timed=True))
    tell_progress(report, "checking how it is computed")
    turns, adapter = AdapterTurns(loaded, spec, options, checks, deferred=quick), options.get("adapter")
    try:
        backends = turns.turn_to(adapter)
    except ModelError:
        if adapter is None:
            raise
        # Others may be asked too; its own requests will say why.
        adapter, backends = None, turns.current
    seconds = time.perf_counter() - started
    report(f"loaded in {seconds:.1f} s")
    engine = TransformersEngine(loaded, backends, seconds, turns, adapter)
    engine.tell = partial(tell_progress, report)
    return engine


# -- Rows -> the result of the request that they belong to.


class PendingRequest:
    """A request in the making: one row for each sample or choice; for a choice that is longer than the context, several."""

    def __init__(
        self, request: Request, rows: Sequence[AnySequence], arrived: float, identity: Mapping[str, Any]
    ) -> None:
        self._request = request
        self._rows = list(rows)
        self._arrived = arrived
        self._identity = identity
        self._open = {id(row) for row in rows}
        self._failure: Failure | None = None

    def take(self, row: AnySequence, failure: Failure | None) -> bool:
        """Take note that a row is done; return whether that was the last one."""
        self._open.discard(id(row))
        self._failure = self._failure or failure
        return not self._open

    def cancel(self) -> None:
        """Let rows end with their next token."""
        for row in self._rows:
            if isinstance(row, TokenSequence):
                row.cancelled = True

    @property
    def rows_left(self) -> int:
        """Rows that are not done."""
        return len(self._open)

    def result(self, now: float) -> Result:
        """Return the result, at the time ``now``."""
        if self._failure is not None:
            return Result(self._request.id, error=self._failure)
        begun = min((row.started for row in self._rows if row.started is not None), default=now)
        latency, queued = now - begun, max(0.0, begun - self._arrived)
        first = self._rows[0]
        if isinstance(first, TokenSequence):
            return Result(self._request.id, self._completion(first, latency, queued))
        scored = [row for row in self._rows if isinstance(row, ScoringSequence)]
        likelihoods = tuple(
            _likelihood(text, [row for row in scored if row.choice == index])
            for index, text in enumerate(self._request.choices)
        )
        weighed = Completion(
            prompt_tokens=first.shareable + 1,
            completion_tokens=0,
            likelihoods=likelihoods,
            fingerprint=self._fingerprint([_tokens_read(row, row.tokens) for row in scored]),
            latency=latency,
            queued=queued,
        )
        return Result(self._request.id, weighed)

    def _completion(self, first: TokenSequence, latency: float, queued: float) -> Completion:
        samples = tuple(_answer(row) for row in self._rows if isinstance(row, TokenSequence))
        return replace(
            samples[0],
            prompt_tokens=first.prompt_tokens,
            logprobs=tuple(first.logprobs) if self._request.params.logprobs else None,
            samples=samples if len(samples) > 1 else (),
            fingerprint=self._fingerprint(_tokens_read(first, first.prompt)),
            latency=latency,
            queued=queued,
        )

    def _fingerprint(self, tokens: Any) -> str:
        """Cover weights, tokenizer, template, dtype, versions, token ids and parameters."""
        asked = [dict(self._identity), tokens, self._rows[0].request.params.to_dict(), self._request.choices]
        media = [part["sha256"] for part in media_of(self._request.messages)]
        return content_hash([*asked, media] if media else asked, length=24)


def _tokens_read(row: AnySequence, tokens: Sequence[int]) -> Sequence[int]:
    """Return the tokens of a row as the model's tokenizer has them: ids that stand for media follow from the order of requests."""
    return tokens if row.media is None else row.media.prompt.ids


def _context_of(config: Any) -> int | None:
    """Return the tokens that a model reads; `None` where it says nothing, or that any number will do."""
    size = getattr(config, "max_position_embeddings", None)
    return size if isinstance(size, int) and size > 0 else None


def _identity(loaded: LoadedModel, backends: Backends) -> dict[str, Any]:
    sampling = own_sampling(loaded.model.generation_config).to_dict()
    own = {"generation_config": sampling} if sampling else {}
    return {**loaded.identity, "version": VERSION, "loop": backends.name, **own}


def _code_notes(loaded: LoadedModel) -> list[str]:
    return ["code of the model's repository ran (?remote_code=true)"] if loaded.identity.get("remote_code") else []


def _ends_notes(loaded: LoadedModel) -> list[str]:
    note = ends_note(loaded.tokenizer, end_tokens(loaded.model, loaded.tokenizer))
    return [note] if note else []


def _answer(row: TokenSequence) -> Completion:
    reply = row.reply or GeneratedReply("")
    return Completion(
        reply.text,
        finish_reason=row.finish_reason or "stop",
        completion_tokens=len(row.generated),
        reasoning=reply.reasoning,
        reasoning_tokens=reply.reasoning_tokens,
        tool_calls=reply.tool_calls,
        raw=reply.raw,
        tool_call_error=reply.tool_call_error,
    )


def _likelihood(text: str, rows: Sequence[ScoringSequence]) -> Likelihood:
    total = sum(logprob for row in rows for logprob in row.logprobs)
    tokens = sum(len(row.continuation) for row in rows)
    return Likelihood(text, total, tokens, len(text.encode()), all(row.likeliest for row in rows))
