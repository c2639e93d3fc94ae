"""One line of the report: what was looked at, how it is, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Level: TypeAlias = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about ``topic``.

    ``note`` means that something is missing, limited or unusual, and evals run. ``problem`` means that they do not run, or not as asked. ``action``
    says what to do about it, and is empty where there is nothing to do.
    """

    topic: str
    level: Level
    message: str
    action: str = ""
