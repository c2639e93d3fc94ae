"""A suite: its cases, each with all that its turn needs, and its gates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_evals.case import Case
from pytest_evals.completion import Message
from pytest_evals.conversation import CONVERSATION
from pytest_evals.datasets.dataset import Dataset
from pytest_evals.declaration import Declaration
from pytest_evals.errors import GateError, did_you_mean
from pytest_evals.gates import Gate, has_value, resolve, unresolved
from pytest_evals.generation import GenerationParams


@dataclass(frozen=True, slots=True)
class Prepared:
    """A case with all that its turn needs. ``prompt`` is empty and ``problem`` says why, when the suite has no
    conversation for it.
    """

    case: Case
    prompt: tuple[Message, ...]
    recorded: str | None
    params: GenerationParams
    problem: str | None = None
    cluster: str | None = None
    """What the case shares with others that belong together."""
    source: tuple[Path, int] | None = None
    """The file and the line of its row, where it has one: see `Dataset.source`."""


@dataclass(frozen=True, slots=True, eq=False)
class Suite:
    """One dataset under one declaration. ``cases`` keep the order of the rows."""

    declaration: Declaration
    dataset: Dataset
    cases: Mapping[str, Prepared]
    gates: tuple[Gate, ...]

    def check_gates(self, name: str, graders: Sequence[str], gates: Iterable[Gate]) -> None:
        """Raise `GateError` for a gate of this suite that names a grader, slice field or value that it does not have."""
        for gate in gates:
            if resolve(gate, name, graders) is None:
                raise GateError(f"{self.declaration.place}: gate {gate.text!r}: {name} has {unresolved(gate, graders)}")
            if gate.slice:
                self._check_slice(gate, *gate.slice)

    def has_slice(self, field: str, value: str) -> bool:
        """Tell whether some row is in the slice."""
        return field not in CONVERSATION and any(has_value(row, field, value) for row in self.dataset.rows)

    def _check_slice(self, gate: Gate, field: str, value: str) -> None:
        fields = dict.fromkeys(name for row in self.dataset.rows for name in row if name not in CONVERSATION)
        if field not in fields:
            hint = did_you_mean(field, fields)
            raise GateError(
                f"{self.declaration.place}: gate {gate.text!r}: no row has a field {field!r} (fields: {', '.join(fields)}){hint}"
            )
        if not any(has_value(row, field, value) for row in self.dataset.rows):
            found = list(dict.fromkeys(str(row[field]) for row in self.dataset.rows if field in row))
            raise GateError(
                f"{self.declaration.place}: gate {gate.text!r}: no row has {field}={value} (values: {', '.join(found[:8])})"
            )
