"""The pool of the controller, used by the workers of pytest-xdist: one loaded model for all of them.

A worker asks and waits for one answer at a time; the controller answers each worker in a thread of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from pytest_evals.engines.channel import Channel, Message, connect
from pytest_evals.engines.pool import EnginePool
from pytest_evals.engines.protocol import Request, Result
from pytest_evals.errors import EvalsError

ROLE = "worker"
ADDRESS = "evals_address"
"""Where a worker finds address and key in its ``workerinput``."""


class RemotePool:
    """A worker's connection. Does what `Generation` asks, and carries declarations to the controller."""

    def __init__(self, address: str, key: str) -> None:
        self._channel = connect(address, key)
        self._channel.send({"role": ROLE})
        self._asking = threading.Lock()

    def _ask(self, message: Message) -> Any:
        with self._asking:
            self._channel.send(message)
            answer = self._channel.receive()
        if answer is None:
            raise EvalsError("the process that owns the engines is gone")
        if "error" in answer:
            raise EvalsError(answer["error"])
        return answer["answer"]

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

    def close(self) -> None:
        """Hang up; the engines stay."""
        self._channel.close()


def serve_workers(pool: EnginePool, declare: Callable[[list[dict[str, Any]]], None]) -> tuple[str, str]:
    """Answer workers from ``pool``; return the address and key for their `RemotePool`."""

    def answer(message: Message) -> Any:
        kind = message["type"]
        if kind == "declare":
            return declare(message["suites"])
        if kind == "prepare":
            return pool.prepare(message["model"])
        if kind == "submit":
            return pool.submit([Request.from_dict(data) for data in message["requests"]])
        result = pool.result(Request.from_dict(message["request"]), message["timeout"])
        return None if result is None else result.to_dict()

    def converse(_hello: Message, channel: Channel) -> None:
        while (message := channel.receive()) is not None:
            try:
                reply = {"answer": answer(message)}
            except EvalsError as error:
                reply = {"error": str(error)}
            try:
                channel.send(reply)
            except OSError:
                return

    return pool.serve(ROLE, converse)
