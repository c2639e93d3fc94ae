"""Whose turn it is on the device. Pure policy: what the models of a session are doing in, what to do next out.

Two models that compute at once on one device slow each other many times over, so one works at a time; those that fit in
memory together stay loaded, the others make room when they have nothing left to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_evals.engines.replica import ReplicaState

ROOM_FACTOR = 2.0
"""A model is assumed to need this many times its weights: weights laid out for speed, keys and values, the interpreter."""


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """What one model is doing. ``busy``: a caller waits for it. ``wanted``: a caller will. ``need``: bytes, if known."""

    name: str
    state: ReplicaState
    busy: bool
    wanted: bool
    failed: bool = False
    need: int | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """What to do: let ``name`` work, ``load`` it or ``unload`` it."""

    kind: Literal["work", "load", "unload"]
    name: str


def next_action(standings: Sequence[ModelStatus], turn: str | None, free: int | None) -> Action | None:
    """Return what to do now, `None` when there is nothing to change.

    Args:
        standings: The models that need the device, in the order in which they were first asked.
        turn: The model that works now.
        free: Bytes of memory that are free, `None` when that is not known: then one model is loaded at a time.
    """
    by_name = {standing.name: standing for standing in standings}
    working = by_name.get(turn or "")
    if working is not None and working.busy and working.state != "stopped":
        return None
    ready = [standing for standing in standings if standing.busy and standing.state in ("ready", "starting")]
    if ready and ready[0] is not working:
        return Action("work", ready[0].name)
    if ready:
        return None
    loaded = [standing for standing in standings if standing.state != "stopped"]
    waiting = [standing for standing in standings if standing.state == "stopped" and not standing.failed]
    following = next((standing for standing in waiting if standing.busy), None)
    if following is None:
        # What will be wanted is loaded ahead of time only where it pushes no other model out.
        following = next((standing for standing in waiting if standing.wanted), None)
        return Action("load", following.name) if following and not loaded else None
    if not loaded or _fits(following, free):
        return Action("load", following.name)
    idle = next(
        (standing for standing in loaded if standing.state in ("ready", "starting") and not standing.busy), None
    )
    return Action("unload", idle.name) if idle else None


def _fits(standing: ModelStatus, free: int | None) -> bool:
    return free is not None and standing.need is not None and standing.need * ROOM_FACTOR <= free
