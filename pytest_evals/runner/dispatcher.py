"""Requests of steps on their way to the engines, in parcels, and results on their way back.

Steps ask one by one. What is asked while the event loop is busy with steps that became ready together is handed in
together, so that it meets in the engines' batches.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Self

from pytest_evals.completion import Failure
from pytest_evals.engines.protocol import ModelService, Request, Result
from pytest_evals.errors import EvalsError, SuiteError
from pytest_evals.fixtures.debugging import debugging
from pytest_evals.fixtures.declaration import FixtureKind
from pytest_evals.fixtures.limits import LimitExceeded, TimeLimitExceeded

_QUIET_TURNS = 3
"""Turns of the loop without a request, after which a parcel leaves: a step may need some to reach its call."""


class Dispatcher:
    """See the module. ``loop`` runs the steps; any thread may ask."""

    def __init__(self, engines: ModelService, loop: asyncio.AbstractEventLoop) -> None:
        self._engines = engines
        self._loop = loop
        self._asked: list[Request] = []
        self._open: dict[str, list[Future[Result]]] = {}
        self._lock = threading.Lock()
        self._collecting = False
        self._seen = 0
        self._quiet = 0

    def ask(self, request: Request) -> PendingResult:
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
        return PendingResult(future, self._loop)

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
        except Exception as error:  # noqa: BLE001 - whatever it is, no step must wait for an answer that never comes
            message = str(error) if isinstance(error, EvalsError) else f"{type(error).__name__}: {error}"
            self._settle([Result(request.id, error=Failure("engine", message)) for request in parcel])

    def _delivered(self, results: list[Result]) -> None:
        """Called by the thread that receives results; a closed loop wants none."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._settle, results)

    def _settle(self, results: list[Result]) -> None:
        with self._lock:
            settled = [(result, self._open.pop(result.id, [])) for result in results]
        for result, futures in settled:
            for future in futures:
                if future.set_running_or_notify_cancel():
                    future.set_result(result)


class PendingResult:
    """An answer on its way; see `pytest_evals.runner.calls.Pending`."""

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


# -- The time that a step takes for itself: without what it spends waiting for models.


class StepClock:
    """Cancels ``task`` when it took more than ``seconds`` for itself; 0 means no limit. Lives in the event loop."""

    def __init__(self, seconds: float, task: asyncio.Task[object], loop: asyncio.AbstractEventLoop) -> None:
        self.expired = False
        self._left = seconds
        self._limited = seconds > 0
        self._task = task
        self._loop = loop
        self._waiting = 0
        self._timer: asyncio.TimerHandle | None = None
        self._since = 0.0

    def __enter__(self) -> Self:
        self._run()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._limited = False

    def _run(self) -> None:
        if self._limited and self._waiting == 0:
            self._since = self._loop.time()
            self._timer = self._loop.call_later(max(self._left, 0.0), self._expire)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._left -= self._loop.time() - self._since

    def _expire(self) -> None:
        if debugging():
            self._limited = False
            return
        self.expired = True
        self._task.cancel()

    def pause(self) -> None:
        """A call of a model is waited for."""
        self._stop()
        self._waiting += 1

    def resume(self) -> None:
        """It was answered."""
        self._waiting -= 1
        self._run()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the time of the block."""
        self.pause()
        try:
            yield
        finally:
            self.resume()


class TimedDispatcher:
    """A dispatcher at which one step asks: waiting for an answer does not count."""

    def __init__(self, dispatcher: Dispatcher, clock: StepClock, loop: asyncio.AbstractEventLoop) -> None:
        self._dispatcher = dispatcher
        self._clock = clock
        self._loop = loop

    def ask(self, request: Request) -> TimedAnswer:
        """See `Dispatcher.ask`."""
        return TimedAnswer(self._dispatcher.ask(request), self._clock, self._loop)


class TimedAnswer:
    """See `PendingResult`."""

    def __init__(self, answer: PendingResult, clock: StepClock, loop: asyncio.AbstractEventLoop) -> None:
        self._answer = answer
        self._clock = clock
        self._loop = loop

    def result(self) -> Result:
        """See `PendingResult.result`."""
        # In another thread: a sync grader that a step builds on.
        self._loop.call_soon_threadsafe(self._clock.pause)
        try:
            return self._answer.result()
        finally:
            self._loop.call_soon_threadsafe(self._clock.resume)

    async def wait(self) -> Result:
        """See `PendingResult.wait`."""
        with self._clock.paused():
            return await self._answer.wait()


def time_is_up(kind: FixtureKind, name: str, seconds: float, error: BaseException) -> BaseException:
    """Return the failure of a step that was cancelled, by ``error``, since it took longer than it may."""
    limit: BaseException
    if kind == "grader":
        limit = TimeLimitExceeded(seconds)
    else:
        waiting = "waiting for models not counted"
        limit = LimitExceeded(f"task {name!r} took more than {seconds:g} s for itself, {waiting} (evals_step_timeout)")
    # Where it was when its time was up.
    return limit.with_traceback(error.__traceback__)
