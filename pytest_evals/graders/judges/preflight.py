"""A golden set that a judge must agree with before anything is generated."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Preflight:
    """Placeholder."""

    data: object
    agreement: float = 0.8
