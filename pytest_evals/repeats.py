"""Repeats: the same case several times, as items of their own with ids that stay the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CaseKey:
    """What tells the items of one test function apart. ``model`` is `None` where no model is asked."""

    case_id: str
    model: str | None
    repeat: int = 1


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


def same_note(suite: str, greedy: int, total: int) -> list[str]:
    """Say that repeats of ``greedy`` of ``total`` cases tell nothing new; nothing where there are none."""
    if not greedy:
        return []
    which = "its completions are greedy" if greedy == total else f"{greedy} of {total} completions are greedy"
    return [
        f"{suite}: {which}, and repeats of a greedy completion are the same; a temperature above 0 makes them differ"
    ]
