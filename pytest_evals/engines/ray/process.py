"""The process of an engine on a node of the cluster, as the one who started it sees it: see `engines.process.EngineProcess`."""

from __future__ import annotations

import contextlib
import importlib.metadata
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from pytest_evals.engines.ipc import Packet
from pytest_evals.engines.journal import JournalWriter
from pytest_evals.engines.protocol import Result
from pytest_evals.engines.ray.cluster import WAIT_SECONDS, joined_ray, no_room, wish_of
from pytest_evals.engines.ray.node import ENDED, EngineNode
from pytest_evals.engines.spec import ModelSpec
from pytest_evals.errors import ModelError
from pytest_evals.text import one_line

_GRACE_SECONDS = 3.0
_NEWS_SECONDS = 5.0
"""How often a replica that waits for room says so."""
_NOT_WANTED = "the run has ended"
_CALLS = 4
"""Calls of an actor that may run at a time: one waits for what the engine says, others send."""

Connected = Callable[[str, Packet, "RayChannel"], None]


class RayProcess:
    """An engine on whichever node has room.

    Args:
        orders: What the engine's process is told: see `engines.worker`.
        spec: The model.
        connected: Is given the connection, as a `Hub` gives one.
    """

    stays = False
    pid = 0
    """It has no number here."""

    def __init__(self, orders: dict[str, Any], spec: ModelSpec, connected: Connected) -> None:
        self.lost = False
        self._spec = spec
        self._orders = orders
        self._connected = connected
        self._channel = RayChannel(self._tell, orders.get("journal"))
        self._ray: Any = None
        self._actor: Any = None
        self._status: int | None = None
        self._report = ""
        self._reason: str | None = None
        self._killed = False
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="evals-ray", daemon=True).start()

    # -- as of a process here

    def wait(self, seconds: float) -> int | None:
        """See `EngineProcess.wait`."""
        self._ended.wait(seconds)
        return self._status if self._ended.is_set() else None

    def kill(self, reason: str) -> None:
        """See `EngineProcess.kill`."""
        self._reason = reason
        self._kill()

    def end(self, *, patient: bool) -> None:
        """See `EngineProcess.end`."""
        if patient and self.wait(_GRACE_SECONDS) is not None:
            return
        self._kill()
        self.wait(_GRACE_SECONDS)

    def exit_report(self, status: int) -> str:
        """See `EngineProcess.exit_report`."""
        how = self._report or f"ended with status {status}"
        return f"{how} ({self._reason})" if self._reason else how

    def forget(self) -> None:
        """Give back what the actor takes of its node."""
        self._kill()

    def _kill(self) -> None:
        self._killed = True
        if self._actor is not None:
            with contextlib.suppress(Exception):  # Ray may be shut down, or the actor gone
                self._ray.kill(self._actor)

    def _tell(self, message: Packet) -> None:
        if self._actor is not None:
            self._actor.send.remote(message)

    # -- in a thread of its own

    def _run(self) -> None:
        threading.Thread(
            target=self._connected, args=("engine", {"token": self._orders["token"]}, self._channel), daemon=True
        ).start()
        try:
            self._place()
            self._pass_on()
        except ModelError as error:
            # One that was raised on the node brings that node's traceback, and has what was raised as its cause.
            said = getattr(error, "cause", None) or error
            self._channel.hear({"type": "failed", "message": f"model {self._spec.text!r}: {said}"})
            self._status = 0
        except Exception as error:  # noqa: BLE001 - Ray reports the end of actors and nodes by errors of many kinds
            self.lost = not self._killed
            self._status = -9
            self._report = f"was lost with its actor or node: {one_line(f'{type(error).__name__}: {error}', 300)}"
        finally:
            self._channel.over()
            self._kill()
            self._ended.set()

    def _place(self) -> None:
        """Start the engine where there is room. Raises `ModelError` where there is none in time, or the node cannot run it."""
        self._progress("joining the Ray cluster")
        self._ray = joined_ray()
        wish = wish_of(self._spec, str(self._orders["options"].get("device", "auto")), self._ray.cluster_resources())
        seconds = float(self._spec.options.get("wait", WAIT_SECONDS))
        node = self._ray.remote(num_cpus=wish.cpus, num_gpus=wish.gpus, max_restarts=0, max_concurrency=_CALLS)(
            EngineNode
        )
        self._actor = actor = node.remote()
        if self._killed:
            raise ModelError(_NOT_WANTED)
        version = importlib.metadata.version("pytest-evals-hf")
        placed = actor.start.remote(self._orders, version, wish.cpus, wish.gpus)
        began = time.monotonic()
        while not self._ray.wait([placed], timeout=min(_NEWS_SECONDS, max(0.0, began + seconds - time.monotonic())))[0]:
            if self._killed:
                raise ModelError(_NOT_WANTED)
            waited = time.monotonic() - began
            if waited >= seconds:
                raise ModelError(no_room(wish, seconds, self._ray.nodes(), self._ray.available_resources()))
            self._progress(f"waiting for a node of the Ray cluster with {wish} free ({waited:.0f} of {seconds:g} s)")
        self._channel.hear({"type": "status", "text": f"placed on {self._ray.get(placed)}"})

    def _progress(self, text: str) -> None:
        self._channel.hear({"type": "progress", "text": text})

    def _pass_on(self) -> None:
        while True:
            for packet in self._ray.get(self._actor.receive.remote()):
                if packet["type"] == ENDED:
                    self._status, self._report = packet["status"], packet["report"]
                    return
                self._channel.hear(packet)


class RayChannel:
    """The connection to an engine on a node. Answers are kept in the journal of this machine, as they arrive."""

    def __init__(self, tell: Callable[[Packet], None], journal: str | None) -> None:
        self._tell = tell
        self._heard: queue.SimpleQueue[Packet | None] = queue.SimpleQueue()
        self._journal = JournalWriter(journal)
        self._asked: dict[str, tuple[str, str | None]] = {}

    def send(self, message: Packet) -> None:
        """Send a message; returns at once."""
        self._asked.update((data["id"], (data["model"], data.get("key"))) for data in message.get("requests", ()))
        self._tell(message)

    def receive(self) -> Packet | None:
        """Wait for a message; `None` when nothing follows."""
        return self._heard.get()

    def close(self) -> None:
        """Hear nothing more."""
        self._heard.put(None)

    def hear(self, packet: Packet) -> None:
        """Take what the engine said."""
        for data in packet["results"] if packet["type"] == "results" else ():
            self._journal.add(Result.from_dict(data), *self._asked.pop(data["id"], ("", None)))
        self._heard.put(packet)

    def over(self) -> None:
        """Say that nothing follows."""
        self._heard.put(None)
