"""Requests in, results out: as many at a time as the servers take."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pytest_evals.completion import Completion, Failure, FinishReason, ToolCall
from pytest_evals.engines.openai.abilities import Abilities
from pytest_evals.engines.openai.answers import CalledTool, ServedAnswer
from pytest_evals.engines.openai.failures import ServerError
from pytest_evals.engines.openai.likelihoods import LikelihoodReader
from pytest_evals.engines.openai.servers import AllGoneError, ServerPool, server_error_words
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
    refusal,
)
from pytest_evals.errors import UnsupportedError
from pytest_evals.generation import GenerationParams
from pytest_evals.hashing import content_hash
from pytest_evals.media.parts import identified
from pytest_evals.replies.form import ANY_FORM, ReplyForm, written_form
from pytest_evals.replies.reading import read_reply
from pytest_evals.tool_calls.numbering import calls_in, numbered

_POLL = 0.02
_NEWS_SECONDS = 1.0
_CLOSE_SECONDS = 2.0


@dataclass
class Signs:
    """Signs of life of the servers since they were last reported."""

    heard: bool = False

    def hear(self) -> None:
        """Take note of one."""
        self.heard = True


class ServedEngine:
    """A model that servers hold. Answers come as the servers give them, at most as many at a time as they take."""

    def __init__(
        self,
        info: EngineInfo,
        capabilities: Capabilities,
        pool: ServerPool,
        loop: asyncio.AbstractEventLoop,
        signs: Signs,
        reasoning: str = "auto",
        likelihoods: LikelihoodReader | None = None,
    ) -> None:
        self.info = info
        self.capabilities = capabilities
        self._pool = pool
        self._loop = loop
        self._signs = signs
        self._form: ReplyForm = written_form(reasoning) or ANY_FORM
        self._abilities = Abilities(pool)
        self._likelihoods = likelihoods
        self._notes: dict[str, bool] = {}
        self._wanted = 0
        self._thinks = False

    def generate(self, requests: Inbox) -> Iterator[Event]:
        """See `Engine.generate`."""
        running: set[asyncio.Task[Result]] = set()
        ended: list[asyncio.Task[Result]] = []
        told = time.monotonic()

        def end(task: asyncio.Task[Result]) -> None:
            running.discard(task)
            ended.append(task)
            self._pool.room.set()

        try:
            while True:
                fresh = self._taken(requests, wait=not running)
                if fresh:
                    yield Started(tuple(request.id for request in fresh))
                    arrived = time.perf_counter()
                    for request in fresh:
                        task = self._loop.create_task(self._answer(request, arrived))
                        running.add(task)
                        task.add_done_callback(end)
                elif not running or requests.aborted:
                    break
                self._loop.run_until_complete(self._pool.changed(_POLL))
                done, ended[:] = list(ended), []
                yield from self._unsaid_notes()
                yield from (task.result() for task in done)
                if time.monotonic() - told > _NEWS_SECONDS and (self._signs.heard or self._pool.waiting or done):
                    yield Working(0, self._usage())
                    told, self._signs.heard = time.monotonic(), False
                elif not running:
                    yield Working(0, self._usage())
        finally:
            self._loop.run_until_complete(_cancel(running))

    def close(self) -> None:
        """Close the connections."""
        with contextlib.suppress(TimeoutError):
            self._loop.run_until_complete(_cancel(asyncio.all_tasks(self._loop)))
            self._loop.run_until_complete(asyncio.wait_for(self._pool.transport.close(), _CLOSE_SECONDS))
        self._loop.close()

    def _taken(self, requests: Inbox, *, wait: bool) -> list[Request]:
        """Return as many requests as there is room for; one that asks for several samples or choices takes as much of it."""
        taken: list[Request] = []
        while self._wanted < self._pool.capacity:
            found = requests.take(1, wait=wait and not taken)
            if not found:
                break
            taken += found
            self._wanted += _exchanges(found[0])
        return taken

    def _usage(self) -> dict[str, Any]:
        return {**asdict(self._pool.tally), "most_concurrency": self._pool.settled}

    def _unsaid_notes(self) -> Iterator[Noted]:
        for note, said in list(self._notes.items()):
            if not said:
                self._notes[note] = True
                yield Noted(note)

    async def _answer(self, request: Request, arrived: float) -> Result:
        try:
            return await self._result(request, arrived)
        finally:
            self._wanted -= _exchanges(request)

    async def _result(self, request: Request, arrived: float) -> Result:
        started = time.perf_counter()
        failure = refusal(request, self.capabilities)
        if failure is None:
            try:
                completion = await (self._weighed(request) if request.choices else self._completed(request))
            except UnsupportedError as error:
                failure = Failure("unsupported", f"{request.model}: {error}")
            except AllGoneError as error:
                failure = Failure("engine", f"no server is left that could answer: {error}")
            except ServerError as error:
                failure = Failure("model", server_error_words(error))
            except OSError as error:
                failure = Failure("model", f"a file of this request cannot be read: {error}")
            except Exception as error:  # noqa: BLE001 - whatever is odd about one request must not end the others
                said = self._pool.transport.masked(f"{type(error).__name__}: {error}")
                failure = Failure("model", f"this request cannot be sent, or its answer not be read: {said}")
            else:
                now = time.perf_counter()
                latency = completion.latency if completion.latency is not None else now - started
                queued = max(0.0, now - arrived - latency)
                told = [
                    self.info.identity,
                    identified(request.messages),
                    request.params.to_dict(),
                    list(request.choices),
                ]
                completion = replace(
                    completion, latency=latency, queued=queued, fingerprint=content_hash(told, length=24)
                )
                return Result(request.id, completion)
        return Result(request.id, error=failure)

    async def _weighed(self, request: Request) -> Completion:
        if self._likelihoods is None:
            raise UnsupportedError("it was loaded without likelihoods")
        return await self._likelihoods.weigh(request)

    async def _completed(self, request: Request) -> Completion:
        await self._abilities.check(request)
        answers = await asyncio.gather(*(self._sampled(request, sample) for sample in range(request.params.n)))
        samples = tuple(self._completion(request, answer) for answer in answers)
        first = replace(
            samples[0],
            prompt_tokens=answers[0].prompt_tokens,
            logprobs=self._logprobs(request, answers[0]),
            latency=max(answer.latency for answer in answers),
        )
        return replace(first, samples=samples) if len(samples) > 1 else first

    async def _sampled(self, request: Request, sample: int) -> ServedAnswer:
        params = request.params
        allowed = self._thinks
        answer = await self._asked(params, request, sample)
        if answer.reasoning is not None or read_reply(answer.text, self._form).reasoning is not None:
            self._thinks = True
            if not allowed and answer.finish_reason == "length" and params.thinking_allowance:
                # Now it is known to think, so that it gets the room for it.
                answer = await self._asked(params, request, sample)
        return answer

    async def _asked(self, params: GenerationParams, request: Request, sample: int) -> ServedAnswer:
        if self._thinks:
            params = replace(params, max_new_tokens=params.max_new_tokens + params.thinking_allowance)
        answer = await self._pool.ask(
            lambda: self._pool.dialect.body(request.messages, params, sample), params.max_new_tokens
        )
        tally = self._pool.tally
        tally.prompt_tokens += max(0, (answer.prompt_tokens or 0) - answer.cached_tokens)
        tally.reused_tokens += answer.cached_tokens
        tally.generated_tokens += answer.completion_tokens or 0
        if answer.completion_tokens is None:
            self._note("the server gives no usable counts of tokens for some answers; sums of tokens lack theirs")
        elif answer.completion_tokens > params.max_new_tokens:
            self._note(
                f"the server wrote more tokens than max_new_tokens allows ({answer.completion_tokens} of {params.max_new_tokens})"
            )
        return answer

    def _note(self, text: str) -> None:
        # One of a kind: the numbers are those of the first.
        kind = text.partition("(")[0]
        if not any(note.partition("(")[0] == kind for note in self._notes):
            self._notes[text] = False

    def _logprobs(self, request: Request, answer: ServedAnswer) -> tuple[float, ...] | None:
        if not request.params.logprobs:
            return None
        if answer.logprobs is None:
            raise UnsupportedError(
                "the server ignores the generation parameter 'logprobs': it sent none; leave it out for this model"
            )
        return tuple(answer.logprobs)

    def _completion(self, request: Request, answer: ServedAnswer) -> Completion:
        """Return the answer in its parts: thoughts as the server tells them apart, else as those of a local model."""
        text, reasoning, raw = answer.text, answer.reasoning, None
        calls: tuple[ToolCall, ...] = ()
        problem: str | None = None
        reason: FinishReason = answer.finish_reason or "stop"  # type: ignore[assignment]  # one of them, by `ServedAnswer.finish`
        if reasoning is None:
            reply = read_reply(text, self._form)
            text, reasoning, calls, problem = reply.text, reply.reasoning, reply.tool_calls, reply.problem
            raw = answer.text if (reasoning is not None or calls) else None
        cuts = [text.find(stop) for stop in request.params.stop if stop in text]
        if cuts:
            # Some servers leave the stop string in the text, or pass over it.
            text, reason = text[: min(cuts)], "stop"
        called, unreadable = _tool_calls(answer.calls)
        calls = (*calls, *called)
        if unreadable:
            text, problem = text + unreadable, "the arguments of a call are not a JSON object"
        if calls and reason == "stop":
            reason = "tool_calls"
        elif reason == "tool_calls" and not calls:
            reason = "stop"
        return Completion(
            text,
            finish_reason=reason,
            completion_tokens=answer.completion_tokens,
            reasoning=reasoning or None,
            reasoning_tokens=answer.reasoning_tokens if reasoning or answer.reasoning_tokens else None,
            tool_calls=numbered(calls, calls_in(request.messages)),
            raw=raw,
            tool_call_error=problem,
        )


def _exchanges(request: Request) -> int:
    """Return how many exchanges with a server a request takes."""
    return max(request.params.n, len(request.choices))


def _tool_calls(calls: list[CalledTool]) -> tuple[tuple[ToolCall, ...], str]:
    """Return the calls whose arguments are an object of JSON, and the others as the text that they stay."""
    found: list[ToolCall] = []
    unreadable = ""
    for call in calls:
        try:
            arguments: Mapping[str, Any] = json.loads(call.arguments or "{}")
        except ValueError:
            arguments = []  # type: ignore[assignment]  # told apart below
        if call.name and isinstance(arguments, Mapping):
            found.append(ToolCall(call.name, arguments, call.id))
        else:
            unreadable += json.dumps({"name": call.name, "arguments": call.arguments}, ensure_ascii=False)
    return tuple(found), unreadable


async def _cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
