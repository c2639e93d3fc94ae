"""An engine that calls a Python function: for tests of suites and graders, and to put any code in a model's place.

``scripted:module:function`` calls ``function(messages)`` with the conversation, a list of dicts, and takes the string
it returns as the completion; a function with the parameter ``tools`` gets the tools that are offered too, and one with the parameter
``params`` the generation parameters by name. For other parts than a text it returns a `Completion` or an object, as
``{"text": ..., "reasoning": ..., "tool_calls": [{"name": ..., "arguments": {...}}]}``. It may raise (that case's error) and it may be
``async`` (calls then run concurrently).
Where the module has a function ``score(messages, text)``, it gives the log-likelihood of a text, for choices; where it has a function
``identity()``, what that returns is part of what the model is identified by: the address of an endpoint, say.
As a classifier a function returns ``{"scores": {"toxic": 0.1, "neutral": 0.9}}`` of a text, or of a pair in two messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import importlib
import inspect
import json
import math
import sys
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any, cast

from pytest_evals.completion import Completion, Failure, Likelihood, text_of
from pytest_evals.engines.identity import IDENTITY, identity_of
from pytest_evals.engines.protocol import Capabilities, EngineInfo, Event, Inbox, Request, Result, Started, refusal
from pytest_evals.engines.script_sources import script_sources
from pytest_evals.engines.scripted_replies import ScriptError, completion_of_script
from pytest_evals.errors import ModelError, did_you_mean
from pytest_evals.generation import GenerationParams
from pytest_evals.hashing import canonical, hash_of_texts, of_last
from pytest_evals.media.parts import identified
from pytest_evals.replies.form import ANY_FORM, written_form

ScoreFunction = Callable[[list[dict[str, Any]], str], float]

# Requests announced at a time: few enough that a crash points at one soon, enough that 10,000 cost little.
CHUNK = 32
CONCURRENT = 256
_POLL = 0.02


_MOST_NAMED = 8
"""Functions of a script that an error names."""


class ScriptedEngine:
    """One function in the place of a model.

    Sampling parameters mean nothing to a script and are let through; ``stop`` cuts the text; what else it does not know is refused. A
    script that takes the parameters is given all of them but ``n``, and does with them what they say.
    Token counts are those of a completion that has some, else counts of words. Thoughts that the text begins with are told apart as those of any model, unless
    ``?reasoning=none`` says otherwise.
    """

    def __init__(self, name: str, reasoning: str = "auto") -> None:
        self._name = name
        self._form = written_form(reasoning) or ANY_FORM
        self._function, self._score = _load(name)
        identity = {**identity_of(name, _sources(name, self._function)), **_stated_identity(name)}
        self.info = EngineInfo(device="python", identity=identity)
        self._identity = canonical(identity)
        self._takes_tools = _takes(self._function, "tools")
        self._takes_params = _takes(self._function, "params")
        params = Capabilities().params | {"tools", "tool_choice"}
        if self._takes_params:
            params |= {entry.name for entry in dataclasses.fields(GenerationParams)} - {"n"}
        self.capabilities = Capabilities(
            likelihoods=self._score is not None, params=params, media=frozenset({"image", "audio"})
        )
        self.on_result: Callable[[Result], None] = lambda _: None
        """See `TellsAtOnce`: calls that end together are yielded one after another, and the script may be a service that is paid."""

    def generate(self, requests: Inbox) -> Iterator[Event]:
        """See `Engine.generate`."""
        return self._concurrent(requests) if inspect.iscoroutinefunction(self._function) else self._one_by_one(requests)

    def close(self) -> None:
        """Nothing is held."""

    def _one_by_one(self, requests: Inbox) -> Iterator[Event]:
        while chunk := requests.take(CHUNK):
            yield Started(tuple(request.id for request in chunk))
            for request in chunk:
                if requests.aborted:
                    return
                yield self._answer(request)

    def _answer(self, request: Request) -> Result:
        started = time.perf_counter()
        refused = refusal(request, self.capabilities)
        if refused:
            return Result(request.id, error=refused)
        if request.choices:
            return self._likelihoods(request, started)
        try:
            value = self._call(request)
        except Exception as error:  # noqa: BLE001 - the script may raise anything: it is that case's error
            return Result(request.id, error=self._raised(error))
        return self._result(request, value, started)

    def _concurrent(self, requests: Inbox) -> Iterator[Event]:
        loop = asyncio.new_event_loop()
        running: set[asyncio.Task[Result]] = set()
        try:
            while True:
                fresh = requests.take(CONCURRENT - len(running), wait=not running)
                if fresh:
                    yield Started(tuple(request.id for request in fresh))
                    running |= {loop.create_task(self._told(request)) for request in fresh}
                elif not running or requests.aborted:
                    return
                wait = asyncio.wait(running, timeout=_POLL, return_when=asyncio.FIRST_COMPLETED)
                done, running = loop.run_until_complete(wait)
                yield from (task.result() for task in done)
        finally:
            loop.run_until_complete(_cancel(running))
            loop.close()

    async def _told(self, request: Request) -> Result:
        result = await self._await(request)
        self.on_result(result)
        return result

    async def _await(self, request: Request) -> Result:
        started = time.perf_counter()
        refused = refusal(request, self.capabilities)
        if refused:
            return Result(request.id, error=refused)
        if request.choices:
            return self._likelihoods(request, started)
        try:
            value = await self._call(request)
        except Exception as error:  # noqa: BLE001 - the script may raise anything: it is that case's error
            return Result(request.id, error=self._raised(error))
        return self._result(request, value, started)

    def _result(self, request: Request, value: object, started: float) -> Result:
        try:
            completion = completion_of_script(value, request, self._form)
        except ScriptError as error:
            return Result(request.id, error=Failure("model", f"scripted:{self._name} {error}"))
        words = sum(len(text_of(message).split()) for message in request.messages)
        latency = time.perf_counter() - started
        asked = (self._identity, canonical(identified(request.messages)), _written(request.params))
        fingerprint = hash_of_texts(asked, length=24)
        tokens = len((completion.raw or completion.text).split())
        counted = dataclasses.replace(
            completion,
            prompt_tokens=words if completion.prompt_tokens is None else completion.prompt_tokens,
            completion_tokens=tokens if completion.completion_tokens is None else completion.completion_tokens,
            reasoning_tokens=_reasoning_tokens(completion),
            latency=latency,
            fingerprint=fingerprint,
        )
        return Result(request.id, counted)

    def _likelihoods(self, request: Request, started: float) -> Result:
        score = cast("ScoreFunction", self._score)
        try:
            scores = [float(score(_conversation(request), text)) for text in request.choices]
        except Exception as error:  # noqa: BLE001 - the script may raise anything: it is that case's error
            return Result(request.id, error=self._raised(error))
        if not all(map(math.isfinite, scores)):
            message = f"score of {self._name.partition(':')[0]} returned {scores}; a log-likelihood is a finite number"
            return Result(request.id, error=Failure("model", message))
        found = zip(request.choices, scores, strict=True)
        likelihoods = tuple(
            Likelihood(text, value, max(1, len(text.split())), len(text.encode())) for text, value in found
        )
        latency = time.perf_counter() - started
        return Result(request.id, Completion(completion_tokens=0, likelihoods=likelihoods, latency=latency))

    def _call(self, request: Request) -> Any:
        """Call the function with the conversation, and with the tools and parameters if it takes them."""
        told: dict[str, Any] = {}
        if self._takes_tools:
            offered = request.params.tools if request.params.tool_choice != "none" else ()
            told["tools"] = [dict(tool) for tool in offered]
        if self._takes_params:
            told["params"] = _parameters(request.params)
        return self._function(_conversation(request), **told)

    def _raised(self, error: Exception) -> Failure:
        return Failure("model", f"scripted:{self._name} raised {type(error).__name__}: {error}")


def _sources(name: str, function: Callable[..., Any]) -> dict[str, str]:
    """Return the sources that the script consists of, by module; with that of the function, wherever it is written."""
    texts = dict(script_sources(name.partition(":")[0], sys.path).texts)
    module = inspect.getmodule(inspect.unwrap(function))
    if module is not None and module.__name__ not in texts:
        with contextlib.suppress(OSError, TypeError):
            texts[module.__name__] = inspect.getsource(module)
    return texts


def _stated_identity(name: str) -> dict[str, Any]:
    """Return what the module says of its own identity. Raises `ModelError` for what is not plain data."""
    module = name.partition(":")[0]
    state = getattr(sys.modules[module], IDENTITY, None)
    if not callable(state) or _requires_arguments(state):
        return {}
    try:
        stated = state()
        # As it comes back from an artifact.
        return {"stated": json.loads(json.dumps(stated, allow_nan=False))}
    except Exception as error:  # the script's own code may raise anything
        raise ModelError(
            f"scripted:{name}: {IDENTITY}() of {module!r} must return plain data, as a text or an object of JSON "
            f"({type(error).__name__}: {error})"
        ) from error


def _requires_arguments(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind()
    except (TypeError, ValueError):
        return True
    return False


@of_last
def _written(params: GenerationParams) -> str:
    return canonical(params.to_dict())


def _parameters(params: GenerationParams) -> dict[str, Any]:
    """Return generation parameters by name; tools are told apart."""
    apart = ("tools", "tool_choice", "n")
    return {each.name: getattr(params, each.name) for each in dataclasses.fields(params) if each.name not in apart}


def _reasoning_tokens(completion: Completion) -> int | None:
    if completion.reasoning is None or completion.reasoning_tokens is not None:
        return completion.reasoning_tokens
    return len(completion.reasoning.split())


def _takes(function: Callable[..., Any], name: str) -> bool:
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):  # some built-in functions have no signature
        return False


async def _cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _conversation(request: Request) -> list[dict[str, Any]]:
    return [dict(message) for message in request.messages]


def _load(name: str) -> tuple[Callable[..., Any], ScoreFunction | None]:
    module_name, _, function_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a user's module may fail in any way while it is imported
        message = f"scripted:{name}: module {module_name!r} cannot be imported ({type(error).__name__}: {error})"
        raise ModelError(f"{message}; it is looked for in pytest's rootdir and on its import path") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        own = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        hint = did_you_mean(function_name, own) or f"; it has: {', '.join(own[:_MOST_NAMED]) or 'none'}"
        place = f" (read from {module.__file__})" if getattr(module, "__file__", None) else ""
        raise ModelError(f"scripted:{name}: module {module_name!r} has no function {function_name!r}{hint}{place}")
    score = getattr(module, "score", None)
    return function, score if callable(score) and score is not function else None
