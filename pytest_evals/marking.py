"""Marks on the plugin's own fixture functions, by which collection knows them again, whatever overrides them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
Provided = Literal["case", "completion", "model", "judge"]
"""What such a fixture gives: something of the case itself, its default turn, or a model to call."""


def provides(what: Provided) -> Callable[[F], F]:
    """Mark the function of one of the plugin's own fixtures."""

    def mark(function: F) -> F:
        function.__evals_provides__ = what  # type: ignore[attr-defined]  # a function has this attribute once it is set
        return function

    return mark


def provided_by(function: object) -> Provided | None:
    """Return what a fixture function gives, `None` where it is none of the plugin's own."""
    provided: Provided | None = getattr(function, "__evals_provides__", None)
    return provided
