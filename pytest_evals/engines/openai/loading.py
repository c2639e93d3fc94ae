"""Finds out whether the servers are there and have the model, before anything is asked of it."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_evals.completion import Message, text_of
from pytest_evals.engines.kind import Report
from pytest_evals.engines.openai.address import ServedModel, parse_address, served_identity
from pytest_evals.engines.openai.bodies import Dialect
from pytest_evals.engines.openai.concurrency import MOST, ConcurrencyLimit
from pytest_evals.engines.openai.engine import ServedEngine, Signs
from pytest_evals.engines.openai.failures import (
    RefusalError,
    ServerError,
    ThrottledError,
    UnreachableError,
    WithheldError,
)
from pytest_evals.engines.openai.likelihoods import LikelihoodReader
from pytest_evals.engines.openai.servers import Server, ServerPool
from pytest_evals.engines.openai.transport import Transport
from pytest_evals.engines.protocol import Capabilities, EngineInfo
from pytest_evals.engines.spec import ModelSpec
from pytest_evals.errors import ModelError, did_you_mean
from pytest_evals.generation import GenerationParams
from pytest_evals.text import one_line

TIMEOUT = 300.0
RETRIES = 5
_SHORT: tuple[Message, ...] = ({"role": "user", "content": "Hi"},)
_BOTH = frozenset({"max_new_tokens", "temperature", "top_k", "top_p", "min_p", "stop", "seed", "n"})
_CHAT = _BOTH | {"json_schema", "chat_template_kwargs", "tools", "tool_choice"}


def load(spec: ModelSpec, report: Report) -> ServedEngine:
    """Reach the servers that ``spec`` names. Raises `ModelError` where none of them can answer."""
    started = time.perf_counter()
    served = parse_address(spec.name)
    options = spec.options
    headers, secrets = read_headers(options, os.environ)
    timeout, wish = options.get("timeout", TIMEOUT), options.get("concurrency", "auto")
    most = MOST if wish == "auto" else int(wish)
    signs = Signs()
    encrypted = any(url.startswith("https:") for url in served.urls)
    transport = Transport(headers, secrets, timeout, len(served.urls) * most + 4, signs.hear, encrypted=encrypted)
    plain = options.get("template") == "none"
    dialect = Dialect(served.name, plain, options.get("extra_body", {}))
    loop = asyncio.new_event_loop()
    try:
        found = loop.run_until_complete(_look(served, transport, dialect, options))
    except BaseException:
        loop.run_until_complete(transport.close())
        loop.close()
        raise
    servers = [Server(url, ConcurrencyLimit(None if wish == "auto" else int(wish), timeout / 4)) for url in served.urls]
    pool = ServerPool(servers, transport, dialect, options.get("retries", RETRIES))
    render = _renderer(options)
    reader = (
        LikelihoodReader(pool, dialect, render)
        if render and options.get("logprobs") in (None, "auto", "completions")
        else None
    )
    seconds = time.perf_counter() - started
    report(f"reached in {seconds:.1f} s")
    info = EngineInfo(
        device=", ".join(served.hosts) if len(served.hosts) <= 2 else f"{len(served.hosts)} servers",
        context=found.context,
        identity=served_identity(spec),
        notes=(*found.notes, f"{', '.join(served.hosts)} serves it; which weights these are was not checked"),
        seconds=seconds,
    )
    return ServedEngine(
        info,
        _capabilities(options, likelihoods=reader is not None),
        pool,
        loop,
        signs,
        options.get("reasoning", "auto"),
        reader,
    )


def _capabilities(options: Mapping[str, Any], *, likelihoods: bool) -> Capabilities:
    plain, wish = options.get("template") == "none", options.get("logprobs", "auto")
    params = _BOTH if plain else _CHAT
    gives_logprobs = wish in ("auto", "completions" if plain else "chat")
    return Capabilities(
        likelihoods,
        params | {"logprobs"} if gives_logprobs else params,
        media=frozenset() if plain else frozenset({"image"}),
    )


# -- Secrets: named on the command line, read here, and nowhere else.


def read_headers(options: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the headers of each request, and which texts are secrets. Raises `ModelError` for a variable that is not there, or
    has no headers.
    """
    headers: dict[str, str] = {}
    if "key_env" in options:
        headers["Authorization"] = f"Bearer {_variable('key_env', options, environment)}"
    if "headers_env" in options:
        headers |= _parsed_headers(options["headers_env"], _variable("headers_env", options, environment))
    values = {part for value in headers.values() for part in (value, value.removeprefix("Bearer ")) if len(part) >= 4}
    return headers, tuple(sorted(values, key=len, reverse=True))


