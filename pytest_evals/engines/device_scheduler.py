"""Starts the models whose turn it is, makes room for the next one, and has what is new sent; `turns` is the policy."""

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
    ended after ``stall_seconds`` of silence.
    """

    notes: deque[str]
    options: Mapping[str, Any]
    stall_seconds: float

    def ready(self, team: ReplicaSet) -> bool:
        """Answer what is known without the model; return whether it is known what the model needs to be loaded for."""
        ...

    def send(self, resident: Replica) -> None:
        """Send a copy what it has to compute; one that is not ready gets nothing."""
        ...


class DeviceScheduler:
    """See the module."""

    def __init__(self, roster: ReplicaRegistry, processes: ProcessSupervisor, sender: Sender) -> None:
        self._roster = roster
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
        teams = {name: team for name, team in self._roster.teams().items() if self._sender.ready(team)}
        self._take_turns({name: team for name, team in teams.items() if team.spec.heavy})
        for name, team in teams.items():
            if team.spec.heavy and name != self._turn:
                continue
            if not team.spec.heavy and team.needs_start:
                self._start(team.replicas[0])
            for resident in team.fallen:
                self._start(resident)
            team.feed()
            for resident in team.replicas:
                self._sender.send(resident)

    def _take_turns(self, heavy: Mapping[str, ReplicaSet]) -> None:
        while move := next_action([team.standing(name) for name, team in heavy.items()], self._turn, free_memory()):
            team = heavy[move.name]
            if move.kind == "unload":
                for resident in team.replicas:
                    self._unload(resident)
                return
            self._turn = move.name
            if move.kind == "load":
                for resident in team.replicas:
                    self._start(resident)

    def _start(self, resident: Replica) -> None:
        if resident.failure is not None or resident.state != "out":
            return
        self._sender.notes.append(f"{resident.label}: starting the engine")
        resident.stall_seconds = self._sender.stall_seconds
        replicas = len(self._roster.of(resident).replicas)
        self._processes.start(resident, {**self._sender.options, "replica": resident.number, "replicas": replicas})

    def _unload(self, resident: Replica) -> None:
        if resident.state not in ("ready", "starting"):
            return
        self._sender.notes.append(f"{resident.label}: done, unloading")
        self._processes.unload(resident)
