"""The time that a step takes for itself: without what it spends waiting for models."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from pytest_evals.engines.protocol import Request, Result
from pytest_evals.steps.budget import LimitExceeded
from pytest_evals.steps.dispatcher import Answer, Dispatcher
from pytest_evals.steps.step import Kind
from pytest_evals.timelimit import TimeLimitExceeded


class StepClock:
    """Cancels ``task`` when it took more than ``seconds`` for itself; 0 is no limit. Lives in the event loop."""

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
    """See `Answer`."""

    def __init__(self, answer: Answer, clock: StepClock, loop: asyncio.AbstractEventLoop) -> None:
        self._answer = answer
        self._clock = clock
        self._loop = loop

    def result(self) -> Result:
        """See `Answer.result`."""
        # In another thread: a sync grader that a step builds on.
        self._loop.call_soon_threadsafe(self._clock.pause)
        try:
            return self._answer.result()
        finally:
            self._loop.call_soon_threadsafe(self._clock.resume)

    async def wait(self) -> Result:
        """See `Answer.wait`."""
        with self._clock.paused():
            return await self._answer.wait()


def time_is_up(kind: Kind, name: str, seconds: float, error: BaseException) -> BaseException:
    """Return the failure of a step that was cancelled, by ``error``, since it took longer than it may."""
    limit: BaseException
    if kind == "grader":
        limit = TimeLimitExceeded(seconds)
    else:
        waiting = "waiting for models not counted"
        limit = LimitExceeded(f"task {name!r} took more than {seconds:g} s for itself, {waiting} (evals_step_timeout)")
    # Where it was when its time was up.
    return limit.with_traceback(error.__traceback__)
