"""The likelihoods of a prompt as vLLM's ``prompt_logprobs`` gives them: for each token the ids that were weighed there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_evals.completion import Likelihood
from pytest_evals.errors import UnsupportedError


@dataclass(frozen=True, slots=True)
class WeighedPrompt:
    """The tokens of a prompt: their ids, log-probabilities (of the first there may be none), and whether each was the likeliest."""

    ids: tuple[str, ...]
    values: tuple[float | None, ...]
    greedy: tuple[bool, ...]


def read_prompt(entries: Sequence[Mapping[str, Any] | None], first: str = "") -> WeighedPrompt:
    """Read ``prompt_logprobs``: for each token a map of id to logprob and rank, in which the token itself comes first.

    The first token has nothing before it and so has no entry; it is called ``first``. Raises `KeyError`, `TypeError` and the like
    for entries of another form.
    """
    ids: list[str] = [first]
    values: list[float | None] = [None]
    greedy = [False]
    for entry in entries[1:]:
        if not entry:
            raise TypeError("a token of the prompt has no log-probability")
        # Where another token is likelier, it is there too; the token of the prompt has the larger rank.
        token, found = max(entry.items(), key=lambda each: each[1]["rank"])
        value = float(found["logprob"])
        ids.append(token)
        values.append(value)
        greedy.append(value >= max(float(each["logprob"]) for each in entry.values()) - 1e-9)
    return WeighedPrompt(tuple(ids), tuple(values), tuple(greedy))


def weighed_continuation(whole: WeighedPrompt, prompt: WeighedPrompt, choice: str) -> tuple[Likelihood, int]:
    """Return the likelihood of ``choice``, and the number of the prompt's tokens.

    ``whole`` is the prompt with the choice behind it. Raises `UnsupportedError` where it does not begin with the tokens of ``prompt``: then a
    token holds the end of the one and the beginning of the other.
    """
    start = len(prompt.ids)
    if whole.ids[:start] != prompt.ids or len(whole.ids) == start:
        raise UnsupportedError(
            f"the choice {choice!r} does not begin where a token begins behind this prompt, so that the server cannot tell how likely it is"
        )
    chosen = whole.values[start:]
    if not all(value is not None and math.isfinite(value) for value in chosen):
        raise UnsupportedError(f"the server gives no finite log-probability for the choice {choice!r}")
    total = math.fsum(value for value in chosen if value is not None)
    return Likelihood(choice, total, len(chosen), len(choice.encode()), all(whole.greedy[start:])), start
