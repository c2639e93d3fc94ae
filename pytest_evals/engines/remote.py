"""The pool of the controller, used by the workers of pytest-xdist: one loaded model for all of them.

A worker asks and waits for one answer at a time; the controller answers each worker in a thread of its own. What a worker
subscribes to comes over a connection of its own, as it finishes.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

from pytest_evals.completion import Failure
from pytest_evals.engines.ipc import Channel, Packet, connect
from pytest_evals.engines.pool import ENDED, EnginePool
from pytest_evals.engines.protocol import Deliver, Request, Result
from pytest_evals.errors import EvalsError

ROLE = "worker"
SUBSCRIBER = "subscriber"
ADDRESS = "evals_address"
"""Where a worker finds address and key in its ``workerinput``."""
GONE = "the process that owns the engines is gone"


class RemotePool:
    """A worker's connection. Does what `Generation` asks, and carries declarations to the controller. ``ended`` once the controller
    wants nothing any more.
    """

    def __init__(self, address: str, key: str) -> None:
        self._where = (address, key)
        self._channel = connect(address, key)
        self._channel.send({"role": ROLE})
        self._asking = threading.Lock()
        self._over = False
        self._subscription: Subscription | None = None

    def _ask(self, message: Packet) -> Any:
        with self._asking:
            self._channel.send(message)
            answer = self._channel.receive()
        if answer is None:
            self._over = True
            raise EvalsError(GONE)
        if "error" in answer:
            self._over = self._over or answer["error"] == ENDED
            raise EvalsError(answer["error"])
        return answer["answer"]

    @property
    def ended(self) -> bool:
        """Tell whether the controller has ended, so that nothing more needs to run."""
        return self._over or (self._subscription is not None and self._subscription.ended)

    def declare(self, suites: list[dict[str, Any]]) -> None:
        """Tell the controller which suites were collected; returns when it knows."""
        self._ask({"type": "declare", "suites": suites})

    def prepare(self, model: str) -> None:
        """See `Generation.prepare`."""
        self._ask({"type": "prepare", "model": model})

    def submit(self, requests: Sequence[Request]) -> None:
        """See `Generation.submit`."""
        self._ask({"type": "submit", "requests": [request.to_dict() for request in requests]})

    def result(self, request: Request, timeout: float | None = None) -> Result | None:
        """See `Generation.result`."""
        answer = self._ask({"type": "result", "request": request.to_dict(), "timeout": timeout})
        return None if answer is None else Result.from_dict(answer)

    def subscribe(self, requests: Sequence[Request], deliver: Deliver) -> None:
        """See `Generation.subscribe`."""
        if self._subscription is None:
            self._subscription = Subscription(*self._where)
        self._subscription.add(requests, deliver)

    def close(self) -> None:
        """Hang up; the engines stay."""
        self._channel.close()
        if self._subscription is not None:
            self._subscription.close()


class Subscription:
    """A worker's second connection: requests go out, results come in whenever they are there."""

    def __init__(self, address: str, key: str) -> None:
        self._channel = connect(address, key)
        self._channel.send({"role": SUBSCRIBER})
        self._waiting: dict[str, Deliver] = {}
        self._lock = threading.Lock()
        self._gone = False
        self.ended = False
        threading.Thread(target=self._receive, name="evals-subscription", daemon=True).start()

    def add(self, requests: Sequence[Request], deliver: Deliver) -> None:
        """Ask for these. Raises `EvalsError` when the other side is gone."""
        with self._lock:
            if self._gone:
                raise EvalsError(GONE)
            self._waiting.update((request.id, deliver) for request in requests)
        try:
            self._channel.send({"requests": [request.to_dict() for request in requests]})
        except OSError as error:
            raise EvalsError(GONE) from error

    def _receive(self) -> None:
        while (message := self._channel.receive()) is not None:
            self._hand_on([Result.from_dict(data) for data in message["results"]])
        with self._lock:
            self._gone = self.ended = True
            unanswered = list(self._waiting)
        self._hand_on([Result(key, error=Failure("engine", GONE)) for key in unanswered])

    def _hand_on(self, results: Sequence[Result]) -> None:
        parcels: dict[Deliver, list[Result]] = {}
        with self._lock:
            for result in results:
                self.ended = self.ended or (result.error is not None and result.error.message == ENDED)
                deliver = self._waiting.pop(result.id, None)
                if deliver is not None:
                    parcels.setdefault(deliver, []).append(result)
        for deliver, parcel in parcels.items():
            deliver(parcel)

    def close(self) -> None:
        """Hang up."""
        self._channel.close()


def serve_workers(pool: EnginePool, declare: Callable[[list[dict[str, Any]]], None]) -> tuple[str, str]:
    """Answer workers from ``pool``; return the address and key for their `RemotePool`."""

    def answer(message: Packet) -> Any:
        kind = message["type"]
        if kind == "declare":
            return declare(message["suites"])
        if kind == "prepare":
            return pool.prepare(message["model"])
        if kind == "submit":
            return pool.submit([Request.from_dict(data) for data in message["requests"]])
        result = pool.result(Request.from_dict(message["request"]), message["timeout"])
        return None if result is None else result.to_dict()

    def converse(_hello: Packet, channel: Channel) -> None:
        while (message := channel.receive()) is not None:
            try:
                reply = {"answer": answer(message)}
            except EvalsError as error:
                reply = {"error": str(error)}
            try:
                channel.send(reply)
            except OSError:
                return

    pool.serve(SUBSCRIBER, lambda _hello, channel: _serve_subscriber(pool, channel))
    return pool.serve(ROLE, converse)


def _serve_subscriber(pool: EnginePool, channel: Channel) -> None:
    """Send what the worker asks for as it finishes. A thread sends it, since delivery must not wait for a socket."""
    finished: queue.SimpleQueue[list[Result] | None] = queue.SimpleQueue()

    def send() -> None:
        while (results := finished.get()) is not None:
            try:
                channel.send({"results": [result.to_dict() for result in results]})
            except OSError:
                return

    sender = threading.Thread(target=send, name="evals-sender", daemon=True)
    sender.start()
    while (message := channel.receive()) is not None:
        requests = [Request.from_dict(data) for data in message["requests"]]
        try:
            pool.subscribe(requests, finished.put)
        except EvalsError as error:
            failure = Failure("engine", str(error))
            finished.put([Result(request.id, error=failure) for request in requests])
    finished.put(None)
