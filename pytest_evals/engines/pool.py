"""One engine process per loaded model, shared by everything that runs in this session.

The pool starts, watches, restarts and ends the processes, sends requests and keeps results until somebody takes them.
Models that need the device take turns: the next one is loaded when the one before has nothing left to do.
"""

from __future__ import annotations

import contextlib
import secrets
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pytest_evals.engines.channel import Channel, Message, Switch
from pytest_evals.engines.process import EngineProcess
from pytest_evals.engines.protocol import EngineInfo, Request, Result
from pytest_evals.engines.resident import Resident
from pytest_evals.engines.slot import Slot
from pytest_evals.engines.spec import parse_spec

LOAD_ATTEMPTS = 2


class Generation(Protocol):
    """What the process that runs tests needs of engines: the pool itself, or a connection to the controller's."""

    def prepare(self, model: str) -> None:
        """Start loading ``model`` if its turn is now; returns at once."""
        ...

    def submit(self, requests: Sequence[Request]) -> None:
        """Hand in requests; those handed in before are left alone. Returns at once."""
        ...

    def result(self, request: Request, timeout: float | None = None) -> Result | None:
        """Wait for the result of ``request`` (submitted if it was not); `None` when ``timeout`` seconds pass first."""
        ...


@dataclass
class EnginePool:
    """See the module. ``options`` are device, dtype and batch for every model; ``root`` resolves paths and modules."""

    root: Path
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.notes: deque[str] = deque()
        """What a person who waits should know, in order: loading, loaded, restarted."""
        self.incidents: list[str] = []
        """Deaths of engine processes: they belong in the report, also where all went well afterwards."""
        self._residents: dict[str, Resident] = {}
        self._results: dict[str, Result] = {}
        self._taken: set[str] = set()
        self._changed = threading.Condition()
        self._closing = False
        self._switch: Switch | None = None
        self._clients: dict[str, Callable[[Message, Channel], None]] = {}

    # -- what others ask for

    def prepare(self, model: str) -> None:
        """See `Generation.prepare`."""
        with self._changed:
            self._resident(model).wanted = True
            self._schedule()

    def submit(self, requests: Sequence[Request]) -> None:
        """See `Generation.submit`."""
        with self._changed:
            for model in dict.fromkeys(request.model for request in requests):
                fresh = [request for request in requests if request.model == model and not self._known(request)]
                self._add(self._resident(model), fresh)
            self._schedule()

    def result(self, request: Request, timeout: float | None = None) -> Result | None:
        """See `Generation.result`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            if request.id in self._taken and request.id not in self._results:
                self._taken.discard(request.id)
            if not self._known(request):
                self._add(self._resident(request.model), [request])
                self._schedule()
            while request.id not in self._results:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return None
                self._changed.wait(left)
            self._taken.add(request.id)
            return self._results.pop(request.id)

    def residents(self) -> list[Resident]:
        """Return every model of the session, for progress and throughput."""
        with self._changed:
            return list(self._residents.values())

    def serve(self, role: str, handler: Callable[[Message, Channel], None]) -> tuple[str, str]:
        """Let ``handler`` answer connections of ``role`` (see `remote`); return the address and key to connect with."""
        with self._changed:
            self._clients[role] = handler
            switch = self._listening()
            return switch.address, switch.key

    def close(self) -> None:
        """End every process; unfinished requests get no result."""
        with self._changed:
            self._closing = True
            residents = [resident for resident in self._residents.values() if resident.process]
            self._changed.notify_all()
        for resident in residents:
            if resident.channel:
                with contextlib.suppress(OSError):
                    resident.channel.send({"type": "close"})
        for resident in residents:
            process = resident.process
            if process:
                # An idle engine leaves by itself at once; a batch or a load in progress is not worth waiting for.
                process.end(patient=resident.state == "ready" and not resident.slot.busy)
                process.forget()
        if self._switch:
            self._switch.close()

    # -- requests

    def _known(self, request: Request) -> bool:
        if request.id in self._results or request.id in self._taken:
            return True
        resident = self._residents.get(request.model)
        return resident is not None and request.id in resident.slot

    def _resident(self, model: str) -> Resident:
        if model not in self._residents:
            spec = parse_spec(model, self.root)
            self._residents[model] = Resident(spec, Slot(deduplicates=spec.deduplicates))
        return self._residents[model]

    def _add(self, resident: Resident, requests: Sequence[Request]) -> None:
        resident.asked += len(requests)
        resident.slot.add(requests)
        if resident.failure is not None:
            self._keep(resident, resident.slot.give_up(resident.failure))

    def _keep(self, resident: Resident, results: Sequence[Result]) -> None:
        for result in results:
            self._results[result.id] = result
            resident.done += 1
            resident.tokens += result.completion_tokens or 0
        if resident.working_since is not None and not resident.slot.busy:
            resident.seconds += time.monotonic() - resident.working_since
            resident.working_since = None
        self._changed.notify_all()

    def _send(self, resident: Resident) -> None:
        requests = resident.slot.next_to_send() if resident.state == "ready" else []
        if not requests or resident.channel is None:
            return
        if resident.working_since is None:
            resident.working_since = time.monotonic()
        # A process that dies at this moment is noticed by its watcher, and what it was sent is sent again.
        with contextlib.suppress(OSError):
            resident.channel.send({"type": "generate", "requests": [request.to_dict() for request in requests]})

    # -- whose turn it is

    def _schedule(self) -> None:
        """Send what is new; start the models whose turn it is; make room for the next one."""
        if self._closing:
            return
        for resident in self._residents.values():
            self._send(resident)
            if not resident.heavy and resident.state == "out" and (resident.slot.busy or resident.wanted):
                self._start(resident)
        heavy = [resident for resident in self._residents.values() if resident.heavy]
        loaded = next((resident for resident in heavy if resident.state != "out"), None)
        waiting = next((resident for resident in heavy if resident.state == "out" and resident.slot.busy), None)
        if loaded is None:
            following = waiting or next(
                (resident for resident in heavy if resident.wanted and not resident.failure), None
            )
            if following:
                self._start(following)
        elif waiting and loaded.state in ("ready", "starting") and not loaded.slot.busy:
            self._unload(loaded)

    def _start(self, resident: Resident) -> None:
        if resident.failure is not None:
            return
        resident.wanted = False
        resident.state = "starting"
        resident.token = secrets.token_hex(8)
        switch = self._listening()
        self.notes.append(f"{resident.spec.short}: starting the engine")
        resident.process = EngineProcess(
            {
                "address": switch.address,
                "key": switch.key,
                "token": resident.token,
                "spec": resident.spec.text,
                "root": str(self.root),
                "options": dict(self.options),
                "path": [str(self.root), *(entry for entry in sys.path if entry)],
            }
        )
        threading.Thread(target=self._watch, args=(resident, resident.process), name="evals-watch", daemon=True).start()

    def _unload(self, resident: Resident) -> None:
        resident.state = "leaving"
        self.notes.append(f"{resident.spec.short}: done, unloading")
        if resident.channel:
            with contextlib.suppress(OSError):
                resident.channel.send({"type": "close"})
        if resident.process:
            threading.Thread(target=resident.process.end, kwargs={"patient": True}, daemon=True).start()

    # -- what the processes say (threads)

    def _listening(self) -> Switch:
        if self._switch is None:
            self._switch = Switch(self._connected)
        return self._switch

    def _connected(self, role: str, hello: Message, channel: Channel) -> None:
        if role != "engine":
            self._clients[role](hello, channel)
            return
        with self._changed:
            resident = next((entry for entry in self._residents.values() if entry.token == hello["token"]), None)
            if resident is None or self._closing:
                channel.close()
                return
            resident.channel = channel
            resident.reader = threading.current_thread()
        while (message := channel.receive()) is not None:
            with self._changed:
                self._hear(resident, message)

    def _hear(self, resident: Resident, message: Message) -> None:
        kind = message["type"]
        if kind == "results":
            for data in message["results"]:
                self._keep(resident, resident.slot.finished(Result.from_dict(data)))
            self._schedule()
        elif kind == "started":
            resident.slot.started(message["ids"])
        elif kind == "working":
            resident.unfinished_tokens += message["tokens"]
        elif kind == "status":
            self.notes.append(f"{resident.spec.short}: {message['text']}")
        elif kind == "failed":
            resident.failure = message["message"]
            self._keep(resident, resident.slot.give_up(message["message"]))
        elif kind == "ready":
            resident.info = EngineInfo(**message["info"])
            resident.state = "ready"
            resident.attempts = 0
            self._schedule()

    def _watch(self, resident: Resident, process: EngineProcess) -> None:
        """Wait for the end of a process, and do what it takes to go on."""
        status = process.wait()
        reader = resident.reader
        if reader is not None:
            # What it still said before it died counts.
            reader.join(5)
        with self._changed:
            orderly = resident.state == "leaving" or resident.failure is not None or self._closing
            loading = resident.state == "starting"
            resident.state, resident.channel, resident.reader, resident.process = "out", None, None, None
            if not orderly:
                self._bury(resident, process.obituary(status), loading=loading)
            if not self._closing:
                process.forget()
            self._schedule()

    def _bury(self, resident: Resident, how: str, *, loading: bool) -> None:
        self.notes.append(f"{resident.spec.short}: the engine's process {how}")
        self.incidents.append(f"{resident.spec.short}: an engine process {how.splitlines()[0]}")
        if loading:
            resident.attempts += 1
            if resident.attempts >= LOAD_ATTEMPTS:
                resident.failure = f"model {resident.spec.text!r}: the engine's process {how}"
                self._keep(resident, resident.slot.give_up(resident.failure))
        else:
            self._keep(resident, resident.slot.crashed(how))
