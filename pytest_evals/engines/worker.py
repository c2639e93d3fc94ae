"""The process in which one engine lives: ``python -m pytest_evals.engines.worker``, started by ``process``.

It reads its instructions (one JSON object) from standard input, connects back, loads the model and answers requests
until it is told to close, or until the process that started it is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from types import FrameType
from typing import Any, NoReturn

from pytest_evals.engines import run_date
from pytest_evals.engines.ipc import Channel, UnhurriedChannel, connect
from pytest_evals.engines.journal import JournalWriter
from pytest_evals.engines.protocol import Engine, Inbox, Noted, Request, Result, Started, TellsAtOnce, Working
from pytest_evals.engines.spec import ModelSpec
from pytest_evals.errors import ModelError
from pytest_evals.processes import end_with_parent

# Results wait this long for company: one message for many of a fast engine, no delay that anyone sees for a slow one.
FLUSH_SECONDS = 0.02
FLUSH_COUNT = 64
PROGRESS_SECONDS = 0.5
# Before this process ends in the middle of its work, an answer that is just there has so long to be written down.
LAST_WORDS_SECONDS = 0.1
# When a whole group of processes is told to end, the owner has so long to end this one.
OWNER_SECONDS = 2.0


class Outbox:
    """Sends results in small groups, soon: also while the engine is busy with the next request for minutes."""

    def __init__(self, channel: Channel | UnhurriedChannel) -> None:
        self._channel = channel
        self._waiting: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._filled = threading.Event()
        self._closed = False
        threading.Thread(target=self._flush_in_time, name="evals-outbox", daemon=True).start()

    def add(self, result: Result) -> None:
        """Send within `FLUSH_SECONDS`."""
        with self._lock:
            self._waiting.append(result.to_dict())
            full = len(self._waiting) >= FLUSH_COUNT
        if full:
            self.flush()
        else:
            self._filled.set()

    def flush(self) -> None:
        """Send what waits, now."""
        with self._lock:
            self._filled.clear()
            if self._waiting:
                self._channel.send({"type": "results", "results": self._waiting})
                self._waiting = []

    def close(self) -> None:
        """Send nothing any more."""
        self._closed = True
        self._filled.set()

    def _flush_in_time(self) -> None:
        # A connection that breaks is noticed by the thread that listens, which ends the process.
        with contextlib.suppress(OSError):
            while self._filled.wait() and not self._closed:
                time.sleep(FLUSH_SECONDS)
                self.flush()


def load_engine(spec: ModelSpec, options: dict[str, Any], report: Callable[[str], None]) -> Engine:
    """Load the engine that ``spec`` names; ``report`` is told what takes long."""
    return spec.kind.load(spec, options, report)


class StatusReport:
    """Tells the owner what takes long while the model is loaded, and how far it is."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._told = 0.0
        self._kind = ""

    def __call__(self, text: str) -> None:
        """Report a step."""
        self._channel.send({"type": "status", "text": text})

    def progress(self, text: str) -> None:
        """Tell what is done now, and how far it is: of texts with the same first word some, a few times a second."""
        now, kind = time.monotonic(), text.partition(" ")[0]
        if now - self._told >= PROGRESS_SECONDS or kind != self._kind:
            self._told, self._kind = now, kind
            self._channel.send({"type": "progress", "text": text})


@dataclass
class Desk:
    """What comes in: the ``inbox`` of requests; of each its model and its key in the journal; and whether the owner wants an end."""

    inbox: Inbox = field(default_factory=Inbox)
    asked: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    closing: threading.Event = field(default_factory=threading.Event)

    def take(self, requests: list[dict[str, Any]]) -> None:
        """Take requests as they come over the wire."""
        self.asked.update((data["id"], (data["model"], data.get("key"))) for data in requests)
        self.inbox.put([Request.from_dict(data) for data in requests])


