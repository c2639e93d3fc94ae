"""Which of several texts a model finds the likeliest: from log-likelihoods to a choice and its reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_evals.completion import By, Chosen, Likelihood
from pytest_evals.errors import SuiteError
from pytest_evals.text import one_line, quoted


def check_expected(expected: object, choices: Sequence[str]) -> int:
    """Return the index of the right choice, given as its text or as its index. Raises `SuiteError` for neither."""
    if isinstance(expected, int) and not isinstance(expected, bool) and 0 <= expected < len(choices):
        return expected
    stripped = [choice.strip() for choice in choices]
    if isinstance(expected, str) and expected.strip() in stripped:
        return stripped.index(expected.strip())
    raise SuiteError(
        f"expected {one_line(repr(expected), 160)} is neither one of the choices nor the index of one: {list(choices)}"
    )


def reason(likelihoods: Sequence[Likelihood], chosen: Chosen, right: int, by: By) -> str:
    """Say what was chosen, with what probability, and what would have been right."""
    probabilities = [f"{probability:.0%}" for probability in chosen.probabilities]
    unit = "" if by == "sum" else f" by log-likelihood a {'character' if by == 'char' else by}"
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
