"""Starts the processes of replicas, hears what they say, and notices when they end or fall silent.

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
from typing import TYPE_CHECKING, Any, Protocol

from pytest_evals.engines.ipc import Channel, Hub, Packet
from pytest_evals.engines.process import EngineProcess
from pytest_evals.engines.replica import Replica
from pytest_evals.engines.run_date import run_date
from pytest_evals.errors import EvalsError

if TYPE_CHECKING:
    from pytest_evals.engines.load_watch import LoadWatch
    from pytest_evals.engines.warm_process import WarmProcess

_WATCH_SECONDS = 1.0
_READER_SECONDS = 5.0

Handler = Callable[[Packet, Channel], None]


class Listener(Protocol):
    """Who is told of processes; called with the lock held, from threads of their own."""

    def all_replicas(self) -> list[Replica]:
        """Return every copy of every model."""
        ...

    def heard(self, replica: Replica, message: Packet) -> None:
        """Take what a process said."""
        ...

    def ended(self, replica: Replica, crash: str | None, *, loading: bool) -> None:
        """Take note that a process has ended; ``crash`` says how, if it should not have."""
        ...


class ProcessSupervisor:
    """The processes of a pool.

    Args:
        root: Resolves paths and modules.
        lock: The owner's: what is known of replicas changes under it.
        owner: Who is told.
        journal: Where engines keep their answers.
        warm: The seconds for which engines stay when no run uses them; 0 where they end with the run.
    """

    def __init__(
        self,
        root: Path,
        lock: threading.Condition,
        owner: Listener,
        journal: Path | None = None,
        warm: float = 0.0,
    ) -> None:
        self._warm = warm
        self.closing = False
        self._root = root
        self._lock = lock
        self._owner = owner
        self._journal = journal
        self._hub: Hub | None = None
        self._clients: dict[str, Handler] = {}

    # -- with the lock held

    def start(self, replica: Replica, options: Mapping[str, Any]) -> None:
        """Start a process that loads the replica's model as ``options`` say."""
        replica.wanted = False
        replica.state = "starting"
        replica.token = secrets.token_hex(8)
        address, key = self.listen()
        orders = {
            "address": address,
            "key": key,
            "token": replica.token,
            "spec": asdict(replica.spec),
            "options": dict(options),
            "date": run_date().isoformat(),
            "journal": None if self._journal is None else str(self._journal),
            "path": [str(self._root), *(entry for entry in sys.path if entry)],
        }
        if self._warm and not replica.spec.on_ray and replica.spec.kind.stays_warm(replica.spec):
            # Another process may have to answer first.
            threading.Thread(target=self._attach, args=(replica, orders), name="evals-attach", daemon=True).start()
        else:
            self._begin(replica, self._process(replica, orders))

    def _begin(self, replica: Replica, process: EngineProcess | WarmProcess) -> None:
        replica.process = process
        threading.Thread(target=self._watch, args=(replica, process), name="evals-watch", daemon=True).start()

    def _process(self, replica: Replica, orders: dict[str, Any]) -> EngineProcess:
        if not replica.spec.on_ray:
            return EngineProcess(orders)
        from pytest_evals.engines.ray.process import RayProcess

        return RayProcess(orders, replica.spec, self._connected)  # type: ignore[return-value,arg-type]  # it does what is asked of a process here, and its channel what is of one

    def unload(self, replica: Replica) -> None:
        """Let the replica's process end; it is told to, and then given some seconds."""
        replica.state = "stopping"
        if replica.process:
            replica.tell({"type": "end" if replica.process.stays else "close"})
            threading.Thread(target=replica.process.end, kwargs={"patient": True}, daemon=True).start()

    def serve(self, role: str, handler: Handler) -> tuple[str, str]:
        """Let ``handler`` answer connections of ``role``; return the address and key to connect with."""
        self._clients[role] = handler
        return self.listen()

    def listen(self) -> tuple[str, str]:
        """Return the address and key with which processes connect."""
        if self._hub is None:
            self._hub = Hub(self._connected)
        return self._hub.address, self._hub.key

    # -- without the lock

    def close(self, replicas: Sequence[Replica]) -> None:
        """End the processes of ``replicas`` and stop listening. The caller has set ``closing``."""
        self.end(replicas)
        if self._hub:
            self._hub.close()

    def end(self, replicas: Sequence[Replica]) -> None:
        """End the processes of ``replicas``. The caller has set ``closing``."""
        for replica in replicas:
            replica.tell({"type": "close"})
        for replica in replicas:
            process = replica.process
            if process:
                # An idle engine leaves by itself at once; a batch or a load in progress is not worth waiting for.
                idle = replica.state == "ready" and not replica.tracker.busy
                process.end(patient=idle and not process.stays)
                process.forget()

    def end_if_stalled(self, replica: Replica, process: EngineProcess | WarmProcess, limit: float) -> None:
        """End a process that has work and gave no sign of life for ``limit`` seconds (0: never)."""
        with self._lock:
            silent = time.monotonic() - replica.heard
            stalled = replica.state == "ready" and replica.tracker.computing and 0 < limit < silent
        if stalled:
            process.kill(f"it gave no sign of life for {limit:g} s (evals_stall_timeout)")

    def _end_if_load_hangs(self, replica: Replica, process: EngineProcess | WarmProcess, load: LoadWatch) -> None:
        if replica.state != "starting":
            return
        problem = load.problem()
        with self._lock:
            hangs = problem is not None and replica.state == "starting"
            replica.load_hung = replica.load_hung or hangs
        if hangs:
            process.kill(f"{problem} (evals_load_timeout)")

    # -- threads

    def _connected(self, role: str, hello: Packet, channel: Channel) -> None:
        if role != "engine":
            self._clients[role](hello, channel)
            return
        with self._lock:
            replica = next((entry for entry in self._owner.all_replicas() if entry.token == hello["token"]), None)
            if replica is None or self.closing:
                channel.close()
                return
        self._converse(replica, channel)

    def _attach(self, replica: Replica, orders: dict[str, Any]) -> None:
        """Use an engine that an earlier run has left, or start one that stays."""
        from pytest_evals.engines.warm_process import attach_or_start

        process: EngineProcess | WarmProcess | None = None
        problem = "it is not known what it would be loaded from"
        try:
            process = attach_or_start(replica.spec, orders, self._warm)
        except (OSError, ValueError, EvalsError) as error:
            problem = str(error)
        with self._lock:
            if process is None:
                self._owner.heard(replica, {"type": "noted", "text": f"is not kept warm: {problem}"})
                if self.closing or replica.state != "starting":
                    replica.state = "stopped"
                    self._owner.ended(replica, None, loading=True)
                    return
                process = EngineProcess(orders)
            self._begin(replica, process)
            stays = not self.closing and replica.state == "starting"
        channel = getattr(process, "channel", None)
        if not stays:
            # The run needs it no more: it has ended, or another model has the device.
            if channel is not None:
                channel.close()
            process.end(patient=False)
        elif channel is not None:
            self._converse(replica, channel)

    def _converse(self, replica: Replica, channel: Channel) -> None:
        """Hear what a replica's process says until it is gone."""
        with self._lock:
            replica.channel = channel
            replica.reader = threading.current_thread()
        while (message := channel.receive()) is not None:
            with self._lock:
                self._owner.heard(replica, message)
        with self._lock:
            process = replica.process
            if process is not None and process.stays and replica.state != "stopping":
                process.disconnected()

    def _watch(self, replica: Replica, process: EngineProcess | WarmProcess) -> None:
        """Wait for the end of a process."""
        load: LoadWatch | None = None
        while (status := process.wait(_WATCH_SECONDS)) is None:
            # Most models need no more than the first second, and then nothing is imported for it.
            from pytest_evals.engines.load_watch import LoadWatch

            load = load or LoadWatch(process.pid, replica.load_seconds)
            self.end_if_stalled(replica, process, replica.stall_seconds)
            self._end_if_load_hangs(replica, process, load)
        reader = replica.reader
        if reader is not None:
            # What it still said before it died counts.
            reader.join(_READER_SECONDS)
        with self._lock:
            orderly = replica.state == "stopping" or replica.failure is not None or self.closing
            loading = replica.state == "starting"
            replica.lost = process.lost
            replica.state, replica.channel, replica.reader, replica.process = "stopped", None, None, None
            replica.archive_usage()
            crash = None if orderly else process.exit_report(status)
            if not self.closing:
                process.forget()
            self._owner.ended(replica, crash, loading=loading)
