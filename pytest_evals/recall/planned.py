"""How much of what a run would ask is known from before: told without loading anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_evals.engines.foresight import foreseen
from pytest_evals.engines.protocol import Request
from pytest_evals.recall.memory import Memory


@dataclass(frozen=True, slots=True)
class Known:
    """``answered`` are the ids of requests whose answer is known, ``failing`` those that a replay has no completion for.

    ``told``: false where only the loaded model shows what is known.
    """

    answered: frozenset[str] = frozenset()
    failing: frozenset[str] = frozenset()
    told: bool = True


def known_answers(
    memory: Memory, model: str, requests: Sequence[Request], root: Path, options: Mapping[str, Any]
) -> Known:
    """Look up what would be asked of ``model``. ``options`` are what every engine is told."""
    if memory.stage is not None:
        found = {request.id: memory.before(request) for request in requests}
        errors = {key for key, result in found.items() if result is not None and result.error is not None}
        answered = {key for key, result in found.items() if result is not None} - errors
        return Known(frozenset(answered), frozenset(errors))
    if not memory.sources:
        return Known()
    info = foreseen(model, root, options)
    if info is None:
        return Known(told=False)
    return Known(frozenset(request.id for request in requests if memory.recall(request, info) is not None))
