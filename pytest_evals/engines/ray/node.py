"""What runs on a node of the cluster: the process of one engine, as on one machine, and an actor that passes on what it says.

The actor imports no model library. When it ends, or its node does, its process ends with it.
"""

from __future__ import annotations

import importlib.metadata
import os
import queue
import socket
import threading
from pathlib import Path
from typing import Any

from pytest_evals.engines.ipc import Channel, Hub, Packet
from pytest_evals.engines.process import EngineProcess
from pytest_evals.errors import ModelError

ENDED = "ended"
"""The type of the last packet: the process has ended, with this ``status``, and ``report`` says how."""
_POLL_SECONDS = 0.5
_READER_SECONDS = 5.0


class EngineNode:
    """One engine on a node. Its methods are called from elsewhere, several at a time."""

    def __init__(self) -> None:
        self._hub: Hub | None = None
        self._process: EngineProcess | None = None
        self._channel: Channel | None = None
        self._connected = threading.Event()
        self._over = threading.Event()
        self._said: queue.SimpleQueue[Packet] = queue.SimpleQueue()

    def start(self, orders: dict[str, Any], version: str, cpus: int, gpus: int) -> str:
        """Start the engine that ``orders`` describe, for a run with this ``version`` of the package; return the node's name.

        Raises `ModelError` where this node cannot run it.
        """
        host = socket.gethostname()
        check_node(orders["spec"]["name"], version, host)
        self._hub = Hub(self._listen)
        told = {**orders["options"], **shared_node(orders["options"], cpus, gpus)}
        where = {"address": self._hub.address, "key": self._hub.key, "journal": None}
        self._process = EngineProcess({**orders, **where, "options": told})
        threading.Thread(target=self._watch, args=(self._process, host), daemon=True).start()
        return host

    def send(self, message: Packet) -> None:
        """Send the engine a message, once it listens; a process that is gone hears none."""
        while not self._connected.wait(_POLL_SECONDS):
            if self._over.is_set():
                return
        if self._channel is not None:
            try:
                self._channel.send(message)
            except OSError:
                # What it was sent is sent again elsewhere, when its end is heard of.
                return

    def receive(self) -> list[Packet]:
        """Return what the engine has said, waiting for it for a moment; the last packet of all is `ENDED`."""
        found: list[Packet] = []
        try:
            found.append(self._said.get(timeout=_POLL_SECONDS))
            while True:
                found.append(self._said.get_nowait())
        except queue.Empty:
            return found

    def end(self, *, patient: bool) -> None:
        """End the process; see `EngineProcess.end`."""
        if self._process is not None:
            self._process.end(patient=patient)

    def _listen(self, role: str, hello: Packet, channel: Channel) -> None:
        del role, hello
        self._channel = channel
        self._connected.set()
        while (message := channel.receive()) is not None:
            self._said.put(message)
        self._over.set()

    def _watch(self, process: EngineProcess, host: str) -> None:
        while (status := process.wait(_POLL_SECONDS)) is None:
            pass
        if self._connected.is_set():
            # What it still said before it died counts.
            self._over.wait(_READER_SECONDS)
        self._over.set()
        self._said.put({"type": ENDED, "status": status, "report": f"on {host} {process.exit_report(status)}"})
        process.forget()
        if self._hub is not None:
            self._hub.close()


def check_node(name: str, version: str, host: str) -> None:
    """Raise `ModelError` where this node has another version of the package, or lacks the folder of the model ``name``."""
    own = importlib.metadata.version("pytest-evals-hf")
    if own != version:
        raise ModelError(
            f"the node {host} has version {own} of pytest-evals-hf, and the run {version}; install the same one on all"
        )
    if Path(name).is_absolute() and not Path(name).exists():
        raise ModelError(
            f"the node {host} has no {name}: on Ray a model comes from the hub (org/name), or from a path that all nodes share"
        )


def shared_node(options: dict[str, Any], cpus: int, gpus: int) -> dict[str, int]:
    """Return which replica this is among those of its node, as far as it matters there.

    Ray shows a process its own GPUs alone. On a CPU the replicas of a node share its cores: no more of them than fit beside each other.
    """
    beside = max(1, (os.cpu_count() or 1) // max(1, cpus))
    return {"replica": 0, "replicas": 1 if gpus else min(int(options.get("replicas", 1)), beside)}
