"""What the engine needs of a way to compute rows, whichever a model allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pytest_evals.completion import Failure
from pytest_evals.engines.transformers.sequence import ScoringSequence, TokenSequence

AnySequence = TokenSequence | ScoringSequence


@dataclass(slots=True)
class StepProgress:
    """What one step brought: rows that were begun, rows that finished, rows that cannot be computed and why."""

    begun: list[AnySequence] = field(default_factory=list)
    finished: list[AnySequence] = field(default_factory=list)
    failed: list[tuple[AnySequence, Failure]] = field(default_factory=list)
    tokens: int = 0
    """Tokens generated for rows that have not finished."""
    notes: list[str] = field(default_factory=list)
    """What the user should know of how the model is run from now on."""


class Backend(Protocol):
    """Computes rows, a step at a time."""

    def add(self, rows: Sequence[AnySequence]) -> None:
        """Take rows that arrived together."""
        ...

    def __bool__(self) -> bool:
        """Tell whether there is anything to do."""
        ...

    def step(self) -> StepProgress:
        """Compute some; never raises for the fault of a row."""
        ...
