"""Which of several texts a model finds the likeliest: from log-likelihoods to a choice and its reason."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pytest_evals.completion import Likelihood
from pytest_evals.errors import SuiteError
from pytest_evals.plain import one_line, quoted

By = Literal["sum", "token", "byte"]
MEASURES: tuple[By, ...] = ("sum", "token", "byte")


@dataclass(frozen=True, slots=True)
class Chosen:
    """The likeliest choice. ``probabilities`` are those of the choices among themselves, in their order."""

    index: int
    text: str
    probabilities: tuple[float, ...]


def check_choices(choices: object) -> tuple[str, ...]:
    """Return the choices. Raises `SuiteError` unless they are two or more different non-empty strings."""
    if not isinstance(choices, (list, tuple)) or not all(isinstance(entry, str) and entry for entry in choices):
        raise SuiteError(f"choices must be a list of non-empty strings, not {_shown(choices)}")
    if len(choices) < 2 or len(set(choices)) < len(choices):
        raise SuiteError(f"choices must be two or more different strings, not {_shown(choices)}")
    return tuple(choices)


def check_expected(expected: object, choices: Sequence[str]) -> int:
    """Return the index of the right choice, given as its text or as its index. Raises `SuiteError` for neither."""
    if isinstance(expected, int) and not isinstance(expected, bool) and 0 <= expected < len(choices):
        return expected
    stripped = [choice.strip() for choice in choices]
    if isinstance(expected, str) and expected.strip() in stripped:
        return stripped.index(expected.strip())
    raise SuiteError(f"expected {_shown(expected)} is neither one of the choices nor the index of one: {list(choices)}")


def check_measure(by: str) -> By:
    """Return the measure. Raises `SuiteError` for an unknown one."""
    for measure in MEASURES:
        if by == measure:
            return measure
    raise SuiteError(f"choice: by must be one of {', '.join(MEASURES)}, not {by!r}")


def measured(likelihood: Likelihood, by: By) -> float:
    """Return the log-likelihood, or its mean over tokens or bytes."""
    return {"sum": likelihood.logprob, "token": likelihood.per_token, "byte": likelihood.per_byte}[by]


def likeliest(likelihoods: Sequence[Likelihood], by: By = "sum") -> Chosen:
    """Return the choice with the largest measure; the first one of equals."""
    values = [measured(likelihood, by) for likelihood in likelihoods]
    best = max(values)
    weights = [math.exp(value - best) for value in values]
    index = values.index(best)
    return Chosen(index, likelihoods[index].text, tuple(weight / sum(weights) for weight in weights))


def reason(likelihoods: Sequence[Likelihood], chosen: Chosen, right: int, by: By) -> str:
    """Say what was chosen, with what probability, and what would have been right."""
    probabilities = [f"{probability:.0%}" for probability in chosen.probabilities]
    unit = "" if by == "sum" else f" by log-likelihood a {by}"
    picked = f"chose {quoted(chosen.text)} ({probabilities[chosen.index]}{unit})"
    if chosen.index == right:
        return picked
    return f"{picked}, expected {quoted(likelihoods[right].text)} ({probabilities[right]})"


def details(likelihoods: Sequence[Likelihood], chosen: Chosen) -> dict[str, Any]:
    """Return what a grade keeps of the likelihoods."""
    return {
        "choice": chosen.index,
        "logprobs": [likelihood.logprob for likelihood in likelihoods],
        "tokens": [likelihood.tokens for likelihood in likelihoods],
    }


def _shown(value: object) -> str:
    return one_line(repr(value), 160)