def _listen(channel: Channel, desk: Desk) -> None:
    """Feed the inbox from the wire; runs in a thread of its own."""
    while (message := channel.receive()) is not None:
        if message["type"] == "generate":
            desk.take(message["requests"])
        elif message["type"] == "close":
            desk.closing.set()
            desk.inbox.abort()
            return
    # The process that started this one is gone: no caller waits for an answer, and the device should be free at once.
    desk.inbox.abort()
    time.sleep(LAST_WORDS_SECONDS)
    os._exit(1)


def _leave_ends_to_owner(desk: Desk) -> None:
    """Ctrl-C, and often the other signals that end a run, go to the whole process group: the owner decides when this process
    ends. One that does not hear of it ends by itself, soon.
    """
    process = os.getpid()

    def end(number: int) -> None:
        desk.closing.wait(OWNER_SECONDS)
        desk.inbox.abort()
        time.sleep(LAST_WORDS_SECONDS)
        os._exit(128 + number)

    def told(number: int, _frame: FrameType | None) -> None:
        if os.getpid() == process:
            threading.Thread(target=end, args=(number,), name="evals-end", daemon=True).start()
            return
        # A process that a script has forked.
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGINT, signal.SIG_IGN)

    signal.signal(signal.SIGTERM, told)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, told)


def _serve(channel: Channel, engine: Engine, desk: Desk, outbox: Outbox, journal: JournalWriter) -> None:
    def keep(result: Result) -> None:
        journal.add(result, *desk.asked.pop(result.id, ("", None)))

    if isinstance(engine, TellsAtOnce):
        engine.on_result = keep
    unwritten: str | None = None
    for event in engine.generate(desk.inbox):
        if isinstance(event, Started):
            outbox.flush()
            channel.send({"type": "started", "ids": event.ids})
        elif isinstance(event, Working):
            channel.send({"type": "working", "tokens": event.tokens, "usage": event.usage})
        elif isinstance(event, Noted):
            channel.send({"type": "noted", "text": event.text})
        else:
            keep(event)
            if journal.problem not in (None, unwritten):
                unwritten = journal.problem
                channel.send({"type": "noted", "text": f"answers cannot be kept as they arrive: {unwritten}"})
            outbox.add(event)
    outbox.flush()


def main() -> int:
    """Run the engine that standard input describes; the exit status is 0 after an orderly close."""
    end_with_parent()
    orders = json.loads(sys.stdin.buffer.read())
    os.environ[run_date.VARIABLE] = orders["date"]
    # Checked where it was named; what it says of prompts is with each request.
    spec = ModelSpec(**orders["spec"])
    desk = Desk()
    _leave_ends_to_owner(desk)
    sys.path[:0] = [entry for entry in orders["path"] if entry not in sys.path]
    channel = connect(orders["address"], orders["key"])
    channel.send({"role": "engine", "token": orders["token"]})
    outbox = Outbox(channel)
    threading.Thread(target=_listen, args=(channel, desk), name="evals-listen", daemon=True).start()
    try:
        engine = load_engine(spec, orders["options"], StatusReport(channel))
    except ModelError as error:
        channel.send({"type": "failed", "message": str(error)})
        return 0
    except Exception as error:  # noqa: BLE001 - whatever a damaged model makes its loader raise, loading it again would raise too
        traceback.print_exc()
        channel.send(
            {"type": "failed", "message": f"model {spec.text!r} cannot be loaded: {type(error).__name__}: {error}"}
        )
        return 0
    channel.send({"type": "ready", "info": asdict(engine.info)})
    try:
        _serve(channel, engine, desk, outbox, JournalWriter(orders.get("journal")))
    finally:
        engine.close()
    if spec.heavy:
        _leave()
    return 0


def _leave() -> NoReturn:
    """End this process now. Taking the interpreter apart, with all that torch has loaded and allocated, takes a second or
    two, while a caller waits. A script's process is taken apart: what it has registered for its end must run.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
