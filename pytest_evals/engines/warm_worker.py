"""The process of a warm engine: ``python -m pytest_evals.engines.warm_worker``, started by `warm_process`.

It belongs to no run. Runs connect, ask and leave; when none is there for as long as it was told to stay, it ends, and sooner when
memory is short or the files that it was loaded from have changed. A thread of its own sees to that, whatever the engine does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_evals.engines import run_date
from pytest_evals.engines.embedded import EMBEDDED
from pytest_evals.engines.identity import loaded_from
from pytest_evals.engines.ipc import Channel, Hub, Packet, UnhurriedChannel, connect
from pytest_evals.engines.protocol import Engine, Event, Noted, Result, Started, TellsAtOnce, Working
from pytest_evals.engines.spec import ModelSpec
from pytest_evals.engines.warm_clients import WarmClients, WarmInbox
from pytest_evals.engines.warm_registry import WarmEntry, claim, forget
from pytest_evals.engines.worker import load_engine
from pytest_evals.errors import EvalsError, ModelError

_LOOK_SECONDS = 0.5
_CHECK_SECONDS = 5.0
"""How often memory and files are checked while no run asks for anything."""
_LEAST_SHARE = 0.1
"""Share of the memory that must be available, or an idle engine ends."""
_LAST_SECONDS = 0.1
_SCRIPT_SECONDS = 2.0
"""How long a script may take to end."""
_FIRST_SECONDS = 10.0
"""How long the run that started it may take to answer."""


class WarmService:
    """What runs find: a socket, and an entry that says where it is. ``orders`` are what the process was started with."""

    def __init__(self, orders: Mapping[str, Any], spec: ModelSpec) -> None:
        self._orders = orders
        self._spec = spec
        self.clients = WarmClients(orders["warm"]["keep"])
        self.inbox = WarmInbox(self.clients)
        self._hub = Hub(self._connected)
        warm = orders["warm"]
        self._entry = WarmEntry(
            warm["key"],
            warm["slot"],
            spec.text,
            os.getpid(),
            self._hub.address,
            self._hub.key,
            time.time(),
            warm["keep"],
        )
        self._loaded_from = None if _is_on_hub(spec) else loaded_from(spec, orders["path"])
        # Another engine of the same may have been faster: then this one ends with its run.
        self._registered = self._claimed()

    def _claimed(self) -> bool:
        try:
            return claim(self._entry)
        except (OSError, EvalsError) as error:
            print(f"this engine cannot be found by other runs: {error}", file=sys.stderr)  # noqa: T201 - its log
            return False

    def begin(self) -> None:
        """Answer the run that started this, and those that come; see to the end."""
        threading.Thread(target=self._watch, name="evals-warm-watch", daemon=True).start()
        threading.Thread(target=self._call_back, name="evals-warm-first", daemon=True).start()

    def _call_back(self) -> None:
        orders = self._orders
        try:
            channel = connect(orders["address"], orders["key"])
            channel.send({"role": "engine", "token": orders["token"]})
        except (OSError, EOFError):
            # The run is gone already; the next one will find the model loaded.
            return
        self.clients.converse(UnhurriedChannel(channel), self.inbox, journal=orders.get("journal"), attached=False)

    def _connected(self, role: str, hello: Packet, channel: Channel) -> None:
        """Answer a connection, in a thread of its own."""
        if role in ("retire", "stop", "ask"):
            with contextlib.suppress(OSError):
                channel.send({"type": "welcome", **self.clients.state()})
            if role == "stop":
                self.end("it was told to")
            if role == "retire":
                self.clients.keep = 0.0
            channel.close()
            return
        self.clients.keep = float(hello["keep"])
        age = time.time() - self._entry.started
        patient = UnhurriedChannel(channel)
        self.clients.converse(patient, self.inbox, journal=hello.get("journal"), attached=True, age=age)

    # -- the end

    def _watch(self) -> None:
        """End the process when its time is over."""
        checked = time.monotonic()
        while True:
            time.sleep(_LOOK_SECONDS)
            idle = self.clients.idle_seconds()
            if idle is None:
                continue
            stays = self.clients.keep if self._registered else 0.0
            if idle >= (stays if self.clients.had_any else max(stays, _FIRST_SECONDS)):
                self.end("no run asked for it any more", if_idle=True)
            if time.monotonic() - checked > _CHECK_SECONDS:
                checked = time.monotonic()
                try:
                    problem = self._problem()
                except Exception as error:  # noqa: BLE001 - this thread must go on to its end, whatever became of the files
                    problem = f"the files of its model cannot be looked at: {error!r}"
                if problem is not None:
                    self.end(problem, if_idle=True)

    def _problem(self) -> str | None:
        """Return why an idle engine should not stay."""
        import psutil

        memory = psutil.virtual_memory()
        if memory.available < _LEAST_SHARE * memory.total:
            return "memory is short"
        if not _is_on_hub(self._spec) and loaded_from(self._spec, self._orders["path"]) != self._loaded_from:
            return "the files of its model have changed"
        return None

    def end(self, why: str, *, if_idle: bool = False) -> None:
        """End this process, unless only an idle one should end and a run has just come. What a model has loaded is the system's to
        take back; a script's process is taken apart, since what it has registered for its end must run.
        """
        if not self.clients.close(if_idle=if_idle):
            return
        print(f"ending: {why}", file=sys.stderr)  # noqa: T201 - its log
        if self._registered:
            with contextlib.suppress(OSError, EvalsError):
                forget(self._entry)
        # Not by closing the hub: a run that connects at this moment must not be kept waiting.
        with contextlib.suppress(OSError):
            path = Path(self._hub.address)
            path.unlink(missing_ok=True)
            path.parent.rmdir()
        sys.stderr.flush()
        if not self._spec.heavy and threading.current_thread() is not threading.main_thread():
            self.inbox.close()
            time.sleep(_SCRIPT_SECONDS)
        elif not self._spec.heavy:
            sys.exit(0)
        os._exit(0)


def _is_on_hub(spec: ModelSpec) -> bool:
    """Tell whether only the hub knows whether a model has changed. Its files here are named by their commit."""
    return spec.kind.keeps_identity and spec.name != EMBEDDED and not Path(spec.name).is_dir()


def serve(engine: Engine, service: WarmService) -> None:
    """Answer what comes until the process ends."""
    clients = service.clients
    if isinstance(engine, TellsAtOnce):
        engine.on_result = clients.write_down
    service.inbox.on_idle = getattr(engine, "tune", None)
    clients.ready({**dataclasses.asdict(engine.info)}, engine.info.rows)
    for event in engine.generate(service.inbox):
        hand_on(event, clients, service.inbox)


def hand_on(event: Event, clients: WarmClients, inbox: WarmInbox) -> None:
    """Tell the clients whom it concerns what the engine says."""
    if isinstance(event, Started):
        clients.started(event.ids)
    elif isinstance(event, Working):
        clients.working(event.tokens, event.usage)
    elif isinstance(event, Noted):
        clients.tell_all({"type": "noted", "text": event.text})
    elif isinstance(event, Result):
        inbox.finished(event.id)
        clients.finished(event)


def main() -> int:
    """Run the engine that standard input describes."""
    orders = json.loads(sys.stdin.buffer.read())
    os.environ[run_date.VARIABLE] = orders["date"]
    spec = ModelSpec(**orders["spec"])
    sys.path[:0] = [entry for entry in orders["path"] if entry not in sys.path]
    # It belongs to no terminal.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    service = WarmService(orders, spec)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=service.end, args=("SIGTERM",)).start())
    service.begin()
    clients = service.clients
    problem = None
    try:
        engine = load_engine(spec, orders["options"], lambda text: clients.tell_all({"type": "status", "text": text}))
    except ModelError as error:
        problem = str(error)
    except Exception as error:  # noqa: BLE001 - whatever a damaged model makes its loader raise, loading it again would raise too
        traceback.print_exc()
        problem = f"model {spec.text!r} cannot be loaded: {type(error).__name__}: {error}"
    if problem is not None:
        clients.fail(problem)
        time.sleep(_LAST_SECONDS)
        service.end(problem)
    serve(engine, service)
    if clients.open:
        service.end("the engine ended")
    return 0


if __name__ == "__main__":
    sys.exit(main())
