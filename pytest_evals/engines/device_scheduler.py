"""Starts the models whose turn it is, makes room for the next one, and has what is new sent; `device_policy` decides."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

from pytest_evals.engines.device_policy import next_action
from pytest_evals.engines.replica import Replica
from pytest_evals.engines.replica_set import ReplicaRegistry, ReplicaSet
from pytest_evals.engines.resources import free_memory
from pytest_evals.engines.supervisor import ProcessSupervisor


class Sender(Protocol):
    """Who sends requests. ``notes``: what a person who waits should know. Processes are started with ``options``, and
    ended after ``stall_seconds`` of silence, and one that loads after ``load_seconds``.
    """

    notes: deque[str]
    options: Mapping[str, Any]
    stall_seconds: float
    load_seconds: float

    def ready(self, replica_set: ReplicaSet) -> bool:
        """Answer what is known without the model; return whether it is known what the model needs to be loaded for."""
        ...

    def send(self, replica: Replica) -> None:
        """Send a copy what it has to compute; one that is not ready gets nothing."""
        ...


class DeviceScheduler:
    """See the module."""

    def __init__(self, registry: ReplicaRegistry, processes: ProcessSupervisor, sender: Sender) -> None:
        self._registry = registry
        self._processes = processes
        self._sender = sender
        self._turn: str | None = None
        self._again = False

    def again(self) -> None:
        """Look once more: something was answered while requests were sent."""
        self._again = True

    def schedule(self) -> None:
        """Send what is new; start the models whose turn it is; make room for the next one."""
        self._again = True
        while self._again and not self._processes.closing:
            # Where answers were known from before, a model may have nothing left to do: it is the next one's turn.
            self._again = False
            self._schedule_once()

    def _schedule_once(self) -> None:
        replica_sets = {
            name: replica_set
            for name, replica_set in self._registry.replica_sets().items()
            if self._sender.ready(replica_set)
        }
        heavy = {name: replica_set for name, replica_set in replica_sets.items() if replica_set.spec.heavy}
        if heavy:
            # Asking the system for its memory takes longer than the rest.
            self._take_turns(heavy)
        for name, replica_set in replica_sets.items():
            if replica_set.spec.heavy and name != self._turn:
                continue
            if not replica_set.spec.heavy and replica_set.needs_start:
                self._start(replica_set.replicas[0])
            for replica in replica_set.fallen:
                self._start(replica)
            replica_set.feed()
            for replica in replica_set.replicas:
                self._sender.send(replica)

    def _take_turns(self, heavy: Mapping[str, ReplicaSet]) -> None:
        while move := next_action(
            [replica_set.status(name) for name, replica_set in heavy.items()], self._turn, free_memory()
        ):
            replica_set = heavy[move.name]
            if move.kind == "unload":
                for replica in replica_set.replicas:
                    self._unload(replica)
                return
            self._turn = move.name
            if move.kind == "load":
                for replica in replica_set.replicas:
                    self._start(replica)

    def _start(self, replica: Replica) -> None:
        if replica.failure is not None or replica.state != "stopped":
            return
        self._sender.notes.append(f"{replica.label}: starting the engine")
        replica.stall_seconds = self._sender.stall_seconds
        replica.load_seconds = self._sender.load_seconds
        replica_set = self._registry.of(replica)
        options = {**self._sender.options, "replica": replica.number, "replicas": len(replica_set.replicas)}
        first = next(iter(replica_set.adapters.values()), None)
        self._processes.start(replica, options if first is None else {**options, "adapter": first})

    def _unload(self, replica: Replica) -> None:
        if replica.state not in ("ready", "starting"):
            return
        self._sender.notes.append(f"{replica.label}: done, unloading")
        self._processes.unload(replica)
