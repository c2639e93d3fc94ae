"""One copy of a model: its requests, and the process that holds it while it is loaded."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pytest_evals.engines.ipc import Channel, Packet
from pytest_evals.engines.process import EngineProcess
from pytest_evals.engines.protocol import EngineInfo
from pytest_evals.engines.remaining_work import RemainingWork
from pytest_evals.engines.request_tracker import RequestTracker
from pytest_evals.engines.spec import ModelSpec

if TYPE_CHECKING:
    from pytest_evals.engines.warm_process import WarmProcess

ReplicaState = Literal["stopped", "starting", "ready", "stopping"]


@dataclass
class Replica:
    """One copy of a model, ``number`` among its replicas.

    ``wanted``: a caller said that it will be needed. ``failure``: why it cannot be loaded. ``working_since`` is the time
    at which it got work, `None` while it has none; ``seconds`` is how long it worked before. ``heard`` is when the process last
    gave a sign of life, which it must within ``stall_seconds`` while it has work; ``usage`` is what it accounts for, and ``past`` is
    the part of it from earlier processes. ``load_seconds``: what loading may take; ``load_hung``: it took more, and would
    again. ``progress``: what it does that is no answer yet, and how far that is. ``scored`` of
    the ``scored_asked`` requests for likelihoods are done, with ``texts`` of ``texts_asked``. ``lost``: the last process ended because its machine went.
    """

    spec: ModelSpec
    tracker: RequestTracker
    number: int = 0
    process: EngineProcess | WarmProcess | None = None
    channel: Channel | None = None
    reader: threading.Thread | None = None
    token: str = ""
    state: ReplicaState = "stopped"
    info: EngineInfo | None = None
    wanted: bool = False
    attempts: int = 0
    failure: str | None = None
    asked: int = 0
    done: int = 0
    tokens: int = 0
    unfinished_tokens: int = 0
    working_since: float | None = None
    seconds: float = 0.0
    duplicates: int = 0
    scored: int = 0
    scored_asked: int = 0
    texts: int = 0
    texts_asked: int = 0
    work: RemainingWork = field(default_factory=RemainingWork)
    heard: float = 0.0
    stall_seconds: float = 0.0
    load_seconds: float = 0.0
    load_hung: bool = False
    lost: bool = False
    progress: str | None = None
    loading_seconds: float = 0.0
    usage: dict[str, float] = field(default_factory=dict)
    past: dict[str, float] = field(default_factory=dict)

    @property
    def rows(self) -> int | None:
        """Rows of the engine's largest batch."""
        return self.info.rows if self.info else None

    @property
    def all_usage(self) -> dict[str, float]:
        """What all processes of this copy came to: sums, and the largest of what is a level (``most_``, ``peak_``)."""
        return merged_usage(self.past, self.usage)

    def archive_usage(self) -> None:
        """Keep the usage of a process that ended."""
        self.past, self.usage = self.all_usage, {}

    @property
    def label(self) -> str:
        """The name in messages."""
        return f"{self.spec.short} (replica {self.number + 1})" if self.number else self.spec.short

    def tell(self, message: Packet) -> None:
        """Send a message to the process, if there is one; a process that is gone is noticed by its watcher."""
        if self.channel:
            with contextlib.suppress(OSError):
                self.channel.send(message)


_LEVELS = ("most_", "peak_", "weights_", "chosen_")


def merged_usage(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    """Return two usages as one."""
    merged = dict(first)
    for name, value in second.items():
        level = name.startswith(_LEVELS)
        merged[name] = max(merged.get(name, 0), value) if level else merged.get(name, 0) + value
    return merged
