"""Starts the processes of residents, hears what they say, and notices when they end or fall silent.

What it means, and what is done about it, is the pool's to decide: see `Listener`.
"""

from __future__ import annotations

import secrets
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from pytest_evals.engines.ipc import Channel, Hub, Packet
from pytest_evals.engines.process import EngineProcess
from pytest_evals.engines.replica import Replica

_WATCH_SECONDS = 1.0
_READER_SECONDS = 5.0

Handler = Callable[[Packet, Channel], None]


class Listener(Protocol):
    """Who is told of processes; called with the lock held, from threads of their own."""

    def residents(self) -> list[Replica]:
        """Return every copy of every model."""
        ...

    def heard(self, resident: Replica, message: Packet) -> None:
        """Take what a process said."""
        ...

    def ended(self, resident: Replica, crash: str | None, *, loading: bool) -> None:
        """Take note that a process has ended; ``crash`` says how, if it should not have."""
        ...


class ProcessSupervisor:
    """The processes of a pool.

    Args:
        root: Resolves paths and modules.
        lock: The owner's: what is known of residents changes under it.
        owner: Who is told.
    """

    def __init__(self, root: Path, lock: threading.Condition, owner: Listener) -> None:
        self.closing = False
        self._root = root
        self._lock = lock
        self._owner = owner
        self._switch: Hub | None = None
        self._clients: dict[str, Handler] = {}

    # -- with the lock held

    def start(self, resident: Replica, options: Mapping[str, Any]) -> None:
        """Start a process that loads the resident's model as ``options`` say."""
        resident.wanted = False
        resident.state = "starting"
        resident.token = secrets.token_hex(8)
        address, key = self.listen()
        resident.process = EngineProcess(
            {
                "address": address,
                "key": key,
                "token": resident.token,
                "spec": asdict(resident.spec),
                "options": dict(options),
                "path": [str(self._root), *(entry for entry in sys.path if entry)],
            }
        )
        threading.Thread(target=self._watch, args=(resident, resident.process), name="evals-watch", daemon=True).start()

    def unload(self, resident: Replica) -> None:
        """Let the resident's process end; it is told to, and then given some seconds."""
        resident.state = "leaving"
        resident.tell({"type": "close"})
        if resident.process:
            threading.Thread(target=resident.process.end, kwargs={"patient": True}, daemon=True).start()

    def serve(self, role: str, handler: Handler) -> tuple[str, str]:
        """Let ``handler`` answer connections of ``role``; return the address and key to connect with."""
        self._clients[role] = handler
        return self.listen()

    def listen(self) -> tuple[str, str]:
        """Return the address and key with which processes connect."""
        if self._switch is None:
            self._switch = Hub(self._connected)
        return self._switch.address, self._switch.key

    # -- without the lock

    def close(self, residents: Sequence[Replica]) -> None:
        """End the processes of ``residents``, and hear nobody any more. The caller has set ``closing``."""
        for resident in residents:
            resident.tell({"type": "close"})
        for resident in residents:
            process = resident.process
            if process:
                # An idle engine leaves by itself at once; a batch or a load in progress is not worth waiting for.
                process.end(patient=resident.state == "ready" and not resident.slot.busy)
                process.forget()
        if self._switch:
            self._switch.close()

    def end_if_stalled(self, resident: Replica, process: EngineProcess, limit: float) -> None:
        """End a process that has work and gave no sign of life for ``limit`` seconds (0: never)."""
        with self._lock:
            silent = time.monotonic() - resident.heard
            stalled = resident.state == "ready" and resident.slot.computing and 0 < limit < silent
        if stalled:
            process.condemn(f"it gave no sign of life for {limit:g} s (evals_stall_timeout)")

    # -- threads

    def _connected(self, role: str, hello: Packet, channel: Channel) -> None:
        if role != "engine":
            self._clients[role](hello, channel)
            return
        with self._lock:
            resident = next((entry for entry in self._owner.residents() if entry.token == hello["token"]), None)
            if resident is None or self.closing:
                channel.close()
                return
            resident.channel = channel
            resident.reader = threading.current_thread()
        while (message := channel.receive()) is not None:
            with self._lock:
                self._owner.heard(resident, message)

    def _watch(self, resident: Replica, process: EngineProcess) -> None:
        """Wait for the end of a process."""
        while (status := process.wait(_WATCH_SECONDS)) is None:
            self.end_if_stalled(resident, process, resident.stall_seconds)
        reader = resident.reader
        if reader is not None:
            # What it still said before it died counts.
            reader.join(_READER_SECONDS)
        with self._lock:
            orderly = resident.state == "leaving" or resident.failure is not None or self.closing
            loading = resident.state == "starting"
            resident.state, resident.channel, resident.reader, resident.process = "out", None, None, None
            resident.bury_usage()
            crash = None if orderly else process.obituary(status)
            if not self.closing:
                process.forget()
            self._owner.ended(resident, crash, loading=loading)
