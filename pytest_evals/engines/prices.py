"""What answers cost: the prices of ``evals_prices``, and the tokens that a model's server counted."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_evals.errors import ModelError

_MILLION = 1e6
_LINE = re.compile(r"(?P<name>\S.*?)\s*=\s*(?P<prompt>[^\s=]+)\s+(?P<completion>[^\s=]+)")
_SERVED = re.compile(r"(?P<name>.+?)@https?://", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens cost, of prompts and of completions."""

    prompt: float
    completion: float


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices by the name of a model: its specification, or what is between its engine and its address or options."""

    by_name: Mapping[str, Price] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.by_name)

    def of(self, model: str) -> Price | None:
        """Return the price of a model by its specification, `None` where there is none."""
        return next((self.by_name[name] for name in names_of(model) if name in self.by_name), None)

    def cost(self, model: str | None, answer: Mapping[str, Any]) -> float | None:
        """Return what an answer cost, in the unit of the prices.

        ``answer`` is a completion as plain data. Each of several samples is a request, whose prompt is paid for. `None` where the
        model has no price, or the server gave no counts. A discount for prompts that the server had cached is not known.
        """
        price = self.of(model) if model else None
        samples = [each for each in answer.get("samples") or () if isinstance(each, Mapping)] or [answer]
        generated: list[int] = [
            each["completion_tokens"] for each in samples if each.get("completion_tokens") is not None
        ]
        prompt: int | None = answer.get("prompt_tokens")
        if price is None or prompt is None or len(generated) < len(samples):
            return None
        return (prompt * len(samples) * price.prompt + sum(generated) * price.completion) / _MILLION


def names_of(model: str) -> tuple[str, ...]:
    """Return the names that a line of prices may have for a specification, the most exact one first."""
    body = model.partition("?")[0]
    name = re.sub(r"\A(?:hf|ray|openai):", "", body)
    served = _SERVED.match(name)
    return tuple(dict.fromkeys([model, body, name, *([served["name"]] if served else [])]))


def parse_prices(lines: Iterable[str], aliases: Mapping[str, str]) -> Prices:
    """Read the lines of ``evals_prices``, as ``gpt-5-mini = 0.25 2``. Raises `ModelError` for one that is none."""
    found: dict[str, Price] = {}
    for line in lines:
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise ModelError(
                f"{line!r} is not 'NAME = PROMPT COMPLETION', two prices of a million tokens, as 'gpt-5-mini = 0.25 2'"
            )
        name = aliases.get(match["name"], match["name"])
        if name in found:
            raise ModelError(f"{name!r} has two prices")
        found[name] = Price(_number(match["prompt"], line), _number(match["completion"], line))
    return Prices(found)


def _number(text: str, line: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise ModelError(f"{line!r}: a price is a number of at least 0, not {text!r}")
    return value
