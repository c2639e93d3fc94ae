"""The runs that a warm engine answers at the same time: each has requests, a journal and a connection of its own.

Requests of all runs wait here, and the engine is given a few at a time, from each run in turn: a click on one case does not wait for the
thousand cases of a run. What a run that is gone had asked for is dropped.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_evals.engines.ipc import Channel, Packet, UnhurriedChannel
from pytest_evals.engines.journal import JournalWriter
from pytest_evals.engines.protocol import Inbox, Request, Result
from pytest_evals.engines.worker import Outbox

_AHEAD = 2
"""Batches that the engine is given ahead: enough to keep it busy."""
_ROWS = 64
"""Requests of a batch, for an engine that has none."""
_LEVELS = ("most_", "peak_", "weights_")
"""What an engine accounts for is a sum over its life, unless its name begins so."""


@dataclass
class WarmClient:
    """One run. ``asked`` has the model and the key in the journal of each request that the engine has; ``waiting`` are those that it
    has not. ``before`` is what the engine had accounted for when the run came.
    """

    number: int
    channel: Channel | UnhurriedChannel
    outbox: Outbox
    journal: JournalWriter
    attached: bool
    age: float
    waiting: deque[Request] = field(default_factory=deque)
    asked: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    before: dict[str, float] = field(default_factory=dict)

    def tell(self, message: Packet) -> None:
        """Send a message; a connection that breaks is noticed by the thread that listens to it."""
        with contextlib.suppress(OSError):
            self.channel.send(message)


class WarmClients:
    """All runs. ``keep``: the seconds for which the engine stays without any."""

    def __init__(self, keep: float) -> None:
        self.keep = keep
        self.open = True
        self._lock = threading.RLock()
        self._clients: dict[int, WarmClient] = {}
        self._numbers = itertools.count(1)
        self._left = time.monotonic()
        self._info: dict[str, Any] | None = None
        self._problem: str | None = None
        self._rows = _ROWS
        self.had_any = False
        self._usage: dict[str, float] = {}

    # -- runs come and go

    def converse(
        self,
        channel: Channel | UnhurriedChannel,
        inbox: WarmInbox,
        *,
        journal: str | None,
        attached: bool,
        age: float = 0.0,
    ) -> None:
        """Take the requests of a run until it is gone; ``attached``: it found the engine loaded, or loading, for ``age`` seconds."""
        with self._lock:
            if not self.open:
                channel.close()
                return
            client = WarmClient(
                next(self._numbers),
                channel,
                Outbox(channel),
                JournalWriter(journal),
                attached,
                age,
                before=dict(self._usage),
            )
            self._clients[client.number] = client
            self.had_any = True
            if attached:
                client.tell({"type": "welcome"})
            if self._info is not None:
                self._welcome(client)
            if self._problem is not None:
                client.tell({"type": "failed", "message": self._problem})
        try:
            while (message := channel.receive()) is not None:
                if message["type"] == "generate":
                    self._take(client, message["requests"])
                    inbox.wake()
                elif message["type"] == "end":
                    # The run needs the memory for another model.
                    self.keep = 0.0
                    return
                elif message["type"] == "close":
                    return
        finally:
            # Also after a message that cannot be read: an engine stays no longer than its runs.
            self._drop(client, inbox)

    def _take(self, client: WarmClient, requests: Sequence[Mapping[str, Any]]) -> None:
        with self._lock:
            for data in requests:
                request = Request.from_dict(data)
                client.asked[request.id] = (request.model, data.get("key"))
                client.waiting.append(replace(request, id=f"{client.number}/{request.id}"))

    def _drop(self, client: WarmClient, inbox: WarmInbox) -> None:
        with self._lock:
            self._clients.pop(client.number, None)
            self._left = time.monotonic()
            waiting = {request.id for request in client.waiting}
            computed = {f"{client.number}/{key}" for key in client.asked} - waiting
        client.channel.close()
        client.outbox.close()
        client.journal.close()
        inbox.cancel(computed)
        # The engine waits for requests, and may have something to end.
        inbox.wake()

    def close(self, *, if_idle: bool = False) -> bool:
        """Let no more runs come; return false, and go on, where only an engine that is idle should end and this one is not."""
        with self._lock:
            if if_idle and self._clients:
                return False
            self.open = False
            return True

    def idle_seconds(self) -> float | None:
        """Return for how long there was no run, `None` while there is one."""
        with self._lock:
            return None if self._clients else time.monotonic() - self._left

    def state(self) -> dict[str, Any]:
        """Return what a list of engines shows."""
        idle = self.idle_seconds()
        left = None if idle is None else max(0.0, self.keep - idle)
        return {"runs": len(self._clients), "idle": idle, "left": left, "loaded": self._info is not None}

    # -- what the engine is given

    def next(self, requests_held: int, limit: int | None) -> list[Request]:
        """Return requests for the engine, which holds ``requests_held``, from each run in turn."""
        room = max(0, _AHEAD * self._rows - requests_held)
        if limit is not None:
            room = min(room, limit)
        found: list[Request] = []
        with self._lock:
            while len(found) < room and (busy := [each for each in self._clients.values() if each.waiting]):
                found.extend(client.waiting.popleft() for client in busy[: room - len(found)])
        return found

    # -- what the engine says

    def ready(self, info: dict[str, Any], rows: int | None) -> None:
        """Tell that the model is loaded, now and to every run that comes."""
        with self._lock:
            self._info, self._rows = info, rows or _ROWS
            for client in self._clients.values():
                self._welcome(client)

    def _welcome(self, client: WarmClient) -> None:
        info = dict(self._info or {})
        if client.attached:
            info["seconds"] = 0.0
            client.tell({"type": "noted", "text": f"attached to a warm engine, started {_ago(client.age)}"})
            client.tell({"type": "status", "text": f"attached to a warm engine, started {_ago(client.age)}"})
        client.tell({"type": "ready", "info": info})

    def fail(self, problem: str) -> None:
        """Tell that the model cannot be loaded."""
        with self._lock:
            self._problem = problem
        self.tell_all({"type": "failed", "message": problem})

    def tell_all(self, message: Packet) -> None:
        """Tell every run."""
        with self._lock:
            for client in self._clients.values():
                client.tell(message)

    def started(self, ids: Sequence[str]) -> None:
        """Tell each run which of its requests are computed."""
        by_client: dict[int, list[str]] = {}
        for key in ids:
            number, own = _parted(key)
            by_client.setdefault(number, []).append(own)
        with self._lock:
            for number, own_ids in by_client.items():
                client = self._clients.get(number)
                if client is not None:
                    with contextlib.suppress(OSError):
                        client.outbox.flush()
                    client.tell({"type": "started", "ids": own_ids})

    def working(self, tokens: int, usage: Mapping[str, Any] | None) -> None:
        """Tell the runs that wait how the work goes: all tokens of the moment, and what came of it since each run came."""
        with self._lock:
            self._usage = dict(usage or self._usage)
            for client in self._clients.values():
                if client.asked:
                    own = {
                        name: value if name.startswith(_LEVELS) else value - client.before.get(name, 0)
                        for name, value in self._usage.items()
                    }
                    client.tell({"type": "working", "tokens": tokens, "usage": own})

    def write_down(self, result: Result) -> None:
        """Put an answer into the journal of its run."""
        number, own = _parted(result.id)
        with self._lock:
            client = self._clients.get(number)
            if client is not None and own in client.asked:
                client.journal.add(replace(result, id=own), *client.asked.pop(own))

    def finished(self, result: Result) -> None:
        """Send an answer to its run."""
        self.write_down(result)
        number, own = _parted(result.id)
        with self._lock:
            client = self._clients.get(number)
        if client is not None:
            client.asked.pop(own, None)
            with contextlib.suppress(OSError):
                client.outbox.add(replace(result, id=own))


def _parted(key: str) -> tuple[int, str]:
    number, _, own = key.partition("/")
    return int(number), own


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} min ago"


class WarmInbox(Inbox):
    """Gives the engine what the runs wait for. ``on_idle`` is called once, in the engine's thread, when no run is there."""

    def __init__(self, clients: WarmClients) -> None:
        super().__init__()
        self._clients = clients
        self._held: set[str] = set()
        self.on_idle: Callable[[], None] | None = None

    def wake(self) -> None:
        """Have the engine look for something new."""
        with self._changed:
            self._changed.notify_all()

    def take(self, limit: int | None = None, *, wait: bool = True) -> list[Request]:
        """See `Inbox.take`. An engine that waits has answered all that it took."""
        if wait:
            self._held.clear()
        while True:
            with self._changed:
                taken = self._clients.next(len(self._held), limit)
                if taken or not wait or self._closed:
                    self._held.update(request.id for request in taken)
                    return taken
                self._changed.wait(1.0)
            self._use_idleness()

    def finished(self, key: str) -> None:
        """Take note that the engine has answered a request."""
        self._held.discard(key)

    def _use_idleness(self) -> None:
        idle = self._clients.idle_seconds()
        if self.on_idle is not None and idle is not None and idle > 0.0:
            prepare, self.on_idle = self.on_idle, None
            prepare()
