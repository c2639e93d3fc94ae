"""Requests of steps on their way to the engines, in parcels, and results on their way back.

Steps ask one by one. What is asked while the event loop is busy with steps that became ready together is handed in
together, so that it meets in the engines' batches.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import Future
from typing import Any

from pytest_evals.completion import Failure
from pytest_evals.engines.protocol import Request, Result
from pytest_evals.engines.service import Generation
from pytest_evals.errors import EvalsError, SuiteError

_QUIET_TURNS = 3
"""Turns of the loop in which nobody asked, after which a parcel leaves: a step may need some to come to its call."""


class Dispatcher:
    """See the module. ``loop`` runs the steps; any thread may ask."""

    def __init__(self, engines: Generation, loop: asyncio.AbstractEventLoop) -> None:
        self._engines = engines
        self._loop = loop
        self._asked: list[Request] = []
        self._open: dict[str, list[Future[Result]]] = {}
        self._lock = threading.Lock()
        self._collecting = False
        self._seen = 0
        self._quiet = 0

    def ask(self, request: Request) -> Answer:
        """Hand in a request; requests of the same id get the same answer."""
        future: Future[Result] = Future()
        with self._lock:
            waiting = self._open.setdefault(request.id, [])
            waiting.append(future)
            if len(waiting) == 1:
                self._asked.append(request)
            wake = not self._collecting and bool(self._asked)
            self._collecting = self._collecting or wake
        if wake:
            # Also from another thread: a sync grader that steps build on runs in one.
            self._loop.call_soon_threadsafe(self._collect)
        return Answer(future, self._loop)

    def _collect(self) -> None:
        with self._lock:
            asked = len(self._asked)
            self._quiet = self._quiet + 1 if asked == self._seen else 0
            self._seen = asked
            if self._quiet < _QUIET_TURNS:
                self._loop.call_soon(self._collect)
                return
            parcel, self._asked = self._asked, []
            self._seen = self._quiet = 0
            self._collecting = False
        try:
            self._engines.subscribe(parcel, self._delivered)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody must wait for an answer that never comes
            message = str(error) if isinstance(error, EvalsError) else f"{type(error).__name__}: {error}"
            self._settle([Result(request.id, error=Failure("engine", message)) for request in parcel])

    def _delivered(self, results: list[Result]) -> None:
        """Called by whoever hears of results; a loop that was closed wants none."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._settle, results)

    def _settle(self, results: list[Result]) -> None:
        with self._lock:
            settled = [(result, self._open.pop(result.id, [])) for result in results]
        for result, futures in settled:
            for future in futures:
                if future.set_running_or_notify_cancel():
                    future.set_result(result)


class Answer:
    """An answer on its way; see `pytest_evals.steps.calls.Pending`."""

    def __init__(self, future: Future[Result], loop: asyncio.AbstractEventLoop) -> None:
        self._future = future
        self._loop = loop

    def result(self) -> Result:
        """Wait for the answer in a thread other than the loop's."""
        if _running_loop() is self._loop:
            raise SuiteError("result() would keep all steps waiting: in a task or an async grader, await the call")
        return self._future.result()

    async def wait(self) -> Result:
        """Wait for the answer in an event loop. One that stops waiting takes nothing from the others."""
        return await asyncio.shield(asyncio.wrap_future(self._future))


def _running_loop() -> Any:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
