"""Repeats: the same case several times, as items of their own with ids that stay the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_evals.engines.spec import spec_of_record
from pytest_evals.item import RECORDED, CaseKey
from pytest_evals.suites.suite import Suite


@dataclass(frozen=True, slots=True)
class Recast:
    """The models of a suite, and how often each case runs, where a recorded run decides."""

    models: tuple[str, ...]
    repeats: int


def repeated(keys: Sequence[CaseKey], ids: Sequence[str], counts: Sequence[int]) -> tuple[list[CaseKey], list[str]]:
    """Return keys and ids with each as often as ``counts`` says, repeats of a case together.

    The number joins the id only where there are several.
    """
    found = [
        (dataclasses.replace(key, repeat=number), f"{name}-r{number}" if count > 1 else name)
        for key, name, count in zip(keys, ids, counts, strict=True)
        for number in range(1, count + 1)
    ]
    return [key for key, _ in found], [name for _, name in found]


def count_greedy(suite: Suite, keys: Sequence[CaseKey], root: Path) -> int:
    """Return how many completions are greedy, of models that give the same answer each time."""
    models = {key.model for key in keys} - {None, RECORDED}
    same = {model for model in models if spec_of_record(str(model), root).deduplicates}
    return sum(key.model in same and suite.cases[key.case_id].params.greedy for key in keys)


def same_note(suite: str, greedy: int, total: int) -> list[str]:
    """Say that repeats of ``greedy`` of ``total`` cases tell nothing new; nothing where there are none."""
    if not greedy:
        return []
    which = "its completions are greedy" if greedy == total else f"{greedy} of {total} completions are greedy"
    return [
        f"{suite}: {which}, and repeats of a greedy completion are the same; a temperature above 0 makes them differ"
    ]