def _variable(option: str, options: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    value = environment.get(options[option], "").strip()
    if not value:
        # The name may be the secret itself, by mistake.
        raise ModelError(f"{option} names a variable of the environment that is not set, or empty")
    if not value.isascii() or not value.isprintable():
        raise ModelError(f"{option}: the value of that variable has characters that cannot be sent in a header")
    return value


def _parsed_headers(name: str, text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ModelError(f'headers_env: {name} must hold an object of JSON with texts, as {{"api-key": "..."}}')
    return found


# -- What the servers say


@dataclass(frozen=True, slots=True)
class _Found:
    notes: tuple[str, ...] = ()
    context: int | None = None


async def _look(served: ServedModel, transport: Transport, dialect: Dialect, options: Mapping[str, Any]) -> _Found:
    results = await asyncio.gather(
        *(_look_at(url, served.name, transport, dialect, options) for url in served.urls), return_exceptions=True
    )
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, _AbsentServerError):
            raise result
    away = [str(result) for result in results if isinstance(result, _AbsentServerError)]
    there = [result for result in results if isinstance(result, _Found)]
    if not there:
        raise ModelError("; ".join(away))
    contexts = [found.context for found in there if found.context is not None]
    notes = [note for found in there for note in found.notes]
    return _Found(
        (*dict.fromkeys(notes), *(f"{text}; the others go on without it" for text in away)), min(contexts, default=None)
    )


class _AbsentServerError(ModelError):
    """A server cannot be reached; others may."""


async def _look_at(url: str, name: str, transport: Transport, dialect: Dialect, options: Mapping[str, Any]) -> _Found:
    try:
        listed = await transport.get(f"{url}/models")
    except UnreachableError as error:
        raise _AbsentServerError(f"{url}: {error}") from error
    except RefusalError as error:
        if error.status in (401, 403):
            raise ModelError(_unauthorized(url, options, error)) from error
        return await _try(url, transport, dialect, options, f"{error}")
    except ServerError as error:
        return await _try(url, transport, dialect, options, f"{error}")
    models = _models(listed)
    if not models:
        return await _try(url, transport, dialect, options, "it lists no models")
    entry = next((models[alias] for alias in aliases(name) if alias in models), None)
    if entry is None:
        known = ", ".join(sorted(models)[:8]) + (", ..." if len(models) > 8 else "")
        raise ModelError(f"{url} has no model {name!r} (it has: {one_line(known, 300)}){did_you_mean(name, models)}")
    lengths = [entry.get("max_model_len"), entry.get("context_length"), entry.get("max_context_length")]
    return _Found((), next((length for length in lengths if isinstance(length, int) and length > 0), None))


def aliases(name: str) -> tuple[str, ...]:
    """Return the ids under which servers list a model: Ollama's have a tag, Gemini's a prefix, the hub's router takes a suffix."""
    return (name, f"{name}:latest", f"models/{name}", name.rpartition(":")[0] or name)


def _models(listed: Any) -> dict[str, Mapping[str, Any]]:
    entries = listed.get("data") if isinstance(listed, Mapping) else listed
    if not isinstance(entries, list):
        return {}
    return {entry["id"]: entry for entry in entries if isinstance(entry, Mapping) and isinstance(entry.get("id"), str)}


async def _try(url: str, transport: Transport, dialect: Dialect, options: Mapping[str, Any], why: str) -> _Found:
    """Ask for one token where the list of models cannot tell whether the model is there."""
    while True:
        try:
            body = dialect.body(_SHORT, GenerationParams(max_new_tokens=1))
            await transport.ask(url + dialect.endpoint, body, 1)
        except UnreachableError as error:
            raise _AbsentServerError(f"{url}: {error}") from error
        except RefusalError as error:
            if error.status in (401, 403):
                raise ModelError(_unauthorized(url, options, error)) from error
            if error.status in (400, 422) and dialect.learn(str(error), dialect.learned):
                continue
            raise ModelError(
                f"{url} is not a server with OpenAI's API, or has no model {dialect.model!r}: GET /models: {why}; "
                f"POST {dialect.endpoint}: {error}"
            ) from error
        except (ThrottledError, WithheldError):
            pass
        except ServerError as error:
            raise ModelError(
                f"{url} does not answer as a server with OpenAI's API: GET /models: {why}; POST {dialect.endpoint}: {error}"
            ) from error
        return _Found((f"{url} has no list of models that could be checked ({why})",))


def _unauthorized(url: str, options: Mapping[str, Any], error: Exception) -> str:
    if "key_env" not in options and "headers_env" not in options:
        return f"{url} wants a key ({error}); name the variable of the environment that holds it with key_env=NAME"
    named = options.get("key_env") or options["headers_env"]
    return f"{url} does not accept the key in {named} ({error})"


# -- Prompts as texts, for likelihoods


def _renderer(options: Mapping[str, Any]) -> Callable[[Sequence[Message]], str] | None:
    if options.get("template") == "none":
        return lambda messages: "\n".join(map(text_of, messages))
    if "tokenizer" not in options:
        return None
    from pytest_evals.engines.openai.tokenizer import chat_renderer

    return chat_renderer(options["tokenizer"])
