"""The engine ``openai`` in the table of engines: its options, and how its models are written."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_evals.engines.kind import EngineKind, EngineOption, Report, one_of, whole_number
from pytest_evals.engines.openai.address import identity_of_served, locate_served, short_name
from pytest_evals.errors import ModelError

if TYPE_CHECKING:
    from pytest_evals.engines.protocol import Engine, Request
    from pytest_evals.engines.spec import ModelSpec

MOST_CONCURRENT = 1024
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OURS = frozenset(
    {
        "model", "messages", "prompt", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens", "temperature",
        "top_p", "seed", "stop", "logprobs", "top_logprobs", "echo", "response_format", "tools", "tool_choice",
    }
)  # fmt: skip
"""Fields of a request that say what a case asks for, or that the answer is read by."""


def _variable(text: str) -> str:
    from pytest_evals.redaction import masked

    if not _VARIABLE.fullmatch(text) or masked(text) != text:
        # It may be the key itself, so that it is not repeated here.
        raise ModelError(
            "key_env and headers_env take the name of the environment variable that holds the secret, and this is not a "
            "variable's name (write key_env=OPENAI_API_KEY, never the key itself)"
        )
    return text


def _seconds(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value <= 0:
        raise ValueError(text)
    return value


def _retries(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 100:
        raise ValueError(text)
    return int(text)


def _extra_body(text: str) -> dict[str, Any]:
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError(text)  # noqa: TRY004 - what a reader of an option raises
    ours = sorted(_OURS & values.keys())
    if ours:
        raise ModelError(
            f"extra_body must not have {ours[0]!r}, which each request says itself: see generation= of cases"
        )
    return values


def _path(text: str) -> str:
    if not text:
        raise ValueError(text)
    return text


def openai_kind(reasoning: EngineOption) -> EngineKind:
    """Return the kind, with ``reasoning`` as other engines have it."""
    return EngineKind(
        "openai",
        _load,
        options={
            "concurrency": whole_number(
                f"auto or a whole number from 1 to {MOST_CONCURRENT}", MOST_CONCURRENT, auto=True
            ),
            "timeout": EngineOption("a number of seconds above 0", _seconds),
            "retries": EngineOption("a whole number from 0 to 100", _retries),
            "key_env": EngineOption("the name of a variable", _variable),
            "headers_env": EngineOption("the name of a variable", _variable),
            "extra_body": EngineOption('an object of JSON, as {"top_k": 20}', _extra_body),
            "logprobs": one_of("auto", "completions", "chat", "none"),
            "tokenizer": EngineOption("the name or folder of a tokenizer", _path),
            "reasoning": reasoning,
            "template": one_of("none"),
        },
        locate=locate_served,
        identity=identity_of_served,
        counter=_counter,
        short=short_name,
        heavy=False,
        deduplicates=False,
    )


def _counter(spec: ModelSpec) -> Callable[[Request], int] | None:
    if "tokenizer" not in spec.options:
        return None
    from pytest_evals.engines.openai.tokenizer import token_counter

    return token_counter(spec.options["tokenizer"], plain=spec.options.get("template") == "none")


def _load(spec: ModelSpec, options: dict[str, Any], report: Report) -> Engine:
    from pytest_evals.engines.openai.loading import load

    del options
    return load(spec, report)
