"""One model of the session: its requests, and the process that holds it while it is loaded."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal

from pytest_evals.engines.channel import Channel
from pytest_evals.engines.process import EngineProcess
from pytest_evals.engines.protocol import EngineInfo
from pytest_evals.engines.slot import Slot
from pytest_evals.engines.spec import ModelSpec

State = Literal["out", "starting", "ready", "leaving"]


@dataclass
class Resident:
    """One model: its requests, and the process that holds it while it is loaded.

    ``wanted``: somebody said that it will be needed. ``failure``: why it cannot be loaded. ``working_since`` is the time
    at which it got work, `None` while it has none; ``seconds`` is how long it worked before.
    """

    spec: ModelSpec
    slot: Slot
    process: EngineProcess | None = None
    channel: Channel | None = None
    reader: threading.Thread | None = None
    token: str = ""
    state: State = "out"
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

    @property
    def heavy(self) -> bool:
        """Tell whether the model needs the device for itself; scripts do not."""
        return self.spec.engine != "scripted"
