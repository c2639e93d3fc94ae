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
from dataclasses import asdict
from typing import Any, NoReturn

from pytest_evals.engines import run_date
from pytest_evals.engines.ipc import Channel, connect
from pytest_evals.engines.protocol import Engine, Inbox, Noted, Request, Result, Started, Working
from pytest_evals.engines.spec import ModelSpec
from pytest_evals.errors import ModelError

# Results wait this long for company: one message for many of a fast engine, no delay that anyone sees for a slow one.
FLUSH_SECONDS = 0.02
FLUSH_COUNT = 64


class Outbox:
    """Sends results in small groups, soon: also while the engine is busy with the next request for minutes."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._waiting: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._filled = threading.Event()
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

    def _flush_in_time(self) -> None:
        # A connection that breaks is noticed by the thread that listens, which ends the process.
        with contextlib.suppress(OSError):
            while self._filled.wait():
                time.sleep(FLUSH_SECONDS)
                self.flush()


def load_engine(spec: ModelSpec, options: dict[str, Any], report: Callable[[str], None]) -> Engine:
    """Load the engine that ``spec`` names; ``report`` is told what takes long."""
    return spec.kind.load(spec, options, report)


def _listen(channel: Channel, inbox: Inbox) -> None:
    """Feed the inbox from the wire; runs in a thread of its own."""
    while (message := channel.receive()) is not None:
        if message["type"] == "generate":
            inbox.put([Request.from_dict(data) for data in message["requests"]])
        elif message["type"] == "close":
            inbox.abort()
            return
    # Whoever started this process is gone: nobody waits for an answer, and the device should be free at once.
    os._exit(1)


def _serve(channel: Channel, engine: Engine, inbox: Inbox, outbox: Outbox) -> None:
    for event in engine.generate(inbox):
        if isinstance(event, Started):
            outbox.flush()
            channel.send({"type": "started", "ids": event.ids})
        elif isinstance(event, Working):
            channel.send({"type": "working", "tokens": event.tokens, "usage": event.usage})
        elif isinstance(event, Noted):
            channel.send({"type": "noted", "text": event.text})
        else:
            outbox.add(event)
    outbox.flush()


def main() -> int:
    """Run the engine that standard input describes; the exit status is 0 after an orderly close."""
    orders = json.loads(sys.stdin.buffer.read())
    os.environ[run_date.VARIABLE] = orders["date"]
    # Checked where it was named; what it says of prompts is with each request.
    spec = ModelSpec(**orders["spec"])
    # Ctrl-C goes to the whole process group; the process that owns this one decides when it ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.path[:0] = [entry for entry in orders["path"] if entry not in sys.path]
    channel = connect(orders["address"], orders["key"])
    channel.send({"role": "engine", "token": orders["token"]})
    outbox = Outbox(channel)
    inbox = Inbox()
    threading.Thread(target=_listen, args=(channel, inbox), name="evals-listen", daemon=True).start()
    try:
        engine = load_engine(spec, orders["options"], lambda text: channel.send({"type": "status", "text": text}))
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
        _serve(channel, engine, inbox, outbox)
    finally:
        engine.close()
    if spec.heavy:
        _leave()
    return 0


def _leave() -> NoReturn:
    """End this process now. Taking the interpreter apart, with all that torch has loaded and allocated, takes a second or
    two, for which somebody waits. A script's process is taken apart: what it has registered for its end must run.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
